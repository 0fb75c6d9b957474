"""Requests that say themselves what they should have become: one trace a request, its number of spans in its id."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SIZES = (1, 16, 64, 64, 64, 256)
"""Spans of a request, mixed so that commits gather requests of all kinds."""

_PLACEHOLDER = bytes(range(1, 17))


@dataclass(frozen=True, slots=True)
class Batch:
    """One encoded request: ``spans`` spans of trace ``trace_id``, which no other request has."""

    trace_id: str
    spans: int
    payload: bytes


def batches(sender: int, sizes: tuple[int, ...] = SIZES, days_old: int = 0) -> Iterator[Batch]:
    """Without end, in one process always the same; ``sender`` (less than 65,536) keeps several senders' ids apart."""
    draw = random.Random(sender)
    for number in count(1):
        spans = draw.choice(sizes)
        trace_id = sender.to_bytes(2, "big") + number.to_bytes(10, "big") + spans.to_bytes(4, "big")
        yield Batch(trace_id.hex(), spans, _template(spans, days_old).replace(_PLACEHOLDER, trace_id))


def spans_of(trace_id: str) -> int:
    """How many spans the request had that this trace came with."""
    return int(trace_id[-8:], 16)


@cache
def _template(spans: int, days_old: int) -> bytes:
    """About 370 bytes and ten attributes a span; the trace id is there to be replaced."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "router"
    group.resource.attributes.add(key="deployment.environment.name").value.string_value = "faults"
    scope = group.scope_spans.add()
    now = time.time_ns() - days_old * 86_400_000_000_000
    for number in range(1, spans + 1):
        span = scope.spans.add(
            trace_id=_PLACEHOLDER,
            span_id=number.to_bytes(8, "big"),
            parent_span_id=(1).to_bytes(8, "big") if number > 1 else b"",
            name="modal.inference" if number > 1 else "runner.execution",
            kind=3,
            start_time_unix_nano=now + number * 1_000_000,
            end_time_unix_nano=now + number * 2_000_000,
        )
        for key in range(8):
            span.attributes.add(key=f"example.attribute.{key}").value.string_value = f"value {number} of {key}"
        span.attributes.add(key="input_tokens").value.int_value = number
        span.attributes.add(key="cost_usd").value.double_value = number / 1000
    payload: bytes = request.SerializeToString()
    return payload
