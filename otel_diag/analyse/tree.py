"""From a bag of spans to a forest, whatever the bag holds.

Every walk is iterative: depth and size of a trace are the sender's choice, not ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from otel_diag.model import Span, Trace

NO_PARENT = -1
NOTHING: Mapping[int | None, int] = MappingProxyType({})

Times = Sequence[tuple[int, int]]
"""(start, end) in ns for each span of a tree, end never before start."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A forest over ``spans``; everything else refers to spans by their index there.

    ``spans`` is in start order. ``parents[i]`` is -1 for a top of the forest; ``roots`` are all tops in start
    order, ``orphans`` those whose parent id is not among the spans, ``cycles_broken`` those that were cut off
    their parent to break a cycle (or were their own parent). ``duplicates``: span ids seen more than once; all such
    spans are kept, and children hang under the earliest. ``preorder`` visits parents before children, siblings in start
    order.
    """

    spans: tuple[Span, ...]
    parents: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    depths: tuple[int, ...]
    roots: tuple[int, ...]
    orphans: tuple[int, ...]
    cycles_broken: tuple[int, ...]
    duplicates: tuple[str, ...]
    preorder: tuple[int, ...]

    def walk(self, top: int) -> Iterator[int]:
        """Pre-order over the subtree of ``top``, itself included."""
        stack = [top]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(self.children[node]))

    def linked_parents(self) -> Mapping[int, int]:
        """{top: the span of this trace that its first link names}: what a message or a batch was caused by."""
        linking = [top for top in self.roots if self.spans[top].links]
        if not linking:
            return {}
        index = {span.span_id: i for i, span in enumerate(reversed(self.spans))}
        last = len(self.spans) - 1
        found: dict[int, int] = {}
        for top in linking:
            causes = (last - index[link.span_id] for link in self.spans[top].links if link.span_id in index)
            cause = next((i for i in causes if i != top), None)
            if cause is not None:
                found[top] = cause
        return found

    def adopt(self, parents: Mapping[int, int]) -> Tree:
        """The same forest with some spans hung under others: {span: new parent}. Must not form a cycle."""
        if not parents:
            return self
        merged = [parents.get(i, p) for i, p in enumerate(self.parents)]
        shape = _shape(merged)
        return replace(
            self,
            parents=tuple(merged),
            children=shape.children,
            depths=shape.depths,
            roots=shape.roots,
            preorder=shape.preorder,
        )


def build_tree(spans: Sequence[Span]) -> Tree:
    """Arrange spans into a forest. Never raises, keeps every span once, O(n log n)."""
    ordered = tuple(sorted(spans, key=lambda s: (s.start_unix_nano, s.operation, s.span_id, s.content_hash)))
    index: dict[str, int] = {}
    duplicates: dict[str, None] = {}
    for i, span in enumerate(ordered):
        if index.setdefault(span.span_id, i) != i:
            duplicates[span.span_id] = None

    parents: list[int] = []
    orphans: list[int] = []
    cut: list[int] = []
    for i, span in enumerate(ordered):
        parent = NO_PARENT
        if span.parent_span_id:
            if span.parent_span_id == span.span_id:
                cut.append(i)
            else:
                parent = index.get(span.parent_span_id, NO_PARENT)
                if parent == NO_PARENT:
                    orphans.append(i)
        parents.append(parent)
    cut += _break_cycles(parents)
    shape = _shape(parents)
    return Tree(
        spans=ordered,
        parents=tuple(parents),
        orphans=tuple(orphans),
        cycles_broken=tuple(sorted(cut)),
        duplicates=tuple(duplicates),
        children=shape.children,
        depths=shape.depths,
        roots=shape.roots,
        preorder=shape.preorder,
    )


def _break_cycles(parents: list[int]) -> list[int]:
    """Cut each cycle above its earliest member; ``parents`` is changed. Returns the members cut off."""
    unseen, done = 0, len(parents) + 1
    state = [unseen] * len(parents)  # while climbing from i, the nodes passed are marked i + 1
    cut: list[int] = []
    for i in range(len(parents)):
        path: list[int] = []
        node = i
        while node != NO_PARENT and state[node] == unseen:
            state[node] = i + 1
            path.append(node)
            node = parents[node]
        if node != NO_PARENT and state[node] == i + 1:
            earliest = min(path[path.index(node) :])
            parents[earliest] = NO_PARENT
            cut.append(earliest)
        for passed in path:
            state[passed] = done
    return cut


class _Shape(NamedTuple):
    children: tuple[tuple[int, ...], ...]
    depths: tuple[int, ...]
    roots: tuple[int, ...]
    preorder: tuple[int, ...]


def _shape(parents: Sequence[int]) -> _Shape:
    children: list[list[int]] = [[] for _ in parents]
    roots: list[int] = []
    for i, parent in enumerate(parents):
        (roots if parent == NO_PARENT else children[parent]).append(i)
    depths = [0] * len(parents)
    preorder: list[int] = []
    stack = roots[::-1]
    while stack:
        node = stack.pop()
        preorder.append(node)
        below = children[node]
        if below:
            depth = depths[node] + 1
            for child in below:
                depths[child] = depth
            stack.extend(reversed(below))
    return _Shape(tuple(map(tuple, children)), tuple(depths), tuple(roots), tuple(preorder))


def raw_times(tree: Tree) -> list[tuple[int, int]]:
    """Recorded times; a running span lasts until the last thing known of the trace, a reversed one takes no time."""
    last = max((s.end_unix_nano if s.end_unix_nano is not None else s.start_unix_nano for s in tree.spans), default=0)
    return [
        (
            s.start_unix_nano,
            max(s.start_unix_nano, last if s.end_unix_nano is None else s.end_unix_nano),
        )
        for s in tree.spans
    ]


def split_executions(
    spans: Sequence[Span], trace_id: str, left_out: Mapping[int | None, int] = NOTHING, *, shared: bool = False
) -> tuple[Trace, ...]:
    """The units of diagnosis within one trace, in order of execution id.

    ``left_out``: how many spans of the trace are not among ``spans``, by their own execution id. ``shared``: several
    executions have spans in it, whether or not these are among ``spans``.

    No or one execution id: the whole trace is one unit. Several: each unit holds the spans whose own execution
    id, else that of their nearest ancestor, is that id; spans above them all belong to none.
    """
    ids = {s.execution_id for s in spans if s.execution_id is not None}
    if len(ids) <= 1 and not shared:
        found = next(iter(ids), None)
        return (Trace(tuple(spans), execution_id=found, trace_id=trace_id, left_out=sum(left_out.values())),)
    tree = build_tree(spans)
    owner: list[int | None] = [None] * len(tree.spans)
    units: dict[int, list[Span]] = {i: [] for i in sorted(ids)}
    for node in tree.preorder:
        span = tree.spans[node]
        parent = tree.parents[node]
        owned = span.execution_id
        if owned is None and parent != NO_PARENT:
            owned = owner[parent]
        owner[node] = owned
        if owned is not None:
            units[owned].append(span)
    return tuple(
        Trace(tuple(members), execution_id, trace_id, left_out=left_out.get(execution_id, 0), shared=True)
        for execution_id, members in units.items()
    )
