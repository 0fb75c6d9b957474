"""Arbitrary export requests."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    EntityRef,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import (
    Function,
    KeyValueAndUnit,
    Line,
    Link,
    Location,
    Mapping,
    Profile,
    ProfilesDictionary,
    Sample,
    Stack,
    ValueType,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "\0", "\u241b", "\u241b\u2400", "a\0\u241b\u241b\u2400", '"\\\n', "$", "$bytes", "$$x", "naïve 🙂"]
)
keys = texts | st.sampled_from(
    ["service.name", "execution.id", "error.type", "$duplicates", "$double", "exception.type"]
)
counts = st.sampled_from([0, 0, 1, 2**32 - 1])
nanos = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1, 1_790_000_000_000_000_000]) | st.integers(0, 2**64 - 1)
enums = st.integers(0, 6) | st.sampled_from([99, -1, 2**31 - 1])

scalars = st.one_of(
    st.builds(AnyValue),
    st.builds(AnyValue, string_value=texts),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats(allow_nan=False) | st.just(math.nan)),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.builds(lambda items: AnyValue(array_value=ArrayValue(values=items)), st.lists(inner, max_size=3))
        | st.builds(
            lambda items: AnyValue(kvlist_value=KeyValueList(values=items)),
            st.lists(st.builds(KeyValue, key=keys, value=inner), max_size=3),
        )
    ),
    max_leaves=6,
)
attributes = st.lists(st.builds(KeyValue, key=keys, value=values), max_size=4)

events = st.builds(
    Span.Event,
    name=texts | st.just("exception"),
    time_unix_nano=nanos,
    attributes=attributes,
    dropped_attributes_count=counts,
)
links = st.builds(
    Span.Link,
    trace_id=st.binary(max_size=17),
    span_id=st.binary(max_size=9),
    trace_state=texts,
    attributes=attributes,
    dropped_attributes_count=counts,
    flags=counts,
)
spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    parent_span_id=st.just(b"") | st.binary(min_size=8, max_size=8),
    trace_state=texts,
    name=texts,
    kind=enums,
    start_time_unix_nano=nanos,
    end_time_unix_nano=nanos,
    attributes=attributes,
    dropped_attributes_count=counts,
    events=st.lists(events, max_size=2),
    dropped_events_count=counts,
    links=st.lists(links, max_size=2),
    dropped_links_count=counts,
    status=st.none() | st.builds(SpanStatus, code=enums, message=texts),
    flags=counts,
)
scopes = st.builds(
    InstrumentationScope, name=texts, version=texts, attributes=attributes, dropped_attributes_count=counts
)
references = st.builds(
    EntityRef,
    schema_url=texts,
    type=texts,
    id_keys=st.lists(texts, max_size=2),
    description_keys=st.lists(texts, max_size=2),
)
resources = st.builds(
    Resource,
    attributes=attributes,
    dropped_attributes_count=counts,
    entity_refs=st.lists(references, max_size=2),
)
trace_ids = st.just(b"") | st.binary(min_size=16, max_size=16)
span_ids = st.just(b"") | st.binary(min_size=8, max_size=8)
doubles = st.floats(allow_nan=False) | st.just(math.nan)
counters = st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
int64s = st.sampled_from([0, -1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)


def requests_of(message: type[Message], signal: str, records: str, record: st.SearchStrategy[Any]) -> Any:
    """Export requests with records of a signal: ``resource_<signal>`` > ``scope_<signal>`` > ``records``."""
    groups = message.DESCRIPTOR.fields_by_name[f"resource_{signal}"].message_type
    scoped = groups.fields_by_name[f"scope_{signal}"].message_type
    in_scope = st.builds(
        GetMessageClass(scoped),
        scope=st.none() | scopes,
        schema_url=texts,
        **{records: st.lists(record, max_size=3)},
    )
    in_resource = st.builds(
        GetMessageClass(groups),
        resource=st.none() | resources,
        schema_url=texts,
        **{f"scope_{signal}": st.lists(in_scope, max_size=2)},
    )
    return st.builds(message, **{f"resource_{signal}": st.lists(in_resource, max_size=2)})


requests = requests_of(ExportTraceServiceRequest, "spans", "spans", spans)

log_requests = requests_of(
    ExportLogsServiceRequest,
    "logs",
    "log_records",
    st.builds(
        LogRecord,
        time_unix_nano=nanos,
        observed_time_unix_nano=nanos,
        severity_number=enums | st.integers(1, 24),
        severity_text=texts,
        body=st.none() | values,
        attributes=attributes,
        dropped_attributes_count=counts,
        flags=counts,
        trace_id=trace_ids,
        span_id=span_ids,
        event_name=texts,
    ),
)

# --------------------------------------------------------------------------------------------------
# Metrics.


def named(name: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda found: {name: found}, value)


number: st.SearchStrategy[dict[str, Any]] = st.just({}) | named("as_double", doubles) | named("as_int", int64s)
"""Members of a oneof: none of them, or one."""

exemplars = st.lists(
    st.builds(
        lambda value, **members: Exemplar(**value, **members),
        number,
        filtered_attributes=attributes,
        time_unix_nano=nanos,
        trace_id=trace_ids | st.binary(max_size=17),
        span_id=span_ids | st.binary(max_size=9),
    ),
    max_size=2,
)
point = {
    "attributes": attributes,
    "start_time_unix_nano": nanos,
    "time_unix_nano": nanos,
    "flags": counts,
}
number_points = st.lists(
    st.builds(
        lambda value, **members: NumberDataPoint(**value, **members),
        number,
        exemplars=exemplars,
        **point,
    ),
    max_size=3,
)
buckets = st.builds(ExponentialHistogramDataPoint.Buckets, offset=int32s, bucket_counts=st.lists(counters, max_size=3))
summed = {"count": counters, "sum": st.none() | doubles, "min": st.none() | doubles, "max": st.none() | doubles}
data = st.one_of(
    st.just({}),
    st.builds(lambda points: {"gauge": Gauge(data_points=points)}, number_points),
    st.builds(
        lambda **members: {"sum": Sum(**members)},
        data_points=number_points,
        aggregation_temporality=enums,
        is_monotonic=st.booleans(),
    ),
    st.builds(
        lambda **members: {"histogram": Histogram(**members)},
        data_points=st.lists(
            st.builds(
                HistogramDataPoint,
                bucket_counts=st.lists(counters, max_size=3),
                explicit_bounds=st.lists(doubles, max_size=3),
                exemplars=exemplars,
                **summed,
                **point,
            ),
            max_size=2,
        ),
        aggregation_temporality=enums,
    ),
    st.builds(
        lambda **members: {"exponential_histogram": ExponentialHistogram(**members)},
        data_points=st.lists(
            st.builds(
                ExponentialHistogramDataPoint,
                scale=int32s,
                zero_count=counters,
                zero_threshold=doubles,
                positive=st.none() | buckets,
                negative=st.none() | buckets,
                exemplars=exemplars,
                **summed,
                **point,
            ),
            max_size=2,
        ),
        aggregation_temporality=enums,
    ),
    st.builds(
        lambda points: {"summary": Summary(data_points=points)},
        st.lists(
            st.builds(
                SummaryDataPoint,
                count=counters,
                sum=doubles,
                quantile_values=st.lists(
                    st.builds(SummaryDataPoint.ValueAtQuantile, quantile=doubles, value=doubles), max_size=2
                ),
                **point,
            ),
            max_size=2,
        ),
    ),
)
metric_requests = requests_of(
    ExportMetricsServiceRequest,
    "metrics",
    "metrics",
    st.builds(
        lambda data, **members: Metric(**data, **members),
        data,
        name=texts.filter(bool),
        description=texts,
        unit=texts,
        metadata=attributes,
    ),
)

# --------------------------------------------------------------------------------------------------
# Profiles: indexes that mostly point somewhere, into tables that begin with the zero entry.

TABLE_SIZE = 4
indexes = st.integers(0, TABLE_SIZE - 1)
index_lists = st.lists(indexes, max_size=3)


def table(entry: st.SearchStrategy[Any], zero: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(entry, min_size=TABLE_SIZE - 1, max_size=TABLE_SIZE - 1).map(lambda entries: [zero, *entries])


dictionaries = st.builds(
    ProfilesDictionary,
    string_table=table(texts, ""),
    mapping_table=table(
        st.builds(
            Mapping,
            memory_start=counters,
            memory_limit=counters,
            file_offset=counters,
            filename_strindex=indexes,
            attribute_indices=index_lists,
        ),
        Mapping(),
    ),
    function_table=table(
        st.builds(
            Function,
            name_strindex=indexes,
            system_name_strindex=indexes,
            filename_strindex=indexes,
            start_line=int64s,
        ),
        Function(),
    ),
    location_table=table(
        st.builds(
            Location,
            mapping_index=indexes,
            address=counters,
            lines=st.lists(st.builds(Line, function_index=indexes, line=int64s, column=int64s), max_size=2),
            attribute_indices=index_lists,
        ),
        Location(),
    ),
    link_table=table(st.builds(Link, trace_id=trace_ids, span_id=span_ids), Link()),
    attribute_table=table(
        st.builds(
            KeyValueAndUnit,
            key_strindex=indexes,
            value=values | st.builds(AnyValue, string_value_strindex=indexes),
            unit_strindex=indexes,
        ),
        KeyValueAndUnit(),
    ),
    stack_table=table(st.builds(Stack, location_indices=index_lists), Stack()),
)
value_types = st.none() | st.builds(ValueType, type_strindex=indexes, unit_strindex=indexes)
profile_records = st.builds(
    Profile,
    sample_type=value_types,
    samples=st.lists(
        st.builds(
            Sample,
            stack_index=indexes,
            attribute_indices=index_lists,
            link_index=indexes,
            values=st.lists(int64s, max_size=2),
            timestamps_unix_nano=st.lists(counters, max_size=2),
        ),
        max_size=3,
    ),
    time_unix_nano=nanos,
    duration_nano=counters,
    period_type=value_types,
    period=int64s,
    profile_id=st.just(b"") | st.binary(min_size=16, max_size=16),
    dropped_attributes_count=counts,
    original_payload_format=texts,
    attribute_indices=index_lists,
)


def with_dictionary(request: ExportProfilesServiceRequest, dictionary: ProfilesDictionary) -> Any:
    request.dictionary.CopyFrom(dictionary)
    return request


profile_requests = st.builds(
    with_dictionary,
    requests_of(ExportProfilesServiceRequest, "profiles", "profiles", profile_records),
    dictionaries,
)
