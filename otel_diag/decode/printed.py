"""Log records whose text tells of spans: a Collector that reads the log of a program without a network sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_diag.decode.attributes import otlp_attributes
from otel_diag.decode.bounds import Limits
from otel_diag.decode.columns import show_nul
from otel_diag.decode.logs import LOGS
from otel_diag.decode.modal_logs import MARK, executions, named, read_line, requests_of
from otel_diag.decode.otlp_json import json_to_message
from otel_diag.decode.requests import Decoded
from otel_diag.decode.traces import TRACES
from otel_diag.errors import BadInput

MOST_LINES: Final = 5_000
"""Of one request: a line costs 0.1 ms, and others wait. Those past it are log records like any other."""

_MARK: Final = MARK.encode()
_READ: Final = ("body_text", "time_unix_nano", "observed_unix_nano", "resource_attributes")


def decode_logs(
    payloads: Sequence[bytes], tenants: Sequence[str], limits: Limits | None = None
) -> list[Decoded | BadInput]:
    """What became of each request of log records. The spans that lines tell of are ``told``, what they announce is
    among the rows; a request without such a line costs a search of its bytes."""
    outcomes = LOGS.decode(payloads, tenants, limits)
    return [
        _with_told(outcome, tenant, limits) if _MARK in payload and isinstance(outcome, Decoded) else outcome
        for payload, tenant, outcome in zip(payloads, tenants, outcomes, strict=True)
    ]


def _with_told(logs: Decoded, tenant: str, limits: Limits | None) -> Decoded | BadInput:
    rows = logs.batch.select(_READ).filter(pc.match_substring(logs.batch["body_text"], MARK)).to_pylist()
    texts = ((row, text) for row in rows for text in show_nul(row["body_text"]).split("\n") if MARK in text)
    lines = [
        (said, row["resource_attributes"])
        for row, text in islice(texts, MOST_LINES)
        if (said := read_line(text, row["time_unix_nano"], row["observed_unix_nano"])) is not None
    ]
    if not lines:
        return logs
    resource = cache(_resource)
    told = executions(said for said, _ in lines)
    spans, announced = requests_of((one, resource(lines[one.line][1], one.service)) for one in told)
    found = TRACES.decode([spans.SerializeToString()], [tenant], limits)[0]
    added = LOGS.decode([announced.SerializeToString()], [tenant], limits)[0]
    if isinstance(found, BadInput):
        return found
    if isinstance(added, BadInput):
        return added
    return replace(
        logs,
        batch=pa.concat_tables([logs.batch, added.batch]),
        bytes=logs.bytes + added.bytes,
        told=found if found.batch.num_rows else None,
    )


def _resource(attributes: str, service: str | None) -> Resource:
    """That of the record, with the service that the line names."""
    written = json.dumps({"attributes": otlp_attributes(json.loads(attributes))})
    found = json_to_message(written.encode(), Resource.DESCRIPTOR)
    assert isinstance(found, Resource)  # noqa: S101 - the descriptor says so
    return named(found, service)
