"""Which executions others are compared with, and what is told of the difference, on every store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from otel_diag import cohorts
from otel_diag.model import Status
from otel_diag.query import Key, Queries
from otel_diag.store.base import Store
from tests.query.pipeline import NOW, Execution, healthy, send

Work = Callable[[], None]

REFUSED = Execution(2193, "refused")


def refused(count: int, first_id: int, **changes: object) -> list[Execution]:
    return [
        replace(Execution(first_id + n, "refused", started_at=NOW - timedelta(minutes=20 + n)), **changes)
        for n in range(count)
    ]


def test_the_same_way_comes_first_then_one_of_every_other(store: Store, work: Work, queries: Queries) -> None:
    died = Execution(2300, "died", started_at=NOW - timedelta(minutes=5))
    send(store, *healthy(4), *refused(7, 2200), died, REFUSED)
    work()
    cases = queries.diagnose(Key(execution_id=2193), "similar").similar_cases
    assert [case.similar_execution_id for case in cases] == [2200, 2201, 2202, 2203, 2204]
    assert {(case.similarity_score, case.status, case.executions) for case in cases} == {(1.0, Status.FAILED, 7)}


def test_other_ways_are_represented_once_with_their_number(store: Store, work: Work, queries: Queries) -> None:
    dropped = [replace(one, execution_id=2400 + n, fault="dropped") for n, one in enumerate(refused(3, 0))]
    send(store, *healthy(6), *dropped)
    work()
    cases = queries.diagnose(Key(execution_id=2400), "similar").similar_cases
    # Broken off in mid-answer, or answered: the same operations, ended differently.
    assert {(case.similar_execution_id, case.executions) for case in cases} >= {(2401, 2), (2402, 2)}
    succeeded = [case for case in cases if case.status is Status.COMPLETED]
    assert [case.executions for case in succeeded] == [6] * len(succeeded)
    assert all(case.similarity_score == 1.0 for case in cases)


def test_same_model_and_region_come_before_newer_ones(store: Store, work: Work, queries: Queries) -> None:
    same = refused(2, 2200)
    newer = [
        replace(one, execution_id=2210 + n, started_at=NOW - timedelta(minutes=2), **changes)
        for n, (one, changes) in enumerate(
            zip(refused(2, 0), ({"model_id": "other"}, {"region": "eu-west"}), strict=True)
        )
    ]
    send(store, *same, *newer, REFUSED)
    work()
    cases = queries.diagnose(Key(execution_id=2193), "similar").similar_cases
    assert [case.similar_execution_id for case in cases] == [2200, 2201, 2211, 2210]


def test_the_answer_does_not_depend_on_the_order_of_arrival(store: Store, work: Work, queries: Queries) -> None:
    for part in ([REFUSED], refused(6, 2200)[::-1], healthy(5)[::-1]):
        send(store, *part)
        work()
    first = queries.compare_with_successful(Key(execution_id=2193))
    assert first == queries.compare_with_successful(Key(execution_id=2193))
    assert [one.execution_id for one in first.similar_successful] == [100, 101, 102]


def test_an_execution_without_spans_still_has_something_to_compare_with(
    store: Store, work: Work, queries: Queries
) -> None:
    send(store, *healthy(3))
    work()
    assert cohorts.SIMILAR_LIMIT > 3
    comparison = queries.compare_with_successful(Key(execution_id=100))
    assert [one.execution_id for one in comparison.similar_successful] == [101, 102]


def test_two_traces_are_summed_up(store: Store, work: Work, queries: Queries) -> None:
    send(store, *healthy(1), REFUSED)
    work()
    diff = queries.compare(Key(execution_id=2193), Key(execution_id=100))
    assert any("4 spans against 6: 0 only here, 2 only there" in line for line in diff.summary)
    assert "modal itself: absent against" in " ".join(diff.summary)
    assert diff.total_changes == len(diff.changes) > 0
    assert {time.service for time in diff.services} == {"runner", "router", "modal"}
    same = queries.compare(Key(execution_id=100), Key(execution_id=100))
    assert (same.summary, same.total_changes) == ([], 0)
