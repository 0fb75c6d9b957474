"""Built traces in a store: their spans, what was announced, and what their runners recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from otel_diag.model import ANNOUNCED, LOG_SCHEMA, Span, Trace
from otel_diag.query import Queries
from otel_diag.store.base import Store
from otel_diag.store.schema import LOG_RECORDS
from tests.store.batches import batch_of, moment, span


def keep(store: Store, queries: Queries, traces: Iterable[Trace]) -> None:
    """Store them all."""
    rows, announced = [], []
    for trace in traces:
        for one in trace.spans:
            (announced if one.end_unix_nano is None else rows).append(one)
        if trace.declared is not None:
            queries.declare_execution(trace.declared)
    store.append(batch_of(map(_row, rows)))
    if announced:
        store.append(pa.Table.from_pylist(list(map(_announcement, announced)), schema=LOG_SCHEMA), LOG_RECORDS)


def _row(one: Span) -> dict[str, Any]:
    assert one.end_unix_nano is not None
    events = [
        {"name": event.name, "time_unix_nano": event.unix_nano, "attributes": event.attributes} for event in one.events
    ]
    links = [{"trace_id": link.trace_id, "span_id": link.span_id, "attributes": {}} for link in one.links]
    names = ("trace_id", "span_id", "parent_span_id", "service", "operation", "kind", "error_type", "error_message")
    names += ("execution_id", "job_id", "model_id", "region", "service_version")
    return span(
        0,
        0,
        **{name: getattr(one, name) for name in names},
        status=one.status.value,
        start_unix_nano=one.start_unix_nano,
        end_unix_nano=one.end_unix_nano,
        started_at=one.started_at,
        completed_at=moment(one.end_unix_nano),
        duration_ms=one.duration_ms,
        attributes=json.dumps(one.attributes),
        resource_attributes=json.dumps(one.resource),
        events=json.dumps(events) if events else None,
        links=json.dumps(links) if links else None,
        otlp_rest=json.dumps({"dropped_attributes_count": one.dropped}) if one.dropped else None,
        trace_state=one.trace_state,
    )


def _announcement(one: Span) -> dict[str, Any]:
    attributes = {**one.attributes, "span.name": one.operation, "span.parent_id": one.parent_span_id or ""}
    return dict.fromkeys(LOG_SCHEMA.names) | {
        "tenant": "default",
        "trace_id": one.trace_id,
        "span_id": one.span_id,
        "service": one.service,
        "severity_number": 0,
        "event_name": ANNOUNCED,
        "logged_at": one.started_at,
        "logged_unix_nano": one.start_unix_nano,
        "time_unix_nano": one.start_unix_nano,
        "observed_unix_nano": 0,
        "execution_id": one.execution_id,
        "attributes": json.dumps(attributes),
        "resource_attributes": json.dumps(one.resource),
        "flags": 0,
        "content_hash": one.content_hash,
    }
