"""Stored rows to spans: for the few traces somebody looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pyarrow as pa

from otel_diag.decode.attributes import load_attributes, plain
from otel_diag.decode.bounds import tells_cut
from otel_diag.decode.traces import KINDS
from otel_diag.model import Attributes, Event, Link, Span, Status

_TEXTS = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "service",
    "operation",
    "kind",
    "error_type",
    "error_message",
    "job_id",
    "model_id",
    "region",
    "service_version",
    "scope_name",
    "trace_state",
)
_PLAIN = (*_TEXTS, "start_unix_nano", "end_unix_nano", "execution_id", "attempt", "content_hash")
_SHORT = 200
"""Longer values of attributes are hardly ever the same."""

_JSON = ("status", "attributes", "resource_attributes", "events", "links")
_REST = "otlp_rest"
_DROPPED = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")

_CUTTABLE = ("attributes", "events", "links", "operation", "error_message")

_SLICE = 2_000
"""Rows that are objects twice, as rows and as spans, at a time."""


def table_to_spans(table: pa.Table) -> list[Span]:
    """Rows with the columns of ``trace_spans`` as spans, in row order; without ``ingested_at``, theirs is None.

    Equal texts are one object, and so are the resources of spans that have the same: names, ids of parents and keys
    of attributes would be the most of a span.
    """
    shared: dict[str, str] = {}
    resources: dict[str, Attributes] = {}
    cut_resources: set[str] = set()
    ingested = "ingested_at" in table.column_names
    columns = [*_PLAIN, *_JSON, _REST, *(["ingested_at"] if ingested else [])]
    spans = []
    for batch in table.select(columns).to_batches(max_chunksize=_SLICE):
        for row in batch.to_pylist():
            text = row.pop("resource_attributes")
            if text not in resources:
                resources[text] = load_attributes(text)
                if tells_cut(text):
                    cut_resources.add(text)
            row["truncated"] = text in cut_resources or any(tells_cut(row[name]) for name in _CUTTABLE if row[name])
            row["dropped"] = _dropped(row.pop(_REST))
            attributes = load_attributes(row["attributes"])
            for name in _TEXTS:
                if (value := row[name]) is not None:
                    row[name] = shared.setdefault(value, value)
            row["status"] = Status(row["status"])
            row["attributes"] = {
                shared.setdefault(key, key): _shared(value, shared) for key, value in attributes.items()
            }
            row["events"] = _events(row["events"])
            row["links"] = _links(row["links"])
            spans.append(Span(resource=resources[text], **row))
    return spans


def table_to_open_spans(table: pa.Table) -> list[Span]:
    """Log records that announce spans (spec/5) as spans that run. What the sender left out, or sent in another type,
    is absent."""
    spans = []
    for row in table.to_pylist():
        attributes = load_attributes(row["attributes"])
        kind = _typed(attributes, "span.kind", int) or 1
        spans.append(
            Span(
                trace_id=row["trace_id"],
                span_id=row["span_id"],
                service=row["service"],
                operation=_typed(attributes, "span.name", str) or "",
                start_unix_nano=row["logged_unix_nano"],
                end_unix_nano=None,
                parent_span_id=_typed(attributes, "span.parent_id", str) or None,
                kind=KINDS[kind] if 0 < kind < len(KINDS) else "internal",
                status=Status.RUNNING,
                execution_id=row["execution_id"],
                attempt=_typed(attributes, "execution.attempt", int),
                job_id=_typed(attributes, "job.id", str),
                model_id=_typed(attributes, "model.id", str),
                region=_typed(attributes, "region", str),
                service_version=row["service_version"],
                scope_name=row["scope_name"],
                attributes={name: value for name, value in attributes.items() if not name.startswith("span.")},
                resource=load_attributes(row["resource_attributes"]),
                content_hash=row["content_hash"],
                ingested_at=row["ingested_at"],
            )
        )
    return spans


def exception_of(row: Mapping[str, Any]) -> Event:
    """A log record that tells of an exception as the span event that it would have been."""
    return Event("exception", row["logged_unix_nano"], load_attributes(row["attributes"]))


def _dropped(rest: str | None) -> int:
    """What the sender says it left out of a span."""
    if rest is None or '"dropped_' not in rest:
        return 0
    counts: Mapping[str, int] = json.loads(rest)
    return sum(counts.get(name, 0) for name in _DROPPED)


_Type = TypeVar("_Type", str, int)


def _typed(attributes: Attributes, name: str, kind: type[_Type]) -> _Type | None:
    value = attributes.get(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _shared(value: Any, shared: dict[str, str]) -> Any:
    return shared.setdefault(value, value) if isinstance(value, str) and len(value) <= _SHORT else value


def _load_list(text: str | None) -> list[dict[str, Any]]:
    return json.loads(text) if text else []


def _events(text: str | None) -> tuple[Event, ...]:
    return tuple(
        Event(event["name"], event["time_unix_nano"], plain(event["attributes"])) for event in _load_list(text)
    )


def _links(text: str | None) -> tuple[Link, ...]:
    return tuple(Link(link["trace_id"], link["span_id"], plain(link["attributes"])) for link in _load_list(text))
