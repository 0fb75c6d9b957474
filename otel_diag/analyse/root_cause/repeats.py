"""The same call over and over where peers make it once or a few times: N+1 queries, a loop without an end in sight.

What the calls take together may lie in several operations (client, server, query), none of which is slow by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from otel_diag.analyse.baseline import OPERATION_MS
from otel_diag.analyse.root_cause.context import Context, Finding
from otel_diag.analyse.root_cause.delays import explains
from otel_diag.model import RootCauseType, Status

_MANY: Final = 5
_TIMES_USUAL: Final = 3.0
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class _Repeats:
    """Calls of one element under one parent; ``ms`` of them on the critical path, with all below them."""

    calls: Sequence[int]
    ms: float
    usual_count: float
    usual_ms: float


def repeated_calls(ctx: Context) -> Iterable[Finding]:
    if ctx.status != Status.COMPLETED or ctx.root is None:
        return
    found = [repeats for repeats in _all_repeats(ctx) if explains(ctx, repeats.ms - repeats.usual_ms, OPERATION_MS)]
    if not found:
        return
    worst = max(found, key=lambda repeats: repeats.ms - repeats.usual_ms)
    span, caller = ctx.span(worst.calls[0]), ctx.span(ctx.tree.parents[worst.calls[0]])
    usual = f"; peers make {worst.usual_count:,.0f}" if ctx.baseline.is_learned else ""
    slowest = sorted(worst.calls, key=lambda call: (-ctx.ms(call), call))
    yield Finding(
        RootCauseType.PERFORMANCE_DEGRADATION,
        span.service,
        span.operation,
        0.9,
        f"{caller.service}.{caller.operation} made {len(worst.calls):,} calls of {span.operation}, which took "
        f"{worst.ms:,.0f} ms of {ctx.wall_ms:,.0f} ms{usual}",
        f"Replace the {len(worst.calls):,} calls of {span.operation} in {caller.service}.{caller.operation} by one for "
        "all (a batch, a join, a cache).",
        tuple(ctx.span(call).span_id for call in slowest[:_SHOWN]),
        hop=(span.service, ctx.callee_name(worst.calls[0])) if ctx.is_call(worst.calls[0]) else None,
        duration_ms=worst.ms,
    )


def _all_repeats(ctx: Context) -> Iterable[_Repeats]:
    template = ctx.baseline.template
    for children in ctx.tree.children:
        if len(children) < _MANY:
            continue
        groups: dict[str, list[int]] = {}
        for child in children:
            groups.setdefault(ctx.span(child).element, []).append(child)
        for element, calls in groups.items():
            usual = template.usual_counts.get(element, 0.0)
            if len(calls) >= max(_MANY, _TIMES_USUAL * usual):
                span = ctx.span(calls[0])
                stats = ctx.baseline.operations.get((span.service, span.operation))
                each = stats.percentile(0.5) if stats is not None else 0.0
                yield _Repeats(
                    calls, sum(ctx.critical_subtree_ms.get(call, 0.0) for call in calls), usual, usual * each
                )
