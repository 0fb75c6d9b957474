"""Rules for time: cold starts, queues, operations that became slow.

An execution is slow when it exceeds the limit its peers set; without enough peers, a single delay must exceed the
constants of spec/2. A delay is the cause when it explains half of what the execution took too long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from otel_diag.analyse.baseline import GAP_MS, OPERATION_MS, OperationStats
from otel_diag.analyse.calls import words
from otel_diag.analyse.classify import is_error
from otel_diag.analyse.gaps import EXPECTED_SHARE, FEWEST_PEERS, queue_ms, send_gap_ms
from otel_diag.analyse.outcome import call_name
from otel_diag.analyse.root_cause.context import Context, Finding
from otel_diag.analyse.skew import is_hop
from otel_diag.analyse.tree import NO_PARENT
from otel_diag.model import NANOS_PER_MS, RootCauseType, Status

_LOADS = re.compile(
    r"\b(?:cold|boot|load|init|initiali[sz]e|warm ?up|provision|pull|startup|start up|spin ?up|hydrate|"
    r"download (?:weights|model|checkpoint)|scale up|import|snapshot|restore|launch|container start|start container)",
    re.IGNORECASE,
)
_SURELY_LOADS = re.compile(
    r"\bcold|\b(?:boot|warm ?up|provision|startup|start up|spin ?up|hydrate|scale up|init(?:iali[sz]e)?)\b|"
    r"\b(?:load|pull|download|import|restore|launch|start)\w*\b.*\b(?:model|weights?|checkpoint|image|container|tokenizer|"
    r"engine|pipeline|snapshot|modules?|runtime|gpu|worker|function|torch)|\b(?:model|weights?|container|image|gpu)\b.*"
    r"\b(?:load|loader|pull|download|import|restore|start)",
    re.IGNORECASE,
)
"""Without peers to show that it is not done each time: loading orders is a day's work, loading a model is a start."""

_QUEUES = re.compile(
    r"\b(?:queue|queued|queueing|enqueue|backlog|wait for (?:a )?(?:gpu|slot|worker|turn)|pending)", re.IGNORECASE
)
_EXPLAINS: Final = 0.5
"""Share of what an execution took too long that one delay must account for to be its cause."""

_AT_ONCE = 0.05
_BEYOND_CLOCKS_MS = 15_000.0
"""More than the clocks of two hosts that are kept at all differ by."""

_MATERIAL = 0.2
"""Of the usual duration: what one operation must add before it is worth a word."""

_TIMES_USUAL = 2.0
_DOUBTLESS = 3.0
_DOUBTLESS_SPREADS = 5.0
_SLOWISH_SPREADS = 2.0


@dataclass(frozen=True, slots=True)
class _Delay:
    """``ms`` beyond the usual, at ``node``; ``spans`` carry the evidence."""

    node: int
    ms: float
    what: str
    spans: tuple[int, ...]


def excess_ms(ctx: Context) -> float | None:
    """How much longer than usual the execution took; None when it is within its limit or no limit is known."""
    limit = ctx.duration_limit_ms
    if limit is None or ctx.whole_ms <= limit:
        return None
    return ctx.whole_ms - ctx.durations.percentile(0.5)


def explains(ctx: Context, ms: float, constant: float) -> bool:
    """Whether a delay of ``ms`` is why the execution was slow; without enough peers, whether it exceeds a constant."""
    if ctx.duration_limit_ms is None:
        return ms >= constant
    excess = excess_ms(ctx)
    return excess is not None and ms >= _EXPLAINS * excess


def cold_start(ctx: Context) -> Iterable[Finding]:
    if ctx.status != Status.COMPLETED or ctx.root is None:
        return
    delay = _cold_delay(ctx, [*ctx.tree.walk(ctx.root)], ctx.whole_critical_ms)
    if delay is not None and explains(ctx, delay.ms, GAP_MS):
        yield _cold_finding(ctx, delay)


def cold_start_below(ctx: Context, waiting: int) -> Finding | None:
    """The cold start without which the call that timed out would have been answered, if one was seen."""
    delay = _cold_delay(ctx, [*ctx.tree.walk(waiting)], ctx.critical_below(waiting))
    if delay is None or delay.ms < _EXPLAINS * ctx.ms(waiting):
        return None
    return _cold_finding(ctx, delay)


def _cold_finding(ctx: Context, delay: _Delay) -> Finding:
    span = ctx.span(delay.node)
    return Finding(
        RootCauseType.COLD_START,
        span.service,
        span.operation,
        0.9 if span.attributes.get("faas.coldstart") is True else 0.75,
        f"{delay.what} of {span.service}.{span.operation} took {delay.ms:,.0f} ms of {ctx.whole_ms:,.0f} ms",
        f"Keep a container of {span.service} warm (minimum containers, longer idle time), or make its start cheaper "
        "(snapshot, smaller image, weights on a volume).",
        tuple(ctx.span(i).span_id for i in delay.spans),
        hop=_hop_above(ctx, delay.node),
        duration_ms=span.duration_ms,
        gap_ms=delay.ms,
    )


