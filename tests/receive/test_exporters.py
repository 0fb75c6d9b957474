"""The OpenTelemetry SDK's own exporters against a live receiver, on every store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from sqlalchemy import Table, select

from otel_diag.decode.rows import table_to_spans
from otel_diag.model import Span, Status
from otel_diag.store.base import Store
from otel_diag.store.schema import log_records, metric_points, trace_spans
from tests.receive.servers import Receiver, running, settings_for


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    with running(store, settings_for()) as receiver:
        yield receiver


def emit(exporter: SpanExporter) -> None:
    """A failed execution: a runner that calls a router, which times out."""
    provider = TracerProvider(resource=Resource({"service.name": "runner", "service.version": "1.2"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("test", "0.1")
    with tracer.start_as_current_span("execution", attributes={"execution.id": 2193, "region": "us-east"}) as root:
        link = trace.Link(root.get_span_context(), {"why": "test"})
        try:
            with tracer.start_as_current_span("call", kind=trace.SpanKind.CLIENT, links=[link]):
                raise TimeoutError("no answer after 82 s")
        except TimeoutError:
            root.set_attribute("tags", ["a", "b"])
    assert provider.force_flush()
    provider.shutdown()


def spans(store: Store) -> dict[str, Span]:
    return {span.operation: span for span in table_to_spans(store.select(select(trace_spans)))}


def exporters(receiver: Receiver) -> dict[str, SpanExporter]:
    return {
        "grpc": GrpcExporter(endpoint=f"http://127.0.0.1:{receiver.grpc_port}", insecure=True),
        "http": HttpExporter(endpoint=f"{receiver.http}/v1/traces", compression=Compression.Gzip),
    }


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_spans_of_the_sdk_arrive(receiver: Receiver, protocol: str) -> None:
    emit(exporters(receiver)[protocol])
    found = spans(receiver.store)
    root, call = found["execution"], found["call"]
    assert call.parent_span_id == root.span_id
    assert (root.service, root.service_version, root.execution_id, root.region) == ("runner", "1.2", 2193, "us-east")
    assert root.attributes["tags"] == ["a", "b"]
    assert root.status is Status.COMPLETED
    assert (call.kind, call.status, call.error_type) == ("client", Status.TIMEOUT, "TimeoutError")
    assert call.error_message == "no answer after 82 s"
    assert call.events[0].name == "exception"
    assert call.links[0].span_id == root.span_id
    assert root.duration_ms is not None
    assert root.duration_ms >= (call.duration_ms or 0)


RESOURCE = Resource({"service.name": "runner", "service.version": "1.2"})


def rows(store: Store, table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.select(select(table)).to_pylist()
    return found


def grpc_or_http(receiver: Receiver, protocol: str, grpc_exporter: Any, http_exporter: Any) -> Any:
    if protocol == "grpc":
        return grpc_exporter(endpoint=f"http://127.0.0.1:{receiver.grpc_port}", insecure=True)
    signal = "logs" if http_exporter is HttpLogExporter else "metrics"
    return http_exporter(endpoint=f"{receiver.http}/v1/{signal}", compression=Compression.Gzip)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_log_records_of_the_sdk_arrive(receiver: Receiver, protocol: str) -> None:
    exporter: LogRecordExporter = grpc_or_http(receiver, protocol, GrpcLogExporter, HttpLogExporter)
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("test", "0.1")
    with TracerProvider().get_tracer("test").start_as_current_span("call") as span:
        logger.emit(
            timestamp=1_790_000_000_123_456_789,
            observed_timestamp=1_790_000_000_123_456_790,
            severity_number=SeverityNumber.ERROR,
            severity_text="ERROR",
            body="no answer",
            attributes={"execution.id": 2193, "share": 0.1},
            exception=TimeoutError("82 s"),
        )
    logger.emit(body={"depth": [1, None, {"x": b"\0"}]}, observed_timestamp=5, event_name="queue.full")
    assert provider.force_flush()
    provider.shutdown()

    by_event = {row["event_name"]: row for row in rows(receiver.store, log_records)}
    error, event = by_event[None], by_event["queue.full"]
    context = span.get_span_context()
    assert (error["trace_id"], error["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (error["service"], error["service_version"], error["execution_id"]) == ("runner", "1.2", 2193)
    assert (error["severity"], error["severity_number"], error["severity_text"]) == ("error", 17, "ERROR")
    assert (error["body_text"], error["body"]) == ("no answer", '"no answer"')
    assert error["logged_unix_nano"] == error["time_unix_nano"] == 1_790_000_000_123_456_789
    assert error["observed_unix_nano"] == 1_790_000_000_123_456_790
    attributes = json.loads(error["attributes"])
    assert attributes["share"] == 0.1
    assert (attributes["exception.type"], attributes["exception.message"]) == ("TimeoutError", "82 s")
    assert (error["scope_name"], error["scope_version"], error["flags"]) == ("test", "0.1", context.trace_flags)
    assert json.loads(event["body"]) == {"depth": [1, None, {"x": {"$bytes": "AA=="}}]}
    assert (event["trace_id"], event["span_id"], event["severity"]) == (None, None, None)
    assert (event["time_unix_nano"], event["logged_unix_nano"]) == (0, 5)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_data_points_of_the_sdk_arrive(receiver: Receiver, protocol: str) -> None:
    exporter: MetricExporter = grpc_or_http(receiver, protocol, GrpcMetricExporter, HttpMetricExporter)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter)],
        resource=RESOURCE,
        views=[View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())],
        exemplar_filter=AlwaysOnExemplarFilter(),
    )
    meter = provider.get_meter("test", "0.1")
    with TracerProvider().get_tracer("test").start_as_current_span("call") as span:
        meter.create_counter("jobs", unit="{job}", description="Jobs.").add(2**53 + 1, {"queue": "a"})
        latency = meter.create_histogram("latency", "ms", explicit_bucket_boundaries_advisory=[10.0, 100.0])
        for value in (5.0, 50.0, 500.0):
            latency.record(value)
        meter.create_histogram("size", "By").record(3)
    meter.create_gauge("load").set(0.1)
    provider.force_flush()
    provider.shutdown()

    # The reader exports once more as it shuts down: the same points, later and without exemplars.
    ordered = sorted(rows(receiver.store, metric_points), key=lambda row: -row["time_unix_nano"])
    found = {row["metric"]: row for row in ordered}
    assert {row["service"] for row in found.values()} == {"runner"}
    jobs, latency_point, size, load = found["jobs"], found["latency"], found["size"], found["load"]
    assert (jobs["kind"], jobs["temporality"], jobs["is_monotonic"]) == ("sum", "cumulative", True)
    assert (jobs["value_int"], jobs["value"]) == (2**53 + 1, float(2**53 + 1))
    assert (jobs["unit"], jobs["description"], json.loads(jobs["attributes"])) == ("{job}", "Jobs.", {"queue": "a"})
    assert (jobs["scope_name"], jobs["scope_version"], jobs["service_version"]) == ("test", "0.1", "1.2")
    assert 0 < jobs["start_unix_nano"] < jobs["time_unix_nano"]
    assert (load["kind"], load["value"], load["value_int"], load["temporality"]) == ("gauge", 0.1, None, None)
    names = ("kind", "count", "sum", "min", "max", "explicit_bounds", "bucket_counts")
    expected = ("histogram", 3, 555.0, 5.0, 500.0, "[10.0,100.0]", "[1,1,1]")
    assert tuple(latency_point[name] for name in names) == expected
    assert (size["kind"], size["count"], size["sum"]) == ("exponential_histogram", 1, 3.0)
    assert sum(json.loads(size["positive_buckets"])["bucket_counts"]) == 1
    context = span.get_span_context()
    ids = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (latency_point["trace_id"], latency_point["span_id"]) == ids
    exemplars = json.loads(latency_point["exemplars"])
    assert {(each["trace_id"], each["span_id"]) for each in exemplars} == {ids}
    assert sorted(each["value"] for each in exemplars) == [5.0, 50.0, 500.0]
