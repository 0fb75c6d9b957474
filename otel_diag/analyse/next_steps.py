"""What to call next, as calls that can be made as they stand (spec/2): from the answer itself, nothing looked up."""

from __future__ import annotations

from typing import Any

from otel_diag.model import (
    Comparison,
    GapReport,
    JobAnalysis,
    NextStep,
    Performance,
    RecentFailures,
    Report,
    RootCauseType,
    Status,
)

_TIME_LOST = {
    RootCauseType.NETWORK_TIMEOUT,
    RootCauseType.SERVICE_TIMEOUT,
    RootCauseType.COLD_START,
    RootCauseType.QUEUE_DELAY,
    RootCauseType.PERFORMANCE_DEGRADATION,
    RootCauseType.MISSING_SERVICE,
    RootCauseType.INCOMPLETE_TRACE,
}


def after_diagnosis(report: Report, job_id: str | None) -> list[NextStep]:
    """Gaps where time was lost, a comparison where it failed, the job where it belongs to one."""
    this = _this(report.execution_id, report.trace_id)
    steps = []
    cause = report.root_cause
    if cause is not None and cause.root_cause_type in _TIME_LOST:
        steps.append(NextStep(tool="find_trace_gaps", arguments=this, why="see where the time went, with skew bounds"))
    if report.verdict != "healthy":
        steps.append(
            NextStep(
                tool="compare_with_successful", arguments=this, why="see the first point where it left the usual way"
            )
        )
    if job_id is not None and report.status.is_failure:
        steps.append(
            NextStep(
                tool="find_timeout_root_cause",
                arguments={"job_id": job_id},
                why=f"tell whether the rest of job {job_id} fails in the same way",
            )
        )
    if cause is not None and cause.root_cause_type is RootCauseType.PERFORMANCE_DEGRADATION:
        steps.append(
            NextStep(
                tool="analyze_performance",
                arguments={"service": cause.affected_service, "operation": cause.affected_operation},
                why="see since when this operation is slow",
            )
        )
    if report.data_quality.still_arriving:
        steps.append(NextStep(tool="diagnose_execution", arguments=this, why="spans are still arriving: ask again"))
    return steps or [
        NextStep(tool="get_recent_failures", arguments={"limit": 10}, why="this one is fine: see what did fail")
    ]


def after_job(analysis: JobAnalysis) -> list[NextStep]:
    failed = [one for one in analysis.analysis if one.status.is_failure]
    if not failed:
        return [NextStep(tool="get_recent_failures", arguments={"limit": 10}, why="nothing in this job failed")]
    this = _this(failed[0].execution_id, failed[0].trace_id)
    return [
        NextStep(tool="diagnose_execution", arguments=this, why="the evidence for one of the failed executions"),
        NextStep(tool="compare_with_successful", arguments=this, why="what a successful execution does differently"),
    ]


def after_comparison(comparison: Comparison) -> list[NextStep]:
    this = _this(comparison.failed_execution.execution_id, comparison.failed_execution.trace_id)
    steps = [NextStep(tool="diagnose_execution", arguments=this, why="the root cause with its evidence")]
    if comparison.similar_successful:
        peer = comparison.similar_successful[0]
        steps.append(
            NextStep(
                tool="find_trace_gaps",
                arguments=_this(peer.execution_id, peer.trace_id),
                why="how long the same waits take when it works",
            )
        )
    return steps


def after_failures(failures: RecentFailures) -> list[NextStep]:
    if not failures.failures:
        return [NextStep(tool="analyze_performance", arguments={}, why="nothing failed: see how fast it was")]
    first = failures.failures[0]
    this: dict[str, Any] = {"execution_id": first.id} if isinstance(first.id, int) else {"trace_id": first.id}
    steps = [NextStep(tool="diagnose_execution", arguments=this, why="the newest failure, with evidence")]
    if first.job_id is not None:
        steps.append(
            NextStep(
                tool="find_timeout_root_cause",
                arguments={"job_id": first.job_id},
                why="whether its whole job fails in one way",
            )
        )
    return steps


def after_performance(performance: Performance) -> list[NextStep]:
    if performance.failed:
        since = performance.since.isoformat()
        return [
            NextStep(
                tool="get_recent_failures",
                arguments={"limit": 10, "since": since, **_shared(performance.filters)},
                why=f"{performance.failed} of {performance.total_executions} failed in this window",
            )
        ]
    return [NextStep(tool="query_traces", arguments={"query": "slowest operations today"}, why="where the time goes")]


def after_gaps(report: GapReport) -> list[NextStep]:
    this = _this(report.execution_id, report.trace_id)
    return [
        NextStep(tool="diagnose_execution", arguments=this, why="which of these gaps is the root cause"),
        NextStep(tool="compare_with_successful", arguments=this, why="whether a successful execution has them too"),
    ]


def after_question(execution_id: int | None, status: Status | None) -> list[NextStep]:
    if execution_id is not None:
        return [
            NextStep(
                tool="diagnose_execution" if status is None or status.is_failure else "find_trace_gaps",
                arguments={"execution_id": execution_id},
                why="the newest of these, in full",
            )
        ]
    return [NextStep(tool="get_recent_failures", arguments={"limit": 10}, why="what failed lately, across jobs")]


def _shared(filters: dict[str, str]) -> dict[str, str]:
    return {name: filters[name] for name in ("model_id", "region", "service", "operation") if name in filters}


def _this(execution_id: int | None, trace_id: str | None) -> dict[str, Any]:
    return {"execution_id": execution_id} if execution_id is not None else {"trace_id": trace_id}
