"""Reads the ``otel_traces`` table that the Collector's ClickHouse exporter writes, as OTLP again.

What it keeps as text (every attribute value, in the table with Map columns) stays text. The columns it has had at one
time or another are all read; where one is missing, its value is too.
"""

# ruff: noqa: S608 - names come from the store's URL and are quoted, all else are numbers.

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import make_url

from otel_diag.errors import NotFound, StartupError
from otel_diag.store.clickhouse_dialect import quoted
from otel_diag.store.clickhouse_engine import Engine, target_of

_ROWS: Final = 10_000
"""Rows in one request, about: a stretch of time that has at least as many."""

_STEP_NANOS: Final = 10 * 10**9

_COLUMNS: Final = {
    "TraceId": "TraceId",
    "SpanId": "SpanId",
    "ParentSpanId": "ParentSpanId",
    "TraceState": "TraceState",
    "SpanName": "SpanName",
    "SpanKind": "SpanKind",
    "ServiceName": "ServiceName",
    "ScopeName": "ScopeName",
    "ScopeVersion": "ScopeVersion",
    "Duration": "Duration",
    "StatusCode": "StatusCode",
    "StatusMessage": "StatusMessage",
    "ResourceAttributes": "toJSONString(ResourceAttributes)",
    "SpanAttributes": "toJSONString(SpanAttributes)",
    "Events.Timestamp": "arrayMap(t -> toUnixTimestamp64Nano(t), `Events.Timestamp`)",
    "Events.Name": "`Events.Name`",
    "Events.Attributes": "arrayMap(a -> toJSONString(a), `Events.Attributes`)",
    "Links.TraceId": "`Links.TraceId`",
    "Links.SpanId": "`Links.SpanId`",
    "Links.TraceState": "`Links.TraceState`",
    "Links.Attributes": "arrayMap(a -> toJSONString(a), `Links.Attributes`)",
}
"""Column of the exporter: how to read it."""

_KINDS: Final = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_CODES: Final = {"OK": 1, "ERROR": 2}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """``name``: the table, quoted, with its database if the URL says one."""

    engine: Engine
    name: str
    columns: frozenset[str]


def otlp_lines(url: str) -> Iterator[bytes]:
    """Every span of the table in order of time, as OTLP/JSON requests of some ten thousand spans.

    ``url``: a store URL, with ``table=`` where it is not called otel_traces. Raises StartupError, NotFound when there
    is no such table, Transient.
    """
    parsed = make_url(url)
    table = str(parsed.query.get("table", "otel_traces"))
    target = target_of(parsed.difference_update_query(["table"]).render_as_string(hide_password=False))
    engine = Engine.open(target, read_only=True)
    try:
        source = Source(engine, ".".join(map(_identifier, table.split("."))), _columns(engine, table))
        for first, end in _stretches(source):
            yield _request(_rows(source, first, end))
    finally:
        engine.close()


def _identifier(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise StartupError(f"{name!r} is no name of a table", hint="Write table=database.otel_traces.")
    return f"`{name}`"


def _columns(engine: Engine, table: str) -> frozenset[str]:
    database, _, name = table.rpartition(".")
    where = quoted(database) if database else "currentDatabase()"
    found = engine.read(f"SELECT name FROM system.columns WHERE database = {where} AND table = {quoted(name)}")
    columns = frozenset(found["name"].to_pylist())
    if not {"Timestamp", "TraceId", "SpanId"} <= columns:
        raise NotFound(
            f"there is no table {table} of the Collector's ClickHouse exporter",
            hint="Name it in the URL: ?table=database.otel_traces.",
        )
    return columns


def _stretches(source: Source) -> Iterator[tuple[int, int]]:
    """Stretches of time, in nanoseconds, that hold some thousands of rows each."""
    counted = source.engine.read(
        f"SELECT intDiv(toUnixTimestamp64Nano(Timestamp), {_STEP_NANOS}) AS step, toInt64(count()) AS rows "
        f"FROM {source.name} GROUP BY step ORDER BY step SETTINGS final = 0"
    ).to_pylist()
    rows, first = 0, None
    for row in counted:
        first = row["step"] if first is None else first
        rows += row["rows"]
        if rows >= _ROWS:
            yield first * _STEP_NANOS, (row["step"] + 1) * _STEP_NANOS
            rows, first = 0, None
    if first is not None:
        yield first * _STEP_NANOS, (counted[-1]["step"] + 1) * _STEP_NANOS


def _rows(source: Source, first: int, end: int) -> list[Row]:
    chosen = ", ".join(f"{sql} AS `{name}`" for name, sql in _COLUMNS.items() if name in source.columns)
    within = f"Timestamp >= fromUnixTimestamp64Nano({first}) AND Timestamp < fromUnixTimestamp64Nano({end})"
    # In a subquery the new names cannot be taken for the columns of the condition.
    rows: list[Row] = source.engine.read(
        f"SELECT start, {chosen} FROM (SELECT *, toUnixTimestamp64Nano(Timestamp) AS start FROM {source.name} "
        f"WHERE {within}) ORDER BY start SETTINGS final = 0"
    ).to_pylist()
    return rows


def _request(rows: Sequence[Row]) -> bytes:
    scopes: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        resource = _with_service(row.get("ResourceAttributes", "{}"), row.get("ServiceName", ""))
        key = (resource, row.get("ScopeName", ""), row.get("ScopeVersion", ""))
        scopes.setdefault(key, []).append(_span(row))
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": {"name": name, "version": version}, "spans": spans}],
            }
            for (resource, name, version), spans in scopes.items()
        ]
    }
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _with_service(resource: str, service: str) -> str:
    found = json.loads(resource)
    return (
        resource
        if not service or "service" in found or "service.name" in found
        else json.dumps({"service.name": service, **found})
    )


def _span(row: Row) -> dict[str, Any]:
    start = row["start"]
    code = row.get("StatusCode", "").upper().removeprefix("STATUS_CODE_")
    return {
        "traceId": row["TraceId"],
        "spanId": row["SpanId"],
        "parentSpanId": row.get("ParentSpanId", ""),
        "traceState": row.get("TraceState", ""),
        "name": row.get("SpanName", ""),
        "kind": _KINDS.get(row.get("SpanKind", "").upper().removeprefix("SPAN_KIND_"), 0),
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + row.get("Duration", 0)),
        "attributes": _attributes(row.get("SpanAttributes", "{}")),
        "events": [
            {"timeUnixNano": str(time), "name": name, "attributes": _attributes(attributes)}
            for time, name, attributes in _nested(row, "Events.Timestamp", "Events.Name", "Events.Attributes")
        ],
        "links": [
            {"traceId": trace, "spanId": span, "traceState": state, "attributes": _attributes(attributes)}
            for trace, span, state, attributes in _nested(
                row, "Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes"
            )
        ],
        "status": {"code": _CODES.get(code, 0), "message": row.get("StatusMessage", "")},
    }


def _nested(row: Row, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(row.get(name, []) for name in names), strict=True)


def _attributes(text: str) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in _flat("", json.loads(text))]


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys as they were sent: a JSON column has taken them apart at their dots."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
        case None:
            return {}
    return {"stringValue": str(value)}
