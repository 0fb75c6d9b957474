"""Small export requests."""

from __future__ import annotations

import base64
from itertools import count
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

START = 1_790_000_000_000_000_000
_numbers = count(1)


def request_of(spans: int, *, bad_ids: int = 0, padding: int = 0) -> ExportTraceServiceRequest:
    """That many spans with ids of their own, the first ``bad_ids`` of them with a zero trace id."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "router"
    scope = group.scope_spans.add()
    for index in range(spans):
        number = next(_numbers)
        span = scope.spans.add(
            trace_id=bytes(16) if index < bad_ids else number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name=f"operation {number}",
            kind=2,
            start_time_unix_nano=START + number,
            end_time_unix_nano=START + number + 1_000_000,
        )
        span.attributes.add(key="padding").value.string_value = "x" * padding
    return request


def as_json(request: Message) -> dict[str, Any]:
    """OTLP/JSON of one of our requests: hex ids instead of base64."""
    data: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    _with_hex_ids(data)
    return data


def _with_hex_ids(node: Any) -> None:
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _with_hex_ids(child)
    if isinstance(node, dict):
        for key in {"traceId", "spanId", "parentSpanId", "profileId"} & node.keys():
            node[key] = base64.b64decode(node[key]).hex()
