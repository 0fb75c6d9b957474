"""Time in which a parent waits and nothing below it runs, and calls whose far end is absent."""

from __future__ import annotations

from typing import Any, Final, Literal

from otel_diag.analyse.baseline import GAP_MS, NETWORK_GAP_MS, Baseline
from otel_diag.analyse.calls import is_call, is_to_a_third_party
from otel_diag.analyse.classify import ErrorKind, classify
from otel_diag.analyse.skew import Skew, is_hop
from otel_diag.analyse.tree import Tree
from otel_diag.model import NANOS_PER_MS, Gap, GapKind, MissingHop, Span, Status

SMALLEST_GAP_MS: Final = 1.0

_WORTH_A_WORD: Final = 0.1
"""Of the parent's duration: less idle time than this is no finding, however unusual."""
EXPECTED_SHARE: Final = 0.8
"""A hop that this share of the peers has is expected."""

FEWEST_PEERS: Final = 3
"""From so many successful executions on, what all of them have is expected."""


def find_gaps(tree: Tree, skew: Skew, baseline: Baseline) -> tuple[Gap, ...]:
    """Gaps of at least 1 ms in order of time, on adjusted clocks.

    - ``send``: the caller has sent, the callee has not started; ``queue`` when the callee says that it waited for
      its turn, or is a consumer.
    - ``return``: the callee has ended, the caller has not heard.
    - ``idle``: between one child's end and what depends on it (the next child, or the parent's own end).
    Unusual: above what the operation's self times suggest, else 60 s on the network and 5 s elsewhere.
    """
    gaps: list[tuple[int, Gap]] = []
    for node, children in enumerate(tree.children):
        if not children:
            continue
        hops = [c for c in children if is_hop(tree.spans[node], tree.spans[c])]
        if is_call(tree.spans[node]) and hops:
            gaps += _around_call(tree, skew, baseline, node, hops)
        else:
            gaps += _between_children(tree, skew, baseline, node)
    return tuple(gap for _, gap in sorted(gaps, key=lambda pair: pair[0]))


def send_gap_ms(tree: Tree, skew: Skew, caller: int, callee: int) -> float:
    """Milliseconds from the caller's send to the callee's start, on adjusted clocks, never negative."""
    return max(0, skew.times[callee][0] - skew.times[caller][0]) / NANOS_PER_MS


def queue_ms(span: Span) -> float:
    """What the span says it waited for its turn (``queue.time_ms``); 0 without a usable figure."""
    return _number(span.attributes.get("queue.time_ms"))


def _around_call(tree: Tree, skew: Skew, baseline: Baseline, node: int, hops: list[int]) -> list[tuple[int, Gap]]:
    caller, (start, end) = tree.spans[node], skew.times[node]
    first = min(hops, key=lambda c: skew.times[c])
    last = max(hops, key=lambda c: skew.times[c][1])
    found: list[tuple[int, Gap]] = []
    sent = skew.times[first][0] - start
    if sent >= SMALLEST_GAP_MS * NANOS_PER_MS:
        callee = tree.spans[first]
        queued = queue_ms(callee) >= SMALLEST_GAP_MS or callee.kind == "consumer"
        kind: GapKind = "queue" if queued else "send"
        found.append((start, _call_gap(baseline, skew, caller, callee, sent, kind)))
    heard = end - skew.times[last][1]
    if tree.spans[last].end_unix_nano is not None and heard >= SMALLEST_GAP_MS * NANOS_PER_MS:
        found.append((skew.times[last][1], _call_gap(baseline, skew, caller, tree.spans[last], heard, "return")))
    return found


def _call_gap(baseline: Baseline, skew: Skew, caller: Span, callee: Span, ns: int, kind: GapKind) -> Gap:
    ms = ns / NANOS_PER_MS
    stats = baseline.self_stats(caller.service, caller.operation)
    limit = max(stats.limit_ms(), 2 * SMALLEST_GAP_MS) if stats else (GAP_MS if kind == "queue" else NETWORK_GAP_MS)
    ends = (caller.span_id, callee.span_id)
    after, before = ends if kind != "return" else ends[::-1]
    bound = skew.bound_ms(caller, callee)
    words = {
        "send": "sent, not yet started at",
        "queue": "waiting for its turn at",
        "return": "finished, not heard from",
    }
    return Gap(
        after_span=after,
        before_span=before,
        parent_span=caller.span_id,
        gap_ms=ms,
        kind=kind,
        skew_bound_ms=bound,
        caller=caller.element,
        callee=callee.element,
        detail=f"{caller.service}: {words[kind]} {callee.service} for {ms:,.0f} ms (clocks known to {bound:,.0f} ms)",
        is_anomaly=ms > limit,
    )


