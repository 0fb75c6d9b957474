"""Small batches of spans, as the decoder hands them to a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import xxhash
from sqlalchemy import func, select

from otel_diag.model import SPAN_SCHEMA
from otel_diag.store.base import Store
from otel_diag.store.schema import trace_spans

NOW_NANOS = 1_790_000_000_000_000_000

_REQUIRED = {
    "tenant": "default",
    "service": "router",
    "operation": "route",
    "kind": "server",
    "status": "completed",
    "attributes": "{}",
    "resource_attributes": "{}",
    "status_code": 0,
    "flags": 0,
}


def trace_id(number: int) -> str:
    return f"{number:032x}"


def span_id(number: int) -> str:
    return f"{number:016x}"


def span(trace: int, number: int, **columns: Any) -> dict[str, Any]:
    """One row: span ``number`` of trace ``trace``, a millisecond after the one before, with a hash of its content."""
    start = columns.get("start_unix_nano", NOW_NANOS + number * 1_000_000)
    row = dict.fromkeys(SPAN_SCHEMA.names) | _REQUIRED
    row |= {"trace_id": trace_id(trace), "span_id": span_id(number), "start_unix_nano": start, "end_unix_nano": start}
    row |= {"started_at": moment(start), "completed_at": moment(start), "duration_ms": 0.0} | columns
    content = repr([(name, value) for name, value in row.items() if name not in ("tenant", "content_hash")])
    return row | {"content_hash": columns.get("content_hash", xxhash.xxh64_intdigest(content.encode()) - 2**63)}


def moment(unix_nano: int) -> datetime:
    return datetime.fromtimestamp(unix_nano // 1_000_000_000, UTC)


def batch_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SPAN_SCHEMA)


def trace_batch(trace: int, spans: int, **columns: Any) -> pa.Table:
    """Spans 0 .. ``spans`` - 1 of one trace."""
    return batch_of(span(trace, number, **columns) for number in range(spans))


def span_count(store: Store) -> int:
    counted: int = store.select(select(func.count().label("n")).select_from(trace_spans)).column("n")[0].as_py()
    return counted
