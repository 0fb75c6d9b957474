"""A trace as a list people read: one entry a span, what is unusual about it, and the gap after it."""

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
from otel_diag.model import NANOS_PER_MS, Gap, GapReport, Span, TimelineEntry

SLOW_FACTOR: Final = 3.0


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


def timeline(examined: Examined, baseline: Baseline, limit: int | None = None) -> list[TimelineEntry]:
    """Every span, or the first ``limit``, in order of its recorded start, times in ms from the first one."""
    tree, skew = examined.tree, examined.skew
    return _entries(tree, skew, baseline, find_gaps(tree, skew, baseline), limit)


def gap_report(
    examined: Examined, baseline: Baseline, still_arriving: bool = False, limit: int | None = None
) -> GapReport:
    """Gaps, absent hops and orphans of a trace, with its timeline, of which the first ``limit`` spans."""
    trace, tree, skew = examined.trace, examined.tree, examined.skew
    gaps = find_gaps(tree, skew, baseline)
    return GapReport(
        trace_id=trace.trace_id,
        execution_id=trace.execution_id,
        total_spans=trace.span_count,
        spans=_entries(tree, skew, baseline, gaps, limit),
        gaps=list(gaps),
        missing=list(missing_hops(tree, baseline, still_arriving=still_arriving)),
        orphans=[tree.spans[i].span_id for i in tree.orphans],
        data_quality=data_quality(tree, skew, baseline, left_out=trace.left_out, still_arriving=still_arriving),
    )


def _entries(
    tree: Tree, skew: Skew, baseline: Baseline, gaps: tuple[Gap, ...], limit: int | None
) -> list[TimelineEntry]:
    critical = {segment.span for segment in critical_path(tree, skew.times, find_root(tree))}
    after: dict[str, Gap] = {}
    for gap in gaps:
        if gap.after_span is not None and (gap.after_span not in after or gap.gap_ms > after[gap.after_span].gap_ms):
            after[gap.after_span] = gap
    first = min((s.start_unix_nano for s in tree.spans), default=0)
    entries: list[TimelineEntry] = []
    for i, span in enumerate(tree.spans[:limit]):
        reason = anomaly_of(span, baseline)
        following = after.get(span.span_id)
        if reason is None and following is not None and following.is_anomaly:
            reason = f"followed by a gap: {following.detail}"
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
                gap_after_ms=following.gap_ms if following is not None else None,
                is_anomaly=reason is not None,
                anomaly_reason=reason,
            )
        )
    return entries
