"""OTLP trace requests, wire to Arrow, without a Python object per span.

ptars turns the bytes into nested Arrow columns, and pyarrow and numpy flatten those into ``model.SPAN_SCHEMA``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode import semconv
from otel_diag.decode.attributes import FlatAttributes
from otel_diag.decode.columns import (
    field,
    flattened,
    hex_text,
    json_lists,
    json_object,
    list_offsets,
    nonzero_text,
    null_if_empty,
    owners,
    quoted,
    storable,
)
from otel_diag.decode.records import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Records,
    UInt64s,
    bad_id,
    bad_optional_id,
    content_hash,
    enum_names,
    is_sane,
    optional_id,
    otlp_rest,
    timestamps,
)
from otel_diag.decode.requests import Decoded, Flattened, Wire
from otel_diag.model import NANOS_PER_MS, SPAN_ON_WIRE, SPAN_SCHEMA

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")


def decode_traces(payload: bytes, tenant: str) -> Decoded:
    """Decode one ExportTraceServiceRequest. Raises BadInput when it is not one."""
    return TRACES.decode_one(payload, tenant)


def _flatten(requests: pa.RecordBatch, tenants: pa.Array) -> Flattened:
    """All spans of the requests as rows of SPAN_SCHEMA."""
    received = Records.of(requests, "spans", "spans")
    spans = received.values
    records, rejected = received.accepted(
        {
            "trace_id must be 16 bytes and not zero": bad_id(field(spans, "trace_id"), TRACE_ID_BYTES),
            "span_id must be 8 bytes and not zero": bad_id(field(spans, "span_id"), SPAN_ID_BYTES),
            "parent_span_id must be empty or 8 bytes": bad_optional_id(field(spans, "parent_span_id"), SPAN_ID_BYTES),
        }
    )
    request_of = records.request_of
    table = _table(records, tenants.take(pa.array(request_of)))
    return Flattened(table, request_of, received.request_of, rejected)


def _table(records: Records, tenants: pa.Array) -> pa.Table:
    spans = records.values
    rows = len(spans)
    context = records.context()
    attributes = FlatAttributes.of(field(spans, "attributes"))
    texts = attributes.texts()
    kinds = enum_names(field(spans, "kind"), KINDS)
    status = field(spans, "status")
    status_codes = pc.fill_null(field(status, "code"), pa.scalar(0, pa.int32()))
    status_messages = null_if_empty(storable(field(status, "message")))
    event_lists = field(spans, "events")
    events, exceptions = _events(event_lists)
    outcome = semconv.outcome(
        kinds=kinds,
        status_codes=status_codes,
        status_messages=status_messages,
        attributes=attributes,
        exceptions=exceptions,
    )
    start = field(spans, "start_time_unix_nano")
    end = field(spans, "end_time_unix_nano")
    columns = {
        "tenant": tenants,
        "trace_id": hex_text(field(spans, "trace_id")),
        "span_id": hex_text(field(spans, "span_id")),
        "parent_span_id": optional_id(field(spans, "parent_span_id"), SPAN_ID_BYTES),
        "operation": storable(field(spans, "name")),
        "kind": kinds,
        "status": outcome.status,
        "error_type": outcome.error_type,
        "error_message": outcome.error_message,
        **_times(start.to_numpy(), end.to_numpy()),
        "attributes": texts.sent,
        "events": events,
        "links": _links(field(spans, "links")),
        "status_code": status_codes,
        "status_message": status_messages,
        "trace_state": null_if_empty(storable(field(spans, "trace_state"))),
        "flags": field(spans, "flags").cast(pa.int64()),
        **semconv.typed_columns(attributes, context.resource_attributes, context.to_resource),
        **context.columns,
        "otlp_rest": otlp_rest(rows, {**context.rest, **_dropped(spans)}),
    }
    columns["content_hash"] = content_hash(columns, SPAN_ON_WIRE, context.canonical | {"attributes": texts.canonical})
    return pa.Table.from_arrays([columns[name] for name in SPAN_SCHEMA.names], schema=SPAN_SCHEMA)


def _times(start: UInt64s, end: UInt64s) -> dict[str, pa.Array]:
    """Columns derived from the wire's unsigned nanoseconds, see SPAN_SCHEMA."""
    measured = is_sane(start) & is_sane(end) & (end >= start)
    duration = np.where(measured, (end - start).view(np.int64), 0) / NANOS_PER_MS
    return {
        "started_at": timestamps(start),
        "completed_at": timestamps(end),
        "duration_ms": pa.array(duration, mask=~measured),
        "start_unix_nano": pa.array(start.view(np.int64)),
        "end_unix_nano": pa.array(end.view(np.int64)),
    }


def _events(lists: pa.ListArray) -> tuple[pa.Array, tuple[pa.Array, pa.Array]]:
    """The ``events`` column, and type and message of each span's last exception."""
    events = flattened(lists)
    if not len(events):
        nothing = pa.nulls(len(lists), pa.string())
        return nothing, (nothing, nothing)
    attributes = FlatAttributes.of(field(events, "attributes"))
    names = field(events, "name")
    offsets = list_offsets(lists)
    texts = json_object(
        len(events),
        {
            "name": quoted(names),
            "time_unix_nano": field(events, "time_unix_nano").cast(pa.string()),
            "attributes": attributes.json(),
            "dropped_attributes_count": nonzero_text(field(events, "dropped_attributes_count")),
        },
    )
    exceptions = semconv.last_exceptions(names, owners(offsets), attributes, len(lists))
    return json_lists(offsets, texts), exceptions


def _links(lists: pa.ListArray) -> pa.Array:
    links = flattened(lists)
    if not len(links):
        return pa.nulls(len(lists), pa.string())
    texts = json_object(
        len(links),
        {
            "trace_id": quoted(hex_text(field(links, "trace_id"))),
            "span_id": quoted(hex_text(field(links, "span_id"))),
            "attributes": FlatAttributes.of(field(links, "attributes")).json(),
            "trace_state": quoted(null_if_empty(field(links, "trace_state"))),
            "flags": nonzero_text(field(links, "flags")),
            "dropped_attributes_count": nonzero_text(field(links, "dropped_attributes_count")),
        },
    )
    return json_lists(list_offsets(lists), texts)


def _dropped(spans: pa.StructArray) -> dict[str, pa.Array]:
    """The counts of what the sender left out, for ``otlp_rest``."""
    names = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")
    return {name: nonzero_text(field(spans, name)) for name in names}


TRACES: Final = Wire.of(ExportTraceServiceRequest, _flatten, "spans")