def _cold_delay(ctx: Context, nodes: Sequence[int], critical: dict[int, float]) -> _Delay | None:
    """The longest start-up: what passed before and in a span marked cold, or in a load span that peers lack."""
    found: list[_Delay] = []
    for node in nodes:
        span = ctx.span(node)
        if span.attributes.get("faas.coldstart") is True:
            before = _excess_send_gap(ctx, node)
            loads = [i for i in ctx.tree.walk(node) if i != node and _is_load(ctx, i)] or _first_step(ctx, node)
            loading = sum(_beyond_usual(ctx, i, critical.get(i, 0.0)) for i in loads)
            inside = loading if loads else _beyond_usual(ctx, node, critical.get(node, 0.0))
            found.append(_Delay(node, before + inside, "the cold start", (node, *loads)))
        elif _is_load(ctx, node) and node in critical:
            found.append(_Delay(node, _beyond_usual(ctx, node, critical[node]), "loading", (node,)))
    marked = [d for d in found if d.what == "the cold start"]
    best = max(found, key=lambda d: d.ms, default=None)
    return max((d for d in marked if best and d.ms >= 0.9 * best.ms), key=lambda d: d.ms, default=best)


def _first_step(ctx: Context, node: int) -> list[int]:
    """What a span marked cold does before anything else, whatever it is called: where a container is entered."""
    start, end = ctx.skew.times[node]
    first = next(iter(ctx.tree.children[node]), None)
    if (
        first is None
        or ctx.span(first).kind not in ("internal", "unspecified")
        or is_hop(ctx.span(node), ctx.span(first))
    ):
        return []
    begun, done = ctx.skew.times[first]
    return [first] if begun - start <= _AT_ONCE * (end - start) and done - begun >= _EXPLAINS * (end - start) else []


def _is_load(ctx: Context, node: int) -> bool:
    """A span that reads like a start-up, and that fewer than half of the peers have."""
    span = ctx.span(node)
    if span.kind in ("server", "client", "consumer", "producer") or not _LOADS.search(words(span.operation)):
        return False
    if len(ctx.baseline.peers) < FEWEST_PEERS:
        return bool(_SURELY_LOADS.search(words(span.operation)))
    return ctx.baseline.template.elements.get(span.element, 0.0) < 0.5


def queue_delay(ctx: Context) -> Iterable[Finding]:
    """The delay lies between the caller's send and the callee's start, and the answer did come."""
    if ctx.status != Status.COMPLETED or ctx.root is None:
        return
    found: list[_Delay] = []
    for node in ctx.tree.walk(ctx.root):
        span, parent = ctx.span(node), ctx.tree.parents[node]
        if span.attributes.get("faas.coldstart") is True:
            continue
        declared = queue_ms(span)
        gap = _excess_send_gap(ctx, node) if _was_waited_for(ctx, node) and _on_path(ctx, parent) else 0.0
        inside = 0.0
        if span.kind == "internal" and _QUEUES.search(words(span.operation)):
            inside = _beyond_usual(ctx, node, ctx.critical_ms.get(node, 0.0))
        if gap or inside or (declared and _on_path(ctx, node)):
            ms = min(max(gap, declared, inside), ctx.wall_ms)
            found.append(_Delay(node, ms, "waiting", (node,) if parent == NO_PARENT else (node, parent)))
    found = [delay for delay in found if explains(ctx, delay.ms, GAP_MS)] or _late_consumers(ctx, ctx.root)
    delay = max(found, key=lambda d: d.ms, default=None)
    if delay is None:
        return
    span = ctx.span(delay.node)
    parent = ctx.tree.parents[delay.node]
    sender = ctx.span(parent).service if parent != NO_PARENT else "its caller"
    bound = ctx.skew.bound_ms(ctx.span(parent), span) if parent != NO_PARENT else 0.0
    yield Finding(
        RootCauseType.QUEUE_DELAY,
        span.service,
        span.operation,
        0.85,
        f"{delay.ms:,.0f} ms of {max(ctx.wall_ms, delay.ms):,.0f} ms passed between the send of {sender} and the "
        f"start of {span.service}.{span.operation} (clocks known to {bound:,.0f} ms); the answer did come",
        f"Add capacity to {span.service} or raise its concurrency; bound what {sender} sends at once.",
        tuple(ctx.span(i).span_id for i in delay.spans),
        hop=(sender, span.service) if parent != NO_PARENT else None,
        gap_ms=delay.ms,
    )


