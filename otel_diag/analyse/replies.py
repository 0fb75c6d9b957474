"""Answers that come back beside the trace: a message is sent, and a span of its own waits for the reply."""

from __future__ import annotations

from otel_diag.analyse.skew import is_hop
from otel_diag.analyse.tree import NO_PARENT, Times, Tree


def awaited(tree: Tree, times: Times, waiting: int) -> list[int]:
    """What a span without children waits for: the consumers of messages that its parent had sent before it ended, as
    far as they did not end before the wait began. Empty unless it is such a wait."""
    parent = tree.parents[waiting]
    if parent == NO_PARENT or tree.children[waiting] or tree.spans[waiting].kind not in ("internal", "unspecified"):
        return []
    start, end = times[waiting]
    return [
        consumer
        for sender in tree.children[parent]
        if sender != waiting and times[sender][0] <= start
        for consumer in tree.children[sender]
        if is_hop(tree.spans[sender], tree.spans[consumer])
        and times[sender][1] < times[consumer][1]  # the sender itself did not wait for it
        and times[consumer][1] > start
        and times[consumer][0] < end
    ]
