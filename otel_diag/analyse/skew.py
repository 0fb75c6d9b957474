"""Clock differences between hosts, estimated from the calls between them.

A callee cannot start before its caller sent, nor can its answer arrive before it ended. With the callee's clock ahead
by theta that gives, for each answered call, ``callee_end - caller_end <= theta <= callee_start - caller_start``: the
interval of NTP (RFC 5905). All calls of a trace between the same two clocks narrow one interval. While zero lies inside
it there is no evidence of a difference, and none is assumed. Else the estimate is its midpoint and half its width the
bound; where it is wider than its distance from zero, its end next to zero, the least correction that explains the
times, and its width. Recorded times are never changed: adjusted ones stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otel_diag.analyse.tree import NO_PARENT, Tree, raw_times
from otel_diag.model import NANOS_PER_MS, Span, Status

Clock = tuple[str, str]
"""(service, host): spans that share both were timed by one clock."""

_HOST_ATTRIBUTES = ("host.name", "k8s.pod.name", "service.instance.id", "container.id", "host.id")
_CALLERS = ("client", "producer")
_CALLEES = ("server", "consumer")


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The callee's clock is ahead of the caller's by ``offset_ns`` (negative: behind), give or take ``bound_ns``."""

    caller: Clock
    callee: Clock
    offset_ns: int
    bound_ns: int
    calls: int


@dataclass(frozen=True, slots=True)
class Skew:
    """Estimates per pair of clocks, and the times of the tree's spans on the clock of its first root.

    ``times[i]`` is (start, end) in ns of span i, durations as recorded.
    """

    offsets: Mapping[tuple[Clock, Clock], ClockOffset]
    times: tuple[tuple[int, int], ...]

    @property
    def max_ms(self) -> float:
        return max((abs(o.offset_ns) for o in self.offsets.values()), default=0) / NANOS_PER_MS

    @property
    def max_bound_ms(self) -> float:
        """Largest bound among the pairs whose clocks are known to differ."""
        return max((o.bound_ns for o in self.offsets.values() if o.offset_ns), default=0) / NANOS_PER_MS

    def between(self, caller: Span, callee: Span) -> ClockOffset | None:
        """The estimate for these two spans' clocks; None when they share one or none could be made."""
        if not self.offsets:
            return None
        return self.offsets.get((clock_of(caller), clock_of(callee)))

    def bound_ms(self, caller: Span, callee: Span) -> float:
        offset = self.between(caller, callee)
        return 0.0 if offset is None else offset.bound_ns / NANOS_PER_MS


def clock_of(span: Span) -> Clock:
    for name in _HOST_ATTRIBUTES:
        host = span.resource.get(name)
        if host:
            return span.service, str(host)
    return span.service, ""


def is_hop(parent: Span, child: Span) -> bool:
    """Whether ``child`` is a service-to-service call's far end under ``parent`` (spec/1: hop)."""
    if parent.service != child.service:
        return True
    return child.kind in _CALLEES and parent.kind in _CALLERS


def estimate_skew(tree: Tree) -> Skew:
    """Estimate the clock differences within a trace; O(spans)."""
    times = raw_times(tree)
    resources: dict[int, Clock] = {}
    clocks: list[Clock] = []
    for span in tree.spans:  # spans of one batch share their resource mapping: look into each once
        clock = resources.get(id(span.resource))
        if clock is None or clock[0] != span.service:
            clock = resources[id(span.resource)] = clock_of(span)
        clocks.append(clock)
    low: dict[tuple[Clock, Clock], int] = {}
    high: dict[tuple[Clock, Clock], int] = {}
    calls: dict[tuple[Clock, Clock], int] = {}
    for child, parent in enumerate(tree.parents):
        if parent == NO_PARENT or clocks[child] == clocks[parent]:
            continue
        caller, callee = tree.spans[parent], tree.spans[child]
        pair = (clocks[parent], clocks[child])
        calls[pair] = calls.get(pair, 0) + 1
        sent = times[child][0] - times[parent][0]
        high[pair] = min(sent, high.get(pair, sent))
        heard = times[child][1] - times[parent][1]
        if _was_answered(caller, callee):
            low[pair] = max(heard, low.get(pair, heard))
        elif times[child][0] > times[parent][1] and not _is_queued(caller, callee):
            # By these clocks it began when its caller had gone, which a call that is waited for cannot.
            low[pair] = max(min(heard, sent), low.get(pair, sent))
    offsets = {pair: ClockOffset(*pair, *_estimate(low.get(pair), upper), calls[pair]) for pair, upper in high.items()}
    return Skew(offsets, _adjusted(tree, times, clocks, offsets))


def tightest_calls(tree: Tree, offset: ClockOffset) -> tuple[Span, ...]:
    """The calls that set an estimate, caller before callee: the one sent the fastest, and the one answered so."""
    times = raw_times(tree)
    calls = [
        (parent, child)
        for child, parent in enumerate(tree.parents)
        if parent != NO_PARENT
        and (clock_of(tree.spans[parent]), clock_of(tree.spans[child])) == (offset.caller, offset.callee)
    ]
    answered = [call for call in calls if _was_answered(tree.spans[call[0]], tree.spans[call[1]])]
    apart = [(parent, child) for parent, child in calls if times[child][0] > times[parent][1]]
    chosen = [min(calls, key=lambda call: times[call[1]][0] - times[call[0]][0], default=())]
    chosen.append(max(answered or apart, key=lambda call: times[call[1]][1] - times[call[0]][1], default=()))
    return tuple(tree.spans[node] for node in dict.fromkeys(node for call in chosen for node in call))


def _was_answered(caller: Span, callee: Span) -> bool:
    """Whether the caller ended because the callee had: not when it gave up, nor when it did not wait."""
    if caller.kind != "client" or callee.kind != "server" or callee.end_unix_nano is None:
        return False
    return caller.status == Status.COMPLETED and callee.status == Status.COMPLETED


def _is_queued(caller: Span, callee: Span) -> bool:
    """Whether a late start is nothing unusual: a message waits for its consumer, a link is no call."""
    return caller.kind == "producer" or callee.kind == "consumer" or bool(callee.links)


def _estimate(low: int | None, high: int) -> tuple[int, int]:
    """(offset, bound) from the interval in which the offset lies; ``low`` None: open below."""
    if low is None:
        return min(high, 0), abs(high)
    half = abs(high - low) // 2
    if low <= 0 <= high or low > high >= 0:  # crossed: the callee outlived its caller, as streams do
        return 0, half
    if low > high:
        return high, half
    nearest = min(low, high, key=abs)
    if high - low > abs(nearest):
        return nearest, high - low  # the middle of a long wait would invent half of it
    return (low + high) // 2, half


def _adjusted(
    tree: Tree,
    times: list[tuple[int, int]],
    clocks: list[Clock],
    offsets: Mapping[tuple[Clock, Clock], ClockOffset],
) -> tuple[tuple[int, int], ...]:
    if not any(o.offset_ns for o in offsets.values()):
        return tuple(times)
    ahead: dict[Clock, int] = {}
    for node in tree.preorder:
        clock, parent = clocks[node], tree.parents[node]
        if clock not in ahead:
            pair = (clocks[parent], clock) if parent != NO_PARENT else None
            ahead[clock] = ahead[pair[0]] + offsets[pair].offset_ns if pair is not None else 0
    return tuple((start - ahead[clock], end - ahead[clock]) for (start, end), clock in zip(times, clocks, strict=True))
