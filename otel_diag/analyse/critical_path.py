"""Where the time of a trace went: self times and the critical path.

The critical path is the last-finishing-child walk of CRISP (Zhang et al., "CRISP: Critical Path Analysis of
Large-Scale Microservice Architectures", USENIX ATC 2022): going back from the end of a span, the child that
finished last is what it waited for; before that child started, the walk goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from otel_diag.analyse.tree import Times, Tree, raw_times


@dataclass(frozen=True, slots=True)
class CriticalSegment:
    """A stretch of wall time spent in ``span`` itself (an index into ``tree.spans``), in ns."""

    span: int
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def self_times(tree: Tree, times: Times | None = None) -> list[int]:
    """Self time of each span in ns: its duration minus the union of its children's intervals, clipped to it.

    Never negative; parallel children count once. ``times`` replaces the recorded ones (skew-adjusted, say).
    """
    times = raw_times(tree) if times is None else times
    result: list[int] = []
    for node, children in enumerate(tree.children):
        start, end = times[node]
        own = end - start
        if children:
            covered_until = start
            intervals = [times[c] for c in children] if len(children) == 1 else sorted(times[c] for c in children)
            for child_start, child_end in intervals:
                low = max(child_start, covered_until)
                high = min(child_end, end)
                if high > low:
                    own -= high - low
                    covered_until = high
        result.append(own)
    return result


def critical_path(tree: Tree, times: Times | None = None, top: int | None = None) -> tuple[CriticalSegment, ...]:
    """Segments in time order that cover ``top`` (default: the longest top of the forest) exactly once.

    A child of the same service that outlives its parent was not waited for and is left out; one of another service is
    clipped (its caller gave up on it, or the clocks differ).
    """
    if not tree.spans:
        return ()
    times = raw_times(tree) if times is None else times
    if top is None:
        top = max(tree.roots, key=lambda r: (times[r][1] - times[r][0], -r))
    segments: list[CriticalSegment] = []
    # Backwards in time. A frame is [span, its start, time still to explain, children by end, next child].
    start, end = times[top]
    frames = [(top, start, _by_end(tree, times, top))]
    at = end
    while frames:
        node, start, pending = frames[-1]
        while pending and times[pending[-1]][0] >= at:
            pending.pop()
        if not pending or at <= start:
            if at > start:
                segments.append(CriticalSegment(node, start, at))
                at = start
            frames.pop()
            continue
        child = pending.pop()
        child_start, child_end = times[child]
        child_end = min(child_end, at)
        child_start = max(child_start, start)
        if child_end <= child_start:
            continue
        if at > child_end:
            segments.append(CriticalSegment(node, child_end, at))
        at = child_end
        frames.append((child, child_start, _by_end(tree, times, child)))
    segments.reverse()
    return tuple(segments)


def _by_end(tree: Tree, times: Times, node: int) -> list[int]:
    """Children that ``node`` may have waited for, the last to finish at the end of the list."""
    children = tree.children[node]
    if not children:
        return []
    if len(children) == 1 and times[children[0]][1] <= times[node][1]:
        return [children[0]]
    end = times[node][1]
    service = tree.spans[node].service
    ends: list[tuple[int, int, int]] = []
    for place, child in enumerate(children):
        child_start, child_end = times[child]
        if child_end <= end:
            ends.append((child_end, child_start, place))
        elif tree.spans[child].service != service:
            ends.append((end, child_start, place))
    ends.sort()
    return [children[place] for _, _, place in ends]
