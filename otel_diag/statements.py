"""Statements over executions, spans and rollups, from filters: the SQL of the query service, in one place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, cast, func, or_, select, union_all
from sqlalchemy.sql import visitors

from otel_diag.ask.intent import Dimension, Filters
from otel_diag.model import ENGINE_VERSION
from otel_diag.reader import Reader, Row, diagnosis_of
from otel_diag.store.retention import nanos_of
from otel_diag.store.schema import (
    diagnoses,
    execution_rollups,
    operation_baselines,
    operation_rollups,
    trace_spans,
    trace_summaries,
)


def executions(reader: Reader, filters: Filters, since: datetime, until: datetime, *columns: Any) -> Select[Any]:
    """Executions (or traces without one) that started in the window, by their newest attempt; with their diagnosis,
    where it is among the ``columns``, as it is without any."""
    summaries = trace_summaries.c
    chosen = columns or (*trace_summaries.c, diagnoses.c.root_cause_type)
    begun = (summaries.latest, summaries.started_at >= since, summaries.started_at < until)
    joined = any(_mentions_diagnosis(column) for column in chosen)
    source = trace_summaries.outerjoin(diagnoses, diagnosis_of(summaries)) if joined else None
    statement = reader.select(trace_summaries, *chosen, source=source).where(*begun, *execution_conditions(filters))
    causes = _any_of(diagnoses.c.root_cause_type, filters.root_causes)
    return statement.where(judged_as(reader, *causes)) if causes else statement


def judged_as(reader: Reader, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether its content was judged so. By the key of the content alone, which only a copy of the same spans shares.

    Most executions have no diagnosis and most causes are rare: with a join, a store that reads by columns would read
    the long ids of all.
    """
    keys = reader.select(diagnoses, diagnoses.c.content_key).where(
        diagnoses.c.engine_version == ENGINE_VERSION, *conditions
    )
    return trace_summaries.c.content_key.in_(keys)


def count_executions(reader: Reader, filters: Filters, since: datetime, until: datetime) -> Count:
    """How many executions there are in the window: all of them where the sketches know what is filtered by or they are
    few, else COUNTED_ROWS of them."""
    first, last = hour_after(since), hour_of(until)
    if first >= last or not can_use_rollups(execution_rollups, filters, ()):
        return count_up_to(reader, executions(reader, filters, since, until, trace_summaries.c.unit_id), COUNTED_ROWS)
    sketches = rollups(reader, execution_rollups, filters, first, last, ()).subquery()
    whole = reader.rows(select(func.sum(sketches.c.sample_count).label("total")))[0]["total"] or 0
    summaries = trace_summaries.c
    unmeasured = executions(reader, filters, first, last, summaries.unit_id).where(summaries.duration_ms.is_(None))
    edges = (executions(reader, filters, *edge, summaries.unit_id) for edge in ((since, first), (last, until)))
    rows = union_all(unmeasured, *edges).subquery()
    return Count(int(whole) + int(reader.rows(select(func.count().label("total")).select_from(rows))[0]["total"]))


def count_up_to(reader: Reader, statement: Select[Any], most: int) -> Count:
    """How many rows :func:`executions` has, of which no more than ``most`` are counted, without their columns."""
    some = statement.with_only_columns(trace_summaries.c.unit_id).limit(most + 1).subquery()
    found = int(reader.rows(select(func.count().label("total")).select_from(some))[0]["total"])
    return Count(min(found, most), found > most)


def newest_rows(reader: Reader, statement: Select[Any], since: datetime, until: datetime, limit: int) -> list[Row]:
    """The newest rows of :func:`executions` of this window, their root causes added: of its last hour, if there are
    enough, else of as long before as there should be enough by their number in that hour, else of all of it. Where
    there are many, a fraction is looked at, whatever they are filtered by.

    ``statement``: of columns of ``trace_summaries``, ``started_at`` and ``unit_id`` among them.
    """
    started_at = trace_summaries.c.started_at
    key = [trace_summaries.c[name] for name in ("tenant", "content_key") if name not in statement.selected_columns]
    unread = statement.add_columns(*key).order_by(started_at.desc())
    rows: list[Row] = []
    begin = max(since, until - FIRST_LENGTH)
    while True:
        rows += reader.rows(_with_causes(unread.where(started_at >= begin).limit(limit - len(rows))))
        if len(rows) == limit or begin == since:
            return rows
        unread = unread.where(started_at < begin)
        begin = begin_of(limit, len(rows), begin, until, since)


