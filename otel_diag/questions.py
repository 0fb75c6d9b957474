"""Answers plain-English questions: the intent that ``ask`` understood, carried out as one call or one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, case, func, select

from otel_diag import statements
from otel_diag.analyse import jobs, next_steps
from otel_diag.analyse.baseline import OperationStats
from otel_diag.ask.describe import CLIENT, GRAMMAR, describe, said_by, understood
from otel_diag.ask.form import Refused, fields_in_words, read_form
from otel_diag.ask.grammar import understand
from otel_diag.ask.intent import ALL_TIME, Dimension, Intent, IntentName, Known, Metric, NotUnderstood, Window
from otel_diag.ask.translate import NotTranslated, Translator
from otel_diag.briefs import brief_of_row
from otel_diag.model import Answer, QueryAnswer, Status
from otel_diag.reader import Reader, Row, brief_columns, collect_stats, peer_of
from otel_diag.store.schema import (
    diagnoses,
    execution_rollups,
    operation_baselines,
    operation_rollups,
    trace_spans,
    trace_summaries,
)
from otel_diag.store.text import as_text

DEFAULT_LIMIT = 20
PATTERN_ROWS = 2_000
NEWEST_SUMMARIES = 5_000
"""Jobs are known by name as long as one of their executions is among so many."""

Calls = Mapping[IntentName, Callable[[Intent], tuple[str, Answer]]]
"""Intents that are one call of the query service: how the call is written, and its answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What carrying out an intent gave: ``results`` is capped, ``total`` is not; ``call`` can be run again.

    ``window`` replaces the intent's where another one was read (from the full hour, say).
    """

    results: list[dict[str, Any]]
    total: int
    call: str
    message: str = ""
    window: Window | None = None


def answer(
    reader: Reader,
    question: str,
    calls: Calls,
    *,
    now: datetime,
    execution_id: int | None = None,
    intent: Mapping[str, Any] | None = None,
    translator: Translator | None = None,
) -> QueryAnswer:
    """Understand and answer, or say what was not understood and what can be asked instead.

    ``intent`` is the question as the caller has understood it, in the form of :mod:`otel_diag.ask.form`: then nobody
    else reads it. Otherwise ``translator``, if there is one, reads what the grammar does not understand, or in part.
    """
    known = known_names(reader)
    read, by = _read(question, known, now, execution_id, intent, translator)
    if isinstance(read, NotUnderstood):
        return QueryAnswer(
            query=question,
            understood=None,
            message=read.message,
            results=[],
            total_results=0,
            sql_or_call=None,
            suggestions=list(read.suggestions),
            intent_fields=fields_in_words(),
        )
    outcome = _from_call(read, calls) if read.name in calls else _STATEMENTS[read.name](reader, read)
    read = read if outcome.window is None else replace(read, window=outcome.window)
    first = outcome.results[0] if outcome.results else {}
    status = first.get("status")
    return QueryAnswer(
        query=question,
        understood=understood(read, by),
        message=" ".join(part for part in (describe(read), said_by(by), outcome.message, *read.notes) if part),
        results=outcome.results,
        total_results=outcome.total,
        sql_or_call=outcome.call,
        next_steps=next_steps.after_question(first.get("execution_id"), Status(status) if status else None),
    )


def _read(
    question: str,
    known: Known,
    now: datetime,
    execution_id: int | None,
    intent: Mapping[str, Any] | None,
    translator: Translator | None,
) -> tuple[Intent | NotUnderstood, str]:
    """The question as an intent, and who read it."""
    read = understand(question, known, now=now, execution_id=execution_id)
    if intent is not None:
        suggestions = read.suggestions if isinstance(read, NotUnderstood) else (question,)
        try:
            return read_form(intent, known, now=now, execution_id=execution_id), CLIENT
        except Refused as refused:
            return NotUnderstood(f"The intent is not valid. {refused}", suggestions), CLIENT
    if translator is None or (isinstance(read, Intent) and not read.ignored):
        return read, GRAMMAR
    try:
        return translator.translate(question, known, now=now, execution_id=execution_id), f"model {translator.name}"
    except NotTranslated as why:
        if isinstance(read, Intent):
            return replace(read, notes=(str(why), *read.notes)), GRAMMAR
        return replace(read, message=f"{read.message} {why}"), GRAMMAR


def known_names(reader: Reader) -> Known:
    """Every name a question may mention, as far as traces were summarised."""

    def names(column: Column[str]) -> frozenset[str]:
        statement = reader.select(column.table, column.label("name")).where(column != "")
        return frozenset(row["name"] for row in reader.rows(statement.distinct()))

    summaries = trace_summaries.c
    newest = reader.select(trace_summaries, summaries.job_id).order_by(summaries.started_at.desc())
    found = newest.limit(NEWEST_SUMMARIES).subquery()
    jobs_of_newest = reader.rows(select(found.c.job_id).where(found.c.job_id.is_not(None)).distinct())
    return Known(
        services=names(operation_baselines.c.service),
        operations=names(operation_baselines.c.operation),
        models=names(execution_rollups.c.model_id),
        regions=names(execution_rollups.c.region),
        jobs=frozenset(row["job_id"] for row in jobs_of_newest),
    )


# ---------------------------------------------------------------------------------- intents that are calls

_LISTS = {IntentName.SIMILAR: "executions", IntentName.GAPS: "gaps", IntentName.TIMELINE: "timeline"}


_CHANGES = ("new", "gone", "changed")
_UNCHANGED = (
    "No error text is new or gone, and none changed its rate beyond chance. "
    "Without executions in the window before none is called new."
)


def _from_call(intent: Intent, calls: Calls) -> Outcome:
    call, reply = calls[intent.name](intent)
    data = reply.model_dump(mode="json")
    if intent.name is IntentName.ERROR_CHANGES:
        changes = [{"change": kind, **found} for kind in _CHANGES for found in data[f"{kind}_errors"]]
        return Outcome(results=changes, total=len(changes), call=call, message="" if changes else _UNCHANGED)
    results = data[_LISTS[intent.name]] if intent.name in _LISTS else [data]
    return Outcome(results=results, total=len(results), call=call)


# ---------------------------------------------------------------------------------- intents that are statements


def _list_executions(reader: Reader, intent: Intent) -> Outcome:
    """LIST_FAILURES and SEARCH: executions or spans, newest first unless ordered by duration."""
    since, until = _times(intent)
    filters = intent.filters
    if intent.name is IntentName.LIST_FAILURES and not filters.statuses and not filters.root_causes:
        filters = replace(filters, statuses=(Status.FAILED, Status.TIMEOUT))
    of_spans = intent.target == "spans"
    source = statements.spans if of_spans else statements.executions
    columns = trace_spans.c if of_spans else trace_summaries.c
    picked = [trace_spans.c[name] for name in _SPAN_COLUMNS] if of_spans else brief_columns()
    shown = picked if of_spans else [*picked, diagnoses.c.root_cause_type]
    by_duration = {"desc": columns.duration_ms.desc().nulls_last(), "asc": columns.duration_ms.asc().nulls_last()}
    # Spans in nanoseconds, which their window is in and stores are laid out by.
    newest_first = trace_spans.c.start_unix_nano.desc() if of_spans else trace_summaries.c.started_at.desc()
    order = by_duration[intent.order] if intent.order else newest_first
    statement = source(reader, filters, since, until, *shown).order_by(order)
    limit = intent.limit or DEFAULT_LIMIT
    if of_spans or intent.order or intent.window is None:
        rows = reader.rows(statement.limit(limit))
    else:
        newest = statements.executions(reader, filters, since, until, *picked)
        rows = statements.newest_rows(reader, newest, since, until, limit)
    if of_spans or len(rows) < limit:
        counted = statements.Count(len(rows) if len(rows) < limit else reader.count(statement))
    else:
        counted = statements.count_executions(reader, filters, since, until)
    results = rows if of_spans else [brief_of_row(row).model_dump(mode="json") for row in rows]
    return Outcome(
        results=[_jsonable(row) for row in results],
        total=counted.total,
        call=as_text(statement.limit(limit)),
        message=f"There are more than {counted.total:,}; only so many were counted." if counted.is_partial else "",
    )


_SPAN_COLUMNS = (
    "execution_id",
    "trace_id",
    "span_id",
    "service",
    "operation",
    "status",
    "error_type",
    "error_message",
    "started_at",
    "duration_ms",
    "model_id",
    "region",
    "job_id",
)


def _slowest(reader: Reader, intent: Intent) -> Outcome:
    """Operations by average duration; executions and spans one by one."""
    if intent.target != "operations":
        return _list_executions(reader, replace(intent, order=intent.order or "desc"))
    ranked = _measure(reader, replace(intent, metric=Metric.AVG, group_by=(Dimension.SERVICE, Dimension.OPERATION)))
    descending = intent.order != "asc"
    results = sorted(ranked.results, key=lambda row: row["avg_duration_ms"] or 0.0, reverse=descending)
    return replace(ranked, results=results[: intent.limit or DEFAULT_LIMIT])


def _measure(reader: Reader, intent: Intent) -> Outcome:
    """One metric for each group; where a second window is asked for, in both."""
    of_executions = intent.target == "executions"
    groups = intent.group_by or (() if of_executions else (Dimension.SERVICE, Dimension.OPERATION))
    since, until = _times(intent)
    now = _figures(reader, intent, groups, since, until)
    rows = {key: _figure_row(groups, key, now.stats[key], since, until) for key in now.stats}
    if intent.baseline is not None:
        before = _figures(reader, intent, groups, intent.baseline.since, intent.baseline.until)
        for key in now.stats.keys() | before.stats.keys():
            row = rows.setdefault(key, _figure_row(groups, key, {}, since, until))
            row["baseline"] = _figure_row(
                (), (), before.stats.get(key, {}), intent.baseline.since, intent.baseline.until
            )
    results = sorted(rows.values(), key=lambda row: -row["sample_count"])
    if intent.metric is not None and intent.order is not None:
        name = METRIC_FIELDS[intent.metric]
        results.sort(key=lambda row: row[name] or 0.0, reverse=intent.order == "desc")
    message = "" if results else "Nothing in this window matches."
    window = intent.window
    if window is not None and now.since != since:
        window = replace(window, since=now.since, label=f"{window.label}, from the full hour")
    return Outcome(
        results=results[: intent.limit or DEFAULT_LIMIT],
        total=len(results),
        call=now.call,
        message=message,
        window=window,
    )


METRIC_FIELDS = {
    Metric.AVG: "avg_duration_ms",
    Metric.MIN: "min_ms",
    Metric.MAX: "max_ms",
    Metric.P50: "p50_ms",
    Metric.P75: "p75_ms",
    Metric.P90: "p90_ms",
    Metric.P95: "p95_ms",
    Metric.P99: "p99_ms",
    Metric.COUNT: "sample_count",
    Metric.ERROR_RATE: "error_rate",
    Metric.TIMEOUT_RATE: "timeout_rate",
    Metric.SUCCESS_RATE: "success_rate",
    Metric.THROUGHPUT: "per_second",
}
_PERCENTILES = {"p50_ms": 0.5, "p75_ms": 0.75, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99}

_Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Figures:
    """Per group: the figures by name. ``since`` is where reading began."""

    stats: Mapping[_Key, Mapping[str, Any]]
    since: datetime
    call: str


def _figures(reader: Reader, intent: Intent, groups: Sequence[Dimension], since: datetime, until: datetime) -> _Figures:
    """From the rows themselves where they are few or the sketches do not know the filter, else from the sketches."""
    of_executions = intent.target == "executions"
    filters = intent.filters
    source = statements.executions if of_executions else statements.spans
    columns = _EXECUTION_DIMENSIONS if of_executions else _SPAN_DIMENSIONS
    keys = [columns[dimension].label(dimension.value) for dimension in groups]
    sketches = execution_rollups if of_executions else operation_rollups
    sketched = statements.can_use_rollups(sketches, filters, groups)
    exact = source(reader, filters, since, until, *keys, *_exact_columns(of_executions))
    exact = exact.group_by(*(columns[dimension] for dimension in groups))
    hour = since.replace(minute=0, second=0, microsecond=0)
    rows_of = trace_summaries if of_executions else trace_spans
    if not sketched or statements.is_small(reader, rows_of, since, until):
        names = [dimension.value for dimension in groups]
        stats = {tuple(row[name] for name in names): row for row in reader.rows(exact) if row["sample_count"]}
        return _Figures(stats, since, as_text(exact))
    known_as = _EXECUTION_SKETCH if of_executions else _OPERATION_SKETCH
    sketch_keys = [sketches.c[known_as[dimension]].label(dimension.value) for dimension in groups]
    merged = statements.rollups(reader, sketches, filters, hour, until, sketch_keys)
    return _Figures(_from_sketches(reader.rows(merged), [d.value for d in groups]), hour, as_text(merged))


def _exact_columns(of_executions: bool) -> list[ColumnElement[Any]]:
    table = trace_summaries.c if of_executions else trace_spans.c
    duration, status = table.duration_ms, table.status
    return [
        func.count().label("sample_count"),
        func.count(case((status.in_(["failed", "timeout"]), 1))).label("failed_count"),
        func.count(case((status == "timeout", 1))).label("timeout_count"),
        func.avg(duration).label("avg_duration_ms"),
        func.min(duration).label("min_ms"),
        func.max(duration).label("max_ms"),
        *(func.percentile_cont(q).within_group(duration).label(name) for name, q in _PERCENTILES.items()),
    ]


def _from_sketches(rows: Iterable[Row], names: Sequence[str]) -> dict[_Key, dict[str, Any]]:
    """The figures of each group from its latency sketches: averages exact, the rest within 2.2 %."""
    rows = list(rows)
    by_status = collect_stats(rows, (*names, "status"))
    figures: dict[_Key, dict[str, Any]] = {}
    for key, stats in collect_stats(rows, names).items():
        counts = {status: by_status.get((*key, status.value), OperationStats({}, 0.0)).count for status in Status}
        figures[key] = {
            "sample_count": stats.count,
            "failed_count": counts[Status.FAILED] + counts[Status.TIMEOUT],
            "timeout_count": counts[Status.TIMEOUT],
            "avg_duration_ms": stats.mean_ms,
            "min_ms": stats.percentile(0.0),
            "max_ms": stats.percentile(1.0),
            **{name: stats.percentile(q) for name, q in _PERCENTILES.items()},
        }
    return {key: row for key, row in figures.items() if row["sample_count"] > 0}


def _figure_row(
    groups: Sequence[Dimension], key: _Key, figures: Mapping[str, Any], since: datetime, until: datetime
) -> dict[str, Any]:
    """One result: the group's names, then every figure (None without samples); rates are shares in 0..1."""
    count = int(figures.get("sample_count", 0))
    failed, timeouts = int(figures.get("failed_count", 0)), int(figures.get("timeout_count", 0))
    first = ("avg_duration_ms", "p50_ms", "p95_ms")
    rest = ("min_ms", "p75_ms", "p90_ms", "p99_ms", "max_ms")
    return {
        **{group.value: _plain(value) for group, value in zip(groups, key, strict=True)},
        **{name: figures.get(name) for name in first},
        "sample_count": count,
        "failed_count": failed,
        "error_rate": failed / count if count else None,
        **{name: figures.get(name) for name in rest},
        "timeout_count": timeouts,
        "timeout_rate": timeouts / count if count else None,
        "success_rate": (count - failed) / count if count else None,
        "per_second": count / max((until - since).total_seconds(), 1e-9) if since > ALL_TIME else None,
    }


