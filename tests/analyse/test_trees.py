"""Any bag of spans makes a forest, and time is neither made nor lost."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_diag.analyse.critical_path import critical_path, self_times
from otel_diag.analyse.skew import estimate_skew
from otel_diag.analyse.tree import build_tree, split_executions
from otel_diag.model import Span
from otel_diag.testing import TraceBuilder

_IDS = st.sampled_from([f"{i:016x}" for i in range(12)])


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    return [
        Span(
            trace_id="t",
            span_id=draw(_IDS),
            service=draw(st.sampled_from(["a", "b"])),
            operation=draw(st.sampled_from(["x", "y", "z"])),
            start_unix_nano=(start := draw(st.integers(-5, 1_000))),
            end_unix_nano=draw(st.one_of(st.none(), st.integers(start - 10, start + 500))),
            parent_span_id=draw(st.one_of(st.none(), _IDS)),
            kind=draw(st.sampled_from(["internal", "client", "server"])),
            execution_id=draw(st.one_of(st.none(), st.integers(1, 3))),
        )
        for _ in range(draw(st.integers(0, 25)))
    ]


@given(spans())
@settings(max_examples=200)
def test_every_span_stands_in_the_forest_once(bag: list[Span]) -> None:
    tree = build_tree(bag)
    assert len(tree.spans) == len(bag)
    assert sorted(tree.preorder) == list(range(len(bag)))
    position = {node: at for at, node in enumerate(tree.preorder)}
    for node, parent in enumerate(tree.parents):
        assert (parent == -1) == (node in tree.roots)
        if parent != -1:
            assert position[parent] < position[node]
            assert tree.depths[node] == tree.depths[parent] + 1
            assert node in tree.children[parent]
    assert set(tree.orphans) | set(tree.cycles_broken) <= set(tree.roots)
    assert build_tree(list(reversed(bag))).spans == tree.spans or len({s.span_id for s in bag}) < len(bag)


@given(spans())
@settings(max_examples=200)
def test_time_is_neither_made_nor_lost(bag: list[Span]) -> None:
    tree = build_tree(bag)
    times = estimate_skew(tree).times
    own = self_times(tree, times)
    assert all(0 <= ns <= end - start for ns, (start, end) in zip(own, times, strict=True))
    for root in tree.roots:
        segments = critical_path(tree, times, root)
        start, end = times[root]
        assert sum(s.length for s in segments) == end - start
        for earlier, later in itertools.pairwise(segments):
            assert earlier.end == later.start
        assert all(start <= s.start < s.end <= end for s in segments)


@given(spans())
def test_adjusting_clocks_keeps_durations(bag: list[Span]) -> None:
    tree = build_tree(bag)
    for span, (start, end) in zip(tree.spans, estimate_skew(tree).times, strict=True):
        if span.end_unix_nano is not None:
            assert end - start == max(0, span.end_unix_nano - span.start_unix_nano)


@given(spans())
def test_units_share_no_span(bag: list[Span]) -> None:
    units = split_executions(bag, "t")
    ids = {s.execution_id for s in bag} - {None}
    assert len(units) == max(1, len(ids))
    if len(ids) > 1:
        assert sum(len(u.spans) for u in units) <= len(bag)
        for unit in units:
            assert {s.execution_id for s in unit.spans} <= {unit.execution_id, None}


def chain(depth: int) -> list[Span]:
    return [Span("t", f"{i:016x}", "a", "x", i, 2 * depth - i, f"{i - 1:016x}" if i else None) for i in range(depth)]


def test_a_tree_10_000_deep_is_no_problem() -> None:
    tree = build_tree(chain(10_000))
    assert max(tree.depths) == 9_999
    assert sum(self_times(tree)) == 20_000
    assert len(critical_path(tree)) == 2 * 10_000 - 1


def test_a_wide_trace_is_no_problem() -> None:
    fan = [Span("t", f"{i + 1:016x}", "a", "leaf", i, i + 10, f"{0:016x}") for i in range(100_000)]
    tree = build_tree([Span("t", f"{0:016x}", "a", "root", 0, 200_000), *fan])
    assert len(tree.children[tree.roots[0]]) == 100_000
    assert sum(s.length for s in critical_path(tree)) == 200_000


def test_cycles_and_self_parents_are_cut_and_said() -> None:
    loop = [
        Span("t", "aa", "a", "x", 1, 2, "cc"),
        Span("t", "bb", "a", "x", 2, 3, "aa"),
        Span("t", "cc", "a", "x", 3, 4, "bb"),
        Span("t", "dd", "a", "x", 4, 5, "dd"),
    ]
    tree = build_tree(loop)
    assert [tree.spans[i].span_id for i in tree.cycles_broken] == ["aa", "dd"]
    assert [tree.spans[i].span_id for i in tree.preorder] == ["aa", "bb", "cc", "dd"]


def test_two_spans_of_one_id_are_both_kept() -> None:
    twins = [Span("t", "aa", "a", "x", 1, 2), Span("t", "aa", "a", "y", 5, 6)]
    tree = build_tree([*twins, Span("t", "b", "a", "z", 7, 8, "aa")])
    assert len(tree.spans) == 3
    assert tree.duplicates == ("aa",)
    assert tree.parents == (-1, -1, 0)


def test_parallel_children_count_once() -> None:
    trace = TraceBuilder()
    root = trace.root("a", "go", ms=100)
    root.child("one", at=10, ms=50)
    root.child("two", at=20, ms=60)
    tree = build_tree(trace.build().spans)
    assert self_times(tree)[0] == 30 * 10**6


def test_the_critical_path_follows_the_last_to_finish() -> None:
    trace = TraceBuilder()
    root = trace.root("a", "go", ms=100)
    root.child("fast", at=10, ms=20)
    root.child("slow", at=10, ms=70)
    root.child("background", at=20, ms=500)  # outlives its parent: nobody waited for it
    tree = build_tree(trace.build().spans)
    path = [(tree.spans[s.span].operation, s.length // 10**6) for s in critical_path(tree)]
    assert path == [("go", 10), ("slow", 70), ("go", 20)]


def test_a_caller_that_gave_up_was_waiting_for_its_callee() -> None:
    trace = TraceBuilder()
    callee = trace.root("a", "go", ms=100, kind="client").call("b", "serve", at=0, ms=500)
    assert callee.caller is not None
    callee.caller.lasting(100)
    tree = build_tree(trace.build().spans)
    path = {tree.spans[s.span].operation: s.length // 10**6 for s in critical_path(tree)}
    assert path["serve"] == 99


def test_spans_belong_to_the_nearest_execution_above() -> None:
    spans = [
        Span("t", "r", "job", "run", 0, 100),
        Span("t", "e1", "runner", "execute", 1, 50, "r", execution_id=1),
        Span("t", "c1", "router", "route", 2, 40, "e1"),
        Span("t", "e2", "runner", "execute", 51, 99, "r", execution_id=2),
        Span("t", "c2", "router", "route", 52, 90, "e2"),
    ]
    units = split_executions(spans, "t")
    assert [(u.execution_id, [s.span_id for s in u.spans]) for u in units] == [(1, ["e1", "c1"]), (2, ["e2", "c2"])]
    assert split_executions(spans[:3], "t")[0].spans == tuple(spans[:3])
