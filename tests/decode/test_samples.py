"""Real OTLP/JSON in, rows, and out again: nothing is lost."""

import gzip

import pytest

from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.traces import decode_traces
from otel_diag.model import SPAN_SCHEMA
from tests.decode.otlp import DATA, data_file, exported, flattened

INCIDENTS = ("ob-0822-0353.jsonl.gz", "tt-0129-0903.jsonl.gz", "baseline-2022-08-22.jsonl.gz")


def samples() -> list[str]:
    names = sorted(str(path.relative_to(DATA)) for path in (DATA / "otlp-samples" / "traces").glob("*.jsonl"))
    return [*names, *(f"incidents/{name}" for name in INCIDENTS)]


@pytest.mark.parametrize("name", samples())
def test_export_of_an_imported_file_equals_the_file(name: str) -> None:
    path = data_file(name)
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in text.splitlines()[:40]:
        request = json_to_request(line)
        decoded = decode_traces(request, "default")
        assert decoded.batch.schema == SPAN_SCHEMA
        decoded.batch.validate(full=True)
        assert decoded.records == decoded.batch.num_rows + decoded.rejected
        if not decoded.rejected:
            assert flattened(exported(decoded)) == flattened(request)
