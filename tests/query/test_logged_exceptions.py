"""An exception that is told in a log record only: the failed span it was logged in has its words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_diag.query import Key, Queries
from otel_diag.store.base import Store
from tests.query.pipeline import Execution, healthy, send, send_bytes, send_logs

FAILED = Execution(2193, "refused")
MESSAGE = "integer division or modulo by zero"


def without_words(execution: Execution) -> tuple[bytes, Span]:
    """Its spans as a framework writes them that logs the exception, and the innermost of those that failed."""
    request = ExportTraceServiceRequest.FromString(execution.request())
    spans = [span for part in request.resource_spans for span in part.scope_spans[0].spans]
    for span in spans:
        span.status.message = ""
        for attribute in span.attributes:
            if attribute.key == "error.type":
                attribute.value.string_value = "ZeroDivisionError"
    return request.SerializeToString(), spans[-1]


def exception_in(span: Span) -> bytes:
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=span.end_time_unix_nano, trace_id=span.trace_id, span_id=span.span_id, severity_number=17
        )
    )
    for key, value in (("exception.type", "ZeroDivisionError"), ("exception.message", MESSAGE)):
        record.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


@pytest.mark.parametrize("logs_come", ["first", "last", "when all is summarised"])
def test_the_words_of_a_failure_may_come_in_a_log_record(
    queries: Queries, store: Store, work: Callable[[], None], logs_come: str
) -> None:
    send(store, *healthy(3))
    spans, span = without_words(FAILED)
    if logs_come == "first":
        send_logs(store, exception_in(span))
    send_bytes(store, spans)
    if logs_come == "when all is summarised":
        work()
        assert MESSAGE not in queries.diagnose(Key(execution_id=2193)).model_dump_json()
    if logs_come != "first":
        send_logs(store, exception_in(span))
    for _ in range(2):
        timeline = {row.span_id: row.error_message for row in queries.timeline(Key(execution_id=2193)).timeline}
        assert MESSAGE in (timeline[span.span_id.hex()] or "")
        assert MESSAGE in queries.diagnose(Key(execution_id=2193)).model_dump_json()
        work()
    assert MESSAGE in (queries.recent_failures().failures[0].error_message or "")


def test_other_executions_are_as_before(queries: Queries, store: Store, work: Callable[[], None]) -> None:
    spans, _ = without_words(FAILED)
    send_bytes(store, spans)
    other = Execution(7, "refused")
    send(store, other)
    told = ExportTraceServiceRequest.FromString(other.request()).resource_spans[0].scope_spans[0].spans[0]
    send_logs(store, exception_in(told))  # it has words of its own
    work()
    assert MESSAGE not in queries.diagnose(Key(execution_id=7)).model_dump_json()
    assert MESSAGE not in queries.diagnose(Key(execution_id=2193)).model_dump_json()