def _late_consumers(ctx: Context, root: int) -> list[_Delay]:
    """Messages that nobody waited for, consumed so late that it shows in the whole, from first start to last end.

    One way, the clocks of sender and consumer cannot be told apart: what they may differ by is no delay, unless the
    consumer says that the message had waited.
    """
    below = [*ctx.tree.walk(root)]
    whole = (max(ctx.skew.times[n][1] for n in below) - min(ctx.skew.times[n][0] for n in below)) / NANOS_PER_MS
    limit = ctx.duration_limit_ms
    found = []
    for node in below:
        span, sender = ctx.span(node), ctx.tree.parents[node]
        if span.kind != "consumer" or sender == NO_PARENT or span.attributes.get("faas.coldstart") is True:
            continue
        ms = send_gap_ms(ctx.tree, ctx.skew, sender, node)
        if ms < (GAP_MS if queue_ms(span) >= _EXPLAINS * ms else _BEYOND_CLOCKS_MS):
            continue
        usual = ctx.durations.percentile(0.5) if limit is not None else 0.0
        if limit is None or (whole > limit and ms >= _EXPLAINS * (whole - usual)):
            found.append(_Delay(node, ms, "waiting", (node, sender)))
    return found


def _was_waited_for(ctx: Context, callee: int) -> bool:
    """Whether it was called and its start can have delayed the execution: within its caller, or for a message on the
    critical path itself."""
    caller = ctx.tree.parents[callee]
    if caller == NO_PARENT or not is_hop(ctx.span(caller), ctx.span(callee)):
        return False
    if ctx.span(caller).kind == "producer" or ctx.span(callee).kind == "consumer":
        return callee in ctx.critical_ms
    return ctx.skew.times[callee][0] < ctx.skew.times[caller][1]


def _on_path(ctx: Context, node: int) -> bool:
    """Whether the span or anything directly below it lies on the critical path."""
    return node in ctx.critical_ms or any(child in ctx.critical_ms for child in ctx.tree.children[node])


def _excess_send_gap(ctx: Context, callee: int) -> float:
    """Time between send and start, where it exceeds what this call usually spends outside its callee."""
    caller = ctx.tree.parents[callee]
    if caller == NO_PARENT or not is_hop(ctx.span(caller), ctx.span(callee)):
        return 0.0
    if not ctx.is_call(caller):
        return _idle_before(ctx, caller, callee)
    gap = send_gap_ms(ctx.tree, ctx.skew, caller, callee)
    stats = ctx.baseline.self_stats(ctx.span(caller).service, ctx.span(caller).operation)
    return gap if stats is None or gap > stats.limit_ms() else 0.0


def _idle_before(ctx: Context, caller: int, callee: int) -> float:
    """The same without a client span: the caller's idle time just before its callee started."""
    start = ctx.skew.times[callee][0]
    before = [ctx.skew.times[c][1] for c in ctx.tree.children[caller] if ctx.skew.times[c][0] < start and c != callee]
    idle = (start - max([ctx.skew.times[caller][0], *before])) / NANOS_PER_MS
    stats = ctx.baseline.self_stats(ctx.span(caller).service, ctx.span(caller).operation)
    return idle if idle > 0 and (stats is None or idle > stats.limit_ms()) else 0.0


def _beyond_usual(ctx: Context, node: int, ms: float) -> float:
    span = ctx.span(node)
    stats = ctx.baseline.self_stats(span.service, span.operation)
    return max(0.0, ms - (stats.percentile(0.5) if stats else 0.0))


def _hop_above(ctx: Context, node: int) -> tuple[str, str] | None:
    parent = ctx.tree.parents[node]
    if parent == NO_PARENT or not is_hop(ctx.span(parent), ctx.span(node)):
        return None
    return ctx.span(parent).service, ctx.span(node).service


def degradation(ctx: Context) -> Iterable[Finding]:
    """Completed, but the self time of one operation on the critical path is far above its usual."""
    if ctx.status != Status.COMPLETED or ctx.root is None:
        return
    groups: dict[tuple[str, str], list[int]] = {}
    for node in ctx.whole_critical_ms:
        groups.setdefault((ctx.span(node).service, ctx.span(node).operation), []).append(node)
    found: list[tuple[float, Finding]] = []
    for (service, operation), nodes in groups.items():
        stats = ctx.baseline.self_stats(service, operation)
        own = sum(ctx.whole_critical_ms[n] - _backed_off_ms(ctx, n) for n in nodes)
        if _lost_children(ctx, nodes):
            continue
        limit, usual = _operation_limit(ctx, nodes, stats)
        if own > limit and _matters(ctx, nodes, own, usual, stats):
            found.append((own - usual, _slow_finding(ctx, nodes, own, usual, stats)))
    if found:
        yield max(found, key=lambda pair: pair[0])[1]


