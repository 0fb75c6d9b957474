"""Folds traces into ``trace_summaries`` and ``operation_rollups``: what the tools read instead of spans.

A fold reads the whole trace and replaces its summary rows, so late spans are simply folded again. Rollups are sums:
a span adds to them once, the first time it is folded; an execution's own duration is taken back and added anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Table, cast, delete, func, or_, select

from otel_diag.analyse.baseline import OperationStats, latency_bucket
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.summary import RollupKey, rollups_of
from otel_diag.model import Declared, Span, Status, Trace
from otel_diag.reader import (
    BASELINE_BEFORE,
    LONGEST_NAME,
    MAX_ATTEMPTS,
    MIN_PEERS,
    Bounds,
    Reader,
    Row,
    collect_stats,
    unit_id,
)
from otel_diag.store.base import Accumulate, Change, Delete, Upsert
from otel_diag.store.schema import (
    execution_rollups,
    executions,
    operation_baselines,
    operation_rollups,
    trace_arrivals,
    trace_summaries,
)

SUSPECT_MS = 5_000.0
"""Without a baseline, a completed execution longer than this is worth a diagnosis (the gap constant of spec/2)."""

SUSPECT_FACTOR = 1.5
"""With one, a completed execution longer than this many times the median of its kind is."""

_SKETCH_TABLES = (operation_rollups, execution_rollups, operation_baselines)
_Item = TypeVar("_Item")
_SketchKey = tuple[Any, ...]
"""The primary key of a sketch row without its tenant."""


def fold_traces(reader: Reader, trace_ids: Collection[str], now: datetime) -> Iterator[list[Change]]:
    """The changes that bring these traces' summaries up to date and take their arrivals off the list.

    Each list is to be applied, in one transaction, before the next is asked for; a Conflict then means that another
    worker was first, and nothing was done. There are several when the traces hold more spans than are read at once.
    """
    arrivals = _arrivals(reader, trace_ids)
    old_rows = reader.rows(reader.select(trace_summaries).where(trace_summaries.c.trace_id.in_(list(trace_ids))))
    bounds = _bounds([*arrivals, *old_rows])
    parts = portions(list(trace_ids), [bounds[t].spans if t in bounds else 0 for t in trace_ids], reader.max_spans)
    if len(parts) > 1:
        for part in parts:
            yield from fold_traces(reader, part, now)
        return
    spans = reader.spans(bounds)
    units = [unit for trace_id, found in spans.items() for unit in found.units(trace_id)]
    units = _with_declared(reader, units, trace_ids)
    changes = _replace(reader, units, old_rows, now, bounds, _arrived_in(arrivals))
    if arrivals:
        changes.append(_delete_arrivals(reader.tenant, arrivals))
    yield changes


def portions(items: Sequence[_Item], sizes: Sequence[int], most: int) -> list[Sequence[_Item]]:
    """The items in order, as many together as have no more than ``most`` in sum; at least one."""
    parts: list[list[_Item]] = []
    room = -1
    for item, size in zip(items, sizes, strict=True):
        if size > room:
            parts.append([])
            room = most
        parts[-1].append(item)
        room -= size
    return [*parts]


def fold_declared(reader: Reader, declared: Declared, now: datetime) -> list[Change]:
    """The changes that store what a runner recorded and let it show in the execution's summary at once."""
    row = {
        "tenant": reader.tenant,
        "execution_id": declared.execution_id,
        "job_id": declared.job_id,
        "model_id": declared.model_id,
        "region": declared.region,
        "status": declared.status.value,
        "started_at": declared.started_at,
        "completed_at": declared.completed_at,
        "error_message": declared.error_message,
        "trace_id": declared.trace_id,
        "declared_at": now,
    }
    summaries = trace_summaries.c
    # Its trace may have been summarised under its own id, when nobody had said whose it is.
    own = or_(summaries.execution_id == declared.execution_id, summaries.unit_id == declared.trace_id)
    newest_first = reader.select(trace_summaries).where(own).order_by(summaries.min_start_unix_nano.desc())
    old_rows = reader.rows(newest_first.limit(MAX_ATTEMPTS))
    trace_ids = {t for t in (declared.trace_id, *(old["trace_id"] for old in old_rows)) if t is not None}
    bounds = reader.trace_bounds(trace_ids)
    spans = reader.spans(bounds)
    units = [
        replace(unit, execution_id=declared.execution_id, declared=declared)
        for trace_id, found in spans.items()
        for unit in found.units(trace_id)
        if unit.execution_id == declared.execution_id or (unit.execution_id is None and trace_id == declared.trace_id)
    ]
    units = units or [Trace((), execution_id=declared.execution_id, declared=declared)]
    # Spans that are not folded yet are counted by the fold that takes their arrivals off the list.
    return [Upsert(executions, [row]), *_replace(reader, units, old_rows, now, bounds, _arrived_in([]))]