def _between_children(tree: Tree, skew: Skew, baseline: Baseline, node: int) -> list[tuple[int, Gap]]:
    parent, (start, end) = tree.spans[node], skew.times[node]
    stats = baseline.self_stats(parent.service, parent.operation)
    limit = max(stats.limit_ms(), _WORTH_A_WORD * (end - start) / NANOS_PER_MS) if stats else GAP_MS
    found: list[tuple[int, Gap]] = []
    until, before = start, None
    for child in [*sorted(tree.children[node], key=lambda c: skew.times[c]), None]:
        begins = skew.times[child][0] if child is not None else end
        ms = (min(begins, end) - until) / NANOS_PER_MS
        if ms >= SMALLEST_GAP_MS:
            next_span = tree.spans[child].span_id if child is not None else None
            gap = Gap(
                after_span=before,
                before_span=next_span,
                parent_span=parent.span_id,
                gap_ms=ms,
                kind="idle",
                skew_bound_ms=0.0,
                caller=parent.element,
                detail=f"{parent.element}: nothing below it ran for {ms:,.0f} ms",
                is_anomaly=ms > limit,
            )
            found.append((until, gap))
        if child is not None and skew.times[child][1] > until:
            until, before = skew.times[child][1], tree.spans[child].span_id
    return found


def missing_hops(tree: Tree, baseline: Baseline, *, still_arriving: bool) -> tuple[MissingHop, ...]:
    """Hops that most peers have and this trace has not, outermost first; what only follows from those is left out."""
    template = baseline.template
    if template.peers < FEWEST_PEERS:
        return ()
    present: dict[str, list[int]] = {}
    for i, span in enumerate(tree.spans):
        present.setdefault(span.element, []).append(i)
    services = {span.service for span in tree.spans}
    gone: set[str] = set()
    found: list[MissingHop] = []
    for (caller, callee), share in template.hops.items():
        if share < EXPECTED_SHARE or callee in present or callee in gone or caller in gone:
            continue
        gone |= template.under(callee)
        service, operation = baseline.split_element(callee, services)
        reason = "still_arriving" if still_arriving else _reason(tree, present.get(caller, []), service)
        found.append(
            MissingHop(
                service=service,
                operation=operation,
                caller=caller,
                reason=reason,
                share_of_peers=share,
                detail=_WORDS[reason].format(callee=callee, caller=caller, share=share, peers=template.peers),
            )
        )
    return tuple(found)


_WORDS: Final = {
    "never_called": "{caller} never called {callee}; {share:.0%} of {peers} successful peers do",
    "not_exported": "{caller} called, but no span of {callee} came; {share:.0%} of {peers} successful peers have one",
    "still_arriving": "no span of {callee} came from {caller} yet: the trace is still arriving",
}


def _reason(tree: Tree, callers: list[int], service: str) -> Literal["never_called", "not_exported"]:
    """Whether any of the callers is a call to this service whose far end is absent."""
    called = any(
        is_call(tree.spans[i]) and not callee_spans(tree, i) and _may_have_reached(tree.spans[i], service)
        for i in callers
    )
    return "not_exported" if called else "never_called"


def _may_have_reached(call: Span, service: str) -> bool:
    if is_to_a_third_party(call) or (call.status == Status.FAILED and classify(call).kind == ErrorKind.CONNECTION):
        return False
    told = {name for name in (call.attributes.get("service.peer.name"), call.attributes.get("peer.service")) if name}
    return not told or service in told


def callee_spans(tree: Tree, node: int) -> list[int]:
    """The far ends of calls made by ``node``, in start order."""
    return [c for c in tree.children[node] if is_hop(tree.spans[node], tree.spans[c])]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if value == value else 0.0
