"""Traces as OTLP requests, announcements as log records, executions as JSON: the public wire formats only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.labelled.acts import Value
from benchmarks.labelled.semconv import beginning
from benchmarks.labelled.spans import Declared, Span, Trace
from benchmarks.labelled.stage import ANNOUNCED_AFTER_MS

SPANS_A_REQUEST = 2_000
SCOPES = {
    "python": "opentelemetry.instrumentation.asgi",
    "go": "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
    "java": "io.opentelemetry.tomcat-10.0",
    "node": "@opentelemetry/instrumentation-http",
    "nodejs": "@opentelemetry/instrumentation-http",
    "dotnet": "Microsoft.AspNetCore",
    "rust": "tracing-opentelemetry",
}


def trace_requests(traces: Iterable[Trace], anchor_ns: int, late: bool = False) -> Iterator[bytes]:
    """The spans that were exported late, or those that were not, in requests of some thousand spans."""
    writer = _Traces(anchor_ns)
    for trace in traces:
        for span in trace.spans:
            if span.late == late and span.end_ms is not None:
                writer.add(trace, span)
        if writer.spans >= SPANS_A_REQUEST:
            yield writer.taken()
    if writer.spans:
        yield writer.taken()


def announcements(traces: Iterable[Trace], anchor_ns: int) -> Iterator[bytes]:
    """What their services announced while it was open: what never ended, and in some services all that takes long."""
    for trace in traces:
        spans = [span for span in trace.spans if announced(span)]
        if spans:
            yield _announcing(trace, spans, anchor_ns)


def announced(span: Span) -> bool:
    if span.end_ms is None:
        return True
    return span.service.announces and span.end_ms - span.start_ms > ANNOUNCED_AFTER_MS


def execution(declared: Declared, anchor_ns: int) -> bytes:
    """The body of POST /api/v1/executions."""
    began = anchor_ns / 1e9 + declared.start_s
    body: dict[str, object] = {
        "execution_id": declared.execution_id,
        "status": declared.record.status,
        "started_at": datetime.fromtimestamp(began, UTC).isoformat(),
        "completed_at": datetime.fromtimestamp(began + declared.record.duration_ms / 1000.0, UTC).isoformat(),
    }
    names = {"job.id": "job_id", "region": "region", "cloud.region": "region"}
    for key, value in declared.labels.items():
        body[names.get(key, "model_id")] = value
    if declared.record.error_message is not None:
        body["error_message"] = declared.record.error_message
    if declared.trace_id is not None:
        body["trace_id"] = declared.trace_id.hex()
    return json.dumps(body).encode()


def unix_nano(trace: Trace, span: Span, at_ms: float, anchor_ns: int) -> int:
    """A time as the clock of the span's host shows it."""
    clock_ms = trace.clocks_ms.get(span.service.name, span.service.clock_ms)
    return anchor_ns + round((trace.start_s * 1000.0 + at_ms + clock_ms) * 1e6)


class _Traces:
    def __init__(self, anchor_ns: int) -> None:
        self._anchor_ns = anchor_ns
        self._start()

    def _start(self) -> None:
        self._message = ExportTraceServiceRequest()
        self._scopes: dict[tuple[str, str | None], Any] = {}
        self.spans = 0

    def taken(self) -> bytes:
        payload: bytes = self._message.SerializeToString()
        self._start()
        return payload

    def _scope(self, trace: Trace, span: Span) -> Any:
        version = trace.versions.get(span.service.name, span.service.version)
        key = (span.service.name, version)
        if key not in self._scopes:
            group = self._message.resource_spans.add()
            fill(group.resource.attributes, resource(trace, span))
            scope = group.scope_spans.add()
            scope.scope.name = SCOPES[span.service.language]
            self._scopes[key] = scope
        return self._scopes[key]

    def add(self, trace: Trace, span: Span) -> None:
        assert span.end_ms is not None
        self.spans += 1
        written = self._scope(trace, span).spans.add(
            trace_id=trace.trace_id,
            span_id=span.span_id,
            parent_span_id=span.parent_id or b"",
            name=span.name,
            kind=int(span.kind),
            start_time_unix_nano=unix_nano(trace, span, span.start_ms, self._anchor_ns),
            end_time_unix_nano=unix_nano(trace, span, span.end_ms, self._anchor_ns),
        )
        fill(written.attributes, span.attributes)
        if span.failed:
            written.status.code = 2
            written.status.message = span.message
        for event in span.events:
            at = unix_nano(trace, span, event.at_ms, self._anchor_ns)
            fill(written.events.add(name=event.name, time_unix_nano=at).attributes, event.attributes)
        for trace_id, span_id in span.links:
            written.links.add(trace_id=trace_id or trace.trace_id, span_id=span_id)


def resource(trace: Trace, span: Span) -> dict[str, Value]:
    service = span.service
    found: dict[str, Value] = {"service.name": service.name, "telemetry.sdk.language": service.language}
    version = trace.versions.get(service.name, service.version)
    if version:
        found["service.version"] = version
    if service.host:
        found["host.name"] = service.host
    return found


def _announcing(trace: Trace, spans: list[Span], anchor_ns: int) -> bytes:
    message = ExportLogsServiceRequest()
    for span in spans:
        group = message.resource_logs.add()
        fill(group.resource.attributes, resource(trace, span))
        began = unix_nano(trace, span, span.start_ms, anchor_ns)
        record = group.scope_logs.add().log_records.add(
            time_unix_nano=began + int(ANNOUNCED_AFTER_MS * 1e6),
            event_name="otel_diag.span.start",
            trace_id=trace.trace_id,
            span_id=span.span_id,
        )
        about: dict[str, Value] = {
            "span.name": span.name,
            "span.kind": span.kind.name.lower(),
            "span.start_unix_nano": began,
        }
        if span.parent_id:
            about["span.parent_id"] = span.parent_id.hex()
        fill(record.attributes, about | beginning(span.attributes))
    payload: bytes = message.SerializeToString()
    return payload


def fill(attributes: Any, values: dict[str, Value]) -> None:
    """Add key-value pairs to a repeated field of a protobuf message."""
    for key, value in values.items():
        held = attributes.add(key=key).value
        if isinstance(value, bool):
            held.bool_value = value
        elif isinstance(value, int):
            held.int_value = value
        elif isinstance(value, float):
            held.double_value = value
        else:
            held.string_value = value
