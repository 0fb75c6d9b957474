"""Import and export of real files: what goes in is counted, and comes out field by field as it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.otlp_json import lines_of, spans_in
from tests.e2e.processes import answer_of, command, execution, lines_file, serving

DATA = Path(__file__).parents[3] / "shared" / "data"
SAMPLES = DATA / "otlp-samples"
INCIDENTS = DATA / "incidents"
SUBSET = ("ob-0823-1447", "tt-0129-1020")
"""A small case of each system: the whole set holds 290,000 spans and takes minutes."""

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data is not at {DATA}")


def sample_files(signal: str = "traces") -> list[Path]:
    return sorted((SAMPLES / signal).iterdir())


def incident_files(suffix: str = "") -> list[Path]:
    return [path for name in SUBSET if (path := INCIDENTS / f"{name}{suffix}.jsonl.gz").exists()]


def contents(files: Iterable[Path]) -> Counter[Any]:
    return sum((spans_in(path) for path in files), Counter())


def test_what_is_exported_equals_what_was_imported(store_url: str, tmp_path: Path) -> None:
    files = [*incident_files(), *sample_files()]
    results = answer_of("import", *files, "--store", store_url)
    given = contents(files)
    assert [result["file"] for result in results] == [str(path) for path in files]
    for path, result in zip(files, results, strict=True):
        assert result["spans"] == spans_in(path).total() > 0
        assert result["spans"] == result["stored"] + result["duplicates"] + sum(result["rejected"].values())
        assert (result["rejected"], result["skipped"], result["broken"]) == ({}, {}, [])
    # What was in the files twice is stored once.
    assert sum(result["duplicates"] for result in results) == given.total() - len(given) > 0

    exported = tmp_path / "exported.jsonl.gz"
    assert answer_of("export", "--all", "-o", exported, "--store", store_url)["file"] == str(exported)
    back = spans_in(exported)
    assert set(back.values()) == {1}
    assert back.keys() == given.keys()

    again = answer_of("import", exported, "--store", store_url)
    assert [(one["stored"], one["duplicates"]) for one in again] == [(0, len(given))]


def test_other_signals_are_reported_as_skipped(tmp_path: Path) -> None:
    incidents = [*incident_files(".metrics"), *incident_files(".logs")]
    files = [*incidents, *sample_files("logs"), *sample_files("metrics")]
    results = answer_of("import", *files, "--store", f"duckdb:///{tmp_path / 'store.duckdb'}")
    for path, result in zip(files, results, strict=True):
        signal = "metrics" if "metrics" in path.name or path.parent.name == "metrics" else "logs"
        assert result["skipped"] == {signal: len(list(lines_of(path)))}
        assert (result["spans"], result["stored"], result["rejected"], result["broken"]) == (0, 0, {}, [])


def test_import_beside_the_running_server_stores_the_same(store_url: str) -> None:
    files = [*incident_files()[:1], *sample_files()]
    # Both summarise at once what arrives, so each meets traces that the other has just done.
    with serving(store_url, OTEL_DIAG_QUIET_SECONDS="0") as server:
        results = answer_of("import", *files, "--store", store_url)
        given = contents(files)
        assert sum(result["spans"] for result in results) == given.total()
        assert not any(result["rejected"] or result["broken"] for result in results)
        assert server.span_count() == len(given)
        assert set(server.get("traces", limit=10_000)) == {dict(span)["traceId"] for *_, span in given}


def test_what_cannot_be_stored_is_counted_with_its_reason(tmp_path: Path) -> None:
    good, bad = execution(1, "a" * 32, spans=3), execution(2, "b" * 32, spans=2)
    bad["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["spanId"] = "0" * 16
    path = lines_file(tmp_path / "mixed.jsonl", good, bad, good)
    path.write_text(path.read_text() + '{"resourceSpans": [\n')
    done = command("import", path, "--store", f"duckdb:///{tmp_path / 'store.duckdb'}", "--json")
    assert done.returncode == 5, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["spans"], result["stored"], result["duplicates"]) == (8, 4, 3)
    assert list(result["rejected"].values()) == [1]
    assert [broken["where"] for broken in result["broken"]] == ["line 4"]
