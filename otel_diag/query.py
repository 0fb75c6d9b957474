"""The one service behind MCP, REST and the command line: every question is answered here, once.

A :class:`Queries` belongs to one tenant; nothing it returns comes from another. Methods raise NotFound (with the
nearest ids), BadInput, Transient; they never print and know no protocol.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, TypeVar

from sqlalchemy import Select, and_, case, func

from otel_diag import cohorts, questions, statements
from otel_diag.analyse import compare as comparing
from otel_diag.analyse import jobs, next_steps, performance, similar, templates, timeline
from otel_diag.analyse.examined import Examined
from otel_diag.ask import guarded_sql
from otel_diag.ask.intent import ALL_TIME, Intent, IntentName
from otel_diag.ask.intent import Filters as Narrowing
from otel_diag.ask.translate import Translator
from otel_diag.briefs import SPANS_SHOWN, analysis_of_row, brief_of_peer, brief_of_row, brief_of_unit, failure_of_row
from otel_diag.config import Settings
from otel_diag.confirmations import confirm, confirmed_alike, recommendation_of
from otel_diag.decode.otlp_json import spans_to_otlp_json
from otel_diag.diagnoses import Diagnosis, diagnosis_of, judge_all
from otel_diag.errors import BadInput, NotFound, Permanent
from otel_diag.model import (
    DEFAULT_TENANT,
    AnalysisType,
    Answer,
    Comparison,
    Confirmation,
    ConfirmedCause,
    Declared,
    GapReport,
    JobAnalysis,
    OperationInfo,
    Performance,
    PerformanceWindow,
    QueryAnswer,
    RecentFailures,
    Report,
    RootCause,
    RootCauseType,
    SearchPage,
    ServiceEdge,
    ServiceInfo,
    ServiceMap,
    Span,
    SqlResult,
    Status,
    Timeline,
    TraceDiff,
    TraceSummary,
)
from otel_diag.reader import Reader, Row, Unit, Window, brief_columns, collect_stats, pattern_columns, peer_of
from otel_diag.store.base import Store
from otel_diag.store.functions import FUNCTIONS
from otel_diag.store.schema import (
    OWN_TABLES,
    diagnoses,
    execution_rollups,
    metadata,
    operation_rollups,
    trace_spans,
    trace_summaries,
    views,
)
from otel_diag.summaries import fold_declared, portions, summary_row

DEFAULT_WINDOW = timedelta(hours=24)
MAX_LISTED = 5_000
"""Spans, gaps, ... of one trace in an answer; its ``total_spans`` says how many there are."""
JOB_EXECUTIONS_SHOWN = 20
MAP_TRACES = 500
PATTERN_ROWS = 500
"""Patterns are sought among at most this many failures, the newest."""

JOB_ROWS = 2_000
"""Executions of a job that are looked at; all of them are counted."""

ALIKE_WINDOW = timedelta(days=7)
ALIKE_SHOWN = 20
ALIKE_COUNTED = 1_000
"""Of executions that fail alike, the newest so many are counted."""

FAILURES = (Status.FAILED, Status.TIMEOUT)

CLOCK_SLACK = timedelta(minutes=5)
"""Windows that end now reach this far ahead: senders' clocks may run fast."""

SQL_TABLES = tuple(name for name in (*metadata.tables, *views.tables) if name not in OWN_TABLES)


@dataclass(frozen=True, slots=True)
class Key:
    """What to look at: an execution or a trace, exactly one of them."""

    execution_id: int | None = None
    trace_id: str | None = None

    def __post_init__(self) -> None:
        if (self.execution_id is None) == (self.trace_id is None):
            raise BadInput("give exactly one of execution_id and trace_id")


@dataclass(frozen=True, slots=True)
class Filters:
    """Narrows a set of executions. None: any. ``service`` / ``operation`` match executions that touch them."""

    status: str | None = None
    job_id: str | None = None
    model_id: str | None = None
    region: str | None = None
    service: str | None = None
    operation: str | None = None
    root_cause_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def narrowing(self) -> Narrowing:
        """The same without the window. Raises BadInput for a status or root cause type that does not exist."""
        return Narrowing(
            services=_one(self.service),
            operations=_one(self.operation),
            models=_one(self.model_id),
            regions=_one(self.region),
            jobs=_one(self.job_id),
            statuses=tuple(_member(Status, name, "status") for name in _one(self.status)),
            root_causes=tuple(_member(RootCauseType, name, "root cause type") for name in _one(self.root_cause_type)),
        )


