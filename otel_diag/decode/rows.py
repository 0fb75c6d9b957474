"""Stored rows to spans: for the few traces somebody looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
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
_NUMBERS = ("start_unix_nano", "end_unix_nano", "execution_id", "attempt", "content_hash")
_SHORT = 200
"""Longer values of attributes are hardly ever the same."""

_REST = "otlp_rest"
_DROPPED = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")

_CUTTABLE = ("attributes", "events", "links", "operation", "error_message")

_JSON = ("attributes", "resource_attributes", "events", "links")

COLUMNS = (*_TEXTS, *_NUMBERS, *_JSON, "status", _REST, "ingested_at")
"""What :func:`table_to_spans` looks at: little more than half of a row."""

_SLICE = 2_000
"""Rows that are objects twice, as columns and as spans, at a time."""

_STATUSES = {status.value: status for status in Status}


def table_to_spans(table: pa.Table) -> list[Span]:
    """Rows with the ``COLUMNS`` of ``trace_spans`` as spans, in row order; without ``ingested_at``, theirs is None.

    Equal texts are one object, and so are the resources of spans that have the same: names, ids of parents and keys
    of attributes would be the most of a span.
    """
    shared: dict[str, str] = {}
    share = shared.setdefault
    resources: dict[str, Attributes] = {}
    ingested = "ingested_at" in table.column_names
    spans: list[Span] = []
    for batch in table.to_batches(max_chunksize=_SLICE):
        values: dict[str, list[Any]] = {
            name: batch.column(name).to_pylist() for name in (*_TEXTS, *_NUMBERS, *_JSON, "status", _REST)
        }
        for name in _TEXTS:
            values[name] = list(map(share, values[name], values[name]))
        values["truncated"] = _truncated(values)  # before what is stored makes way for what it means
        values["status"] = [_STATUSES[text] for text in values["status"]]
        values["attributes"] = _attributes(values["attributes"], shared)
        values["resource"] = [_resource(text, resources) for text in values["resource_attributes"]]
        values["events"] = [_events(text) for text in values["events"]]
        values["links"] = [_links(text) for text in values["links"]]
        values["dropped"] = list(map(_dropped, values[_REST]))
        values["logged"] = [0] * batch.num_rows
        values["ingested_at"] = _moments(batch.column("ingested_at")) if ingested else [None] * batch.num_rows
        # By position: with names, making the objects takes half as long again.
        spans += map(Span, *(values[name] for name in _FIELDS))
    return spans


_FIELDS = tuple(field.name for field in fields(Span))


def _attributes(texts: Sequence[str], shared: dict[str, str]) -> list[Attributes]:
    """All texts in one go, which is twice as fast as one by one."""
    share = shared.setdefault
    found: list[Attributes] = []
    for text, members in zip(texts, json.loads(f"[{','.join(texts)}]"), strict=True):
        given = plain(members) if "$" in text else members
        found.append({share(key, key): _shared(value, shared) for key, value in given.items()})
    return found


def _resource(text: str, resources: dict[str, Attributes]) -> Attributes:
    if text not in resources:
        resources[text] = load_attributes(text)
    return resources[text]


def _truncated(values: Mapping[str, Sequence[Any]]) -> list[bool]:
    """Whether any value of each span was cut when it came."""
    cut: dict[str, bool] = {}
    found = []
    for text in values["resource_attributes"]:
        if text not in cut:
            cut[text] = tells_cut(text)
        found.append(cut[text])
    for name in _CUTTABLE:
        for row, text in enumerate(values[name]):
            if text and tells_cut(text):
                found[row] = True
    return found


def _moments(column: pa.Array) -> list[datetime | None]:
    """Each is made once: a commit gives the same to all its rows, and making one takes 3 us."""
    encoded = column.dictionary_encode(null_encoding="encode")
    moments = encoded.dictionary.to_pylist()
    return [moments[place] for place in encoded.indices.to_pylist()]


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
