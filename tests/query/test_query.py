"""The query service over both stores: right answers about a small pipeline, stable, stated, and with a way on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Select

from otel_diag import statements
from otel_diag.config import Settings
from otel_diag.errors import BadInput, NotFound
from otel_diag.model import RootCauseType, Status
from otel_diag.query import Filters, Key, Queries
from otel_diag.store.base import Store
from otel_diag.store.text import as_text
from tests.query.conftest import later
from tests.query.pipeline import NOW, Execution, healthy, send, send_bytes

Work = Callable[[], None]

REFUSED = Execution(2193, "refused")
DIED = Execution(2194, "died")


@pytest.fixture
def stored(store: Store, work: Work) -> Store:
    """25 successful executions, one that was refused and one that died before its first call."""
    send(store, *healthy(25), REFUSED, DIED)
    work()
    return store


def test_each_failure_is_named_with_its_evidence(stored: Store, queries: Queries) -> None:
    refused = queries.diagnose(Key(execution_id=2193)).root_cause
    assert refused is not None
    assert refused.root_cause_type is RootCauseType.CONNECTION_FAILURE
    assert (refused.affected_service, refused.affected_operation) == ("router", "POST")
    died = queries.diagnose(Key(execution_id=2194)).root_cause
    assert died is not None
    assert died.root_cause_type is RootCauseType.PRE_EXECUTION_FAILURE
    assert died.evidence_spans
    for one in healthy(25):
        assert queries.diagnose(Key(execution_id=one.execution_id)).verdict == "healthy"


def test_a_trace_id_answers_as_its_execution_does(stored: Store, queries: Queries) -> None:
    by_execution = queries.diagnose(Key(execution_id=2193))
    assert queries.diagnose(Key(trace_id=REFUSED.trace_id)) == by_execution
    assert queries.diagnose(Key(trace_id=REFUSED.trace_id.upper())) == by_execution


def test_a_diagnosis_and_its_timeline_are_of_one_reading(
    stored: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = later()
    # While it counts as arriving, its diagnosis is made anew each time.
    queries = Queries(stored, settings.model_copy(update={"settle_seconds": 3_600.0}), clock=lambda: moment)
    key = Key(execution_id=2193)
    apart = queries.diagnose(key), queries.timeline(key)
    read: list[str] = []
    select = stored.select

    def counting(statement: Select[Any], **options: Any) -> Any:
        read.append(as_text(statement))
        return select(statement, **options)

    monkeypatch.setattr(stored, "select", counting)
    assert queries.diagnose_with_timeline(key) == apart
    assert len(read) == len(set(read))


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


def test_the_comparison_names_what_is_missing(stored: Store, queries: Queries) -> None:
    comparison = queries.compare_with_successful(Key(execution_id=2194))
    assert any("no router span" in difference for difference in comparison.differences)
    assert comparison.similar_successful[0].status is Status.COMPLETED
    assert comparison.first_divergence is not None


def test_a_job_is_summed_up_over_all_its_executions(stored: Store, queries: Queries) -> None:
    by_job = queries.timeout_root_cause(job_id="job-1")
    assert (by_job.total_executions, by_job.failed_executions) == (27, 2)
    assert {one.execution_id for one in by_job.analysis if one.status.is_failure} == {2193, 2194}
    by_execution = queries.timeout_root_cause(execution_id=2193)
    assert (by_execution.job_id, by_execution.total_executions) == ("job-1", 27)


def test_failures_come_newest_first_with_causes_and_patterns(stored: Store, queries: Queries) -> None:
    failures = queries.recent_failures()
    assert failures.total_failures == 2
    causes = {failure.id: failure.root_cause_type for failure in failures.failures}
    assert causes == {2193: RootCauseType.CONNECTION_FAILURE, 2194: RootCauseType.PRE_EXECUTION_FAILURE}
    assert queries.recent_failures(filters=Filters(region="eu-west")).total_failures == 0
    assert queries.recent_failures(1).total_failures == 2
    with pytest.raises(BadInput, match="completed"):
        queries.recent_failures(filters=Filters(status="completed"))


def test_performance_counts_executions_and_operations(stored: Store, queries: Queries) -> None:
    executions = queries.performance()
    assert (executions.total_executions, executions.successful, executions.failed) == (27, 25, 2)
    inference = queries.performance(Filters(service="modal", operation="modal.inference"))
    assert inference.measured == "operation"
    assert inference.avg_duration_sec == pytest.approx(sum(one.inference_ms for one in healthy(25)) / 25 / 1000)
    assert executions.previous_window.total_executions == 0


def test_search_pages_through_everything_once(stored: Store, queries: Queries) -> None:
    seen: list[int | None] = []
    offset: int | None = 0
    while offset is not None:
        page = queries.search(Filters(), limit=10, offset=offset)
        seen += [one.execution_id for one in page.executions]
        offset = page.next_offset
    assert page.total == 27
    assert sorted(filter(None, seen)) == sorted([one.execution_id for one in healthy(25)] + [2193, 2194])
    assert queries.search(Filters(service="modal")).total == 25
    assert queries.search(Filters(operation="modal.inference")).total == 25
    assert queries.search(Filters(root_cause_type="CONNECTION_FAILURE")).total == 1


def test_the_map_shows_who_calls_whom(stored: Store, queries: Queries) -> None:
    found = queries.service_map()
    assert {(edge.caller, edge.callee) for edge in found.edges} == {("runner", "router"), ("router", "modal")}
    assert {info.service for info in queries.services()} == {"runner", "router", "modal"}


def test_what_is_unknown_is_said_with_the_nearest_that_is_known(stored: Store, queries: Queries) -> None:
    with pytest.raises(NotFound) as execution:
        queries.diagnose(Key(execution_id=2190))
    assert execution.value.nearest[:2] == ("2193", "2194")
    with pytest.raises(NotFound) as trace:
        queries.timeline(Key(trace_id=REFUSED.trace_id[:8] + "0" * 24))
    assert REFUSED.trace_id in trace.value.nearest
    with pytest.raises(NotFound) as job:
        queries.timeout_root_cause(job_id="job1")
    assert job.value.nearest == ("job-1",)


@pytest.mark.parametrize(
    ("question", "intent", "expected"),
    [
        ("Why did execution 2193 timeout?", "diagnose", "CONNECTION_FAILURE"),
        ("Show me all failed Modal calls in the last hour", "list_failures", "[]"),
        ("What's the average duration for hybrid_router_call?", "measure", "'sample_count': 26"),
        ("average duration for modal.inference in last 24 hours", "measure", "'sample_count': 25"),
        ("slowest operations since yesterday", "slowest", "avg_duration_ms"),
        ("p95 of modal.inference for llama3.2-1b in us-east since yesterday", "measure", "p95_ms"),
        ("are other executions failing the same way as 2193?", "similar", "[]"),
        ("how many executions timed out per region this week", "measure", ""),
        ("why are all jobs failing in 10-30ms", "job_pattern", ""),
    ],
)
def test_questions_of_the_specification(
    stored: Store, queries: Queries, question: str, intent: str, expected: str
) -> None:
    answer = queries.ask(question)
    assert answer.understood is not None
    assert answer.understood.intent == intent
    assert answer.sql_or_call
    assert expected in str(answer.results)


def test_the_statement_of_an_answer_can_be_run_again(stored: Store, queries: Queries) -> None:
    answer = queries.ask("average duration for modal.inference in last 24 hours")
    again = queries.sql(answer.sql_or_call or "")
    row = dict(zip(again.columns, again.rows[0], strict=True))
    assert row["avg_duration_ms"] == pytest.approx(answer.results[0]["avg_duration_ms"])


def test_an_unclear_question_gets_questions_that_work(stored: Store, queries: Queries) -> None:
    answer = queries.ask("what is the meaning of life")
    assert answer.understood is None
    assert answer.suggestions
    for suggestion in answer.suggestions:
        assert queries.ask(suggestion).understood is not None


def test_user_sql_sees_its_own_rows_only(stored: Store, queries: Queries) -> None:
    result = queries.sql("SELECT status, count(*) AS n FROM trace_summaries GROUP BY status ORDER BY status")
    assert result.rows == [["completed", 25], ["failed", 2]]
    some = queries.sql("SELECT span_id FROM trace_spans", max_rows=5)
    assert (some.row_count, some.row_count_is_partial) == (5, True)
    for forbidden in ("DELETE FROM trace_spans", "SELECT * FROM schema_migrations", "SELECT 1; SELECT 2"):
        with pytest.raises(BadInput):
            queries.sql(forbidden)


def test_windows_are_honoured(store: Store, work: Work, queries: Queries) -> None:
    send(store, Execution(1, started_at=NOW - timedelta(hours=30)), Execution(2, started_at=NOW - timedelta(hours=2)))
    work()
    assert queries.performance().total_executions == 1
    assert queries.performance().previous_window.total_executions == 1
    assert queries.performance(Filters(since=NOW - timedelta(days=2))).total_executions == 2
    with pytest.raises(BadInput, match="before it begins"):
        queries.performance(Filters(since=NOW, until=NOW - timedelta(hours=1)))


def test_sketches_say_what_the_rows_say(stored: Store, queries: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> dict[str, float]:
        whole = queries.performance().model_dump(include={"total_executions", "failed", "avg_duration_sec"})
        of_modal = queries.ask("p95 of modal.inference since yesterday").results[0]
        return whole | {name: of_modal[name] for name in ("sample_count", "avg_duration_ms", "p50_ms", "p95_ms")}

    from_rows = asked()
    monkeypatch.setattr(statements, "SCANNED_ROWS", 0)
    assert asked() == pytest.approx(from_rows, rel=0.045)  # a percentile may fall into the bucket beside


def test_sql_that_does_not_fit_the_tables_is_the_callers_mistake(stored: Store, queries: Queries) -> None:
    with pytest.raises(BadInput, match="no_such_column") as caught:
        queries.sql("SELECT no_such_column FROM trace_spans")
    assert "trace_summaries" in caught.value.hint


def test_what_is_left_of_another_trace_is_no_yardstick(store: Store, work: Work, queries: Queries) -> None:
    other = Execution(7, inference_ms=1)
    send_bytes(store, other.requests_by_service()[2])  # only what modal saw of it: 17 ms, and calls nobody
    send(store, DIED)
    work()
    report = queries.diagnose(Key(execution_id=2194))
    assert report.data_quality.baseline_executions == 0
    assert report.root_cause is not None
    assert report.root_cause.root_cause_type is RootCauseType.PRE_EXECUTION_FAILURE