def _backed_off_ms(ctx: Context, node: int) -> float:
    """What passed between attempts of its calls: after one failed it paused, and tried again. Pauses that are no gaps
    by spec/2 are not its work."""
    times, total = ctx.skew.times, 0.0
    children = sorted(ctx.tree.children[node], key=lambda child: times[child])
    for place, child in enumerate(children[:-1]):
        following = children[place + 1]
        again = is_error(ctx.span(child)) and call_name(ctx.span(following)) == call_name(ctx.span(child))
        pause = (min(times[following][0], times[node][1]) - times[child][1]) / NANOS_PER_MS
        if again and 0 < pause <= GAP_MS:
            total += pause
    return total


def _operation_limit(ctx: Context, nodes: list[int], stats: OperationStats | None) -> tuple[float, float]:
    """(limit, usual) in ms for the calls of one operation that are on the critical path."""
    span = ctx.span(nodes[0])
    if ctx.duration_limit_ms is None:
        return OPERATION_MS, 0.0
    # Of calls made side by side only some are on the path.
    often = min(max(1.0, ctx.baseline.template.usual_counts.get(span.element, 1.0)), len(nodes))
    if stats is None:
        return 0.0, 0.0  # peers do not have it: all of its time is unusual
    usual = often * stats.percentile(0.5)
    return max(often * stats.limit_ms(), _TIMES_USUAL * usual), usual


def _matters(ctx: Context, nodes: list[int], own: float, usual: float, stats: OperationStats | None) -> bool:
    """Whether the extra time shows in the whole: half of what a slow execution took too long.

    One that is not slow as a whole needs an operation that is beyond doubt: several times its usual, and not for having
    failed, which somebody got over.
    """
    if ctx.duration_limit_ms is None:
        return True
    durations = ctx.durations
    excess = excess_ms(ctx)
    if excess is None:
        doubtless = stats is not None and own > max(_DOUBTLESS * usual, stats.limit_ms(_DOUBTLESS_SPREADS))
        if any(is_error(ctx.span(node)) for node in nodes):
            return False
        if not doubtless or ctx.whole_ms <= durations.usual_up_to_ms(_SLOWISH_SPREADS):
            return False
        excess = ctx.whole_ms - durations.percentile(0.5)
    return own - usual >= max(_EXPLAINS * excess, _MATERIAL * durations.percentile(0.5))


def _lost_children(ctx: Context, nodes: Sequence[int]) -> bool:
    """Whether spans that peers have directly below this operation are absent here: its self time may be theirs.

    Where peers have them below some of its calls only, as many calls may do without as in peers.
    """
    template, element = ctx.baseline.template, ctx.span(nodes[0]).element
    present = {ctx.span(child).element for node in nodes for child in ctx.tree.children[node]}
    share = EXPECTED_SHARE * template.elements.get(element, 0.0)
    for below in template.below.get(element, frozenset()) - present:
        without = ctx.elements[element] - ctx.elements_below[element, below]
        usually = template.usual_counts.get(element, 0.0) - template.usual_counts.get(below, 0.0)
        if template.elements[below] >= share > 0 and without > max(usually, 0.0):
            return True
    return False


def _slow_finding(ctx: Context, nodes: list[int], own: float, usual: float, stats: OperationStats | None) -> Finding:
    slowest = max(nodes, key=lambda n: (ctx.whole_critical_ms[n], -n))
    span = ctx.span(slowest)
    calls = f" in {len(nodes)} calls" if len(nodes) > 1 else ""
    many = len(nodes) > 2 * ctx.baseline.template.usual_counts.get(span.element, len(nodes))
    compared = (
        f"usually {usual:,.0f} ms"
        if stats
        else "which peers do not have"
        if usual == 0 and ctx.baseline.is_learned
        else "no baseline"
    )
    version = f" (version {span.service_version})" if span.service_version else ""
    advice = (
        f"Replace the {len(nodes)} calls of {span.operation} by one for all: {span.service} makes far more than peers."
        if many
        else f"Profile {span.service}.{span.operation}{version}; compare version and host with faster executions."
    )
    return Finding(
        RootCauseType.PERFORMANCE_DEGRADATION,
        span.service,
        span.operation,
        0.85 if stats else 0.6,
        f"{span.service}.{span.operation}{version} spent {own:,.0f} ms{calls} itself on the critical path, {compared}",
        advice,
        tuple(ctx.span(n).span_id for n in sorted(nodes, key=lambda n: -ctx.whole_critical_ms[n])[:20]),
        duration_ms=span.duration_ms,
    )
