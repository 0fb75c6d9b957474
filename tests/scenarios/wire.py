"""The status that the receiver gives a span: scenarios do not guess it, they ask the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_diag.decode.traces import decode_traces
from otel_diag.model import Status as Derived

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_SPEAKING = (
    "error.type",
    "http.response.status_code",
    "http.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
)
"""Attributes that have a part in the status of a span."""


def status_of(
    kind: str,
    *,
    is_error: bool,
    message: str | None,
    exception: tuple[str, str] | None,
    attributes: Mapping[str, object],
) -> Derived:
    """``is_error``: the status code is ERROR, else it was never set. ``exception``: type and message of its event."""
    speaking = tuple((name, attributes[name]) for name in _SPEAKING if name in attributes)
    return _status_of(kind, is_error, message, exception, speaking)


@cache
def _status_of(
    kind: str,
    is_error: bool,
    message: str | None,
    exception: tuple[str, str] | None,
    attributes: tuple[tuple[str, object], ...],
) -> Derived:
    span = Span(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        kind=_KINDS[kind],  # type: ignore[arg-type]
        start_time_unix_nano=1,
        end_time_unix_nano=2,
        status=Status(code=2 if is_error else 0, message=message or ""),  # type: ignore[arg-type]
        attributes=[_attribute(name, value) for name, value in attributes],
    )
    if exception is not None:
        told = zip(("exception.type", "exception.message"), exception, strict=True)
        span.events.add(name="exception", attributes=[_attribute(name, value) for name, value in told])
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(span)
    (status,) = decode_traces(request.SerializeToString(), "default").batch.column("status").to_pylist()
    return Derived(status)


def _attribute(name: str, value: object) -> KeyValue:
    kept = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=str(value))
    return KeyValue(key=name, value=kept)
