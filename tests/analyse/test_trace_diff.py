"""Two traces side by side: which spans correspond, which attributes differ, and a summary that stays short."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.analyse import compare as comparing
from otel_diag.analyse.align import align
from otel_diag.analyse.attributes import Telling, names_one, says_outcome, telling
from otel_diag.analyse.compare import MAX_CHANGES, MAX_LINES, Changes, Compared, attribute_words
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.tree import build_tree
from otel_diag.model import Trace
from otel_diag.testing import TraceBuilder


def routed(*, selects: int = 1, version: str = "1.0", host: str = "a", **attributes: object) -> Trace:
    """runner -> router -> a database that is asked ``selects`` times."""
    trace = TraceBuilder(execution_id=1)
    root = trace.root("runner", "execute", ms=1_000 + 6 * selects)
    router = root.call("router", "route", at=5, ms=900 + 6 * selects)
    router.version = version
    router.set(**attributes)
    for number in range(selects):
        router.client("SELECT orders", at=10 + 6 * number, ms=5.75, peer="db").set(**{"db.row": number})
    built = trace.build()
    spans = (replace(s, resource={"host.name": host, "process.pid": 4}) for s in built.spans)
    return replace(built, spans=tuple(spans))


def compare(mine: Trace, other: Trace) -> Compared:
    return comparing.compare(Examined(mine), Examined(other))


def diff(mine: Trace, other: Trace) -> tuple[Compared, Changes]:
    return comparing.diff(Examined(mine), Examined(other))


def test_spans_correspond_by_element_and_place() -> None:
    ours, theirs = build_tree(routed(selects=3).spans), build_tree(routed(selects=2).spans)
    pairs = align(ours, theirs)
    assert len(pairs) == 5
    assert all(ours.spans[a].element == theirs.spans[b].element for a, b in pairs)
    starts = [theirs.spans[b].start_unix_nano for a, b in pairs if ours.spans[a].operation == "SELECT orders"]
    assert starts == sorted(starts)


def test_spans_below_a_lost_parent_correspond_all_the_same() -> None:
    whole = routed()
    lost = replace(whole, spans=tuple(s for s in whole.spans if s.operation != "call route"))
    pairs = align(build_tree(lost.spans), build_tree(whole.spans))
    assert len(pairs) == len(lost.spans)


@given(st.integers(0, 8), st.integers(0, 8))
def test_no_span_corresponds_twice(left: int, right: int) -> None:
    pairs = align(build_tree(routed(selects=left).spans), build_tree(routed(selects=right).spans))
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs) == 3 + min(left, right)


def test_attributes_that_differ_come_most_telling_first() -> None:
    mine = routed(version="2.0", host="b", **{"router.provider": "p2", "cache.enabled": False, "prompt.tokens": 900})
    other = routed(version="1.0", host="a", **{"router.provider": "p1", "cache.enabled": True, "prompt.tokens": 100})
    found = compare(mine, other).attributes
    assert [(one.element, one.attribute) for one in found] == [
        ("router", "service.version"),
        ("router", "host.name"),
        ("runner", "host.name"),
        ("router.route", "router.provider"),
        ("router.route", "cache.enabled"),
        ("router.route", "prompt.tokens"),
    ]
    assert (found[0].value, found[0].other_value) == ("2.0", "1.0")
    assert attribute_words(found[0]) == "router version 2.0 against 1.0"
    assert attribute_words(found[2]) == "runner: host.name is b against a (2 spans)"


@pytest.mark.parametrize(
    ("name", "mine", "other"),
    [
        ("request.id", "7", "8"),
        ("http.request_id", "a", "b"),
        ("some.token", "8f14e45fceea167a5a36dedd4bea2543", "c9f0f895fb98ab9159f51fd0297e236d"),
        ("seen", "2026-01-05T12:00:00Z", "2026-01-05T12:00:01Z"),
        ("enqueued_at", 1, 2),
        ("thread.name", "a", "b"),
        ("tokens", 100, 120),
        ("prompt", "x" * 300, "y" * 300),
    ],
)
def test_ids_times_and_near_numbers_are_no_differences(name: str, mine: object, other: object) -> None:
    assert compare(routed(**{name: mine}), routed(**{name: other})).attributes == []


def test_a_value_of_each_single_span_is_no_difference() -> None:
    mine, other = routed(selects=6), routed(selects=6)
    shifted = replace(
        mine, spans=tuple(replace(s, attributes={k: f"v{v}" for k, v in s.attributes.items()}) for s in mine.spans)
    )
    assert all(one.attribute != "db.row" for one in compare(shifted, other).attributes)


def test_equal_traces_have_no_attribute_that_differs() -> None:
    assert compare(routed(), routed()).attributes == []


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("service.version", "1", Telling.VERSION),
        ("host.name", "a", Telling.HOST),
        ("cloud.region", "eu", Telling.REGION),
        ("gen_ai.request.model", "m", Telling.MODEL),
        ("router.provider", "p", Telling.PROVIDER),
        ("feature.flag", True, Telling.SETTING),
        ("client.timeout_ms", 5, Telling.SETTING),
        ("body.bytes", 5, Telling.NUMBER),
    ],
)
def test_attributes_are_told_apart_by_name(name: str, value: object, kind: Telling) -> None:
    assert telling(name, value) is kind


def test_ordinary_words_are_neither_ids_nor_outcomes() -> None:
    assert not any(names_one(name, "x") for name in ("grid", "valid", "router.provider", "runtime"))
    assert not any(says_outcome(name) for name in ("state.region", "terror.level", "router.provider"))
    assert says_outcome("http.response.status_code")
    assert says_outcome("error.type")


def test_a_diff_counts_by_operation_and_states_the_time() -> None:
    compared, changes = diff(routed(selects=401), routed(selects=1))
    assert "router.SELECT orders: 401 times against once, +2,300 ms" in changes.summary
    assert any("404 spans against 4: 400 only here, 0 only there" in line for line in changes.summary)
    assert compared.first_divergence is not None
    assert changes.summary[0] == f"first divergence: {compared.first_divergence.detail}"
    first = changes.elements[0]
    assert (first.element, first.left_count, first.right_count) == ("router.SELECT orders", 401, 1)
    assert {time.service for time in changes.services} == {"runner", "router"}
    # Many changes are counted, not listed.
    assert (changes.total_spans > MAX_CHANGES, changes.spans) == (True, [])


def test_a_small_diff_is_told_span_by_span() -> None:
    _, changes = diff(routed(selects=3), routed(selects=1))
    assert [(c.kind, c.element) for c in changes.spans] == [("only_left", "router.SELECT orders")] * 2
    assert changes.total_spans == 2
    _, other_way = diff(routed(selects=1), routed(selects=3))
    assert [c.kind for c in other_way.spans] == ["only_right"] * 2


def test_a_changed_status_and_duration_are_counted() -> None:
    trace = TraceBuilder(execution_id=1)
    root = trace.root("runner", "execute", ms=2_000)
    root.call("router", "route", at=5, ms=1_900).fail("ValueError", "no such model")
    _, changes = diff(trace.build(), routed(selects=0))
    assert "router.route: 1 failed against 0, +1,000 ms" in changes.summary
    assert {c.kind for c in changes.spans} == {"status", "duration"}


def test_equal_traces_have_an_empty_diff() -> None:
    _, changes = diff(routed(), routed())
    assert (changes.summary, changes.elements, changes.spans, changes.total_spans) == ([], [], [], 0)


def test_a_summary_stays_short_whatever_differs() -> None:
    trace = TraceBuilder(execution_id=1)
    root = trace.root("runner", "execute", ms=90_000)
    for number in range(300):
        root.call(f"service-{number}", "work", at=number * 200, ms=100 + number)
    _, changes = diff(trace.build(), routed())
    assert len(changes.summary) <= MAX_LINES
    assert any("more operations that differ" in line for line in changes.summary)
