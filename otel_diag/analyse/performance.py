"""How executions (or calls of an operation) performed over a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from otel_diag.analyse.baseline import OperationStats
from otel_diag.model import PerformanceWindow, Status


def window(
    since: datetime, until: datetime, statuses: Sequence[str], durations_ms: Sequence[float | None]
) -> PerformanceWindow:
    """Exact figures from one status and one duration (None: unknown) per execution.

    Percentiles interpolate between neighbours; running executions count in the total only.
    """
    known = sorted(d for d in durations_ms if d is not None)
    failed = sum(Status(s).is_failure for s in statuses)
    successful = sum(s == Status.COMPLETED for s in statuses)
    return PerformanceWindow(
        since=since,
        until=until,
        total_executions=len(statuses),
        successful=successful,
        failed=failed,
        success_rate=_rate(successful, failed),
        avg_duration_sec=sum(known) / len(known) / 1e3 if known else None,
        p50_duration_sec=_percentile(known, 0.5),
        p95_duration_sec=_percentile(known, 0.95),
        p99_duration_sec=_percentile(known, 0.99),
    )


def merged_window(
    since: datetime, until: datetime, stats: Mapping[tuple[str, ...], OperationStats]
) -> PerformanceWindow:
    """The same from latency sketches keyed (status,): percentiles within 2.2 %."""
    counts = {Status(key[0]): found.count for key, found in stats.items()}
    buckets: dict[int, int] = {}
    for found in stats.values():
        for bucket, count in found.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
    merged = OperationStats(buckets, sum(found.sum_ms for found in stats.values()))
    failed = sum(count for status, count in counts.items() if status.is_failure)
    successful = counts.get(Status.COMPLETED, 0)
    mean = merged.mean_ms
    return PerformanceWindow(
        since=since,
        until=until,
        total_executions=sum(counts.values()),
        successful=successful,
        failed=failed,
        success_rate=_rate(successful, failed),
        avg_duration_sec=mean / 1e3 if mean is not None else None,
        p50_duration_sec=merged.percentile(0.5) / 1e3 if merged.count else None,
        p95_duration_sec=merged.percentile(0.95) / 1e3 if merged.count else None,
        p99_duration_sec=merged.percentile(0.99) / 1e3 if merged.count else None,
    )


def _rate(successful: int, failed: int) -> float | None:
    """Of those that ended."""
    return successful / (successful + failed) if successful + failed else None


def _percentile(ordered_ms: Sequence[float], q: float) -> float | None:
    if not ordered_ms:
        return None
    rank = q * (len(ordered_ms) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered_ms) - 1)
    return (ordered_ms[low] + (ordered_ms[high] - ordered_ms[low]) * (rank - low)) / 1e3