def _with_causes(chosen: Select[Any]) -> Select[Any]:
    """Joined when they are chosen: none is looked up for what is left out."""
    rows = chosen.subquery()
    judged = select(*rows.c, diagnoses.c.root_cause_type).select_from(rows.outerjoin(diagnoses, diagnosis_of(rows.c)))
    return judged.order_by(rows.c.started_at.desc())


def begin_of(wanted: int, found: int, begin: datetime, until: datetime, since: datetime) -> datetime:
    """Where the newest ``wanted`` rows of a window most likely begin, when ``found`` lie from ``begin`` on.

    Half as long again as it should take: reading a little more costs less than reading twice.
    """
    length = 1.5 * wanted / found * (until - begin) if found else until - since
    return max(since, until - length)


FIRST_LENGTH = timedelta(hours=1)

COUNTED_ROWS = 5_000
"""Where only reading tells how many there are, not more are counted."""


@dataclass(frozen=True, slots=True)
class Count:
    """``is_partial``: there are more."""

    total: int
    is_partial: bool = False


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def hour_after(moment: datetime) -> datetime:
    hour = hour_of(moment)
    return hour if hour == moment else hour + timedelta(hours=1)


def _mentions_diagnosis(column: ColumnElement[Any]) -> bool:
    return any(getattr(part, "table", None) is diagnoses for part in visitors.iterate(column))


def execution_conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """What the filters ask of a row of ``trace_summaries``, but its root cause: see :func:`judged_as`."""
    summaries = trace_summaries.c
    conditions = [
        *_any_of(summaries.model_id, filters.models),
        *_any_of(summaries.region, filters.regions),
        *_any_of(summaries.job_id, filters.jobs),
        *_any_of(summaries.status, filters.statuses),
        *_between(summaries.duration_ms, filters),
    ]
    if filters.services:
        conditions.append(or_(*(_in_json(summaries.services, json.dumps(name)) for name in filters.services)))
    if filters.operations:
        conditions.append(or_(*(_has_operation(name) for name in filters.operations)))
    if filters.text:
        conditions.append(summaries.error_message.icontains(filters.text, autoescape=True))
    return conditions


def _has_operation(name: str) -> ColumnElement[bool]:
    """An element is ``service.operation``: the operation alone ends it, a qualified one is all of it."""
    inner = json.dumps(name)[1:-1]
    elements = trace_summaries.c.elements
    return or_(_in_json(elements, f'.{inner}"'), _in_json(elements, f'"{inner}"'))


