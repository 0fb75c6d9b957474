"""OTLP metric requests, wire to Arrow, without a Python object per data point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_diag.decode import semconv
from otel_diag.decode.attributes import FlatAttributes, json_numbers, json_objects
from otel_diag.decode.columns import (
    EMPTY_TEXT,
    NO_TEXT,
    Int64s,
    field,
    flattened,
    hex_text,
    json_lists,
    json_object,
    json_object_or_null,
    list_offsets,
    null_if_empty,
    owners,
    quoted,
    storable,
    texts_of,
)
from otel_diag.decode.records import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Records,
    bad_id,
    content_hash,
    enum_names,
    otlp_rest,
    timestamps,
)
from otel_diag.decode.requests import Flattened, Wire
from otel_diag.model import METRIC_SCHEMA

KINDS: Final = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
TEMPORALITIES: Final = ("unspecified", "delta", "cumulative")

_HASHED: Final = (
    "metric",
    "kind",
    "unit",
    "description",
    "temporality",
    "is_monotonic",
    "start_unix_nano",
    "time_unix_nano",
    "value",
    "value_int",
    "count",
    "sum",
    "min",
    "max",
    "explicit_bounds",
    "bucket_counts",
    "scale",
    "zero_count",
    "zero_threshold",
    "positive_buckets",
    "negative_buckets",
    "quantiles",
    "exemplars",
    "scope_name",
    "scope_version",
    "attributes",
    "resource_attributes",
    "flags",
    "otlp_rest",
)
"""What the wire said."""


def _flatten(requests: pa.RecordBatch, tenants: pa.Array) -> Flattened:
    """All data points of the requests as rows of METRIC_SCHEMA."""
    metrics = Records.of(requests, "metrics", "metrics")
    lists = [field(field(metrics.values, kind), "data_points") for kind in KINDS]
    metric_of = np.concatenate([owners(list_offsets(points)) for points in lists])
    received = metrics.parts(_unified([flattened(points) for points in lists]), metric_of)
    nameless = np.asarray(pc.equal(field(metrics.values, "name"), EMPTY_TEXT).to_numpy(zero_copy_only=False), bool)
    checks = {"their metric has no name": nameless[metric_of]}
    records, rejected = received.accepted(checks)
    kept = metric_of[~nameless[metric_of]] if rejected else metric_of
    request_of = records.request_of
    table = _table(metrics.values, records, kept, tenants.take(pa.array(request_of)))
    return Flattened(*_in_wire_order(table, kept, request_of), np.sort(received.request_of), rejected)


def _unified(kinds: Sequence[pa.StructArray]) -> pa.StructArray:
    """Data points of all kinds, one kind after the other, with the fields of all; ``kind`` is its index in KINDS."""
    fields = {field.name: field for points in kinds for field in points.type}
    columns = {
        name: pa.concat_arrays(
            [
                points.field(name) if points.type.get_field_index(name) >= 0 else pa.nulls(len(points), wanted.type)
                for points in kinds
            ]
        )
        for name, wanted in fields.items()
    }
    columns["kind"] = pa.array(np.repeat(np.arange(len(kinds), dtype=np.int8), [len(points) for points in kinds]))
    return pa.StructArray.from_arrays(columns.values(), names=columns.keys())


def _in_wire_order(table: pa.Table, metric_of: Int64s, request_of: Int64s) -> tuple[pa.Table, Int64s]:
    if (metric_of[1:] >= metric_of[:-1]).all():  # of one kind, as requests often are
        return table, request_of
    order = np.argsort(metric_of, kind="stable")
    return table.take(pa.array(order)), request_of[order]


def _table(metrics: pa.StructArray, records: Records, metric_of: Int64s, tenants: pa.Array) -> pa.Table:
    points = records.values
    rows = len(points)
    of_metric = _metric_columns(metrics)
    context = records.context([(column, metric_of) for name, column in of_metric.items() if name in _TEXTS])
    to_metric = pa.array(metric_of)
    shared = {name: column.take(to_metric) for name, column in of_metric.items()}
    metadata = shared.pop("metadata")
    attributes = FlatAttributes.of(field(points, "attributes"))
    texts = attributes.texts()
    start = field(points, "start_time_unix_nano").to_numpy()
    time = field(points, "time_unix_nano").to_numpy()
    integers = field(points, "as_int")
    columns = {
        "tenant": tenants,
        **shared,
        "kind": texts_of(KINDS).take(field(points, "kind")),
        "started_at": timestamps(start),
        "measured_at": timestamps(time),
        "start_unix_nano": pa.array(start.view(np.int64)),
        "time_unix_nano": pa.array(time.view(np.int64)),
        "value": pc.coalesce(field(points, "as_double"), integers.cast(pa.float64(), safe=False)),
        "value_int": integers,
        "count": field(points, "count").view(pa.int64()),
        "sum": field(points, "sum"),
        "min": field(points, "min"),
        "max": field(points, "max"),
        "explicit_bounds": _numbers(field(points, "explicit_bounds")),
        "bucket_counts": _numbers(field(points, "bucket_counts")),
        "scale": field(points, "scale"),
        "zero_count": field(points, "zero_count").view(pa.int64()),
        "zero_threshold": field(points, "zero_threshold"),
        "positive_buckets": _buckets(field(points, "positive")),
        "negative_buckets": _buckets(field(points, "negative")),
        "quantiles": _quantiles(field(points, "quantile_values")),
        **_exemplars(field(points, "exemplars")),
        "attributes": texts.sent,
        "flags": field(points, "flags").cast(pa.int64()),
        **semconv.typed_columns(attributes, context.resource_attributes, context.to_resource, ["service_version"]),
        **context.columns,
        "otlp_rest": otlp_rest(rows, {**context.rest, "metadata": metadata}),
    }
    columns["content_hash"] = content_hash(columns, _HASHED, context.canonical | {"attributes": texts.canonical})
    return pa.Table.from_arrays([columns[name] for name in METRIC_SCHEMA.names], schema=METRIC_SCHEMA)


_TEXTS: Final = ("metric", "unit", "description", "metadata")


def _metric_columns(metrics: pa.StructArray) -> dict[str, pa.Array]:
    """What the data points of a metric share."""
    with_temporality = ("sum", "histogram", "exponential_histogram")
    codes = pc.coalesce(*(field(field(metrics, kind), "aggregation_temporality") for kind in with_temporality))
    names = enum_names(pc.fill_null(codes, pa.scalar(0, pa.int32())), TEMPORALITIES)
    return {
        "metric": storable(field(metrics, "name")),
        "unit": null_if_empty(storable(field(metrics, "unit"))),
        "description": null_if_empty(storable(field(metrics, "description"))),
        "temporality": pc.if_else(codes.is_valid(), names, NO_TEXT),
        "is_monotonic": field(field(metrics, "sum"), "is_monotonic"),
        "metadata": json_objects(field(metrics, "metadata")),
    }


def _numbers(lists: pa.ListArray) -> pa.Array:
    """A JSON array of each list, null for an empty one."""
    return json_lists(list_offsets(lists), json_numbers(flattened(lists)))


def _buckets(buckets: pa.StructArray) -> pa.Array:
    members = {
        "offset": json_numbers(field(buckets, "offset")),
        "bucket_counts": _numbers(field(buckets, "bucket_counts")),
    }
    return json_object_or_null(len(buckets), members)


def _quantiles(lists: pa.ListArray) -> pa.Array:
    quantiles = flattened(lists)
    members = {name: json_numbers(field(quantiles, name)) for name in ("quantile", "value")}
    return json_lists(list_offsets(lists), json_object(len(quantiles), members))


def _exemplars(lists: pa.ListArray) -> dict[str, pa.Array]:
    """The column ``exemplars``, and the ids of each point's last one that names a span."""
    exemplars = flattened(lists)
    offsets = list_offsets(lists)
    trace_ids, span_ids = field(exemplars, "trace_id"), field(exemplars, "span_id")
    trace_texts, span_texts = hex_text(trace_ids), hex_text(span_ids)
    members = {
        "time_unix_nano": json_numbers(field(exemplars, "time_unix_nano")),
        "value": pc.coalesce(json_numbers(field(exemplars, "as_double")), json_numbers(field(exemplars, "as_int"))),
        "trace_id": quoted(null_if_empty(trace_texts)),
        "span_id": quoted(null_if_empty(span_texts)),
        "attributes": FlatAttributes.of(field(exemplars, "filtered_attributes")).json(),
    }
    usable = ~(bad_id(trace_ids, TRACE_ID_BYTES) | bad_id(span_ids, SPAN_ID_BYTES))
    last = np.full(len(lists), -1, np.int64)
    at = np.nonzero(usable)[0]
    last[owners(offsets)[at]] = at
    to_last = pa.array(last, mask=last < 0)
    return {
        "exemplars": json_lists(offsets, json_object(len(exemplars), members)),
        "trace_id": trace_texts.take(to_last),
        "span_id": span_texts.take(to_last),
    }


METRICS: Final = Wire.of(ExportMetricsServiceRequest, _flatten, "data points")
