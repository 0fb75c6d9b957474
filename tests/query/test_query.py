"""The query service over both stores: right answers about a small pipeline, stable, stated, and with a way on."""

from __future__ import annotations

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
from tests.query.conftest import later, work_on
from tests.query.pipeline import Execution, healthy, send

REFUSED = Execution(2193, "refused")
DIED = Execution(2194, "died")


@pytest.fixture(scope="module")
def store(shared_store: Store) -> Store:
    """25 successful executions, one that was refused and one that died before its first call."""
    send(shared_store, *healthy(25), REFUSED, DIED)
    work_on(shared_store)
    return shared_store


def test_each_failure_is_named_with_its_evidence(queries: Queries) -> None:
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


def test_a_trace_id_answers_as_its_execution_does(queries: Queries) -> None:
    by_execution = queries.diagnose(Key(execution_id=2193))
    assert queries.diagnose(Key(trace_id=REFUSED.trace_id)) == by_execution
    assert queries.diagnose(Key(trace_id=REFUSED.trace_id.upper())) == by_execution


def test_a_diagnosis_and_its_timeline_are_of_one_reading(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = later()
    # While it counts as arriving, its diagnosis is made anew each time.
    queries = Queries(store, settings.model_copy(update={"settle_seconds": 3_600.0}), clock=lambda: moment)
    key = Key(execution_id=2193)
    apart = queries.diagnose(key), queries.timeline(key)
    read: list[str] = []
    select = store.select

    def counting(statement: Select[Any], **options: Any) -> Any:
        read.append(as_text(statement))
        return select(statement, **options)

    monkeypatch.setattr(store, "select", counting)
    assert queries.diagnose_with_timeline(key) == apart
    assert len(read) == len(set(read))


def test_the_comparison_names_what_is_missing(queries: Queries) -> None:
    comparison = queries.compare_with_successful(Key(execution_id=2194))
    assert any("no router span" in difference for difference in comparison.differences)
    assert comparison.similar_successful[0].status is Status.COMPLETED
    assert comparison.first_divergence is not None


def test_a_job_is_summed_up_over_all_its_executions(queries: Queries) -> None:
    by_job = queries.timeout_root_cause(job_id="job-1")
    assert (by_job.total_executions, by_job.failed_executions) == (27, 2)
    assert {one.execution_id for one in by_job.analysis if one.status.is_failure} == {2193, 2194}
    by_execution = queries.timeout_root_cause(execution_id=2193)
    assert (by_execution.job_id, by_execution.total_executions) == ("job-1", 27)


def test_failures_come_newest_first_with_causes_and_patterns(queries: Queries) -> None:
    failures = queries.recent_failures()
    assert failures.total_failures == 2
    causes = {failure.id: failure.root_cause_type for failure in failures.failures}
    assert causes == {2193: RootCauseType.CONNECTION_FAILURE, 2194: RootCauseType.PRE_EXECUTION_FAILURE}
    assert queries.recent_failures(filters=Filters(region="eu-west")).total_failures == 0
    assert queries.recent_failures(1).total_failures == 2
    with pytest.raises(BadInput, match="completed"):
        queries.recent_failures(filters=Filters(status="completed"))


def test_performance_counts_executions_and_operations(queries: Queries) -> None:
    executions = queries.performance()
    assert (executions.total_executions, executions.successful, executions.failed) == (27, 25, 2)
    inference = queries.performance(Filters(service="modal", operation="modal.inference"))
    assert inference.measured == "operation"
    assert inference.avg_duration_sec == pytest.approx(sum(one.inference_ms for one in healthy(25)) / 25 / 1000)
    assert executions.previous_window.total_executions == 0


def test_search_pages_through_everything_once(queries: Queries) -> None:
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


def test_the_map_shows_who_calls_whom(queries: Queries) -> None:
    found = queries.service_map()
    assert {(edge.caller, edge.callee) for edge in found.edges} == {("runner", "router"), ("router", "modal")}
    assert {info.service for info in queries.services()} == {"runner", "router", "modal"}


def test_what_is_unknown_is_said_with_the_nearest_that_is_known(queries: Queries) -> None:
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
def test_questions_of_the_specification(queries: Queries, question: str, intent: str, expected: str) -> None:
    answer = queries.ask(question)
    assert answer.understood is not None
    assert answer.understood.intent == intent
    assert answer.sql_or_call
    assert expected in str(answer.results)


def test_the_statement_of_an_answer_can_be_run_again(queries: Queries) -> None:
    answer = queries.ask("average duration for modal.inference in last 24 hours")
    again = queries.sql(answer.sql_or_call or "")
    row = dict(zip(again.columns, again.rows[0], strict=True))
    assert row["avg_duration_ms"] == pytest.approx(answer.results[0]["avg_duration_ms"])


def test_an_unclear_question_gets_questions_that_work(queries: Queries) -> None:
    answer = queries.ask("what is the meaning of life")
    assert answer.understood is None
    assert answer.suggestions
    for suggestion in answer.suggestions:
        assert queries.ask(suggestion).understood is not None


def test_user_sql_sees_its_own_rows_only(queries: Queries) -> None:
    result = queries.sql("SELECT status, count(*) AS n FROM trace_summaries GROUP BY status ORDER BY status")
    assert result.rows == [["completed", 25], ["failed", 2]]
    some = queries.sql("SELECT span_id FROM trace_spans", max_rows=5)
    assert (some.row_count, some.row_count_is_partial) == (5, True)
    for forbidden in ("DELETE FROM trace_spans", "SELECT * FROM schema_migrations", "SELECT 1; SELECT 2"):
        with pytest.raises(BadInput):
            queries.sql(forbidden)


def test_sketches_say_what_the_rows_say(queries: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> dict[str, float]:
        whole = queries.performance().model_dump(include={"total_executions", "failed", "avg_duration_sec"})
        of_modal = queries.ask("p95 of modal.inference since yesterday").results[0]
        return whole | {name: of_modal[name] for name in ("sample_count", "avg_duration_ms", "p50_ms", "p95_ms")}

    from_rows = asked()
    monkeypatch.setattr(statements, "SCANNED_ROWS", 0)
    assert asked() == pytest.approx(from_rows, rel=0.045)  # a percentile may fall into the bucket beside


def test_sql_that_does_not_fit_the_tables_is_the_callers_mistake(queries: Queries) -> None:
    with pytest.raises(BadInput, match="no_such_column") as caught:
        queries.sql("SELECT no_such_column FROM trace_spans")
    assert "trace_summaries" in caught.value.hint
