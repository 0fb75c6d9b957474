"""What a report says of the data itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.root_cause import diagnose
from otel_diag.model import DataQuality, Trace
from otel_diag.testing import START, TraceBuilder


def quality(trace: Trace) -> DataQuality:
    return diagnose(trace, Baseline(), now=START + timedelta(hours=1)).data_quality


def arrived(*seconds: float, first_at: float = 0.0) -> Trace:
    """Three spans, ended 1 s, 2 s and 60 s after the start, that came so many seconds after it."""
    builder = TraceBuilder()
    root = builder.root("runner", "go", ms=60_000)
    root.child("one", ms=1_000)
    root.child("two", ms=2_000)
    trace = builder.build()
    came = [START + timedelta(seconds=first_at + second) for second in seconds]
    spans = (trace.spans[1], trace.spans[2], trace.spans[0])
    return replace(
        trace, spans=tuple(replace(one, ingested_at=moment) for one, moment in zip(spans, came, strict=True))
    )


def test_a_span_that_comes_long_after_it_ended_is_late() -> None:
    found = quality(arrived(5, 45, 62))
    assert found.late == [f"{TraceBuilder().trace_id[:8]}{3:08x}"]
    assert found.late_max_ms == 40_000


def test_one_that_ends_late_or_comes_with_the_first_is_not() -> None:
    assert quality(arrived(5, 8, 66)).late == []
    assert quality(arrived(0, 1, 2, first_at=86_400)).late == []


def test_spans_with_cut_values_are_named_and_counted() -> None:
    trace = TraceBuilder()
    root = trace.root("runner", "go", ms=1_000)
    for _ in range(60):
        root.child("work")
    spans = trace.build().spans
    cut = replace(trace.build(), spans=(spans[0], *(replace(one, truncated=True) for one in spans[1:])))
    found = quality(cut)
    assert len(found.truncated) == 50
    assert found.totals == {"truncated": 60}
