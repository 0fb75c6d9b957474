"""What changes an answer, and what does not, while spans arrive: each test stores its own executions in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from otel_diag.config import Settings
from otel_diag.errors import BadInput
from otel_diag.model import RootCauseType
from otel_diag.query import Filters, Key, Queries
from otel_diag.store.base import Store
from tests.query.conftest import later
from tests.query.pipeline import NOW, Execution, healthy, send, send_bytes

Work = Callable[[], None]

REFUSED = Execution(2193, "refused")
DIED = Execution(2194, "died")


def test_spans_are_found_before_they_are_summarised(store: Store, queries: Queries) -> None:
    send(store, REFUSED)
    report = queries.diagnose(Key(execution_id=2193))
    assert report.root_cause is not None
    assert report.root_cause.root_cause_type is RootCauseType.CONNECTION_FAILURE


def test_a_diagnosis_stays_while_baselines_move_and_goes_when_spans_arrive(
    store: Store, work: Work, queries: Queries
) -> None:
    runner, router = REFUSED.requests_by_service()
    send(store, *healthy(25))
    send_bytes(store, runner)
    send_bytes(store, Execution(2196, "refused").requests_by_service()[0])
    work()
    first = queries.diagnose_with_timeline(Key(execution_id=2193))
    assert first[0].similar_cases
    send(store, *healthy(30, first_id=500, inference_ms=1.0))
    send_bytes(store, Execution(2195, "refused").requests_by_service()[0])
    work()
    assert queries.diagnose_with_timeline(Key(execution_id=2193)) == first
    send_bytes(store, router)
    work()
    renewed = queries.diagnose(Key(execution_id=2193))
    assert renewed.computed_at > first[0].computed_at
    assert renewed.data_quality.spans == 4


def test_what_was_judged_by_constants_is_judged_again_once_enough_is_known(
    store: Store, work: Work, queries: Queries
) -> None:
    key = Key(execution_id=2193)
    send(store, REFUSED, *healthy(19))
    work()
    first = queries.diagnose(key)
    assert (first.data_quality.thresholds, queries.diagnose(key)) == ("constants", first)
    send(store, *healthy(1, first_id=500))
    work()
    learned = queries.diagnose(key)
    assert learned.data_quality.thresholds == "baseline"
    assert learned.computed_at > first.computed_at
    assert queries.diagnose(key) == learned


def test_what_others_learn_from_is_not_what_one_is_judged_again_for(store: Store, work: Work, queries: Queries) -> None:
    """Its own attempts, what failed, and traces that lack spans are no peers."""
    key = Key(execution_id=2193)
    attempts = [replace(Execution(2193), attempt=n, started_at=NOW - timedelta(hours=n)) for n in range(2, 8)]
    send(store, REFUSED, *healthy(14), *attempts)
    send(store, *(Execution(600 + n, "refused") for n in range(6)))
    for lacking in healthy(6, first_id=700):
        send_bytes(store, lacking.requests_by_service()[1])
    work()
    first = queries.diagnose(key)
    assert first.data_quality.baseline_executions == 14
    assert queries.diagnose(key) == first


def test_alike_executions_of_the_same_model_and_region_come_first(store: Store, work: Work, queries: Queries) -> None:
    elsewhere = [Execution(700 + n, "refused", region="eu", started_at=NOW - timedelta(minutes=n)) for n in range(25)]
    here = [Execution(800 + n, "refused", started_at=NOW - timedelta(minutes=60 + n)) for n in range(4)]
    send(store, REFUSED, *healthy(3), *elsewhere, *here)
    work()
    found = [case.similar_execution_id for case in queries.diagnose(Key(execution_id=2193)).similar_cases]
    # Just after midnight the newest of the others are of another day than it.
    assert (found[:4], found[4] in range(700, 725)) == ([800, 801, 802, 803], True)
    send(store, *(Execution(900 + n, "refused", started_at=NOW - timedelta(hours=3, minutes=n)) for n in range(20)))
    send(store, Execution(2200, "refused"))
    work()
    report = queries.diagnose(Key(execution_id=2200))
    assert [case.similar_execution_id for case in report.similar_cases] == [2193, 800, 801, 802, 803]
    assert {case.similarity_score for case in report.similar_cases} == {1.0}


def test_nothing_is_settled_while_spans_arrive(store: Store) -> None:
    patient = Queries(store, Settings(settle_seconds=3600), clock=later)
    send_bytes(store, REFUSED.requests_by_service()[0])
    assert patient.diagnose(Key(execution_id=2193)).data_quality.still_arriving
    send_bytes(store, REFUSED.requests_by_service()[1])
    report = patient.diagnose(Key(execution_id=2193))
    assert report.data_quality.spans == 4


def test_windows_are_honoured(store: Store, work: Work, queries: Queries) -> None:
    send(store, Execution(1, started_at=NOW - timedelta(hours=30)), Execution(2, started_at=NOW - timedelta(hours=2)))
    work()
    assert queries.performance().total_executions == 1
    assert queries.performance().previous_window.total_executions == 1
    assert queries.performance(Filters(since=NOW - timedelta(days=2))).total_executions == 2
    with pytest.raises(BadInput, match="before it begins"):
        queries.performance(Filters(since=NOW, until=NOW - timedelta(hours=1)))


def test_what_is_left_of_another_trace_is_no_yardstick(store: Store, work: Work, queries: Queries) -> None:
    other = Execution(7, inference_ms=1)
    send_bytes(store, other.requests_by_service()[2])  # only what modal saw of it: 17 ms, and calls nobody
    send(store, DIED)
    work()
    report = queries.diagnose(Key(execution_id=2194))
    assert report.data_quality.baseline_executions == 0
    assert report.root_cause is not None
    assert report.root_cause.root_cause_type is RootCauseType.PRE_EXECUTION_FAILURE