def _arrivals(reader: Reader, trace_ids: Collection[str]) -> list[Row]:
    """What waits to be folded, a row for each trace and commit."""
    arrivals = trace_arrivals.c
    return reader.rows(
        reader.select(
            trace_arrivals,
            arrivals.trace_id,
            arrivals.ingested_at,
            func.count().label("arrivals"),
            func.min(arrivals.min_start_unix_nano).label("min_start_unix_nano"),
            func.max(arrivals.max_start_unix_nano).label("max_start_unix_nano"),
            cast(func.sum(arrivals.span_count), BigInteger).label("span_count"),
        )
        .where(arrivals.trace_id.in_(list(trace_ids)))
        .group_by(arrivals.trace_id, arrivals.ingested_at)
    )


def _delete_arrivals(tenant: str, arrivals: Sequence[Row]) -> Delete:
    table = trace_arrivals.c
    return Delete(
        delete(trace_arrivals).where(
            table.tenant == tenant,
            table.trace_id.in_(sorted({row["trace_id"] for row in arrivals})),
            table.ingested_at <= max(row["ingested_at"] for row in arrivals),
        ),
        expect=sum(row["arrivals"] for row in arrivals),
    )


def _bounds(rows: Iterable[Row]) -> dict[str, Bounds]:
    found: dict[str, Bounds] = {}
    for row in rows:
        bounds = Bounds(row["min_start_unix_nano"], row["max_start_unix_nano"], row["span_count"])
        known = found.get(row["trace_id"])
        found[row["trace_id"]] = known.union(bounds) if known else bounds
    return found


def _with_declared(reader: Reader, units: Iterable[Trace], trace_ids: Collection[str]) -> list[Trace]:
    """Units joined with what their runners recorded, by execution id or by trace id."""
    units = list(units)
    found = reader.declared([unit.execution_id for unit in units if unit.execution_id is not None], trace_ids)
    by_trace = {declared.trace_id: declared for declared in found.values()}
    joined = []
    for unit in units:
        if unit.execution_id is not None:
            said = found.get(unit.execution_id)
        else:
            said = by_trace.get(unit.trace_id) if unit.trace_id is not None else None
        joined.append(unit if said is None else replace(unit, execution_id=said.execution_id, declared=said))
    return joined


def _replace(
    reader: Reader,
    units: Sequence[Trace],
    old_rows: Sequence[Row],
    now: datetime,
    bounds: Mapping[str, Bounds],
    is_new: Callable[[Span], bool],
) -> list[Change]:
    """Upsert the units' rows, delete the rows they supersede, and carry the difference into the rollups.

    ``bounds``: of their traces. ``is_new``: whether a span is to be counted in them now.
    """
    old = {row["unit_id"]: row for row in [*old_rows, *_same_executions(reader, units)]}
    sketches = _Sketches(reader.tenant)
    rows: list[Row] = []
    units_of = Counter(unit.trace_id for unit in units)
    for unit in units:
        examined = Examined(unit)
        row = summary_row(reader.tenant, examined, now)
        # Not all spans of the trace are the unit's: those above several executions belong to none.
        rows.append(_within(bounds, unit, row) if unit.left_out or units_of[unit.trace_id] > 1 else row)
        sketches.add_spans(rollups_of(examined.tree, examined.skew, is_new))
    refolded = {trace_id for unit in units for trace_id in (unit.trace_id, None)}
    kept = [row for row in old.values() if row["trace_id"] not in refolded]
    rows = _mark_latest([*_mark_suspects(reader, rows), *kept])
    for sign, contributors in ((1, rows), (-1, old.values())):
        for row in contributors:
            sketches.add_execution(row, sign)

    changed = [row for row in rows if row != old.get(row["unit_id"])]
    stale = sorted(old.keys() - {row["unit_id"] for row in rows})
    changes: list[Change] = [Upsert(trace_summaries, changed)] if changed else []
    if stale:
        mine = trace_summaries.c.tenant == reader.tenant
        changes.append(Delete(delete(trace_summaries).where(mine, trace_summaries.c.unit_id.in_(stale))))
    return [*changes, *sketches.changes()]


