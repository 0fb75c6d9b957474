"""What a report did not look at, in sentences with figures. Pure; what does not apply is not said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from otel_diag.analyse.baseline import MIN_EXECUTIONS
from otel_diag.analyse.root_cause import Context
from otel_diag.analyse.skew import Clock, clock_of
from otel_diag.evidence.surroundings import Surroundings

_NAMED: Final = 5
_THRESHOLD: Final = re.compile(r"(?:^|[,;])\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?:[;,]|$)")
"""The rejection threshold of OpenTelemetry's consistent probability sampling, in a W3C trace state."""


def not_examined(ctx: Context, around: Surroundings) -> list[str]:
    """One sentence for each thing that exists, or may, and had no part in the judgement."""
    return [*_of_the_trace(ctx), *_beside_it(ctx, around), *_compared_with(ctx, around)]


def _of_the_trace(ctx: Context) -> Iterator[str]:
    spans, trace = ctx.tree.spans, ctx.trace
    if trace.left_out:
        total = _count(trace.span_count, "span")
        yield f"not read: {trace.left_out:,} of {total}; the {len(spans):,} that tell most were"
    if ctx.still_arriving:
        newest = max((span.ingested_at for span in spans if span.ingested_at is not None), default=ctx.now)
        seconds = max(0.0, (ctx.now - newest).total_seconds())
        yield f"not here yet: spans that may follow the newest of {len(spans):,}, which came {seconds:,.1f} s before"
    dropped = [span for span in spans if span.dropped]
    if dropped:
        yield (
            f"not sent, or beyond max_attributes of this server: {sum(span.dropped for span in dropped):,} attributes, "
            f"events and links of {_count(len(dropped), 'span')}"
        )
    cut = [span.span_id for span in spans if span.truncated]
    if cut:
        yield f"not kept: the rest of values of {_count(len(cut), 'span')} beyond max_value_bytes: {_some(cut)}"
    if ctx.raw.orphans:
        parents = {spans[node].parent_span_id or "" for node in ctx.raw.orphans}
        yield (
            f"not stored: {_count(len(parents), 'span')} that {_count(len(ctx.raw.orphans), 'other')} of this trace "
            f"named as the parent: {_some(sorted(parents))}"
        )
    if ctx.running:
        ids = [ctx.span(node).span_id for node in ctx.running]
        yield f"not known: what {_count(len(ids), 'span')} did that began and did not end: {_some(ids)}"
    apart = _clocks_apart(ctx)
    if apart:
        names = [service if not host else f"{service} on {host}" for service, host in apart]
        yield f"not compared: {_count(len(names), 'clock')} with the others, for want of a call between: {_some(names)}"
    kept = _share_kept(ctx)
    if kept is not None:
        yield (
            f"not sampled: what is beyond the {kept:.3g} % of traces that the senders of this one keep (th in its "
            "trace state)"
        )


def _beside_it(ctx: Context, around: Surroundings) -> Iterator[str]:
    if around.attempts:
        other = _count(around.attempts, "other trace")
        yield f"not read: {other} of execution {ctx.trace.execution_id}, beside {ctx.trace.trace_id}"
    if around.executions:
        yield f"not read: {_count(around.executions, 'other execution')} in the same trace"
    unread = around.log_records - sum(span.logged for span in ctx.tree.spans)
    if unread > 0:
        errors = f"; {around.log_errors:,} of all are of severity error or above" if around.log_errors else ""
        yield f"not read: {unread:,} of {_count(around.log_records, 'log record')} of this trace{errors}"
    if around.metric_points:
        services = sorted({span.service for span in ctx.tree.spans})
        yield f"not read: {_count(around.metric_points, 'metric point')} of {_some(services)} from while it ran"
    if around.profile_samples:
        yield f"not read: {_count(around.profile_samples, 'profile sample')} of this trace"


def _compared_with(ctx: Context, around: Surroundings) -> Iterator[str]:
    scope, peers = ctx.baseline.scope, ctx.baseline.peers
    if scope is None:
        return
    days = f"from {scope.since:%d %b} to {scope.until:%d %b %Y}"
    if not peers:
        yield f"not known: what is usual; no comparable successful execution {days} is stored"
    elif not ctx.baseline.is_learned:
        yield (
            f"not known well: what is usual; {_count(len(peers), 'comparable successful execution')} {days} where "
            f"{MIN_EXECUTIONS} are needed, so constants were used"
        )
    elif around.comparable is not None and around.comparable > len(peers):
        yield (
            f"not compared: {around.comparable - len(peers):,} of {around.comparable:,} completed executions that "
            f"began with {scope.root[0]}.{scope.root[1]} {days}; the newest {len(peers)} were"
        )


def _clocks_apart(ctx: Context) -> list[Clock]:
    """Clocks that no call ties to that of the first span, unless it is the only one."""
    tied: dict[Clock, set[Clock]] = {clock_of(span): set() for span in ctx.tree.spans}
    if len(tied) < 2:
        return []
    for caller, callee in ctx.skew.offsets:
        tied[caller].add(callee)
        tied[callee].add(caller)
    reached: set[Clock] = set()
    pending = [clock_of(ctx.tree.spans[ctx.root if ctx.root is not None else 0])]
    while pending:
        clock = pending.pop()
        if clock not in reached:
            reached.add(clock)
            pending.extend(tied[clock])
    return sorted(tied.keys() - reached)


def _share_kept(ctx: Context) -> float | None:
    """The least share of traces, in percent, that a sender of these spans keeps; None where all do, or none says."""
    states = {span.trace_state for span in ctx.tree.spans if span.trace_state}
    thresholds = [match[1] for state in states if (match := _THRESHOLD.search(state))]
    kept = [100 * (1 - int(threshold.ljust(14, "0"), 16) / 2**56) for threshold in thresholds]
    least = min(kept, default=100.0)
    return least if least < 100 else None


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(name[:80] for name in names[:_NAMED]) + rest