class Queries:
    """Answers about one tenant's executions. Thread-safe."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        tenant: str = DEFAULT_TENANT,
        clock: Callable[[], datetime] | None = None,
        translator: Translator | None = None,
    ) -> None:
        """``translator``, by default the settings' ``ask_model``, reads questions the grammar does not, or not all."""
        self._reader = Reader(store, tenant, max_spans=settings.max_trace_spans)
        self._store = store
        self._settings = settings
        self._now = clock or (lambda: datetime.now(UTC))
        if translator is None and settings.ask_model is not None:
            translator = Translator(settings.ask_model)
        self._translator = translator

    # ---------------------------------------------------------------------------------- one execution

    def diagnose(self, key: Key, analysis_type: AnalysisType = "full") -> Report:
        """Why it failed or was slow. ``analysis_type`` leaves parts out, the verdict stays the same."""
        unit = self._unit(key)
        return self._report(unit, self._diagnosis(self._reader, unit), analysis_type)

    def diagnose_with_timeline(self, key: Key, analysis_type: AnalysisType = "full") -> tuple[Report, Timeline]:
        """The diagnosis and the timeline it is about, of one reading."""
        unit = self._unit(key)
        diagnosis = self._diagnosis(self._reader, unit)
        return self._report(unit, diagnosis, analysis_type), self._timeline(unit, diagnosis)

    def _diagnosis(self, reader: Reader, unit: Unit) -> Diagnosis:
        return diagnosis_of(reader, unit, now=self._now(), settle=self._settle)

    def _report(self, unit: Unit, diagnosis: Diagnosis, analysis_type: AnalysisType) -> Report:
        report = diagnosis.report
        causes = confirmed_alike(self._reader, unit, unit.examined.summary, report)
        parts: dict[str, Any] = {"analysis_type": analysis_type, "confirmed_causes": causes}
        if (advice := recommendation_of(causes)) is not None:
            parts["recommendations"] = [*report.recommendations, advice]
        if analysis_type in ("full", "similar"):
            parts["similar_cases"] = list(diagnosis.similar[: cohorts.SIMILAR_LIMIT])
        if analysis_type in ("similar", "gaps"):
            parts |= {"recommendations": [], "timing_breakdown": {}}
        if analysis_type == "gaps":
            parts["findings"] = [found for found in report.findings if found.gap_after_ms is not None]
        elif analysis_type in ("root_cause", "similar"):
            parts["findings"] = []
        parts["next_steps"] = next_steps.after_diagnosis(report, unit.examined.summary.job_id)
        return report.model_copy(update=parts)

    def timeline(self, key: Key) -> Timeline:
        unit = self._unit(key)
        return self._timeline(unit, self._diagnosis(self._reader, unit), MAX_LISTED)

    def _timeline(self, unit: Unit, diagnosis: Diagnosis, limit: int | None = None) -> Timeline:
        return Timeline(
            execution_id=unit.trace.execution_id,
            trace_id=unit.trace.trace_id,
            total_spans=unit.trace.span_count,
            spans_examined=len(unit.trace.spans),
            timeline=timeline.timeline(unit.examined, diagnosis.marks, limit),
        )

    def summary(self, key: Key) -> TraceSummary:
        unit = self._unit(key)
        summary = unit.examined.summary
        return TraceSummary(
            execution_id=unit.trace.execution_id,
            trace_id=unit.trace.trace_id,
            total_spans=summary.span_count,
            spans_examined=len(unit.trace.spans),
            failed_spans=summary.failed_spans,
            timeout_spans=summary.timeout_spans,
            total_duration_ms=summary.duration_ms,
            max_span_duration_ms=summary.max_span_duration_ms,
            services_involved=list(summary.services),
            first_error=summary.error_message,
        )

    def trace_gaps(self, key: Key) -> GapReport:
        unit = self._unit(key)
        reader = self._remembering()
        report = timeline.gap_report(
            unit.examined,
            reader.baseline(unit),
            self._diagnosis(reader, unit).marks,
            unit.is_arriving(self._now(), self._settle),
            MAX_LISTED,
        )
        lists = {name: getattr(report, name) for name in ("gaps", "missing", "orphans")}
        bounded: dict[str, Any] = {name: found[:MAX_LISTED] for name, found in lists.items()}
        totals = {name: len(found) for name, found in lists.items() if len(found) > MAX_LISTED}
        if unit.trace.span_count > len(report.spans):
            totals["spans"] = unit.trace.span_count
        return report.model_copy(update=bounded | {"totals": totals, "next_steps": next_steps.after_gaps(report)})

    def compare_with_successful(self, key: Key) -> Comparison:
        unit = self._unit(key)
        summary = unit.examined.summary
        ranked = cohorts.nearest_successful(self._reader, unit, summary)
        compared = None
        if ranked:
            compared = comparing.compare(unit.examined, Examined(self._reader.trace_of(ranked[0][0])))
        contrast = cohorts.of_execution(self._reader, unit, summary)
        nothing = ["no successful execution of this kind is stored to compare with"]
        comparison = Comparison(
            failed_execution=brief_of_unit(unit.trace, summary),
            similar_successful=[brief_of_peer(peer, score) for peer, score in ranked],
            differences=nothing if compared is None else compared.differences,
            first_divergence=None if compared is None else compared.first_divergence,
            attributes=[] if compared is None else compared.attributes,
            distinguishing=contrast.distinguishing,
            cohorts=contrast.cohorts,
        )
        return comparison.model_copy(update={"next_steps": next_steps.after_comparison(comparison)})

    def compare(self, left: Key, right: Key) -> TraceDiff:
        one, other = self._unit(left), self._unit(right)
        compared, changes = comparing.diff(one.examined, other.examined)
        return TraceDiff(
            left=brief_of_unit(one.trace, one.examined.summary),
            right=brief_of_unit(other.trace, other.examined.summary),
            similarity_score=compared.similarity,
            summary=changes.summary,
            differences=compared.differences,
            first_divergence=compared.first_divergence,
            attributes=compared.attributes,
            elements=changes.elements,
            services=changes.services,
            changes=changes.spans,
            total_changes=changes.total_spans,
        )

    def raw_trace(self, trace_id: str, *, after: str = "", limit: int | None = None) -> Mapping[str, Any]:
        """Every stored span of the trace as OTLP/JSON. Raises NotFound, and BadInput when there are too many at once.

        With ``limit`` a page of at least so many, as long as there are: those with the least span ids past ``after``,
        none once there is no more. Spans with the same id are on the same page.
        """
        bounds = self._reader.trace_bounds([trace_id.lower()])
        if not bounds:
            self._reader.trace(trace_id)
        if limit is not None:
            return spans_to_otlp_json(self._reader.span_page(bounds, after, limit))
        rows = self._reader.span_rows(bounds, max_rows=self._settings.max_trace_spans + 1)
        if rows.num_rows > self._settings.max_trace_spans:
            raise BadInput(
                f"trace {trace_id} has more than {self._settings.max_trace_spans} spans",
                hint="Ask for pages: limit=10000, then also after=<the greatest spanId so far>, until no span comes.",
            )
        return spans_to_otlp_json(rows)

    def trace_ids(self, *, after: str = "", limit: int = 1_000) -> list[str]:
        """Ids of stored traces in order, from the first past ``after``; none of them needs to be summarised yet."""
        spans = trace_spans.c
        statement = self._reader.select(trace_spans, spans.trace_id).where(spans.trace_id > after)
        rows = self._reader.rows(statement.group_by(spans.trace_id).order_by(spans.trace_id).limit(limit))
        return [row["trace_id"] for row in rows]

    # ---------------------------------------------------------------------------------- many executions

    def timeout_root_cause(self, *, job_id: str | None = None, execution_id: int | None = None) -> JobAnalysis:
        """What the failures of a job have in common; an execution stands for the job it belongs to."""
        if (job_id is None) == (execution_id is None):
            raise BadInput("give exactly one of job_id and execution_id")
        own = self._reader.execution(execution_id) if execution_id is not None else None
        if own is not None:
            job_id = own.examined.summary.job_id
        rows: list[Row] = []
        total = failed = 0
        if job_id is not None:
            of_job = self._of_job(Narrowing(jobs=(job_id,)))
            known = self._reader.rows(of_job.order_by(trace_summaries.c.started_at).limit(JOB_ROWS))
            rows = known
            if len(known) == JOB_ROWS:
                total = self._reader.count(of_job)
                failed = self._reader.count(self._of_job(Narrowing(jobs=(job_id,), statuses=FAILURES)))
        if own is not None and not any(_is_row_of(own, row) for row in rows):
            rows = [self._row_of(own), *(row for row in rows if row["execution_id"] != execution_id)]
        if not rows:
            raise self._unknown_job(job_id)
        failed_first = sorted(rows, key=lambda row: (not Status(row["status"]).is_failure, row["min_start_unix_nano"]))
        shown = self._diagnosed(failed_first[:JOB_EXECUTIONS_SHOWN])
        spans = self._first_spans([row for row in shown if row["trace_id"] is not None])
        contrast = cohorts.of_job(self._reader, rows)
        peers = [peer_of(row) for row in [*shown, *failed_first[JOB_EXECUTIONS_SHOWN:]]]
        analysis = JobAnalysis(
            job_id=job_id,
            total_executions=total or len(rows),
            failed_executions=failed or sum(Status(row["status"]).is_failure for row in rows),
            analysis=[analysis_of_row(row, spans.get(row["trace_id"], ())) for row in shown],
            pattern=jobs.job_pattern(peers),
            patterns=jobs.job_patterns(peers),
            distinguishing=contrast.distinguishing,
            cohorts=contrast.cohorts,
        )
        return analysis.model_copy(update={"next_steps": next_steps.after_job(analysis)})

    def recent_failures(self, limit: int = 10, filters: Filters = Filters()) -> RecentFailures:
        """Executions whose newest attempt failed, newest first, with what they share. Default window: 24 hours."""
        if limit < 1:
            raise BadInput("limit must be at least 1")
        since, until = self._window(filters)
        narrowing = filters.narrowing()
        statuses = narrowing.statuses or FAILURES
        if not all(status.is_failure for status in statuses):
            raise BadInput(f"{filters.status} is not a failure", hint="Use failed or timeout; search lists the others.")
        narrowing = replace(narrowing, statuses=statuses)
        columns = (*pattern_columns(), *cohorts.MEMBER_COLUMNS, *cohorts.ERROR_COLUMNS)
        once = {column.name: column for column in columns}.values()
        among = statements.executions(self._reader, narrowing, since, until, *once)
        newest = statements.newest_rows(self._reader, among, since, until, max(limit, PATTERN_ROWS))
        shown = self._diagnosed(newest[:limit])
        known = {row["unit_id"]: row for row in shown}
        rows = newest[:PATTERN_ROWS]
        touched = replace(narrowing, statuses=(), text=None)
        # None of these needs another, and the engines leave the interpreter alone while they read.
        with ThreadPoolExecutor(1) as beside:
            changes = beside.submit(copy_context().run, self._error_changes, narrowing, (since, until), newest)
            count = beside.submit(copy_context().run, self._count_of, narrowing, (since, until), newest)
            contrast = cohorts.of_failures(self._reader, rows, statements.execution_conditions(touched))
        counted = count.result()
        failures = RecentFailures(
            total_failures=counted.total,
            total_is_partial=counted.is_partial,
            since=since,
            failures=[failure_of_row(row) for row in shown],
            examined_failures=len(rows),
            patterns=jobs.failure_patterns([peer_of(known.get(row["unit_id"], row)) for row in rows]),
            distinguishing=contrast.distinguishing,
            cohorts=contrast.cohorts,
            **changes.result(),
        )
        return failures.model_copy(update={"next_steps": next_steps.after_failures(failures)})

    def performance(self, filters: Filters = Filters()) -> Performance:
        """Durations and success rate of executions or of one operation, beside the window before (default 24 h)."""
        since, until = self._window(filters)
        narrowing = filters.narrowing()
        measured: Literal["executions", "operation"] = "executions"
        if filters.service is not None or filters.operation is not None:
            measured = "operation"
        window = self._performance(narrowing, measured, since, until)
        answer = Performance(
            **window.model_dump(),
            measured=measured,
            filters={name: value for name, value in asdict(filters).items() if isinstance(value, str)},
            previous_window=self._performance(narrowing, measured, since - (until - since), since),
        )
        return answer.model_copy(update={"next_steps": next_steps.after_performance(answer)})

    def search(self, filters: Filters, *, limit: int = 50, offset: int = 0) -> SearchPage:
        """Executions that pass the filters, newest first. Without ``since``: of all times."""
        if limit < 1 or offset < 0:
            raise BadInput("limit must be at least 1 and offset at least 0")
        since = filters.since or ALL_TIME
        until = filters.until or self._now() + CLOCK_SLACK
        columns = (*brief_columns(), diagnoses.c.root_cause_type)
        statement = statements.executions(self._reader, filters.narrowing(), since, until, *columns)
        rows = self._reader.rows(
            statement.order_by(trace_summaries.c.started_at.desc(), trace_summaries.c.unit_id)
            .limit(limit)
            .offset(offset)
        )
        counted = statements.count_executions(self._reader, filters.narrowing(), since, until)
        more = offset + len(rows) < counted.total or (counted.is_partial and len(rows) == limit)
        return SearchPage(
            total=max(counted.total, offset + len(rows)) if rows else counted.total,
            total_is_partial=counted.is_partial and more,
            executions=[brief_of_row(row) for row in rows],
            next_offset=offset + len(rows) if more else None,
        )

    def failing_alike(self, key: Key) -> SearchPage:
        """Other failed executions with the same root cause in the same place, a week around this one, newest first."""
        unit = self._unit(key)
        cause = self._diagnosis(self._reader, unit).report.root_cause
        if cause is None:
            return SearchPage(total=0, executions=[], next_offset=None)
        summary = unit.examined.summary
        narrowing = Narrowing(statuses=FAILURES)
        alike = statements.judged_as(
            self._reader,
            diagnoses.c.root_cause_type == cause.root_cause_type.value,
            diagnoses.c.affected_service == cause.affected_service,
            diagnoses.c.affected_operation == cause.affected_operation,
        )
        moment = summary.started_at or self._now()
        around = (moment - ALIKE_WINDOW, moment + ALIKE_WINDOW)
        others = trace_summaries.c.unit_id != unit.unit_id
        statement = statements.executions(self._reader, narrowing, *around, *brief_columns()).where(alike, others)
        until = min(around[1], self._now() + CLOCK_SLACK)
        shown = statements.newest_rows(self._reader, statement, around[0], until, ALIKE_SHOWN)
        counted = statements.Count(len(shown))
        if len(shown) == ALIKE_SHOWN:
            counted = statements.count_up_to(self._reader, statement, ALIKE_COUNTED)
        return SearchPage(
            total=counted.total,
            total_is_partial=counted.is_partial,
            executions=[brief_of_row(row) for row in shown],
            next_offset=None,
        )

    def services(self, since: datetime | None = None) -> list[ServiceInfo]:
        """Services seen in the window (default 24 hours, from the full hour), busiest first."""
        infos: dict[str, list[OperationInfo]] = {}
        for info in self.operations(since=since):
            infos.setdefault(info.service, []).append(info)
        found = [
            ServiceInfo(
                service=service,
                operations=len(operations),
                span_count=sum(info.sample_count for info in operations),
                failed_count=sum(info.failed_count for info in operations),
            )
            for service, operations in infos.items()
        ]
        return sorted(found, key=lambda info: (-info.span_count, info.service))

    def operations(self, service: str | None = None, since: datetime | None = None) -> list[OperationInfo]:
        """Operations seen in the window (default 24 hours, from the full hour), slowest average first."""
        rollups = operation_rollups.c
        since = statements.hour_of(since or self._now() - DEFAULT_WINDOW)
        narrowing = Narrowing(services=_one(service))
        keys = (rollups.service, rollups.operation)
        rows = self._reader.rows(
            statements.rollups(self._reader, operation_rollups, narrowing, since, self._now() + CLOCK_SLACK, keys)
        )
        failed: Counter[tuple[str, str]] = Counter()
        for row in rows:
            if Status(row["status"]).is_failure:
                failed[row["service"], row["operation"]] += int(row["sample_count"])
        infos = [
            OperationInfo(
                service=key[0],
                operation=key[1],
                sample_count=stats.count,
                failed_count=failed[key],
                avg_duration_ms=stats.mean_ms,
                p50_ms=stats.percentile(0.5),
                p95_ms=stats.percentile(0.95),
            )
            for key, stats in collect_stats(rows, ("service", "operation")).items()
            if stats.count > 0
        ]
        return sorted(infos, key=lambda info: (-(info.avg_duration_ms or 0.0), info.service, info.operation))

    def service_map(self, since: datetime | None = None) -> ServiceMap:
        """Who calls whom, from the newest traces of the window (default 24 hours)."""
        since = since or self._now() - DEFAULT_WINDOW
        summaries = trace_summaries.c
        statement = statements.executions(
            self._reader, Narrowing(), since, self._now() + CLOCK_SLACK, summaries.services, summaries.hops
        )
        rows = self._reader.rows(statement.order_by(summaries.started_at.desc()).limit(MAP_TRACES))
        services: set[str] = set()
        calls: Counter[tuple[str, str]] = Counter()
        for row in rows:
            names = json.loads(row["services"])
            services.update(names)
            hops = ((_service_of(a, names), _service_of(b, names)) for a, b in json.loads(row["hops"]))
            calls.update((caller, callee) for caller, callee in hops if caller != callee)
        return ServiceMap(
            services=sorted(services),
            edges=[ServiceEdge(caller=a, callee=b, calls=n) for (a, b), n in calls.most_common()],
            traces=len(rows),
            total_traces=len(rows) if len(rows) < MAP_TRACES else self._reader.count(statement),
        )

    # ---------------------------------------------------------------------------------- questions, writes, SQL

    def ask(self, query: str, execution_id: int | None = None, intent: Mapping[str, Any] | None = None) -> QueryAnswer:
        """A question in plain English: what was understood, the results, and the call or SQL that gave them.

        ``intent``: what is asked, where the caller has understood it by itself; ``query`` is then only repeated.
        """
        return questions.answer(
            self._reader,
            query,
            self._calls(),
            now=self._now(),
            execution_id=execution_id,
            intent=intent,
            translator=self._translator,
        )

    def _calls(self) -> questions.Calls:
        """The intents that are one call of this service, each with the call as it is written."""

        def about_one(tool: str, method: Callable[[Key], Answer]) -> Callable[[Intent], tuple[str, Answer]]:
            return lambda intent: (f"{tool}({_written(_key_of(intent))})", method(_key_of(intent)))

        def compare(intent: Intent) -> tuple[str, Answer]:
            if len(intent.execution_ids) + len(intent.trace_ids) < 2:
                return about_one("compare_with_successful", self.compare_with_successful)(intent)
            left, right = _keys_of(intent)[:2]
            return f"compare({_written(left)}, {_written(right)})", self.compare(left, right)

        def about_many(tool: str, method: Callable[[Filters], Answer]) -> Callable[[Intent], tuple[str, Answer]]:
            def carried_out(intent: Intent) -> tuple[str, Answer]:
                filters = _filters_of(intent)
                given = {name: value for name, value in asdict(filters).items() if value is not None}
                written = ", ".join(f"{name}={str(value)!r}" for name, value in given.items())
                return f"{tool}({written})", method(filters)

            return carried_out

        return {
            IntentName.DIAGNOSE: about_one("diagnose_execution", self.diagnose),
            IntentName.SIMILAR: about_one("failing_alike", self.failing_alike),
            IntentName.COMPARE: compare,
            IntentName.GAPS: about_one("find_trace_gaps", self.trace_gaps),
            IntentName.TIMELINE: about_one("trace_timeline", self.timeline),
            IntentName.SUMMARY: about_one("trace_summary", self.summary),
            IntentName.PERFORMANCE: about_many("analyze_performance", self.performance),
            IntentName.ERROR_CHANGES: about_many(
                "get_recent_failures", lambda filters: self.recent_failures(filters=filters)
            ),
        }

    def declare_execution(self, declared: Declared) -> None:
        """Record an execution whether or not it ever sends a span; the same id again replaces what was recorded."""
        self._store.apply(fold_declared(self._reader, declared, self._now()))

    def confirm(self, key: Key, said: Confirmation) -> ConfirmedCause:
        """Keep what somebody says of the verdict, in place of what was said before. Raises BadInput, NotFound."""
        unit, now = self._unit(key), self._now()
        report = diagnosis_of(self._reader, unit, now=now, settle=self._settle).report
        return confirm(self._reader, unit, unit.examined.summary, report, said, now)

    def sql(self, statement: str, *, max_rows: int | None = None, validate_only: bool = False) -> SqlResult:
        """One read-only SELECT over this tenant's rows. Raises BadInput for anything else, Transient on time-out.

        What SQL functions in it ask about is judged before, where it is not yet.
        """
        checked = guarded_sql.check_select(
            statement, self._store.capabilities().name, SQL_TABLES, tenant=self._reader.tenant, functions=FUNCTIONS
        )
        if validate_only:
            return SqlResult(columns=[], rows=[], row_count=0, row_count_is_partial=False)
        self._judge_first(checked.calls)
        limit = min(max_rows or self._settings.query_row_limit, self._settings.query_row_limit)
        try:
            table = self._store.select_text(
                checked.sql, max_rows=limit + 1, timeout_seconds=self._settings.query_seconds
            )
        except Permanent as error:
            hint = f"Tables: {', '.join(SQL_TABLES)}; their columns are in docs/tables.md."
            raise BadInput(f"the store refuses this query: {error}", hint=hint) from error
        return SqlResult(
            columns=table.column_names,
            rows=[list(row.values()) for row in table.slice(0, limit).to_pylist()],
            row_count=min(table.num_rows, limit),
            row_count_is_partial=table.num_rows > limit,
        )

    # ---------------------------------------------------------------------------------- shared steps

    def _judge_first(self, calls: Sequence[guarded_sql.Call]) -> None:
        """See to it that the diagnoses which these functions give back are stored, as far as they can be."""
        if not self._store.capabilities().writable:
            return
        for call in calls:
            values = {name: value for name, value in call.values.items() if name in ("execution_id", "trace_id")}
            with suppress(NotFound):  # the function says so by giving no row
                self._diagnosis(self._reader, self._unit(Key(**values)))  # type: ignore[arg-type]

    def _unit(self, key: Key) -> Unit:
        if key.execution_id is not None:
            return self._reader.execution(key.execution_id)
        return self._reader.trace(key.trace_id or "")

    @property
    def _settle(self) -> timedelta:
        return timedelta(seconds=self._settings.settle_seconds)

    def _diagnosed(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with their root causes; failures are judged now where the worker has not come to them yet."""
        due = [row for row in rows if row["root_cause_type"] is None and Status(row["status"]).is_failure]
        reader = self._remembering()
        causes: dict[str, RootCause | None] = {}
        for part in portions(due, [row["span_count"] for row in due], reader.max_spans):
            whole = reader.summaries(part)
            units = reader.units([whole[row["unit_id"]] for row in part if row["unit_id"] in whole])
            reports = judge_all(reader, units, now=self._now(), settle=self._settle)
            causes |= {unit.unit_id: report.root_cause for unit, report in zip(units, reports, strict=True)}
        return [
            row if (cause := causes.get(row["unit_id"])) is None else row | {"root_cause_type": cause.root_cause_type}
            for row in rows
        ]

    def _row_of(self, unit: Unit) -> Row:
        """What a summary of it would be, and of what it failed."""
        failed = unit.examined.summary.status.is_failure
        cause = self._diagnosis(self._reader, unit).report.root_cause if failed else None
        row = summary_row(self._reader.tenant, unit.examined, self._now())
        return row | {"root_cause_type": cause.root_cause_type if cause is not None else None}

    def _remembering(self) -> Reader:
        return Reader(self._store, self._reader.tenant, max_spans=self._reader.max_spans, remember=True)

    def _of_job(self, narrowing: Narrowing) -> Select[Any]:
        return statements.executions(self._reader, narrowing, ALL_TIME, self._now() + CLOCK_SLACK)

    def _first_spans(self, rows: Sequence[Row]) -> dict[str, Sequence[Span]]:
        """Of the traces of these summaries, as many as are shown."""
        found: dict[str, Sequence[Span]] = {}
        for part in portions(rows, [row["span_count"] for row in rows], self._reader.max_spans):
            spans = self._reader.spans(self._reader.bounds_of(part))
            found |= {trace_id: trace.read[:SPANS_SHOWN] for trace_id, trace in spans.items()}
        return found

    def _count_of(self, narrowing: Narrowing, window: Window, newest: Sequence[Row]) -> statements.Count:
        """``newest``: the newest failures of the window, all of them where they are fewer than are read."""
        if len(newest) < PATTERN_ROWS:
            return statements.Count(len(newest))
        return statements.count_executions(self._reader, narrowing, *window)

    def _error_changes(self, narrowing: Narrowing, window: Window, newest: Sequence[Row]) -> dict[str, Any]:
        """The error texts of failures that are new, gone or changed against the window before, as answers have them.

        ``newest``: failures of the window, all of them where they are fewer than are read.
        """
        since, until = window
        earlier, length = since - (until - since), until - since
        if len(newest) >= PATTERN_ROWS:
            first = newest[-1]["started_at"]
            length = until - statements.begin_of(cohorts.ERRORS, len(newest), first, until, since)

        def counted(begin: datetime, end: datetime) -> cohorts.CountedErrors:
            """Those since where the newest most likely begin, if they are close together, else of the whole window."""

            def failed(at: datetime) -> Select[Any]:
                return statements.executions(self._reader, narrowing, at, end, *cohorts.ERROR_COLUMNS)

            return cohorts.errors_in(self._reader, failed, dict.fromkeys((max(begin, end - length), begin)))

        before = counted(earlier, since)
        now = cohorts.errors_among(newest, since) if len(newest) < PATTERN_ROWS else counted(since, until)
        if not now.errors and not before.errors:
            return {}
        trials = self._executions_in(narrowing, (now.since, until), (before.since, since))
        exposure, exposure_before = (
            max(number, float(counted.failures)) for number, counted in zip(trials, (now, before), strict=True)
        )
        here, there = templates.counted(now.errors, before.errors)
        changes = templates.error_changes(here, there, exposure, exposure_before)
        return {
            "new_errors": changes.new,
            "gone_errors": changes.gone,
            "changed_errors": changes.changed,
            "errors_examined": now.failures,
            "errors_examined_before": before.failures,
        }

    def _executions_in(self, narrowing: Narrowing, *windows: Window) -> list[float]:
        """How many executions could have failed in each window. What they touched or why they failed does not narrow
        them down."""
        could = Narrowing(models=narrowing.models, regions=narrowing.regions, jobs=narrowing.jobs)
        since, until = min(begin for begin, _ in windows), max(end for _, end in windows)
        if could.jobs or statements.is_small(self._reader, trace_summaries, since, until):
            started = trace_summaries.c.started_at
            counts = [
                func.count(case((and_(started >= begin, started < end), 1))).label(f"window_{number}")
                for number, (begin, end) in enumerate(windows)
            ]
            (row,) = self._reader.rows(statements.executions(self._reader, could, since, until, *counts))
            return [float(count) for count in row.values()]
        conditions = statements.rollup_conditions(execution_rollups, could)
        return cohorts.executions_in(self._reader, windows, self._now(), conditions)

    def _unknown_job(self, job_id: str | None) -> NotFound:
        summaries = trace_summaries.c
        known = self._reader.rows(
            self._reader.select(trace_summaries, summaries.job_id)
            .where(summaries.job_id.is_not(None))
            .group_by(summaries.job_id)
            .order_by(func.max(summaries.started_at).desc())
            .limit(200)
        )
        ids = tuple(similar.nearest_names(job_id or "", [row["job_id"] for row in known], limit=5))
        hint = f"Nearest known: {', '.join(ids)}." if ids else "No execution carries a job id yet (attribute job.id)."
        return NotFound(f"job {job_id} is not in the store", hint=hint, nearest=ids)

    def _window(self, filters: Filters) -> Window:
        until = filters.until or self._now() + CLOCK_SLACK
        since = filters.since or until - DEFAULT_WINDOW
        if since >= until:
            raise BadInput(f"the window ends ({until.isoformat()}) before it begins ({since.isoformat()})")
        return since, until

    def _performance(
        self, narrowing: Narrowing, measured: Literal["executions", "operation"], since: datetime, until: datetime
    ) -> PerformanceWindow:
        of_executions = measured == "executions"
        table = trace_summaries if of_executions else trace_spans
        sketches = execution_rollups if of_executions else operation_rollups
        if not statements.can_use_rollups(sketches, narrowing, ()) or statements.is_small(
            self._reader, table, since, until
        ):
            source = statements.executions if of_executions else statements.spans
            rows = self._store.select(
                source(self._reader, narrowing, since, until, table.c.status, table.c.duration_ms)
            )
            return performance.window(since, until, rows["status"].to_pylist(), rows["duration_ms"].to_pylist())
        merged = self._reader.rows(
            statements.rollups(
                self._reader, sketches, narrowing, statements.hour_of(since), statements.hour_after(until), ()
            )
        )
        return performance.merged_window(
            statements.hour_of(since), statements.hour_after(until), collect_stats(merged, ("status",))
        )


def _is_row_of(unit: Unit, row: Row) -> bool:
    """Whether it is the summary of this unit, with all that is known of it."""
    return bool(row["unit_id"] == unit.unit_id and row["content_key"] == unit.examined.summary.content_key)


def _service_of(element: str, services: Sequence[str]) -> str:
    """The service of a ``service.operation`` element; both parts may hold dots."""
    return max((name for name in services if element.startswith(f"{name}.")), key=len, default=element)


def _one(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _keys_of(intent: Intent) -> list[Key]:
    return [
        *(Key(execution_id=execution_id) for execution_id in intent.execution_ids),
        *(Key(trace_id=trace_id) for trace_id in intent.trace_ids),
    ]


def _key_of(intent: Intent) -> Key:
    return _keys_of(intent)[0]


def _written(key: Key) -> str:
    return f"execution_id={key.execution_id}" if key.execution_id is not None else f'trace_id="{key.trace_id}"'


def _filters_of(intent: Intent) -> Filters:
    narrow, window = intent.filters, intent.window
    return Filters(
        status=narrow.statuses[0] if len(narrow.statuses) == 1 else None,
        root_cause_type=next(iter(narrow.root_causes), None),
        job_id=next(iter(narrow.jobs), None),
        model_id=next(iter(narrow.models), None),
        region=next(iter(narrow.regions), None),
        service=next(iter(narrow.services), None),
        operation=next(iter(narrow.operations), None),
        since=window.since if window else None,
        until=window.until if window else None,
    )


_E = TypeVar("_E", bound=StrEnum)


def _member(kind: type[_E], name: str, what: str) -> _E:
    try:
        return kind(name)
    except ValueError:
        raise BadInput(f"{name!r} is not a {what}", hint=f"One of: {', '.join(kind)}.") from None
