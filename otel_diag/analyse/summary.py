"""One row per execution: what lists, baselines and comparisons read instead of spans."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from otel_diag.analyse.baseline import Peer, encode_element, latency_bucket
from otel_diag.analyse.classify import error_text, error_type_of
from otel_diag.analyse.critical_path import critical_path, self_times
from otel_diag.analyse.outcome import Outcome, outcome_of
from otel_diag.analyse.skew import Skew, estimate_skew, is_hop
from otel_diag.analyse.tree import NO_PARENT, Tree, build_tree
from otel_diag.model import NANOS_PER_MS, UNKNOWN_SERVICE, Span, Status, Trace

MAX_ELEMENTS: Final = 2_000
MAX_HOPS: Final = 500
MAX_CRITICAL: Final = 100
_LONGEST_MESSAGE: Final = 2_000

_Value = TypeVar("_Value")

RollupKey = tuple[datetime, str, str, str, str, str, str, int]
"""(start of the hour, service, operation, model_id, region, status, measure, latency bucket)"""


@dataclass(frozen=True, slots=True)
class Summary:
    """The derived columns of ``trace_summaries``.

    - ``duration_ms``: wall time, first start to last end on adjusted clocks; None when nothing has ended.
    - ``elements``: as :func:`~otel_diag.analyse.baseline.encode_element` writes them, in pre-order.
    - ``hops``: distinct pairs of plain elements.
    - ``critical_path``: plain elements in time order, neighbours merged.
    - ``services``: in order of appearance.
    - ``failure_point``: the element of the deepest error that reached the root.
    - ``span_count``: with those that were left out; the other counts and times are of the spans examined.
    - ``complete``: it has a root and no orphans, nothing runs, and no span was left out.
    """

    root_service: str
    root_operation: str
    status: Status
    error_type: str | None
    error_message: str | None
    failure_point: str | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: float | None
    span_count: int
    failed_spans: int
    timeout_spans: int
    max_span_duration_ms: float | None
    services: tuple[str, ...]
    elements: tuple[str, ...]
    hops: tuple[tuple[str, str], ...]
    critical_path: tuple[str, ...]
    signature: int
    content_key: int
    complete: bool
    execution_id: int | None
    trace_id: str | None
    job_id: str | None
    model_id: str | None
    region: str | None
    attempt: int | None
    service_version: str | None

    def as_peer(self) -> Peer:
        return Peer(
            execution_id=self.execution_id,
            trace_id=self.trace_id,
            status=self.status,
            duration_ms=self.duration_ms,
            elements=self.elements,
            hops=self.hops,
            model_id=self.model_id,
            region=self.region,
            job_id=self.job_id,
            error_message=self.error_message,
            started_at=self.started_at,
            failure_point=self.failure_point,
            services=self.services,
        )


def summarise(trace: Trace) -> Summary:
    """Fold one unit of diagnosis. Deterministic, independent of the order of spans; works without any span."""
    tree = build_tree(trace.spans)
    skew = estimate_skew(tree)
    return summary_of(trace, tree, skew, outcome_of(trace, tree, skew.times))


def summary_of(trace: Trace, tree: Tree, skew: Skew, outcome: Outcome) -> Summary:
    """:func:`summarise` for callers that have built the parts already."""
    declared = trace.declared
    spans = tree.spans
    root = spans[outcome.root] if outcome.root is not None else None
    deepest = spans[outcome.chain[-1]] if outcome.chain else None
    error_type, message = _error(trace, outcome, spans)
    elements = _elements(tree)
    first, last = _bounds(spans)
    duration = _wall_ms(spans, skew)
    started_at, completed_at = _moment(first), _moment(last)
    if declared is not None:
        started_at = started_at or declared.started_at
        completed_at = completed_at or declared.completed_at
        if duration is None and declared.completed_at is not None:
            duration = max(0.0, (declared.completed_at - declared.started_at).total_seconds() * 1e3)
    return Summary(
        root_service=root.service if root else UNKNOWN_SERVICE,
        root_operation=root.operation if root else "",
        status=outcome.status,
        error_type=error_type,
        error_message=message,
        failure_point=deepest.element if deepest else None,
        started_at=started_at,
        completed_at=completed_at,
        duration_ms=duration,
        span_count=trace.span_count,
        failed_spans=sum(s.status == Status.FAILED for s in spans),
        timeout_spans=sum(s.status == Status.TIMEOUT for s in spans),
        max_span_duration_ms=max((d for s in spans if (d := s.duration_ms) is not None), default=None),
        services=tuple(dict.fromkeys(s.service for s in spans)),
        elements=elements,
        hops=_hops(tree),
        critical_path=_critical(tree, skew, outcome),
        signature=_hash64(elements),
        content_key=_content_key(trace),
        complete=root is not None
        and not tree.orphans
        and not trace.left_out
        and all(s.end_unix_nano is not None for s in spans),
        execution_id=trace.execution_id,
        trace_id=trace.trace_id,
        job_id=inherited(root, spans, lambda s: s.job_id) or (declared.job_id if declared else None),
        model_id=inherited(root, spans, lambda s: s.model_id) or (declared.model_id if declared else None),
        region=inherited(root, spans, lambda s: s.region) or (declared.region if declared else None),
        attempt=inherited(root, spans, lambda s: s.attempt),
        service_version=root.service_version if root else None,
    )


def inherited(root: Span | None, spans: Iterable[Span], read: Callable[[Span], _Value | None]) -> _Value | None:
    """What an execution inherits from its spans: the root's value, else that of the earliest span that has one."""
    own = read(root) if root is not None else None
    if own is not None:
        return own
    return next((value for s in spans if (value := read(s)) is not None), None)