def _in_json(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    return cast(column, Text).contains(text, autoescape=True)


def spans(reader: Reader, filters: Filters, since: datetime, until: datetime, *columns: Any) -> Select[Any]:
    """Spans that started in the window."""
    table = trace_spans.c
    conditions = [
        *_any_of(table.service, filters.services),
        *_any_of(table.model_id, filters.models),
        *_any_of(table.region, filters.regions),
        *_any_of(table.job_id, filters.jobs),
        *_any_of(table.status, filters.statuses),
        *_between(table.duration_ms, filters),
        *_of_operations(table, filters),
    ]
    if filters.text:
        conditions.append(table.error_message.icontains(filters.text, autoescape=True))
    chosen = columns or tuple(trace_spans.c)
    # In nanoseconds, which stores are laid out by; a start that is no time at all has no started_at.
    window = (
        table.start_unix_nano >= _nanos(since),
        table.start_unix_nano < _nanos(until),
        table.started_at.is_not(None),
    )
    return reader.select(trace_spans, *chosen).where(*window, *conditions)


def rollups(
    reader: Reader, table: Table, filters: Filters, since: datetime, until: datetime, keys: Sequence[Any]
) -> Select[Any]:
    """Latency sketches of a window, merged for each combination of ``keys`` and status.

    ``table``: ``operation_rollups`` or ``execution_rollups``; ``since`` must be a whole hour. Filters by service and
    operation apply to operations only: see :func:`can_use_rollups`.
    """
    columns = table.c
    conditions = rollup_conditions(table, filters)
    if table is operation_rollups:
        conditions += [*_any_of(columns.service, filters.services), *_of_operations(columns, filters)]
    counted = (func.sum(columns.sample_count).label("sample_count"), func.sum(columns.sum_ms).label("sum_ms"))
    return (
        reader.select(table, *keys, columns.status, columns.latency_bucket, *counted)
        .where(columns.bucket_start >= since, columns.bucket_start < until, *conditions)
        .group_by(*keys, columns.status, columns.latency_bucket)
    )


def rollup_conditions(table: Table, filters: Filters) -> list[ColumnElement[bool]]:
    """What the filters ask of sketches of any kind."""
    return [
        *_any_of(table.c.model_id, filters.models),
        *_any_of(table.c.region, filters.regions),
        *_any_of(table.c.status, filters.statuses),
    ]


SCANNED_ROWS = 20_000
"""Up to this many rows, figures are computed from the rows themselves; past it from sketches (within 2.2 %)."""


def is_small(reader: Reader, table: Table, since: datetime, until: datetime) -> bool:
    """Whether ``trace_spans`` or ``trace_summaries`` has few rows in the window, so that reading them all is cheap.

    Judged by the coarsest sketch that counts them: at no cost worth a word, without what is not summarised yet, and
    rather too many than too few, since it counts from the full hour or day.
    """
    coarse = operation_baselines if table is trace_spans else execution_rollups
    begin = since.replace(minute=0, second=0, microsecond=0)
    if coarse is operation_baselines:
        begin = begin.replace(hour=0)
    total = reader.select(coarse, func.sum(coarse.c.sample_count).label("total")).where(
        coarse.c.bucket_start >= begin, coarse.c.bucket_start < until
    )
    if coarse is operation_baselines:
        total = total.where(operation_baselines.c.measure == "duration")
    return (reader.rows(total)[0]["total"] or 0) <= SCANNED_ROWS


def can_use_rollups(table: Table, filters: Filters, dimensions: Sequence[Dimension]) -> bool:
    """Whether the sketches know everything that is filtered and grouped by."""
    unknown = {Dimension.JOB, Dimension.ROOT_CAUSE, Dimension.ERROR, Dimension.HOUR, Dimension.DAY}
    narrowed = bool(filters.jobs or filters.root_causes or filters.text)
    bounded = filters.min_duration_ms is not None or filters.max_duration_ms is not None
    # An execution's sketch is kept under its root; which other services it touched is not in it.
    touched = table is execution_rollups and bool(filters.services or filters.operations)
    return not (narrowed or bounded or touched or unknown.intersection(dimensions))


def _of_operations(columns: Any, filters: Filters) -> list[ColumnElement[bool]]:
    """An operation is named alone or as ``service.operation``."""
    if not filters.operations:
        return []
    qualified = columns.service + "." + columns.operation
    return [or_(columns.operation.in_(filters.operations), qualified.in_(filters.operations))]


def _nanos(moment: datetime) -> int:
    """Within what 64 bits hold: for no span a window is too wide."""
    return min(max(nanos_of(moment), -(2**63)), 2**63 - 1)


def _any_of(column: ColumnElement[Any], values: Sequence[str]) -> list[ColumnElement[bool]]:
    return [column.in_([str(value) for value in values])] if values else []


def _between(column: ColumnElement[Any], filters: Filters) -> list[ColumnElement[bool]]:
    conditions = []
    if filters.min_duration_ms is not None:
        conditions.append(column >= filters.min_duration_ms)
    if filters.max_duration_ms is not None:
        conditions.append(column <= filters.max_duration_ms)
    return conditions