_SPAN_DIMENSIONS: Mapping[Dimension, ColumnElement[Any]] = {
    Dimension.SERVICE: trace_spans.c.service,
    Dimension.OPERATION: trace_spans.c.operation,
    Dimension.MODEL: trace_spans.c.model_id,
    Dimension.REGION: trace_spans.c.region,
    Dimension.JOB: trace_spans.c.job_id,
    Dimension.STATUS: trace_spans.c.status,
    Dimension.ERROR: trace_spans.c.error_message,
    Dimension.HOUR: func.date_trunc("hour", trace_spans.c.started_at),
    Dimension.DAY: func.date_trunc("day", trace_spans.c.started_at),
}
_EXECUTION_DIMENSIONS: Mapping[Dimension, ColumnElement[Any]] = {
    Dimension.SERVICE: trace_summaries.c.root_service,
    Dimension.OPERATION: trace_summaries.c.root_operation,
    Dimension.MODEL: trace_summaries.c.model_id,
    Dimension.REGION: trace_summaries.c.region,
    Dimension.JOB: trace_summaries.c.job_id,
    Dimension.STATUS: trace_summaries.c.status,
    Dimension.ROOT_CAUSE: diagnoses.c.root_cause_type,
    Dimension.ERROR: trace_summaries.c.error_message,
    Dimension.HOUR: func.date_trunc("hour", trace_summaries.c.started_at),
    Dimension.DAY: func.date_trunc("day", trace_summaries.c.started_at),
}
_OPERATION_SKETCH: Mapping[Dimension, str] = {
    Dimension.SERVICE: "service",
    Dimension.OPERATION: "operation",
    Dimension.MODEL: "model_id",
    Dimension.REGION: "region",
    Dimension.STATUS: "status",
}
_EXECUTION_SKETCH = {**_OPERATION_SKETCH, Dimension.SERVICE: "root_service", Dimension.OPERATION: "root_operation"}


