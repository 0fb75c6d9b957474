"""OTLP log requests, wire to Arrow, without a Python object per record."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_diag.decode import semconv
from otel_diag.decode.attributes import FlatAttributes, value_texts
from otel_diag.decode.columns import field, nonzero_text, null_if_empty, storable, texts_of
from otel_diag.decode.records import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Records,
    bad_optional_id,
    content_hash,
    optional_id,
    otlp_rest,
    tell_twins_apart,
    timestamps,
)
from otel_diag.decode.requests import Flattened, Wire
from otel_diag.model import LOG_SCHEMA

SEVERITIES: Final = ("trace", "debug", "info", "warn", "error", "fatal")
"""Four numbers each, from 1."""

_TYPED: Final = ("execution_id", "service_version")

_HASHED: Final = (
    "trace_id",
    "span_id",
    "severity_number",
    "severity_text",
    "event_name",
    "body",
    "time_unix_nano",
    "observed_unix_nano",
    "scope_name",
    "scope_version",
    "attributes",
    "resource_attributes",
    "flags",
    "otlp_rest",
)
"""What the wire said."""


def _flatten(requests: pa.RecordBatch, tenants: pa.Array) -> Flattened:
    """All log records of the requests as rows of LOG_SCHEMA."""
    received = Records.of(requests, "logs", "log_records")
    trace_ids, span_ids = field(received.values, "trace_id"), field(received.values, "span_id")
    records, rejected = received.accepted(
        {
            "trace_id must be empty or 16 bytes": bad_optional_id(trace_ids, TRACE_ID_BYTES),
            "span_id must be empty or 8 bytes": bad_optional_id(span_ids, SPAN_ID_BYTES),
        }
    )
    request_of = records.request_of
    table = _table(records, tenants.take(pa.array(request_of)), request_of)
    return Flattened(table, request_of, received.request_of, rejected)


def _table(records: Records, tenants: pa.Array, request_of: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    logs = records.values
    rows = len(logs)
    context = records.context()
    attributes = FlatAttributes.of(field(logs, "attributes"))
    texts = attributes.texts()
    bodies = field(logs, "body")
    body = value_texts(bodies)
    time = field(logs, "time_unix_nano").to_numpy()
    observed = field(logs, "observed_time_unix_nano").to_numpy()
    logged = np.where(time == 0, observed, time)
    severity_numbers = field(logs, "severity_number")
    dropped = nonzero_text(field(logs, "dropped_attributes_count"))
    columns = {
        "tenant": tenants,
        "trace_id": optional_id(field(logs, "trace_id"), TRACE_ID_BYTES),
        "span_id": optional_id(field(logs, "span_id"), SPAN_ID_BYTES),
        "severity": _severities(severity_numbers),
        "severity_number": severity_numbers,
        "severity_text": null_if_empty(storable(field(logs, "severity_text"))),
        "event_name": null_if_empty(storable(field(logs, "event_name"))),
        "body_text": pc.coalesce(storable(field(bodies, "string_value")), body.sent),
        "body": body.sent,
        "logged_at": timestamps(logged),
        "logged_unix_nano": pa.array(logged.view(np.int64)),
        "time_unix_nano": pa.array(time.view(np.int64)),
        "observed_unix_nano": pa.array(observed.view(np.int64)),
        "attributes": texts.sent,
        "flags": field(logs, "flags").cast(pa.int64()),
        **semconv.typed_columns(attributes, context.resource_attributes, context.to_resource, _TYPED),
        **context.columns,
        "otlp_rest": otlp_rest(rows, {**context.rest, "dropped_attributes_count": dropped}),
    }
    canonical = context.canonical | {"attributes": texts.canonical, "body": body.canonical}
    hashes = content_hash(columns, _HASHED, canonical)
    columns["content_hash"] = tell_twins_apart(hashes, request_of)
    return pa.Table.from_arrays([columns[name] for name in LOG_SCHEMA.names], schema=LOG_SCHEMA)


def _severities(numbers: pa.Array) -> pa.Array:
    found = numbers.to_numpy()
    outside = (found < 1) | (found > 4 * len(SEVERITIES))
    return texts_of(SEVERITIES).take(pa.array((found - 1) // 4, mask=outside))


LOGS: Final = Wire.of(ExportLogsServiceRequest, _flatten, "log records")
