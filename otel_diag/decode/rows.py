"""Stored rows to spans: for the few traces somebody looks at."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from otel_diag.decode.attributes import load_attributes, plain
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
)
_PLAIN = (*_TEXTS, "start_unix_nano", "end_unix_nano", "execution_id", "attempt", "content_hash")
_SHORT = 200
"""Longer values of attributes are hardly ever the same."""

_JSON = ("status", "attributes", "resource_attributes", "events", "links")


_SLICE = 2_000
"""Rows that are objects twice, as rows and as spans, at a time."""


def table_to_spans(table: pa.Table) -> list[Span]:
    """Rows with the columns of ``trace_spans`` as spans, in row order; without ``ingested_at``, theirs is None.

    Equal texts are one object, and so are the resources of spans that have the same: names, ids of parents and keys
    of attributes would be the most of a span.
    """
    shared: dict[str, str] = {}
    resources: dict[str, Attributes] = {}
    ingested = "ingested_at" in table.column_names
    columns = [*_PLAIN, *_JSON, "ingested_at"] if ingested else [*_PLAIN, *_JSON]
    spans = []
    for batch in table.select(columns).to_batches(max_chunksize=_SLICE):
        for row in batch.to_pylist():
            text = row.pop("resource_attributes")
            if text not in resources:
                resources[text] = load_attributes(text)
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