def _job_pattern(reader: Reader, intent: Intent) -> Outcome:
    """What the executions that pass the filters have in common; of a job, all of its executions."""
    since, until = _times(intent)
    statement = statements.executions(reader, intent.filters, since, until).order_by(
        trace_summaries.c.started_at.desc()
    )
    rows = reader.rows(statement.limit(PATTERN_ROWS))
    peers = [peer_of(row) for row in rows]
    failed = [peer for peer in peers if peer.status.is_failure]
    if not peers:
        return Outcome([], 0, as_text(statement), "No execution in this window matches.")
    results = [pattern.model_dump(mode="json") for pattern in jobs.failure_patterns(failed)]
    return Outcome(results, len(results), as_text(statement.limit(PATTERN_ROWS)), jobs.job_pattern(peers) + ".")


def _list_names(reader: Reader, intent: Intent) -> Outcome:
    """Distinct services, operations, models, regions or jobs, with the figures of each."""
    dimension = intent.group_by[0]
    of_executions = dimension in (Dimension.JOB, Dimension.ROOT_CAUSE, Dimension.STATUS)
    groups = (Dimension.SERVICE, dimension) if dimension is Dimension.OPERATION else (dimension,)
    return _measure(
        reader, replace(intent, group_by=groups, target="executions" if of_executions else "spans", metric=Metric.COUNT)
    )


_STATEMENTS: Mapping[IntentName, Callable[[Reader, Intent], Outcome]] = {
    IntentName.LIST_FAILURES: _list_executions,
    IntentName.SEARCH: _list_executions,
    IntentName.SLOWEST: _slowest,
    IntentName.MEASURE: _measure,
    IntentName.JOB_PATTERN: _job_pattern,
    IntentName.LIST_NAMES: _list_names,
}


def _times(intent: Intent) -> tuple[datetime, datetime]:
    if intent.window is None:
        return ALL_TIME, datetime.max.replace(year=2261, tzinfo=ALL_TIME.tzinfo)
    return intent.window.since, intent.window.until


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _jsonable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}
