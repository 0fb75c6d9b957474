"""The OpenTelemetry SDK's own exporters against a live receiver, on every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from sqlalchemy import select

from otel_diag.decode.rows import table_to_spans
from otel_diag.model import Span, Status
from otel_diag.store.base import Store
from otel_diag.store.schema import trace_spans
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
