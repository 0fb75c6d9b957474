"""A trace as a list people read: one entry a span, what is unusual about it, and the gap after it.

What is unusual is judged once, with the diagnosis, and kept with it as :class:`Marks`: a timeline shown later says the
same, although other executions have moved the averages since.
"""

from __future__ import annotations

from typing import Final

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.critical_path import critical_path
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.gaps import find_gaps, missing_hops
from otel_diag.analyse.outcome import find_root
from otel_diag.analyse.quality import data_quality
from otel_diag.analyse.skew import Skew
from otel_diag.analyse.tree import Tree
from otel_diag.model import NANOS_PER_MS, Answer, Gap, GapReport, Span, TimelineEntry

SLOW_FACTOR: Final = 3.0

MAX_MARKS: Final = 5_000
"""Spans of one trace whose marks are kept: as many as a timeline lists."""


class Mark(Answer):
    """What there is to say of a span beside its own figures. A span is told by its id and start: ids can be double."""

    span_id: str
    start_unix_nano: int
    gap_after_ms: float | None
    is_anomaly: bool
    anomaly_reason: str | None


class Marks(Answer):
    """The spans of a trace that have a mark, in start order: ``total`` of them, of which the most telling are kept."""

    total: int
    spans: list[Mark]


def anomaly_of(span: Span, baseline: Baseline) -> str | None:
    """Why a span is unusual, with the figures: failed, or over 3x the average of its operation elsewhere (spec/2)."""
    if span.status.is_failure:
        said = span.error_message or span.error_type
        return f"status {span.status.value}" + (f": {said[:200]}" if said else "")
    stats = baseline.operations.get((span.service, span.operation))
    average = stats.mean_ms if stats is not None else None
    if stats is None or not average or span.duration_ms is None or span.duration_ms <= SLOW_FACTOR * average:
        return None
    return (
        f"{span.duration_ms:,.1f} ms, {span.duration_ms / average:.1f} times the average of {average:,.1f} ms "
        f"over {stats.count} others"
    )


def marks_of(examined: Examined, baseline: Baseline) -> Marks:
    """What is unusual in a trace against others. Of more than ``MAX_MARKS`` the anomalies, then the longest gaps."""
    return _marks(examined.tree, find_gaps(examined.tree, examined.skew, baseline), baseline)


def timeline(examined: Examined, marks: Marks, limit: int | None = None) -> list[TimelineEntry]:
    """Every span, or the first ``limit``, in order of its recorded start, times in ms from the first one."""
    return _entries(examined.tree, examined.skew, marks, limit)


def gap_report(
    examined: Examined, baseline: Baseline, marks: Marks, still_arriving: bool = False, limit: int | None = None
) -> GapReport:
    """Gaps, absent hops and orphans of a trace, with its timeline, of which the first ``limit`` spans."""
    trace, tree, skew = examined.trace, examined.tree, examined.skew
    return GapReport(
        trace_id=trace.trace_id,
        execution_id=trace.execution_id,
        total_spans=trace.span_count,
        spans=_entries(tree, skew, marks, limit),
        gaps=list(find_gaps(tree, skew, baseline)),
        missing=list(missing_hops(tree, baseline, still_arriving=still_arriving)),
        orphans=[tree.spans[i].span_id for i in tree.orphans],
        data_quality=data_quality(tree, skew, baseline, left_out=trace.left_out, still_arriving=still_arriving),
    )


def _marks(tree: Tree, gaps: tuple[Gap, ...], baseline: Baseline) -> Marks:
    after: dict[str, Gap] = {}
    for gap in gaps:
        if gap.after_span is not None and (gap.after_span not in after or gap.gap_ms > after[gap.after_span].gap_ms):
            after[gap.after_span] = gap
    marked: list[tuple[Span, str | None, float | None]] = []
    for span in tree.spans:
        following = after.get(span.span_id)
        reason = anomaly_of(span, baseline)
        if reason is None and following is not None and following.is_anomaly:
            reason = f"followed by a gap: {following.detail}"
        if reason is not None or following is not None:
            marked.append((span, reason, following.gap_ms if following is not None else None))
    telling = sorted(range(len(marked)), key=lambda i: (marked[i][1] is None, -(marked[i][2] or 0.0)))
    return Marks(total=len(marked), spans=[_mark(*marked[i]) for i in sorted(telling[:MAX_MARKS])])


def _mark(span: Span, reason: str | None, gap_ms: float | None) -> Mark:
    return Mark(
        span_id=span.span_id,
        start_unix_nano=span.start_unix_nano,
        gap_after_ms=gap_ms,
        is_anomaly=reason is not None,
        anomaly_reason=reason,
    )


def _entries(tree: Tree, skew: Skew, marks: Marks, limit: int | None) -> list[TimelineEntry]:
    critical = {segment.span for segment in critical_path(tree, skew.times, find_root(tree))}
    first = min((s.start_unix_nano for s in tree.spans), default=0)
    known = {(mark.span_id, mark.start_unix_nano): mark for mark in marks.spans}
    entries: list[TimelineEntry] = []
    for i, span in enumerate(tree.spans[:limit]):
        mark = known.get((span.span_id, span.start_unix_nano))
        end = span.end_unix_nano
        entries.append(
            TimelineEntry(
                service=span.service,
                operation=span.operation,
                start_ms=(span.start_unix_nano - first) / NANOS_PER_MS,
                end_ms=None if end is None else (end - first) / NANOS_PER_MS,
                duration_ms=span.duration_ms,
                status=span.status,
                error_message=span.error_message,
                depth=tree.depths[i],
                critical=i in critical,
                span_id=span.span_id,
                gap_after_ms=mark.gap_after_ms if mark is not None else None,
                is_anomaly=mark is not None and mark.is_anomaly,
                anomaly_reason=mark.anomaly_reason if mark is not None else None,
            )
        )
    return entries
