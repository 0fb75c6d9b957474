"""Spans of the OpenTelemetry SDK, over both protocols into a running server, come back as they were."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tests.e2e.otlp_json import spans_of
from tests.e2e.processes import Server

LINKED = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(1))


def exporter_for(protocol: str, server: Server) -> SpanExporter:
    if protocol == "grpc":
        return GrpcExporter(endpoint=server.otlp_grpc, insecure=True)
    compression = Compression.Gzip if protocol == "http gzip" else Compression.NoCompression
    return HttpExporter(endpoint=f"{server.otlp_http}/v1/traces", compression=compression)


def emit(exporter: SpanExporter) -> list[ReadableSpan]:
    """A trace with something in every field the SDK can fill; also returned as the SDK saw it."""
    resource = Resource({"service.name": "runner", "service.version": "1.2", "host.cpus": 8, "tags": ["a", "b"]})
    provider = TracerProvider(resource=resource)
    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("e2e", "0.1", schema_url="https://example.org/1.0", attributes={"scope.on": True})
    values = {
        "text": "naïve \U0001f52d \x00 end",
        "empty": "",
        "whole": 2**63 - 1,
        "negative": -(2**63),
        "real": 0.1,
        "huge": 1e308,
        "yes": True,
        "texts": ["x", ""],
        "wholes": [1, -2],
        "reals": [1.0, 2.5],
        "flags": [True, False],
    }
    with tracer.start_as_current_span("root", kind=SpanKind.SERVER, attributes=values, links=[Link(LINKED, values)]):
        for kind in SpanKind:
            with tracer.start_as_current_span(f"child {kind.name}", kind=kind) as child:
                child.add_event("noted", values, timestamp=1_700_000_000_000_000_001)
                child.set_status(Status(StatusCode.OK) if kind is SpanKind.CLIENT else Status(StatusCode.ERROR, "no"))
        tracer.start_span("instant", start_time=1_700_000_000_000_000_003).end(1_700_000_000_000_000_003)
    assert provider.force_flush()
    provider.shutdown()
    return list(kept.get_finished_spans())


def to_json(span: ReadableSpan) -> dict:
    """One request of OTLP/JSON, from the SDK's own object and the specification."""
    scope, context = span.instrumentation_scope, span.context
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": pairs(span.resource.attributes)},
                "scopeSpans": [
                    {
                        "scope": {
                            "name": scope.name,
                            "version": scope.version,
                            "attributes": pairs(scope.attributes),
                        },
                        "schemaUrl": scope.schema_url,
                        "spans": [
                            {
                                "traceId": f"{context.trace_id:032x}",
                                "spanId": f"{context.span_id:016x}",
                                "parentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
                                "name": span.name,
                                "kind": span.kind.value + 1,
                                "flags": 0x100 | (0x200 if span.parent and span.parent.is_remote else 0),
                                "startTimeUnixNano": span.start_time,
                                "endTimeUnixNano": span.end_time,
                                "attributes": pairs(span.attributes),
                                "status": {"code": span.status.status_code.value, "message": span.status.description},
                                "events": [
                                    {
                                        "name": event.name,
                                        "timeUnixNano": event.timestamp,
                                        "attributes": pairs(event.attributes),
                                    }
                                    for event in span.events
                                ],
                                # The SDK's exporters leave the trace state of links and spans out.
                                "links": [
                                    {
                                        "traceId": f"{link.context.trace_id:032x}",
                                        "spanId": f"{link.context.span_id:016x}",
                                        "flags": 0x100 | (0x200 if link.context.is_remote else 0),
                                        "attributes": pairs(link.attributes),
                                    }
                                    for link in span.links
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    }


def pairs(attributes) -> list[dict]:
    return [{"key": key, "value": value_of(value)} for key, value in (attributes or {}).items()]


def value_of(value) -> dict:
    match value:
        case bool():
            return {"boolValue": value}
        case str():
            return {"stringValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case _:
            return {"arrayValue": {"values": [value_of(item) for item in value]}}


@pytest.mark.parametrize("protocol", ["grpc", "http", "http gzip"])
def test_spans_of_the_sdk_come_back_equal(server: Server, protocol: str) -> None:
    sent = emit(exporter_for(protocol, server))
    assert len(sent) == 2 + len(SpanKind)
    back = server.get(f"traces/{sent[0].context.trace_id:032x}")
    assert sorted(map(repr, spans_of(back))) == sorted(repr(one) for span in sent for one in spans_of(to_json(span)))
