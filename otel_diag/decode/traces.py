"""OTLP trace requests, wire to Arrow, without a Python object per span.

ptars turns the bytes into nested Arrow columns, and pyarrow and numpy flatten those into ``model.SPAN_SCHEMA``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode import semconv
from otel_diag.decode.attributes import FlatAttributes
from otel_diag.decode.columns import (
    NO_TEXT,
    Int64s,
    field,
    hex_text,
    joined,
    json_object,
    list_offsets,
    nonzero_text,
    null_if_empty,
    owners,
    quoted,
    storable,
    text,
    texts_of,
)
from otel_diag.decode.requests import Decoded, Flattened, Wire
from otel_diag.errors import BadInput
from otel_diag.model import NANOS_PER_MS, SPAN_SCHEMA, UNKNOWN_SERVICE

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")

_KIND_CODES: Final = pa.array(range(len(KINDS)), pa.int32())

MAX_EXPANDED_BYTES: Final = 1 << 30
"""Every row repeats its resource; a request whose repeated resources exceed this is refused (64 MiB could ask for
terabytes)."""

Bools = npt.NDArray[np.bool_]

_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8

# 1971 and 2261: inside, nanoseconds fit every engine's timestamps; outside is a clock gone mad (0, 2^64-1).
_MIN_NANOS: Final = 31_536_000 * 10**9
_MAX_NANOS: Final = 9_183_110_400 * 10**9

_HASHED: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "operation",
    "kind",
    "start_unix_nano",
    "end_unix_nano",
    "scope_name",
    "scope_version",
    "attributes",
    "resource_attributes",
    "events",
    "links",
    "status_code",
    "status_message",
    "trace_state",
    "flags",
    "otlp_rest",
)
"""What the wire said. The other columns are computed from these, and an alias added by an upgrade must not turn the
retry of a stored span into a new one."""


def decode_traces(payload: bytes, tenant: str) -> Decoded:
    """Decode one ExportTraceServiceRequest. Raises BadInput when it is not one."""
    return TRACES.decode_one(payload, tenant)


def _flatten(requests: pa.RecordBatch, tenants: pa.Array) -> Flattened:
    """All spans of the requests as rows of SPAN_SCHEMA."""
    resource_lists = requests.column("resource_spans")
    resources = resource_lists.flatten()
    scope_lists = field(resources, "scope_spans")
    scopes = scope_lists.flatten()
    span_lists = field(scopes, "spans")
    spans = span_lists.flatten()
    request_of_resource = owners(list_offsets(resource_lists))
    resource_of_scope = owners(list_offsets(scope_lists))
    scope_of_span = owners(list_offsets(span_lists))
    request_of_span = request_of_resource[resource_of_scope[scope_of_span]]
    kept, rejected = _accepted(spans)
    accepted = request_of_span
    if rejected:
        spans, scope_of_span, accepted = spans.filter(pa.array(kept)), scope_of_span[kept], request_of_span[kept]
    table = _table(resources, scopes, spans, resource_of_scope, scope_of_span, tenants.take(pa.array(accepted)))
    return Flattened(
        table=table,
        request_of_row=accepted,
        request_of_record=request_of_span,
        rejected={reason: request_of_span[bad] for reason, bad in rejected.items()},
    )


def _accepted(spans: pa.StructArray) -> tuple[Bools, dict[str, Bools]]:
    """Which spans have usable ids, and the others by reason."""
    checks = {
        "trace_id must be 16 bytes and not zero": _bad_id(field(spans, "trace_id"), _TRACE_ID_BYTES),
        "span_id must be 8 bytes and not zero": _bad_id(field(spans, "span_id"), _SPAN_ID_BYTES),
        "parent_span_id must be empty or 8 bytes": _bad_parent(field(spans, "parent_span_id")),
    }
    kept = np.ones(len(spans), bool)
    rejected = {}
    for reason, bad in checks.items():
        fresh = bad & kept
        if fresh.any():
            rejected[reason] = fresh
            kept &= ~bad
    return kept, rejected


def _bad_id(ids: pa.Array, size: int) -> Bools:
    good = pc.and_(
        pc.equal(pc.binary_length(ids), pa.scalar(size, pa.int32())),
        pc.not_equal(ids, pa.scalar(bytes(size), pa.binary())),
    )
    return ~np.asarray(good.to_numpy(zero_copy_only=False), bool)


def _bad_parent(ids: pa.Array) -> Bools:
    good = pc.is_in(pc.binary_length(ids), pa.array([0, _SPAN_ID_BYTES], pa.int32()))
    return ~np.asarray(good.to_numpy(zero_copy_only=False), bool)


def _table(
    resources: pa.StructArray,
    scopes: pa.StructArray,
    spans: pa.StructArray,
    resource_of_scope: Int64s,
    scope_of_span: Int64s,
    tenants: pa.Array,
) -> pa.Table:
    rows = len(spans)
    to_scope = pa.array(scope_of_span)
    resource_of_span = resource_of_scope[scope_of_span]
    to_resource = pa.array(resource_of_span)

    resource = field(resources, "resource")
    resource_attributes = FlatAttributes.of(field(resource, "attributes"))
    attributes = FlatAttributes.of(field(spans, "attributes"))
    resource_json = resource_attributes.json()
    resource_rest = _resource_rest(resources, resource)
    _refuse_expansion([resource_json, resource_rest], resource_of_span)

    scope = field(scopes, "scope")
    kinds = _kinds(field(spans, "kind"))
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
    services = pc.coalesce(
        semconv.read(semconv.Column(pa.string(), ("service.name",)), resource_attributes), text(UNKNOWN_SERVICE)
    )
    columns = {
        "tenant": tenants,
        "trace_id": hex_text(field(spans, "trace_id")),
        "span_id": hex_text(field(spans, "span_id")),
        "parent_span_id": _parents(field(spans, "parent_span_id")),
        "service": services.take(to_resource),
        "operation": storable(field(spans, "name")),
        "kind": kinds,
        "status": outcome.status,
        "error_type": outcome.error_type,
        "error_message": outcome.error_message,
        **_times(start.to_numpy(), end.to_numpy()),
        "scope_name": _scope_text(scope, "name").take(to_scope),
        "scope_version": _scope_text(scope, "version").take(to_scope),
        "attributes": attributes.json(),
        "resource_attributes": resource_json.take(to_resource),
        "events": events,
        "links": _links(field(spans, "links")),
        "status_code": status_codes,
        "status_message": status_messages,
        "trace_state": null_if_empty(storable(field(spans, "trace_state"))),
        "flags": field(spans, "flags").cast(pa.int64()),
        **semconv.typed_columns(attributes, resource_attributes, to_resource),
        "otlp_rest": _rest(resource_rest.take(to_resource), _scope_rest(scopes, scope).take(to_scope), spans),
    }
    columns["content_hash"] = _content_hash([columns[name] for name in _HASHED], rows)
    return pa.Table.from_arrays([columns[name] for name in SPAN_SCHEMA.names], schema=SPAN_SCHEMA)


def _refuse_expansion(columns: list[pa.Array], resource_of_span: Int64s) -> None:
    repeats = np.bincount(resource_of_span, minlength=len(columns[0]))
    sizes = sum(
        pc.fill_null(pc.binary_length(column), pa.scalar(0, pa.int32())).to_numpy().astype(np.int64)
        for column in columns
    )
    expanded = int((sizes * repeats).sum())
    if expanded > MAX_EXPANDED_BYTES:
        raise BadInput(
            f"resource attributes repeated for every span come to {expanded} bytes",
            hint="Send fewer spans in a request, or smaller resource attributes.",
        )


def _kinds(codes: pa.Array) -> pa.Array:
    known = texts_of(KINDS).take(pc.if_else(pc.is_in(codes, _KIND_CODES), codes, pa.scalar(None, pa.int32())))
    return known if not known.null_count else pc.coalesce(known, codes.cast(pa.string()))


def _parents(ids: pa.Array) -> pa.Array:
    """Hex; a zero parent is no parent, as W3C trace context has it."""
    texts = hex_text(ids)
    none = pc.is_in(texts, texts_of(["", "00" * _SPAN_ID_BYTES]))
    return pc.if_else(none, NO_TEXT, texts)


def _times(start: np.ndarray, end: np.ndarray) -> dict[str, pa.Array]:
    """Columns derived from the wire's unsigned nanoseconds, see SPAN_SCHEMA."""
    sane_start = (start >= _MIN_NANOS) & (start < _MAX_NANOS)
    sane_end = (end >= _MIN_NANOS) & (end < _MAX_NANOS)
    start, end = start.view(np.int64), end.view(np.int64)
    measured = sane_start & sane_end & (end >= start)
    duration = np.where(measured, end - start, 0) / NANOS_PER_MS
    micros = pa.timestamp("us", tz="UTC")
    return {
        "started_at": pa.array(start // 1000, pa.int64(), mask=~sane_start).cast(micros),
        "completed_at": pa.array(end // 1000, pa.int64(), mask=~sane_end).cast(micros),
        "duration_ms": pa.array(duration, mask=~measured),
        "start_unix_nano": pa.array(start),
        "end_unix_nano": pa.array(end),
    }


def _scope_text(scope: pa.StructArray, name: str) -> pa.Array:
    return null_if_empty(storable(field(scope, name)))


def _events(lists: pa.ListArray) -> tuple[pa.Array, tuple[pa.Array, pa.Array]]:
    """The ``events`` column, and type and message of each span's last exception."""
    events = lists.flatten()
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
    return _json_lists(offsets, texts), exceptions


def _links(lists: pa.ListArray) -> pa.Array:
    links = lists.flatten()
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
    return _json_lists(list_offsets(lists), texts)


def _json_lists(offsets: np.ndarray, texts: pa.Array) -> pa.Array:
    """A JSON array per list, null for an empty one."""
    empty = pa.array(offsets[1:] == offsets[:-1])
    return pc.if_else(empty, NO_TEXT, joined(offsets, texts, "[", "]"))


def _null_if_nothing(objects: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_in(objects, texts_of(["{}", "[]"])), NO_TEXT, objects)


def _resource_rest(resources: pa.StructArray, resource: pa.StructArray) -> pa.Array:
    return _null_if_nothing(
        json_object(
            len(resources),
            {
                "dropped_attributes_count": nonzero_text(field(resource, "dropped_attributes_count")),
                "schema_url": quoted(null_if_empty(field(resources, "schema_url"))),
                "entity_refs": _entity_refs(field(resource, "entity_refs")),
            },
        )
    )


def _entity_refs(lists: pa.ListArray) -> pa.Array:
    references = lists.flatten()
    if not len(references):
        return pa.nulls(len(lists), pa.string())

    def texts(name: str) -> pa.Array:
        keys = field(references, name)
        return joined(list_offsets(keys), quoted(keys.flatten()), "[", "]")

    objects = json_object(
        len(references),
        {
            "schema_url": quoted(field(references, "schema_url")),
            "type": quoted(field(references, "type")),
            "id_keys": texts("id_keys"),
            "description_keys": texts("description_keys"),
        },
    )
    return _json_lists(list_offsets(lists), objects)


def _scope_rest(scopes: pa.StructArray, scope: pa.StructArray) -> pa.Array:
    return _null_if_nothing(
        json_object(
            len(scopes),
            {
                "attributes": _null_if_nothing(FlatAttributes.of(field(scope, "attributes")).json()),
                "dropped_attributes_count": nonzero_text(field(scope, "dropped_attributes_count")),
                "schema_url": quoted(null_if_empty(field(scopes, "schema_url"))),
            },
        )
    )


def _rest(resource: pa.Array, scope: pa.Array, spans: pa.StructArray) -> pa.Array:
    """The ``otlp_rest`` column."""
    names = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")
    dropped = {name: nonzero_text(field(spans, name)) for name in names}
    return _null_if_nothing(json_object(len(spans), {"resource": resource, "scope": scope, **dropped}))


def _content_hash(columns: list[pa.Array], rows: int) -> pa.Array:
    """xxh3 of each row's values in order, each ended by U+0000, which no stored text contains (absent = empty)."""
    if not rows:
        return pa.array([], pa.int64())
    texts = [column.cast(pa.string()) for column in columns]
    contents = pc.binary_join_element_wise(*texts, text("\0"), null_handling="replace", null_replacement="")
    # A Python loop over one buffer costs about 0.3 us a span; hashing column by column in numpy costs more.
    data = memoryview(contents.buffers()[2])
    offsets = np.frombuffer(contents.buffers()[1], np.int32)[: rows + 1].tolist()
    digest = xxhash.xxh3_64_intdigest
    hashes = [digest(data[start:end]) for start, end in pairwise(offsets)]
    return pa.array(np.array(hashes, np.uint64).view(np.int64))


TRACES: Final = Wire.of(ExportTraceServiceRequest, _flatten, "spans")
