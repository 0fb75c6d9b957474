"""Which spans of two traces correspond: the same element in the same place of the tree. Linear in their number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otel_diag.analyse.tree import Tree

Pair = tuple[int, int]
"""Indices into the spans of the one tree and of the other."""


def align(ours: Tree, theirs: Tree) -> list[Pair]:
    """Each span at most once, in our pre-order.

    From the roots down, the n-th child with an element goes with the n-th such child there. What is left (its parent
    is missing on one side, say) goes with what is left of the same element, in order.
    """
    pairs = _of_siblings(ours, theirs, ours.roots, theirs.roots)
    at = 0
    while at < len(pairs):
        mine, other = pairs[at]
        pairs += _of_siblings(ours, theirs, ours.children[mine], theirs.children[other])
        at += 1
    here, there = {mine for mine, _ in pairs}, {other for _, other in pairs}
    pairs += _of_siblings(
        ours,
        theirs,
        [node for node in ours.preorder if node not in here],
        [node for node in theirs.preorder if node not in there],
    )
    place = {node: position for position, node in enumerate(ours.preorder)}
    return sorted(pairs, key=lambda pair: place[pair[0]])


def _of_siblings(ours: Tree, theirs: Tree, mine: Iterable[int], others: Sequence[int]) -> list[Pair]:
    waiting: dict[str, list[int]] = {}
    for node in reversed(others):
        waiting.setdefault(theirs.spans[node].element, []).append(node)
    return [(node, same.pop()) for node in mine if (same := waiting.get(ours.spans[node].element))]
