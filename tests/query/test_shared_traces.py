"""Several executions in one trace: each is judged by its own spans, whatever the clocks put beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_diag.model import ANNOUNCED, RootCauseType, Status
from otel_diag.query import Key, Queries
from otel_diag.store.base import Store
from tests.query.pipeline import send_logs
from tests.store.batches import NOW_NANOS, batch_of, span, span_id, trace_id

JOB, FIRST, CALL, EARLY_CLOCK, SECOND, ITS_CALL = range(6)


def one(number: int, parent: int | None, start_ms: float, ms: float, **columns: Any) -> dict[str, Any]:
    start = NOW_NANOS + int(start_ms * 1e6)
    return span(
        1,
        number,
        parent_span_id=None if parent is None else span_id(parent),
        start_unix_nano=start,
        end_unix_nano=start + int(ms * 1e6),
        duration_ms=ms,
        **{"execution_id": None, **columns},
    )


def a_job_of_two() -> list[dict[str, Any]]:
    """The second execution begins long after the first; a span of the first has a clock that is behind."""
    failed = {"status": "failed", "error_message": "connection refused"}
    return [
        one(JOB, None, 0, 30_000, operation="job"),
        one(FIRST, JOB, 1, 80, operation="item", execution_id=7, **failed),
        one(CALL, FIRST, 5, 60, operation="PUT", kind="client", **failed),
        one(EARLY_CLOCK, FIRST, -900, 50, operation="log"),
        one(SECOND, JOB, 20_000, 250, operation="item", execution_id=8),
        one(ITS_CALL, SECOND, 20_010, 50, operation="PUT", kind="client"),
    ]


def test_each_execution_of_a_trace_is_judged_by_its_own_spans(
    queries: Queries, store: Store, work: Callable[[], None]
) -> None:
    store.append(batch_of(a_job_of_two()))
    for _ in range(2):  # as they come in, and from their summaries
        first, second = (queries.diagnose(Key(execution_id=number)) for number in (7, 8))
        assert (first.status, second.status) == (Status.FAILED, Status.COMPLETED)
        assert first.root_cause is not None
        assert first.root_cause.root_cause_type == RootCauseType.CONNECTION_FAILURE
        assert second.verdict == "healthy"
        assert [report.data_quality.spans for report in (first, second)] == [3, 2]
        work()


def test_an_execution_alone_in_its_trace_has_lost_its_root(
    queries: Queries, store: Store, work: Callable[[], None]
) -> None:
    """What came is the same as in :func:`a_job_of_two`: there the span above is somewhere else, here it never came."""
    second = [dict(row) for row in a_job_of_two() if row["execution_id"] == 8]
    store.append(batch_of(second))
    for _ in range(2):
        cause = queries.diagnose(Key(execution_id=8)).root_cause
        assert cause is not None
        assert cause.root_cause_type == RootCauseType.INCOMPLETE_TRACE
        assert "the root of the trace" in cause.evidence
        work()


def test_a_span_above_an_execution_that_was_announced_within_it_has_come(
    queries: Queries, store: Store, work: Callable[[], None]
) -> None:
    rows = [row for row in a_job_of_two() if row["operation"] != "log"]
    store.append(batch_of(rows))
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=NOW_NANOS + 10_000_000,
            event_name=ANNOUNCED,
            trace_id=bytes.fromhex(trace_id(1)),
            span_id=bytes.fromhex(span_id(JOB)),
        )
    )
    record.attributes.add(key="span.name").value.string_value = "job"
    send_logs(store, request.SerializeToString())
    work()
    report = queries.diagnose(Key(execution_id=7))
    assert report.status == Status.FAILED
    assert report.data_quality.running_spans == []
