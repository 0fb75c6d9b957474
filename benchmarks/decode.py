"""Spans per second on one core: protobuf parse alone against the whole decode. Usage: decode.py [SECONDS]"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode.traces import decode_traces

SPANS = 512


def request(spans: int = SPANS) -> bytes:
    """About 370 bytes a span, ten attributes of mixed types, one resource."""
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    for key, value in {"service.name": "router", "service.version": "1.4.2", "host.name": "ip-10-0-3-17"}.items():
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    start = 1_790_000_000_000_000_000
    for number in range(1, spans + 1):
        span = scope.spans.add(
            trace_id=(number // 8 + 1).to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            parent_span_id=(number // 2).to_bytes(8, "big"),
            name="POST /v1/route",
            kind=2,
            start_time_unix_nano=start + number * 1000,
            end_time_unix_nano=start + number * 1000 + 2_500_000,
        )
        texts = {
            "http.request.method": "POST",
            "url.path": f"/v1/route/{number}",
            "server.address": "router.internal",
            "job.id": "job-2026-11-21-0042",
            "model.id": "llama3.2-1b",
            "region": "us-east",
        }
        for key, text in texts.items():
            span.attributes.add(key=key).value.string_value = text
        for key, integer in {"http.response.status_code": 200, "execution.id": number, "retry": 0}.items():
            span.attributes.add(key=key).value.int_value = integer
        span.attributes.add(key="queue.time_ms").value.double_value = number / 7
    payload: bytes = message.SerializeToString()
    return payload


def rate(work: Callable[[], object], seconds: float) -> float:
    """Runs of SPANS spans, as spans per second."""
    work()
    runs, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < seconds:
        work()
        runs += 1
    return runs * SPANS / elapsed


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    payload = request()
    parse = rate(lambda: ExportTraceServiceRequest.FromString(payload), seconds)
    decode = rate(lambda: decode_traces(payload, "default"), seconds)
    print(f"{len(payload) / SPANS:.0f} bytes a span, {SPANS} spans a request")
    print(f"protobuf parse alone: {parse:,.0f} spans/s")
    print(f"whole decode:         {decode:,.0f} spans/s ({1e6 / decode:.1f} us a span)")


if __name__ == "__main__":
    main()