class _Sketches:
    """What a fold adds to the three tables of latency sketches, gathered by key."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._sums: dict[str, dict[_SketchKey, tuple[int, float]]] = {table.name: {} for table in _SKETCH_TABLES}

    def add_spans(self, contributed: Mapping[RollupKey, tuple[int, float]]) -> None:
        for (hour, *names, status, measure, bucket), (count, total) in contributed.items():
            service, operation, model, region = map(_bounded, names)
            day = (hour.replace(hour=0), service, operation, model, status, measure, bucket)
            self._add(operation_baselines, day, count, total)
            if measure == "duration":
                self._add(operation_rollups, (hour, service, operation, model, region, status, bucket), count, total)

    def add_execution(self, row: Row, sign: int) -> None:
        """Count the execution of a summary row, or with -1 take it back. Only the newest attempt counts."""
        if row["started_at"] is None or row["duration_ms"] is None or not row["latest"]:
            return
        hour = row["started_at"].replace(minute=0, second=0, microsecond=0)
        names = (row["root_service"], row["root_operation"], row["model_id"] or "", row["region"] or "", row["status"])
        key = (hour, *names, latency_bucket(row["duration_ms"]))
        self._add(execution_rollups, key, sign, sign * row["duration_ms"])

    def changes(self) -> list[Change]:
        return [change for table in _SKETCH_TABLES if (change := self._change(table)).rows]

    def _add(self, table: Table, key: _SketchKey, count: int, total: float) -> None:
        known = self._sums[table.name].get(key, (0, 0.0))
        self._sums[table.name][key] = (known[0] + count, known[1] + total)

    def _change(self, table: Table) -> Accumulate:
        names = [column.name for column in table.primary_key][1:]
        return Accumulate(
            table,
            [
                {"tenant": self._tenant, **dict(zip(names, key, strict=True)), "sample_count": n, "sum_ms": total}
                for key, (n, total) in self._sums[table.name].items()
                if n != 0
            ],
        )


def _same_executions(reader: Reader, units: Iterable[Trace]) -> list[Row]:
    """Stored rows of these units' executions: their runners' records, and the newest attempt in other traces.

    No older attempt is the outcome, whatever becomes of these units, and an execution may have very many.
    """
    execution_ids = {unit.execution_id for unit in units if unit.execution_id is not None}
    if not execution_ids:
        return []
    summaries = trace_summaries.c
    of_these = reader.select(trace_summaries).where(summaries.execution_id.in_(sorted(execution_ids)))
    recorded = of_these.where(summaries.trace_id.is_(None))
    others = of_these.where(summaries.trace_id.not_in(sorted({unit.trace_id for unit in units if unit.trace_id})))
    newest_first = (summaries.min_start_unix_nano.desc(), summaries.unit_id.desc())
    nth = func.row_number().over(partition_by=summaries.execution_id, order_by=newest_first).label("nth")
    ranked = others.with_only_columns(summaries.tenant, summaries.unit_id, nth).subquery("ranked")
    newest = reader.rows(select(ranked.c.unit_id).where(ranked.c.nth == 1))
    unit_ids = [row["unit_id"] for row in newest]
    attempts = reader.select(trace_summaries).where(summaries.unit_id.in_(unit_ids))
    return [*reader.rows(recorded), *(reader.rows(attempts) if unit_ids else [])]


def _mark_latest(rows: list[Row]) -> list[Row]:
    """Of several attempts of an execution only the newest counts as its outcome."""
    newest: dict[int, tuple[int, str]] = {}
    for row in rows:
        if row["execution_id"] is not None:
            rank = (row["min_start_unix_nano"], row["unit_id"])
            newest[row["execution_id"]] = max(rank, newest.get(row["execution_id"], rank))
    return [
        row | {"latest": row["execution_id"] is None or newest[row["execution_id"]][1] == row["unit_id"]}
        for row in rows
    ]


def _arrived_in(arrivals: Iterable[Row]) -> Callable[[Span], bool]:
    """Whether a span came with one of these arrivals, which the fold takes off the list: so each is counted once.

    Not whether it is newer than what was folded before: of several writers to one store, one may take its time,
    ``ingested_at``, before another and commit after it.
    """
    commits = {(row["trace_id"], row["ingested_at"]) for row in arrivals}
    return lambda span: (span.trace_id, span.ingested_at) in commits


def summary_row(tenant: str, examined: Examined, now: datetime) -> Row:
    """A row of ``trace_summaries``, without ``latest``; ``suspect`` only as far as the unit alone tells."""
    unit, summary = examined.trace, examined.summary
    newest = max((span.ingested_at for span in unit.spans if span.ingested_at is not None), default=now)
    starts = [span.start_unix_nano for span in unit.spans] or [_nanos(summary.started_at)]
    return {
        "tenant": tenant,
        "unit_id": unit_id(unit),
        "trace_id": unit.trace_id,
        "execution_id": unit.execution_id,
        "attempt": summary.attempt,
        "job_id": _bounded(summary.job_id),
        "model_id": _bounded(summary.model_id),
        "region": _bounded(summary.region),
        "service_version": summary.service_version,
        "root_service": _bounded(summary.root_service),
        "root_operation": _bounded(summary.root_operation),
        "status": summary.status.value,
        "error_type": summary.error_type,
        "error_message": summary.error_message,
        "failure_point": summary.failure_point,
        "started_at": summary.started_at,
        "completed_at": summary.completed_at,
        "duration_ms": summary.duration_ms,
        "min_start_unix_nano": min(starts),
        "max_start_unix_nano": max(starts),
        "span_count": summary.span_count,
        "failed_spans": summary.failed_spans,
        "timeout_spans": summary.timeout_spans,
        "max_span_duration_ms": summary.max_span_duration_ms,
        "services": _json(summary.services),
        "elements": _json(summary.elements),
        "hops": _json(summary.hops),
        "critical_path": _json(summary.critical_path),
        "signature": summary.signature,
        "suspect": summary.status.is_failure,
        "complete": summary.complete,
        "content_key": summary.content_key,
        "folded_until": newest,
        "folded_at": now,
    }


def _within(bounds: Mapping[str, Bounds], unit: Trace, row: Row) -> Row:
    """A row that leads to all spans of its trace."""
    if unit.trace_id is None or unit.trace_id not in bounds:
        return row
    whole = bounds[unit.trace_id]
    return row | {"min_start_unix_nano": whole.first, "max_start_unix_nano": whole.last}


def _nanos(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp() * 1e9)


def _mark_suspects(reader: Reader, rows: list[Row]) -> list[Row]:
    """Completed executions that took long for their kind are worth a diagnosis too."""
    timed = [row for row in rows if row["started_at"] is not None and row["duration_ms"] is not None]
    completed = [row for row in timed if row["status"] == Status.COMPLETED.value]
    if not completed:
        return rows
    sketches = execution_rollups.c
    kinds = collect_stats(
        reader.rows(
            reader.select(
                execution_rollups,
                sketches.root_service,
                sketches.root_operation,
                sketches.latency_bucket,
                func.sum(sketches.sample_count).label("sample_count"),
                func.sum(sketches.sum_ms).label("sum_ms"),
            )
            .where(
                sketches.status == Status.COMPLETED.value,
                sketches.root_service.in_(sorted({row["root_service"] for row in completed})),
                sketches.root_operation.in_(sorted({row["root_operation"] for row in completed})),
                sketches.bucket_start >= min(row["started_at"] for row in completed) - BASELINE_BEFORE,
            )
            .group_by(sketches.root_service, sketches.root_operation, sketches.latency_bucket)
        ),
        ("root_service", "root_operation"),
    )
    return [
        row | {"suspect": row["suspect"] or _is_slow(row, kinds.get((row["root_service"], row["root_operation"])))}
        for row in rows
    ]


def _is_slow(row: Mapping[str, Any], kind: OperationStats | None) -> bool:
    if row["duration_ms"] is None:
        return False
    if kind is None or kind.count < MIN_PEERS:
        return bool(row["duration_ms"] > SUSPECT_MS)
    return bool(row["duration_ms"] > SUSPECT_FACTOR * kind.percentile(0.5))


_Name = TypeVar("_Name", str, str | None)


def _bounded(name: _Name) -> _Name:
    return name if name is None else name[:LONGEST_NAME]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=list)
