"""One request of each signal that has everything in it, valid throughout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

NOW = 1_790_000_000_123_456_789
TRACE_ID, SPAN_ID = bytes(range(16)), bytes(range(1, 9))


def _around(group: Any) -> Any:
    """Fill in resource and scope; returns the scope's group."""
    group.schema_url = "https://opentelemetry.io/schemas/1.37.0"
    group.resource.attributes.add(key="service.name").value.string_value = "router"
    group.resource.attributes.add(key="service.version").value.string_value = "1.4.2"
    group.resource.dropped_attributes_count = 1
    (name,) = (field.name for field in group.DESCRIPTOR.fields if field.name.startswith("scope_"))
    scoped = getattr(group, name).add()
    scoped.scope.name, scoped.scope.version = "golden", "2"
    scoped.scope.attributes.add(key="a").value.bool_value = True
    return scoped


def traces() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scoped = _around(request.resource_spans.add())
    span = scoped.spans.add(
        trace_id=TRACE_ID, span_id=SPAN_ID, parent_span_id=b"parentid", name="call", kind=3, flags=1
    )
    span.start_time_unix_nano, span.end_time_unix_nano = NOW, NOW + 1_000
    span.attributes.add(key="int").value.int_value = 2**62
    event = span.events.add(name="exception", time_unix_nano=NOW)
    event.attributes.add(key="exception.type").value.string_value = "TimeoutError"
    span.links.add(trace_id=TRACE_ID, span_id=SPAN_ID).attributes.add(key="k").value.bytes_value = b"\0\xff"
    span.status.code, span.status.message = 2, "late"
    scoped.spans.add(trace_id=TRACE_ID, span_id=b"parentid", name="root", start_time_unix_nano=NOW - 1)
    return request


def logs() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scoped = _around(request.resource_logs.add())
    record = scoped.log_records.add(
        time_unix_nano=NOW,
        observed_time_unix_nano=NOW + 5,
        severity_number=17,
        severity_text="ERROR",
        event_name="lost.answer",
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        flags=1,
        dropped_attributes_count=2,
    )
    record.body.string_value = "no answer after 82 s"
    record.attributes.add(key="exception.type").value.string_value = "TimeoutError"
    structured = scoped.log_records.add(observed_time_unix_nano=NOW + 6)
    members = structured.body.kvlist_value.values
    members.add(key="depth").value.double_value = math.inf
    members.add(key="list").value.array_value.values.add().int_value = 3
    return request


def metrics() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    scoped = _around(request.resource_metrics.add())
    times = {"start_time_unix_nano": NOW - 60_000_000_000, "time_unix_nano": NOW}

    gauge = scoped.metrics.add(name="queue.length", unit="{job}", description="Jobs that wait.")
    gauge.gauge.data_points.add(as_int=2**53 + 1, **times).attributes.add(key="queue").value.string_value = "a"
    gauge.gauge.data_points.add(as_double=math.nan, **times)
    gauge.gauge.data_points.add(flags=1, **times)

    total = scoped.metrics.add(name="jobs", unit="1")
    total.sum.aggregation_temporality, total.sum.is_monotonic = 2, True
    total.sum.data_points.add(as_double=7.5, **times)
    total.metadata.add(key="m").value.string_value = "d"

    histogram = scoped.metrics.add(name="latency", unit="ms")
    histogram.histogram.aggregation_temporality = 1
    point = histogram.histogram.data_points.add(
        count=3, sum=30.5, min=0.5, max=25, bucket_counts=[1, 2], explicit_bounds=[10], **times
    )
    exemplar = point.exemplars.add(time_unix_nano=NOW, as_double=25, trace_id=TRACE_ID, span_id=SPAN_ID)
    exemplar.filtered_attributes.add(key="user").value.string_value = "u"

    exponential = scoped.metrics.add(name="size", unit="By")
    exponential.exponential_histogram.aggregation_temporality = 2
    scaled = exponential.exponential_histogram.data_points.add(
        count=4, sum=-1, scale=-2, zero_count=1, zero_threshold=0.25, **times
    )
    scaled.positive.offset = -3
    scaled.positive.bucket_counts.extend([1, 0, 2**64 - 1])
    scaled.negative.SetInParent()

    summary = scoped.metrics.add(name="old", unit="s")
    quantiles = summary.summary.data_points.add(count=2, sum=3, **times).quantile_values
    quantiles.add(quantile=0.5, value=1)
    quantiles.add(quantile=1, value=math.inf)
    return request


def profiles() -> ExportProfilesServiceRequest:
    request = ExportProfilesServiceRequest()
    dictionary = request.dictionary

    def string(value: str) -> int:
        dictionary.string_table.append(value)
        return len(dictionary.string_table) - 1

    string("")
    for table in ("mapping", "function", "location", "attribute", "link", "stack"):
        getattr(dictionary, f"{table}_table").add()
    dictionary.mapping_table.add(filename_strindex=string("libc.so"), memory_start=4096, file_offset=1)
    dictionary.function_table.add(name_strindex=string("main"), filename_strindex=string("app.py"), start_line=3)
    dictionary.function_table.add(name_strindex=string("encode"), system_name_strindex=string("_encode"))
    inlined = dictionary.location_table.add()
    inlined.lines.add(function_index=2, line=7, column=2)
    inlined.lines.add(function_index=1, line=12)
    dictionary.location_table.add(mapping_index=1, address=0x7F00)
    thread = dictionary.attribute_table.add(key_strindex=string("thread.name"), unit_strindex=string("u"))
    thread.value.string_value_strindex = string("worker")
    dictionary.link_table.add(trace_id=TRACE_ID, span_id=SPAN_ID)
    dictionary.stack_table.add(location_indices=[2, 1])

    scoped = _around(request.resource_profiles.add())
    attribute = request.resource_profiles[0].resource.attributes.add(key_strindex=string("host.name"))
    attribute.value.string_value_strindex = string("box")
    profile = scoped.profiles.add(
        time_unix_nano=NOW, duration_nano=10**9, period=52_631_578, profile_id=TRACE_ID, attribute_indices=[1]
    )
    profile.sample_type.type_strindex, profile.sample_type.unit_strindex = string("cpu"), string("nanoseconds")
    profile.period_type.CopyFrom(profile.sample_type)
    profile.samples.add(stack_index=1, link_index=1, values=[5, 6], timestamps_unix_nano=[NOW, NOW + 1])
    profile.samples.add(stack_index=1, attribute_indices=[1], timestamps_unix_nano=[NOW, NOW + 1, NOW + 2])
    return request


GOLDEN: dict[str, Callable[[], Any]] = {"traces": traces, "metrics": metrics, "logs": logs, "profiles": profiles}
