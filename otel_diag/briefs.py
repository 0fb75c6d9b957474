"""Summary rows and units as the short forms that answers list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from otel_diag.analyse.baseline import Peer
from otel_diag.analyse.summary import Summary
from otel_diag.model import (
    ExecutionAnalysis,
    ExecutionBrief,
    Failure,
    RootCauseType,
    Span,
    SpanBrief,
    Status,
    Trace,
)

SPANS_SHOWN = 10


def brief_of_unit(trace: Trace, summary: Summary) -> ExecutionBrief:
    return ExecutionBrief(
        execution_id=trace.execution_id,
        trace_id=trace.trace_id,
        job_id=summary.job_id,
        model_id=summary.model_id,
        region=summary.region,
        status=summary.status,
        duration_ms=summary.duration_ms,
        span_count=summary.span_count,
        started_at=summary.started_at,
        error_message=summary.error_message,
    )


def brief_of_row(row: Mapping[str, Any]) -> ExecutionBrief:
    return ExecutionBrief(
        execution_id=row["execution_id"],
        trace_id=row["trace_id"],
        job_id=row["job_id"],
        model_id=row["model_id"],
        region=row["region"],
        status=Status(row["status"]),
        duration_ms=row["duration_ms"],
        span_count=row["span_count"],
        started_at=row["started_at"],
        error_message=row["error_message"],
        root_cause_type=_root_cause(row),
    )


def brief_of_peer(peer: Peer, score: float) -> ExecutionBrief:
    return ExecutionBrief(
        execution_id=peer.execution_id,
        trace_id=peer.trace_id,
        job_id=peer.job_id,
        model_id=peer.model_id,
        region=peer.region,
        status=peer.status,
        duration_ms=peer.duration_ms,
        span_count=len(peer.elements),
        started_at=peer.started_at,
        error_message=peer.error_message,
        root_cause_type=peer.root_cause_type,
        similarity_score=score,
    )


def failure_of_row(row: Mapping[str, Any]) -> Failure:
    return Failure(
        id=row["execution_id"] if row["execution_id"] is not None else row["trace_id"],
        job_id=row["job_id"],
        region=row["region"],
        model_id=row["model_id"],
        status=Status(row["status"]),
        error_message=row["error_message"],
        root_cause_type=_root_cause(row),
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        trace_id=row["trace_id"],
    )


def analysis_of_row(row: Mapping[str, Any], spans: Sequence[Span]) -> ExecutionAnalysis:
    """With the first spans of the execution in start order; ``span_count`` says how many there are."""
    return ExecutionAnalysis(
        execution_id=row["execution_id"],
        trace_id=row["trace_id"],
        region=row["region"],
        model=row["model_id"],
        status=Status(row["status"]),
        duration_ms=row["duration_ms"],
        span_count=row["span_count"],
        spans=[
            SpanBrief(
                service=span.service,
                operation=span.operation,
                status=span.status,
                duration_ms=span.duration_ms,
                error_message=span.error_message,
                span_id=span.span_id,
            )
            for span in spans[:SPANS_SHOWN]
        ],
        root_cause_type=_root_cause(row),
    )


def _root_cause(row: Mapping[str, Any]) -> RootCauseType | None:
    return RootCauseType(row["root_cause_type"]) if row["root_cause_type"] else None
