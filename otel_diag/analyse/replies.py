"""Answers that come back beside the trace: a message is sent, and a span of its own waits for the reply.

The consumer of the message hangs below the span that sent it, which has long ended. What it takes, and what becomes of
it, is felt where the reply is waited for: that is where :func:`rehung` puts it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from otel_diag.analyse.calls import is_call, is_to_a_broker, words
from otel_diag.analyse.skew import is_hop
from otel_diag.analyse.tree import NO_PARENT, Times, Tree

_WAITS: Final = re.compile(
    r"\b(?:a?wait(?:ing)?|poll(?:ing)?|repl(?:y|ies)|results?|responses?|receive|join|collect)\b", re.IGNORECASE
)
_TOGETHER: Final = 0.05
"""Of the wait: a consumer that ends within this much of its end is what it waited for, whatever it is called."""


def rehung(tree: Tree, times: Times) -> Mapping[int, int]:
    """{consumer: the span that waits for it}, for :meth:`Tree.adopt`."""
    found: dict[int, int] = {}
    for children in tree.children:
        senders = [child for child in children if _sends(tree, child)]
        for waiting in children if senders else ():
            sender = _last_before(tree, times, waiting, senders)
            if sender is not None:
                found |= {c: waiting for c in _consumers(tree, times, sender) if _is_awaited(tree, times, waiting, c)}
    return found


def sender_before(tree: Tree, times: Times, waiting: int) -> int | None:
    """The message after which a span without children began to wait: the last one that its parent had sent, if its
    sender did not wait itself. None when there is none, or the span is a call."""
    parent = tree.parents[waiting]
    if parent == NO_PARENT:
        return None
    return _last_before(tree, times, waiting, [child for child in tree.children[parent] if _sends(tree, child)])


def _last_before(tree: Tree, times: Times, waiting: int, senders: Sequence[int]) -> int | None:
    """``senders``: in start order, as spans are numbered."""
    span = tree.spans[waiting]
    if tree.children[waiting] or span.kind not in ("internal", "unspecified") or is_call(span):
        return None
    place = bisect_left(senders, waiting)
    if place == 0 or times[senders[place - 1]][1] > times[waiting][0] + _slack(times, waiting):
        return None
    return senders[place - 1]


def _sends(tree: Tree, node: int) -> bool:
    span = tree.spans[node]
    return span.kind == "producer" or (is_call(span) and is_to_a_broker(span))


def _consumers(tree: Tree, times: Times, sender: int) -> list[int]:
    return [
        c for c in tree.children[sender] if is_hop(tree.spans[sender], tree.spans[c]) and times[c][1] > times[sender][1]
    ]


def _is_awaited(tree: Tree, times: Times, waiting: int, consumer: int) -> bool:
    if _WAITS.search(words(tree.spans[waiting].operation)):
        return True
    return abs(times[consumer][1] - times[waiting][1]) <= _slack(times, waiting)


def _slack(times: Times, waiting: int) -> int:
    return int(_TOGETHER * (times[waiting][1] - times[waiting][0]))
