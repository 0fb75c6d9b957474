"""Who lost the time when a caller gave up waiting: the callee, or the path to and from it.

The deepest time-out of the failing chain is the one to explain. A callee that had finished before the caller gave
up was not heard (NETWORK_TIMEOUT, at the finished answer); one still working then is too slow (SERVICE_TIMEOUT,
at the operation in which most of the time went).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from otel_diag.analyse.baseline import NETWORK_GAP_MS
from otel_diag.analyse.classify import ErrorKind, classify, is_error
from otel_diag.analyse.replies import sender_before
from otel_diag.analyse.root_cause import absent
from otel_diag.analyse.root_cause.context import Context, Finding
from otel_diag.analyse.root_cause.delays import cold_start_below, explains
from otel_diag.analyse.root_cause.errors import quote
from otel_diag.analyse.skew import is_hop
from otel_diag.model import NANOS_PER_MS, RootCauseType, Status

_SYMPTOMS = (ErrorKind.CANCELLED, ErrorKind.NONE, ErrorKind.TIMEOUT)
_WAITED = 0.3
"""Of the time until the deadline: what passes after an answer before it counts as not heard."""

_LOST_AFTER = timedelta(minutes=10)
"""A span announced this long before, and never finished, is taken for lost rather than slow."""


def timeout(ctx: Context) -> Iterable[Finding]:
    waiting = _deepest_timeout(ctx)
    if waiting is None:
        return
    yield from _lost_or_slow(ctx, waiting, _working_at(ctx, waiting, ctx.skew.times[waiting][1]))


def _lost_or_slow(ctx: Context, waiting: int, working: list[int]) -> Iterable[Finding]:
    """``working``: from the span that timed out down to the deepest one that was active when it did."""
    last = working[-1]
    gave_up = last == waiting or classify(ctx.span(last)).kind == ErrorKind.TIMEOUT
    if ctx.is_call(last):
        finished = [c for c in ctx.callees(last) if ctx.span(c).end_unix_nano is not None]
        if finished:
            yield _not_heard(ctx, last, max(finished, key=lambda c: ctx.skew.times[c][1]))
        elif gave_up:
            yield from _no_trace_of_callee(ctx, last)
        else:
            yield from _still_working(ctx, waiting, working)  # a query that those above did not wait for to the end
    else:
        answer = _answer_before(ctx, last) if gave_up else None
        sender = sender_before(ctx.tree, ctx.skew.times, last) if gave_up else None
        if answer is not None:
            yield _not_heard(ctx, last, answer)
        elif sender is not None and not ctx.callees(sender):
            yield from _no_trace_of_callee(ctx, sender)
        elif gave_up and ctx.unreached(last) is not None:
            yield from _no_trace_of_callee(ctx, last)
        else:
            yield from _still_working(ctx, waiting, working)


def _deepest_timeout(ctx: Context) -> int | None:
    """The deepest time-out of the chain, unless a deeper error of another sort explains it; of an execution that
    completed all the same, the one that made it late."""
    if ctx.status == Status.COMPLETED:
        return _delaying_timeout(ctx)
    if not ctx.status.is_failure:
        return None
    for node in reversed(ctx.chain):
        kind = classify(ctx.span(node)).kind
        if kind == ErrorKind.TIMEOUT:
            return node
        if kind not in _SYMPTOMS:
            return None
    declared = ctx.trace.declared
    if not ctx.chain and declared is not None and declared.status == Status.TIMEOUT:
        return ctx.root
    return None


def _delaying_timeout(ctx: Context) -> int | None:
    """The deepest of the time-outs that explain the delay of a completed execution."""
    late = [
        node
        for node, ms in ctx.critical_subtree_ms.items()
        if ctx.span(node).status.is_failure
        and classify(ctx.span(node)).kind == ErrorKind.TIMEOUT
        and explains(ctx, ms, NETWORK_GAP_MS)
    ]
    return max(late, key=lambda node: (ctx.tree.depths[node], ctx.critical_subtree_ms[node], -node), default=None)


def _working_at(ctx: Context, top: int, deadline: int) -> list[int]:
    """From ``top`` down to the deepest span that was active at the deadline, in ns."""
    slack = max((deadline - ctx.skew.times[top][0]) // 100, 20 * NANOS_PER_MS)
    path = [top]
    while True:
        active = [c for c in ctx.tree.children[path[-1]] if _was_active(ctx, path[-1], c, deadline, slack)]
        if not active:
            return path
        path.append(max(active, key=lambda c: (min(ctx.skew.times[c][1], deadline) - ctx.skew.times[c][0], -c)))


def _was_active(ctx: Context, caller: int, child: int, deadline: int, slack: int) -> bool:
    """Whether it ran at the deadline; whatever the clocks say, a callee that took longer than its call did."""
    start, end = ctx.skew.times[child]
    if ctx.span(child).end_unix_nano is None:
        return start < deadline
    gave_up = is_hop(ctx.span(caller), ctx.span(child)) and is_error(ctx.span(caller))
    outlasted = gave_up and end - start >= deadline - ctx.skew.times[caller][0] - slack
    return outlasted or (start < deadline and end >= deadline - slack)


def _answer_before(ctx: Context, waiting: int) -> int | None:
    """The answer a span without client spans gave up waiting for: what it called last had finished, and most of its
    time passed after that with nothing running below it."""
    children = ctx.tree.children[waiting]
    last = max(children, key=lambda c: ctx.skew.times[c][1], default=None)
    if last is None or not is_hop(ctx.span(waiting), ctx.span(last)):
        return None
    start, deadline = ctx.skew.times[waiting]
    return last if deadline - ctx.skew.times[last][1] >= _WAITED * (deadline - start) else None


def _still_working(ctx: Context, waiting: int, working: list[int]) -> Iterable[Finding]:
    abandoned = [i for i in working if ctx.span(i).end_unix_nano is None]
    if abandoned and ctx.now - ctx.span(waiting).started_at > _LOST_AFTER + timedelta(milliseconds=ctx.ms(waiting)):
        span = ctx.span(abandoned[0])
        yield Finding(
            RootCauseType.MODAL_EXECUTION_FAILURE,
            span.service,
            span.operation,
            0.75,
            f"{span.service}.{span.operation} was announced and never finished: its container was lost while "
            f"{ctx.span(waiting).service} waited {ctx.ms(waiting):,.0f} ms",
            f"Look at the container log of {span.service} (preemption, kill, out of memory).",
            (span.span_id, ctx.span(waiting).span_id),
            hop=(ctx.span(waiting).service, span.service),
        )
        return
    cold = cold_start_below(ctx, waiting)
    if cold is not None:
        yield cold
        return
    slow, own, usual = _where_time_went(ctx, waiting, working)
    span, caller = ctx.span(slow), ctx.span(waiting)
    compared = f", usually {usual:,.0f} ms" if usual is not None else ""
    still = "" if slow == waiting else f"{span.service}.{span.operation} was still working when "
    yield Finding(
        RootCauseType.SERVICE_TIMEOUT,
        span.service,
        span.operation,
        0.9 if len(working) > 1 else 0.7,
        f"{still}{caller.service}.{caller.operation} gave up after {ctx.ms(waiting):,.0f} ms; {own:,.0f} ms of that "
        f"passed in it{compared}: {quote(caller)}",
        f"Find out what slows {span.service}.{span.operation} down, or give {caller.service} a later deadline.",
        (span.span_id, caller.span_id),
        hop=(caller.service, span.service) if caller.service != span.service else None,
        duration_ms=span.duration_ms,
    )


def _where_time_went(ctx: Context, waiting: int, working: list[int]) -> tuple[int, float, float | None]:
    """The span whose own time up to the deadline exceeds its usual the most: (span, own ms, usual ms)."""
    critical = ctx.critical_below(waiting)
    below = {*ctx.tree.walk(working[1])} if len(working) > 1 else {waiting}
    best, most = working[-1], -1.0
    for node in sorted(below & critical.keys()):
        span = ctx.span(node)
        if ctx.is_call(node) and ctx.callees(node):
            continue
        stats = ctx.baseline.self_stats(span.service, span.operation)
        excess = critical[node] - (stats.percentile(0.5) if stats else 0.0)
        if excess > most:
            best, most = node, excess
    stats = ctx.baseline.self_stats(ctx.span(best).service, ctx.span(best).operation)
    return best, critical.get(best, 0.0), stats.percentile(0.5) if stats else None


def _not_heard(ctx: Context, call: int, callee: int) -> Finding:
    caller, answer = ctx.span(call), ctx.span(callee)
    waited = (ctx.skew.times[call][1] - ctx.skew.times[callee][1]) / NANOS_PER_MS
    bound = ctx.skew.bound_ms(caller, answer)
    return Finding(
        RootCauseType.NETWORK_TIMEOUT,
        answer.service,
        answer.operation,
        0.9,
        f"{answer.service}.{answer.operation} finished after {ctx.ms(callee):,.0f} ms; {caller.service} saw no answer "
        f"for another {waited:,.0f} ms and gave up after {ctx.ms(call):,.0f} ms (clocks known to {bound:,.0f} ms): "
        "the return path between them lost it",
        f"Check what lies between {caller.service} and {answer.service}: proxy and load balancer idle time-outs, "
        f"keep-alive, connections that {answer.service} closes or half-closes.",
        (answer.span_id, caller.span_id),
        hop=(caller.service, answer.service),
        duration_ms=answer.duration_ms,
        gap_ms=waited,
    )


def _no_trace_of_callee(ctx: Context, call: int) -> Iterable[Finding]:
    """A call that timed out and left nothing on the other side."""
    caller, callee = ctx.span(call), ctx.callee_name(call)
    instrumented = ctx.is_instrumented(call)
    if instrumented and ctx.still_arriving:
        yield absent.not_here_yet(ctx, call)
        return
    if instrumented is False:
        yield Finding(
            RootCauseType.DEPENDENCY_FAILURE,
            caller.service,
            caller.operation,
            0.75,
            f"{caller.service}.{caller.operation}, a call to {callee} (not instrumented), had no answer within "
            f"{ctx.ms(call):,.0f} ms: {quote(caller)}",
            f"Check {callee} itself and the path from {caller.service} to it.",
            (caller.span_id,),
            hop=(caller.service, callee),
        )
        return
    yield Finding(
        RootCauseType.NETWORK_TIMEOUT,
        caller.service,
        caller.operation,
        0.75 if instrumented else 0.55,
        f"{caller.service}.{caller.operation} gave up after {ctx.ms(call):,.0f} ms; {callee} left no span: the request "
        f"did not get there: {quote(caller)}",
        f"Check routing, firewall and listen queue between {caller.service} and {callee}.",
        (caller.span_id,),
        hop=(caller.service, callee),
        duration_ms=ctx.ms(call),
    )
