"""What else is stored about an execution: counts of what a diagnosis does not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, and_, case, cast, func

from otel_diag.analyse.baseline import Baseline
from otel_diag.model import ANNOUNCED, Status
from otel_diag.reader import LOGGED_WITHIN_NANOS, PEER_LIMIT, Reader, Unit, within
from otel_diag.store.schema import execution_rollups, log_records, metric_points, profile_samples, trace_summaries

_ERROR = 17
"""The least severity number of an error."""

_BESIDE_NANOS = 3_600 * 10**9

_LONGEST_NANOS = 86_400 * 10**9
"""Metric points are counted over a day at most: a wrong clock would make it all there are."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Counts. ``attempts``: other traces of the execution; ``executions``: others in its trace that began within an
    hour (where nothing leads to the rows of a trace, few have to be looked at); ``log_records`` of the
    trace without announcements, ``log_errors`` of them; ``profile_samples`` of the trace; ``metric_points`` of its
    services while it ran; ``comparable``: completed executions that its peers were taken from, None unless there may be
    more than were taken."""

    attempts: int = 0
    executions: int = 0
    log_records: int = 0
    log_errors: int = 0
    profile_samples: int = 0
    metric_points: int = 0
    comparable: int | None = None


def surroundings_of(reader: Reader, units: Sequence[Unit]) -> list[Surroundings]:
    """Of each unit, all but ``comparable``; read together."""
    trace_ids = sorted({unit.trace.trace_id for unit in units if unit.trace.trace_id is not None})
    execution_ids = sorted({unit.trace.execution_id for unit in units if unit.trace.execution_id is not None})
    traces = _counts(reader, trace_summaries.c.execution_id, execution_ids, trace_summaries.c.trace_id.is_not(None))
    with_spans = [unit for unit in units if unit.trace.spans]
    executions = _executions(reader, trace_ids, with_spans)
    samples = _counts(reader, profile_samples.c.trace_id, trace_ids)
    logs = _logs(reader, trace_ids, with_spans)
    found = []
    for unit in units:
        trace = unit.trace
        itself = 1 if unit.summary is not None and trace.trace_id is not None else 0
        attempts = max(traces.get(trace.execution_id, 0) - itself, len(unit.trace_ids) - 1, 0)
        records, errors = logs.get(trace.trace_id or "", (0, 0))
        found.append(
            Surroundings(
                attempts=attempts if trace.execution_id is not None else 0,
                executions=max(0, executions.get(trace.trace_id, 0) - itself) if trace.execution_id is not None else 0,
                log_records=records,
                log_errors=errors,
                profile_samples=samples.get(trace.trace_id, 0),
                metric_points=_metric_points(reader, unit),
            )
        )
    return found


def comparable(reader: Reader, baseline: Baseline) -> int | None:
    """How many executions there were to choose peers from; None where all that are known were taken."""
    scope, peers = baseline.scope, baseline.peers
    if scope is None or scope.kin != "root" or len(peers) < PEER_LIMIT:
        return None
    rollups = execution_rollups.c
    same_model = scope.model_id is not None and all(peer.model_id == scope.model_id for peer in peers)
    statement = reader.select(
        execution_rollups, cast(func.sum(rollups.sample_count), BigInteger).label("executions")
    ).where(
        rollups.root_service == scope.root[0],
        rollups.root_operation == scope.root[1],
        rollups.status == Status.COMPLETED.value,
        rollups.bucket_start >= scope.since,
        rollups.bucket_start < scope.until + timedelta(hours=1),
        *([rollups.model_id == scope.model_id] if same_model else []),
    )
    (row,) = reader.rows(statement)
    return row["executions"]  # type: ignore[no-any-return]


def _counts(reader: Reader, key: Column[Any], keys: Sequence[Any], *conditions: Any) -> dict[Any, int]:
    if not keys:
        return {}
    statement = reader.select(key.table, key.label("key"), func.count().label("rows"))
    rows = reader.rows(statement.where(key.in_(keys), *conditions).group_by(key))
    return {row["key"]: row["rows"] for row in rows}


def _executions(reader: Reader, trace_ids: Sequence[str], units: Sequence[Unit]) -> dict[Any, int]:
    """Executions in each trace."""
    if not units:
        return {}
    summaries = trace_summaries.c
    near = within(
        summaries.min_start_unix_nano,
        ((first - _BESIDE_NANOS, last + _BESIDE_NANOS) for first, last in map(_starts, units)),
    )
    return _counts(reader, summaries.trace_id, trace_ids, summaries.execution_id.is_not(None), near)


def _logs(reader: Reader, trace_ids: Sequence[str], units: Sequence[Unit]) -> dict[str, tuple[int, int]]:
    """Log records and errors of each trace, announcements aside."""
    if not units:
        return {}
    logs = log_records.c
    told = case((logs.event_name == ANNOUNCED, 0), else_=1)
    failed = case((and_(logs.severity_number >= _ERROR, told == 1), 1), else_=0)
    statement = (
        reader.select(
            log_records,
            logs.trace_id,
            cast(func.sum(told), BigInteger).label("records"),
            cast(func.sum(failed), BigInteger).label("errors"),
        )
        .where(
            logs.trace_id.in_(trace_ids),
            within(logs.logged_unix_nano, ((first, last + LOGGED_WITHIN_NANOS) for first, last in map(_starts, units))),
        )
        .group_by(logs.trace_id)
    )
    return {row["trace_id"]: (row["records"], row["errors"]) for row in reader.rows(statement)}


def _starts(unit: Unit) -> tuple[int, int]:
    """Of its first and its last span."""
    starts = [span.start_unix_nano for span in unit.trace.spans]
    return min(starts), max(starts)


def _metric_points(reader: Reader, unit: Unit) -> int:
    spans = unit.trace.spans
    if not spans:
        return 0
    first, _ = _starts(unit)
    last = max(max(span.start_unix_nano, span.end_unix_nano or 0) for span in spans)
    points = metric_points.c
    statement = reader.select(metric_points, func.count().label("points")).where(
        points.service.in_(sorted({span.service for span in spans})),
        points.time_unix_nano.between(first, min(last, first + _LONGEST_NANOS)),
    )
    (row,) = reader.rows(statement)
    return row["points"]  # type: ignore[no-any-return]
