"""What nobody should send and somebody does."""

from __future__ import annotations

import json
import zlib
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MIB = 1024 * 1024
START = 1_790_000_000_000_000_000


def request(*spans: dict[str, Any], service: str = "runner") -> ExportTraceServiceRequest:
    """One resource, one scope; fields of the spans that are not given are harmless."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_spans.add()
    for number, fields in enumerate(spans, 1):
        usual: dict[str, Any] = {
            "span_id": number.to_bytes(8, "big"),
            "name": "step",
            "start_time_unix_nano": START + number,
            "end_time_unix_nano": START + number + 1_000_000,
        }
        scope.spans.append(Span(**usual | fields))
    return message


def encoded(*spans: dict[str, Any], **options: Any) -> bytes:
    payload: bytes = request(*spans, **options).SerializeToString()
    return payload


def bomb(mib: int) -> bytes:
    """A gzip stream of so many MiB of zeros, in a thousandth of that: one block, repeated."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    first, block = (stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + block * (mib - 1) + stream.flush()


def deep_value(depth: int) -> bytes:
    """An AnyValue: an array in an array in an array ..."""
    lengths = [0]
    for _ in range(depth):
        inside = lengths[-1] + 1 + len(_varint(lengths[-1]))  # ArrayValue { values: 1 }
        lengths.append(inside + 1 + len(_varint(inside)))  # AnyValue { array_value: 5 }
    parts = []
    for inner in reversed(lengths[:-1]):
        values = b"\x0a" + _varint(inner)
        parts.append(b"\x2a" + _varint(inner + len(values)) + values)
    return b"".join(parts)


def deeply_nested(trace_id: bytes, depth: int) -> bytes:
    """A request with such an attribute."""
    pair = b"\x0a\x01k" + _field(2, deep_value(depth))
    span = _field(1, trace_id) + _field(2, b"s" * 8) + _field(9, pair)
    return _field(1, _field(2, _field(2, span)))


def deeply_nested_json(trace_id: str, depth: int) -> bytes:
    value = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    span = {"traceId": trace_id, "spanId": "73" * 8, "attributes": [{"key": "k", "value": "VALUE"}]}
    return as_json(span).replace(b'"VALUE"', value.encode())


def as_json(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
