"""Fault-free minutes of two real systems: nothing is wrong, and nothing is said to be."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_diag.analyse.root_cause import diagnose
from otel_diag.analyse.summary import summarise
from otel_diag.model import Span, Trace
from otel_diag.testing import baseline_of

INCIDENTS = Path(__file__).parents[3] / "shared" / "data" / "incidents"
KINDS = {0: "unspecified", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}

pytestmark = pytest.mark.skipif(not INCIDENTS.is_dir(), reason=f"real incidents are not at {INCIDENTS}")


def read(path: Path) -> list[Trace]:
    traces: dict[str, list[Span]] = defaultdict(list)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            for resource_spans in json.loads(line)["resourceSpans"]:
                pairs = resource_spans["resource"]["attributes"]
                resource = {pair["key"]: next(iter(pair["value"].values())) for pair in pairs}
                for scope_spans in resource_spans["scopeSpans"]:
                    for span in scope_spans["spans"]:
                        traces[span["traceId"]].append(_span(span, resource))
    return [Trace(tuple(spans), trace_id=trace_id) for trace_id, spans in traces.items()]


def _span(span: dict[str, str], resource: dict[str, str]) -> Span:
    return Span(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        service=resource["service.name"],
        operation=span["name"],
        start_unix_nano=int(span["startTimeUnixNano"]),
        end_unix_nano=int(span["endTimeUnixNano"]),
        parent_span_id=span.get("parentSpanId") or None,
        kind=KINDS[int(span["kind"])],
        resource=resource,
    )


@pytest.mark.parametrize("name", ["baseline-2022-08-23", "baseline-2023-01-29"])
def test_fault_free_traces_are_healthy(name: str) -> None:
    kinds: dict[tuple[str, str], list[Trace]] = defaultdict(list)
    for trace in read(INCIDENTS / f"{name}.jsonl.gz"):
        summary = summarise(trace)
        kinds[summary.root_service, summary.root_operation].append(trace)
    judged = alarms = 0
    for traces in kinds.values():
        half = len(traces) // 2
        for tested, others in ((traces[:half], traces[half:]), (traces[half:], traces[:half])):
            baseline = baseline_of(others)
            for trace in tested[:40]:
                judged += 1
                alarms += diagnose(trace, baseline, now=datetime.now(UTC)).verdict != "healthy"
    assert judged > 50
    assert alarms < 0.05 * judged