def rollup_rows(trace: Trace, only: Callable[[Span], bool]) -> dict[RollupKey, tuple[int, float]]:
    """What the chosen spans add to ``operation_rollups``: key -> (sample count, sum in ms).

    Measures ``duration`` and ``self`` (self time against *all* spans of the trace, on skew-adjusted times). Spans
    without a duration, or outside datetime's range, add nothing.
    """
    tree = build_tree(trace.spans)
    return rollups_of(tree, estimate_skew(tree), only)


def rollups_of(tree: Tree, skew: Skew, only: Callable[[Span], bool]) -> dict[RollupKey, tuple[int, float]]:
    """:func:`rollup_rows` for callers that have built the parts already."""
    own = self_times(tree, skew.times)
    hours: dict[int, datetime] = {}
    model = inherited(None, tree.spans, lambda s: s.model_id) or ""
    region = inherited(None, tree.spans, lambda s: s.region) or ""
    rows: dict[RollupKey, tuple[int, float]] = {}
    for span, self_ns in zip(tree.spans, own, strict=True):
        duration = span.duration_ms
        if duration is None or not _is_moment(span.start_unix_nano) or not only(span):
            continue
        number = span.start_unix_nano // _HOUR_NANOS
        hour = hours.get(number)
        if hour is None:
            hour = hours[number] = datetime.fromtimestamp(number * 3600, UTC)
        prefix = (hour, span.service, span.operation, span.model_id or model, span.region or region, span.status.value)
        for measure, value in (("duration", duration), ("self", self_ns / NANOS_PER_MS)):
            key = (*prefix, measure, latency_bucket(value))
            count, total = rows.get(key, (0, 0.0))
            rows[key] = (count + 1, total + value)
    return rows


def _error(trace: Trace, outcome: Outcome, spans: tuple[Span, ...]) -> tuple[str | None, str | None]:
    """Type and message of the deepest error that has any, else what the runner recorded."""
    if not outcome.status.is_failure:
        return None, None
    for node in reversed(outcome.chain):
        kind, text = error_type_of(spans[node]), error_text(spans[node])
        if kind or text:
            return kind or None, text[:_LONGEST_MESSAGE] or None
    return None, trace.declared.error_message if trace.declared else None


def _elements(tree: Tree) -> tuple[str, ...]:
    shown = tree.preorder[:MAX_ELEMENTS]
    return tuple(encode_element(tree.depths[i], tree.spans[i].element) for i in shown)


def _hops(tree: Tree) -> tuple[tuple[str, str], ...]:
    pairs: dict[tuple[str, str], None] = {}
    linked = tree.linked_parents()
    for child in tree.preorder:
        parent = linked.get(child, tree.parents[child])
        if parent != NO_PARENT and is_hop(tree.spans[parent], tree.spans[child]):
            pairs[tree.spans[parent].element, tree.spans[child].element] = None
            if len(pairs) == MAX_HOPS:
                break
    return tuple(pairs)


def _critical(tree: Tree, skew: Skew, outcome: Outcome) -> tuple[str, ...]:
    path: list[str] = []
    for segment in critical_path(tree, skew.times, outcome.root):
        element = tree.spans[segment.span].element
        if not path or path[-1] != element:
            path.append(element)
    return tuple(path[:MAX_CRITICAL])


def _bounds(spans: tuple[Span, ...]) -> tuple[int | None, int | None]:
    starts = [s.start_unix_nano for s in spans if _is_moment(s.start_unix_nano)]
    ends = [s.end_unix_nano for s in spans if s.end_unix_nano is not None and _is_moment(s.end_unix_nano)]
    return min(starts, default=None), max(ends, default=None)


def _wall_ms(spans: tuple[Span, ...], skew: Skew) -> float | None:
    """First start to last end on adjusted clocks: seconds of skew must not count as time spent."""
    usable = [
        time
        for span, time in zip(spans, skew.times, strict=True)
        if span.end_unix_nano is not None and _is_moment(span.start_unix_nano) and _is_moment(span.end_unix_nano)
    ]
    if not usable:
        return None
    return (max(end for _, end in usable) - min(start for start, _ in usable)) / NANOS_PER_MS


_FIRST_NANO: Final = 31_536_000 * 10**9
_LAST_NANO: Final = 9_183_110_400 * 10**9
_HOUR_NANOS: Final = 3_600 * 10**9


def _is_moment(nanos: int) -> bool:
    """Not outside 1971..2260, where the stored columns are null."""
    return _FIRST_NANO <= nanos < _LAST_NANO


def _moment(nanos: int | None) -> datetime | None:
    return None if nanos is None or not _is_moment(nanos) else datetime.fromtimestamp(nanos / 1e9, UTC)


def _content_key(trace: Trace) -> int:
    parts = sorted(
        f"{s.span_id}/{s.content_hash}/{s.start_unix_nano}/{s.end_unix_nano}/{s.status}" for s in trace.spans
    )
    if trace.left_out:
        parts.append(f"and {trace.left_out} more")
    if trace.declared is not None:
        said = trace.declared
        ended = said.completed_at and _utc(said.completed_at)
        parts.append(repr(replace(said, started_at=_utc(said.started_at), completed_at=ended)))
    return _hash64(parts)


def _utc(moment: datetime) -> datetime:
    """The same moment as it is read back from a store, where a time without an offset is in UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _hash64(parts: Iterable[str]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return int.from_bytes(digest.digest(), "big", signed=True)
