"""A query service with one realistic incident: execution 2193 of job ``nightly`` lost its answer on the way back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from otel_diag.errors import BadInput, NotFound
from otel_diag.model import (
    AnalysisType,
    AttributeDifference,
    ChangedError,
    Claim,
    Cohorts,
    Comparison,
    Confirmation,
    ConfirmedCause,
    DataQuality,
    Declared,
    Distinguishing,
    Divergence,
    ElementChange,
    ExecutionAnalysis,
    ExecutionBrief,
    Failure,
    FailurePattern,
    Gap,
    GapReport,
    GoneError,
    Hop,
    JobAnalysis,
    MissingHop,
    NewError,
    NextStep,
    OperationInfo,
    Performance,
    PerformanceWindow,
    QueryAnswer,
    RecentFailures,
    Report,
    ReportFinding,
    RootCause,
    RootCauseType,
    SearchPage,
    ServiceEdge,
    ServiceInfo,
    ServiceMap,
    ServiceTime,
    SimilarCase,
    SpanBrief,
    SqlResult,
    Status,
    Timeline,
    TimelineEntry,
    TraceDiff,
    TraceSummary,
    Understood,
)
from otel_diag.query import Filters, Key

EXECUTION = 2193
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ERROR = "no answer from router within 240 s"

CAUSE = RootCause(
    root_cause_type=RootCauseType.NETWORK_TIMEOUT,
    affected_service="router",
    affected_operation="POST /infer",
    hop=Hop(caller="runner", callee="router"),
    confidence=0.93,
    evidence="router finished after 82.0 s, runner saw no answer for another 156 s",
    evidence_spans=["00f067aa0ba902b7", "00f067aa0ba902b8"],
    recommendation="Look at the return path between router and runner.",
)
QUERY = "SELECT span_id, status FROM trace_spans WHERE span_id IN ('00f067aa0ba902b7', '00f067aa0ba902b8')"
STEP = NextStep(tool="find_trace_gaps", arguments={"execution_id": EXECUTION}, why="shows the return-path gap")
SPANS = [
    TimelineEntry(
        service="runner",
        operation="execution",
        start_ms=0.0,
        end_ms=240_000.0,
        duration_ms=240_000.0,
        status=Status.TIMEOUT,
        error_message=ERROR,
        depth=0,
        critical=True,
        span_id="00f067aa0ba902b7",
        gap_after_ms=156_000.0,
        is_anomaly=True,
        anomaly_reason="240.0 s is 96.0x the average of 2.5 s",
    ),
    TimelineEntry(
        service="router",
        operation="POST /infer",
        start_ms=2_000.0,
        end_ms=84_000.0,
        duration_ms=82_000.0,
        status=Status.COMPLETED,
        error_message=None,
        depth=1,
        critical=True,
        span_id="00f067aa0ba902b8",
    ),
]
BRIEF = ExecutionBrief(
    execution_id=EXECUTION,
    trace_id=TRACE,
    job_id="nightly",
    model_id="llama3.2-1b",
    region="us-east",
    status=Status.TIMEOUT,
    duration_ms=240_000.0,
    span_count=2,
    started_at=NOW,
    error_message=ERROR,
    root_cause_type=RootCauseType.NETWORK_TIMEOUT,
)
HEALTHY = BRIEF.model_copy(
    update={
        "execution_id": 2192,
        "status": Status.COMPLETED,
        "duration_ms": 2_500.0,
        "error_message": None,
        "root_cause_type": None,
        "similarity_score": 0.91,
    }
)
WINDOW = PerformanceWindow(
    since=NOW - timedelta(hours=48),
    until=NOW - timedelta(hours=24),
    total_executions=40,
    successful=40,
    failed=0,
    success_rate=1.0,
    avg_duration_sec=2.4,
    p50_duration_sec=2.3,
    p95_duration_sec=3.0,
    p99_duration_sec=3.2,
)
OTHER_VERSION = AttributeDifference(
    element="router", attribute="service.version", value="2.0", other_value="1.9", spans=3
)
COHORTS = Cohorts(bad="failed", failed=4, healthy=36, failed_with_spans=4, healthy_with_spans=36)
PROVIDER = Distinguishing(
    attribute="router.provider",
    value="p2",
    service="router",
    failed_share=1.0,
    healthy_share=0.0833,
    failed_count=4,
    healthy_count=3,
    score=0.9167,
    same_as=["router router.pool blue"],
)


CONFIRMED = ConfirmedCause(
    execution_id=2101,
    trace_id="e" * 32,
    confirmed=True,
    root_cause_type=RootCauseType.NETWORK_TIMEOUT,
    affected_service="router",
    affected_operation="POST /infer",
    note="idle timeout of the proxy was 60 s",
    by="kim",
    confirmed_at=datetime.now(UTC) - timedelta(days=3, hours=1),
    similarity_score=0.95,
    matches=["failure", "root_cause"],
)


class OneIncident:
    """Answers about :data:`EXECUTION` only. ``asked`` records the calls; ``error``, once set, is raised by all."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.declared: list[Declared] = []
        self.error: Exception | None = None
        self.overrides: dict[str, Any] = {}

    def _answer(self, name: str, answer: Any, *asked: Any) -> Any:
        self.asked.append((name, *asked))
        if self.error is not None:
            raise self.error
        for value in asked:
            if isinstance(value, Key) and (value.execution_id or EXECUTION, value.trace_id or TRACE) != (
                EXECUTION,
                TRACE,
            ):
                raise NotFound(f"execution {value.execution_id} is not in the store", nearest=("2192", "2193"))
        return self.overrides.get(name, answer)

    def diagnose_with_timeline(self, key: Key, analysis_type: AnalysisType = "full") -> tuple[Report, Timeline]:
        return self.diagnose(key, analysis_type), self.timeline(key)

    def diagnose(self, key: Key, analysis_type: AnalysisType = "full") -> Report:
        report = Report(
            execution_id=EXECUTION,
            trace_id=TRACE,
            analysis_type=analysis_type,
            verdict="root_cause",
            status=Status.TIMEOUT,
            computed_at=NOW,
            root_cause=CAUSE,
            findings=[
                ReportFinding(
                    service="runner",
                    operation="execution",
                    anomaly="return-path gap of 156 s",
                    gap_after_ms=156_000.0,
                    span_ids=["00f067aa0ba902b7"],
                )
            ],
            recommendations=[CAUSE.recommendation, "Raise the runner's read timeout only after that."],
            confirmed_causes=[CONFIRMED],
            similar_cases=[
                SimilarCase(
                    similar_execution_id=2190,
                    trace_id="f" * 32,
                    similarity_score=0.95,
                    status=Status.TIMEOUT,
                    total_duration_ms=238_000.0,
                    failure_point="runner.execution",
                )
            ],
            timing_breakdown={"runner": 156_000.0, "router": 82_000.0, "modal": "missing"},
            data_quality=DataQuality(spans=2, spans_examined=2, orphans=["00f067aa0ba902b9"]),
            evidence_ledger=[
                Claim(claim=CAUSE.evidence, span_ids=CAUSE.evidence_spans, total_spans=2, query=QUERY),
                Claim(claim="it took 240,000 ms; 40 comparable took 2,500 ms", query="SELECT duration_ms FROM t"),
            ],
            total_claims=2,
            not_examined=["not read: 41 log records of this trace"],
            next_steps=[STEP],
        )
        return self._answer("diagnose", report, key, analysis_type)

    def timeline(self, key: Key) -> Timeline:
        answer = Timeline(execution_id=EXECUTION, trace_id=TRACE, total_spans=2, spans_examined=2, timeline=SPANS)
        return self._answer("timeline", answer, key)

    def summary(self, key: Key) -> TraceSummary:
        answer = TraceSummary(
            execution_id=EXECUTION,
            trace_id=TRACE,
            total_spans=2,
            spans_examined=2,
            failed_spans=0,
            timeout_spans=1,
            total_duration_ms=240_000.0,
            max_span_duration_ms=240_000.0,
            services_involved=["runner", "router"],
            first_error=ERROR,
        )
        return self._answer("summary", answer, key)

    def timeout_root_cause(self, *, job_id: str | None = None, execution_id: int | None = None) -> JobAnalysis:
        spans = [SpanBrief(service=s.service, operation=s.operation, status=s.status, duration_ms=1.0) for s in SPANS]
        answer = JobAnalysis(
            job_id="nightly",
            total_executions=40,
            failed_executions=4,
            analysis=[
                ExecutionAnalysis(
                    execution_id=EXECUTION,
                    trace_id=TRACE,
                    region="us-east",
                    model="llama3.2-1b",
                    status=Status.TIMEOUT,
                    duration_ms=240_000.0,
                    span_count=2,
                    spans=spans,
                )
            ],
            pattern="4 of 4 failures lost the router's answer",
            patterns=[FailurePattern(pattern="version 2.0", count=4, total=4, example_ids=[EXECUTION])],
            distinguishing=[PROVIDER],
            cohorts=COHORTS,
            next_steps=[STEP],
        )
        return self._answer("timeout_root_cause", answer, job_id, execution_id)

    def compare_with_successful(self, key: Key) -> Comparison:
        answer = Comparison(
            failed_execution=BRIEF,
            similar_successful=[HEALTHY],
            differences=["240 s against 2.5 s"],
            first_divergence=Divergence(kind="duration", element="runner.execution", detail="240 s against 2.5 s"),
            attributes=[OTHER_VERSION],
            distinguishing=[PROVIDER],
            cohorts=COHORTS.model_copy(update={"failed": 1}),
            next_steps=[STEP],
        )
        return self._answer("compare_with_successful", answer, key)

    def compare(self, left: Key, right: Key) -> TraceDiff:
        answer = TraceDiff(
            left=BRIEF,
            right=HEALTHY,
            similarity_score=0.91,
            summary=["router.SELECT orders: 401 times against once, +2,310 ms"],
            differences=["slower"],
            first_divergence=None,
            attributes=[OTHER_VERSION],
            elements=[
                ElementChange(
                    element="router.SELECT orders",
                    left_count=401,
                    right_count=1,
                    left_failed=0,
                    right_failed=0,
                    left_ms=2_316.0,
                    right_ms=6.0,
                )
            ],
            services=[ServiceTime(service="router", left_ms=2_400.0, right_ms=90.0)],
            total_changes=400,
        )
        return self._answer("compare", answer, left, right)

    def recent_failures(self, limit: int = 10, filters: Filters | None = None) -> RecentFailures:
        failure = Failure(
            id=EXECUTION,
            job_id="nightly",
            region="us-east",
            model_id="llama3.2-1b",
            status=Status.TIMEOUT,
            error_message=ERROR,
            root_cause_type=RootCauseType.NETWORK_TIMEOUT,
            duration_ms=240_000.0,
        )
        pattern = FailurePattern(pattern="region us-east", count=4, total=4, example_ids=[EXECUTION])
        answer = RecentFailures(
            total_failures=4,
            since=NOW - timedelta(days=1),
            failures=[failure],
            patterns=[pattern],
            distinguishing=[PROVIDER],
            cohorts=COHORTS,
            examined_failures=4,
            new_errors=[NewError(template="no slot <*>", count=3, first_seen=NOW, example_ids=[EXECUTION, TRACE])],
            gone_errors=[GoneError(template="disk full", count_before=9, last_seen=NOW)],
            changed_errors=[
                ChangedError(
                    template=ERROR, count=40, count_before=4, rate=0.1, rate_before=0.01, example_ids=[EXECUTION]
                )
            ],
            errors_examined=3,
            errors_examined_before=9,
            next_steps=[STEP],
        )
        return self._answer("recent_failures", answer, limit, filters)

    def performance(self, filters: Filters | None = None) -> Performance:
        answer = Performance(
            **WINDOW.model_dump(), measured="executions", filters={"region": "us-east"}, previous_window=WINDOW
        )
        return self._answer("performance", answer, filters)

    def trace_gaps(self, key: Key) -> GapReport:
        gap = Gap(
            after_span="00f067aa0ba902b8",
            before_span=None,
            gap_ms=156_000.0,
            kind="return",
            skew_bound_ms=1_000.0,
            caller="runner",
            callee="router",
            detail="the answer left the router and did not arrive",
            is_anomaly=True,
        )
        missing = MissingHop(
            service="modal",
            operation="inference",
            caller="router",
            reason="not_exported",
            share_of_peers=0.97,
            detail="97 % of successful peers have it",
        )
        answer = GapReport(
            trace_id=TRACE,
            execution_id=EXECUTION,
            total_spans=2,
            spans=SPANS,
            gaps=[gap],
            missing=[missing],
            orphans=["00f067aa0ba902b9"],
            next_steps=[STEP],
        )
        return self._answer("trace_gaps", answer, key)

    def ask(self, query: str, execution_id: int | None = None, intent: Mapping[str, Any] | None = None) -> QueryAnswer:
        answer = QueryAnswer(
            query=query,
            understood=Understood(intent="averages", filters={"operation": "inference"}, window={"since": "24h ago"}),
            message="1 operation",
            results=[{"service": "modal", "avg_duration_ms": 2_400.0, "p99_ms": float("nan")}],
            total_results=1,
            sql_or_call="performance(operation=inference)",
            next_steps=[STEP],
        )
        return self._answer("ask", answer, query, execution_id, intent)

    def search(self, filters: Filters, *, limit: int = 50, offset: int = 0) -> SearchPage:
        answer = SearchPage(total=2, executions=[BRIEF, HEALTHY], next_offset=None)
        return self._answer("search", answer, filters, limit, offset)

    def services(self, since: datetime | None = None) -> list[ServiceInfo]:
        answer = [ServiceInfo(service="runner", operations=1, span_count=2, failed_count=1)]
        return self._answer("services", answer, since)

    def operations(self, service: str | None = None, since: datetime | None = None) -> list[OperationInfo]:
        answer = OperationInfo(
            service="runner",
            operation="execution",
            sample_count=2,
            failed_count=1,
            avg_duration_ms=1.0,
            p50_ms=1.0,
            p95_ms=1.0,
        )
        return self._answer("operations", [answer], service, since)

    def service_map(self, since: datetime | None = None) -> ServiceMap:
        edge = ServiceEdge(caller="runner", callee="router", calls=2)
        answer = ServiceMap(services=["runner", "router"], edges=[edge], traces=2, total_traces=2)
        return self._answer("service_map", answer, since)

    def trace_ids(self, *, after: str = "", limit: int = 1_000) -> list[str]:
        return self._answer("trace_ids", [TRACE] if after < TRACE else [], after, limit)

    def raw_trace(self, trace_id: str, *, after: str = "", limit: int | None = None) -> Mapping[str, Any]:
        return self._answer("raw_trace", {"resourceSpans": []}, Key(trace_id=trace_id), after, limit)

    def declare_execution(self, declared: Declared) -> None:
        self._answer("declare_execution", None)
        self.declared.append(declared)

    def confirm(self, key: Key, said: Confirmation) -> ConfirmedCause:
        return self._answer("confirm", CONFIRMED, key, said)

    def sql(self, statement: str, *, max_rows: int | None = None, validate_only: bool = False) -> SqlResult:
        if not statement.upper().startswith("SELECT"):
            raise BadInput("only one SELECT is allowed", hint="Remove the other statement.")
        answer = SqlResult(columns=["n"], rows=[[float("inf")]], row_count=1, row_count_is_partial=False)
        return self._answer("sql", answer, statement, max_rows, validate_only)
