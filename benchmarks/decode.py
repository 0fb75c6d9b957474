"""Records per second on one core, of every signal: protobuf parse alone against the whole decode.

Usage: decode.py [SECONDS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode.logs import LOGS
from otel_diag.decode.metrics import METRICS
from otel_diag.decode.profiles import PROFILES
from otel_diag.decode.traces import TRACES

SPANS = 512
START: Final = 1_790_000_000_000_000_000


def request(spans: int = SPANS) -> bytes:
    """About 370 bytes a span, ten attributes of mixed types, one resource."""
    message = ExportTraceServiceRequest()
    scope = _group(message.resource_spans.add()).scope_spans.add()
    scope.scope.name = "bench"
    for number in range(1, spans + 1):
        span = scope.spans.add(
            trace_id=(number // 8 + 1).to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            parent_span_id=(number // 2).to_bytes(8, "big"),
            name="POST /v1/route",
            kind=2,
            start_time_unix_nano=START + number * 1000,
            end_time_unix_nano=START + number * 1000 + 2_500_000,
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


def data_points(points: int = SPANS) -> bytes:
    """Half of them sums, half histograms of ten buckets; twenty points a metric, five attributes each."""
    message = ExportMetricsServiceRequest()
    scope = _group(message.resource_metrics.add()).scope_metrics.add()
    times = {"start_time_unix_nano": START - 60_000_000_000, "time_unix_nano": START}
    for number in range(points):
        if number % 20 == 0:
            metric = scope.metrics.add(name=f"http.server.requests.{number // 20}", unit="ms", description="Requests.")
        if number // 20 % 2:
            point: Any = metric.histogram.data_points.add(
                count=55, sum=number / 7, bucket_counts=range(11), explicit_bounds=range(10), **times
            )
        else:
            point = metric.sum.data_points.add(as_int=number, **times)
        _attributes(point, number)
    payload: bytes = message.SerializeToString()
    return payload


def log_records(records: int = SPANS) -> bytes:
    """A line of text, five attributes, written within a span."""
    message = ExportLogsServiceRequest()
    scope = _group(message.resource_logs.add()).scope_logs.add()
    for number in range(1, records + 1):
        record = scope.log_records.add(
            time_unix_nano=START + number,
            observed_time_unix_nano=START + number,
            severity_number=9,
            severity_text="INFO",
            trace_id=(number // 8 + 1).to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
        )
        record.body.string_value = f"routed job {number} to modal in us-east, 17 waiting, retry 0"
        _attributes(record, number)
    payload: bytes = message.SerializeToString()
    return payload


def samples(count: int = SPANS) -> bytes:
    """One profile, a stack of twenty frames to every four samples."""
    message = ExportProfilesServiceRequest()
    tables = message.dictionary
    tables.string_table.extend(["", *(f"function_{number}" for number in range(200))])
    for name in ("mapping", "link", "attribute", "function", "location", "stack"):
        getattr(tables, f"{name}_table").add()
    for number in range(200):
        tables.function_table.add(name_strindex=number + 1, filename_strindex=1)
        tables.location_table.add().lines.add(function_index=number + 1, line=number)
    for number in range(count // 4):
        tables.stack_table.add(location_indices=[(number + depth) % 200 + 1 for depth in range(20)])
    scope = _group(message.resource_profiles.add()).scope_profiles.add()
    profile = scope.profiles.add(time_unix_nano=START, duration_nano=10**10)
    for number in range(count):
        profile.samples.add(stack_index=number // 4 + 1, timestamps_unix_nano=[START + number])
    payload: bytes = message.SerializeToString()
    return payload


def _group(group: Any) -> Any:
    for key, value in {"service.name": "router", "service.version": "1.4.2", "host.name": "ip-10-0-3-17"}.items():
        group.resource.attributes.add(key=key).value.string_value = value
    return group


def _attributes(owner: Any, number: int) -> None:
    for key, text in {"http.request.method": "POST", "url.path": f"/v1/route/{number}", "region": "us-east"}.items():
        owner.attributes.add(key=key).value.string_value = text
    owner.attributes.add(key="http.response.status_code").value.int_value = 200
    owner.attributes.add(key="share").value.double_value = number / 7


def rate(work: Callable[[], object], seconds: float, records: int = SPANS) -> float:
    """Runs of so many records, as records per second of the processor."""
    work()
    runs, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < seconds:
        work()
        runs += 1
    return runs * records / elapsed


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    signals = ((TRACES, request), (METRICS, data_points), (LOGS, log_records), (PROFILES, samples))
    print(f"{'a request of':<18}{'bytes each':>12}{'parse alone':>14}{'decode':>12}{'us each':>10}")
    for wire, build in signals:
        noun = "samples" if wire is PROFILES else wire.noun
        for records in (SPANS, 8 * SPANS):
            payload = build(records)
            parse = rate(partial(wire.message.FromString, payload), seconds, records)
            decode = rate(partial(wire.decode_one, payload, "default"), seconds, records)
            title = f"{records} {noun}"
            print(f"{title:<18}{len(payload) / records:>12.0f}{parse:>14,.0f}{decode:>12,.0f}{1e6 / decode:>10.1f}")


if __name__ == "__main__":
    main()
