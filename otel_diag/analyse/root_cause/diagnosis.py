"""The judgement itself: context, rules, ranking, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Final, Literal

from otel_diag.analyse.baseline import GAP_MS, NETWORK_GAP_MS, OPERATION_MS, Baseline
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.gaps import find_gaps
from otel_diag.analyse.quality import data_quality
from otel_diag.analyse.root_cause import absent, delays, errors, repeats, timeouts
from otel_diag.analyse.root_cause.context import Context, Finding, build_context
from otel_diag.analyse.root_cause.rank import confidence, rank
from otel_diag.analyse.timeline import anomaly_of
from otel_diag.model import Gap, Hop, Report, ReportFinding, RootCause, Status, Trace, VerdictName

Rule = Callable[[Context], Iterable[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    errors.pre_execution,
    errors.by_text,
    errors.retry_storm,
    errors.connection,
    timeouts.timeout,
    delays.cold_start,
    delays.queue_delay,
    errors.container,
    errors.lost,
    errors.unhandled,
    repeats.repeated_calls,
    delays.degradation,
    absent.missing_service,
    absent.incomplete,
    errors.unknown,
)

MAX_FINDINGS: Final = 50


def diagnose(
    trace: Trace,
    baseline: Baseline,
    *,
    now: datetime,
    still_arriving: bool = False,
    rules: Sequence[Rule] = RULES,
) -> Report:
    """Judge one execution against others like it; ``baseline`` must not hold the execution itself and may be empty.

    Deterministic, whatever the order of the spans. ``still_arriving``: more spans may come. ``similar_cases``,
    ``next_steps`` and the evidence ledger stay empty: they need the store.
    """
    return judge(build_context(Examined(trace), baseline, now=now, still_arriving=still_arriving), rules)


def judge(ctx: Context, rules: Sequence[Rule] = RULES) -> Report:
    """:func:`diagnose` for callers that look into the context as well."""
    trace, baseline = ctx.trace, ctx.baseline
    findings = rank([finding for rule in rules for finding in rule(ctx)])
    cause = _cause(ctx, findings)
    gaps = find_gaps(ctx.tree, ctx.skew, baseline)
    return Report(
        execution_id=trace.execution_id,
        trace_id=trace.trace_id,
        verdict=_verdict(ctx, cause),
        status=ctx.status,
        computed_at=ctx.now,
        root_cause=cause,
        findings=_report_findings(ctx, findings, gaps),
        recommendations=list(dict.fromkeys(f.recommendation for f in findings))[:5],
        timing_breakdown=_timing(ctx),
        data_quality=data_quality(
            ctx.raw,
            ctx.skew,
            baseline,
            left_out=trace.left_out,
            still_arriving=ctx.still_arriving,
            notes=_notes(ctx),
        ),
    )


def _cause(ctx: Context, findings: Sequence[Finding]) -> RootCause | None:
    if not findings:
        return None
    chosen = findings[0]
    sure = confidence(ctx, chosen, findings)
    if sure is None:
        return None
    return RootCause(
        root_cause_type=chosen.type,
        affected_service=chosen.service,
        affected_operation=chosen.operation,
        hop=Hop(caller=chosen.hop[0], callee=chosen.hop[1]) if chosen.hop else None,
        confidence=sure,
        evidence=chosen.evidence,
        evidence_spans=list(chosen.spans),
        recommendation=chosen.recommendation,
    )


def _verdict(ctx: Context, cause: RootCause | None) -> VerdictName:
    if cause is not None:
        return "root_cause"
    return "healthy" if ctx.status == Status.COMPLETED else "inconclusive"


def _report_findings(ctx: Context, findings: Sequence[Finding], gaps: Sequence[Gap]) -> list[ReportFinding]:
    """The rules' findings, then what else is unusual or reported elsewhere: spans, gaps, absent hops."""
    ruled = (
        ReportFinding(
            service=f.service,
            operation=f.operation,
            anomaly=f"{f.type.value}: {f.evidence}",
            duration_ms=f.duration_ms,
            gap_after_ms=f.gap_ms,
            span_ids=list(f.spans),
        )
        for f in findings
    )
    absent_hops = (ReportFinding(service=m.service, operation=m.operation, anomaly=m.detail) for m in ctx.missing)
    found = chain(ruled, _of_spans(ctx), _of_gaps(ctx, gaps), absent_hops)
    return list(islice(found, MAX_FINDINGS))


def _of_spans(ctx: Context) -> Iterator[ReportFinding]:
    for span in ctx.tree.spans:
        reason = anomaly_of(span, ctx.baseline)
        if reason is not None:
            yield ReportFinding(
                service=span.service,
                operation=span.operation,
                anomaly=reason,
                duration_ms=span.duration_ms,
                span_ids=[span.span_id],
            )
        event = span.attributes.get("sentry.event_id")
        if event is not None:
            yield ReportFinding(
                service=span.service,
                operation=span.operation,
                anomaly=f"reported to Sentry as event {event}",
                span_ids=[span.span_id],
            )


def _of_gaps(ctx: Context, gaps: Sequence[Gap]) -> Iterator[ReportFinding]:
    for gap in gaps:
        at = ctx.spans_by_id.get(gap.after_span or gap.parent_span or "")
        if gap.is_anomaly and at is not None:
            yield ReportFinding(
                service=at.service,
                operation=at.operation,
                anomaly=gap.detail,
                gap_after_ms=gap.gap_ms,
                span_ids=[i for i in (gap.after_span, gap.before_span) if i],
            )


def _timing(ctx: Context) -> dict[str, float | Literal["missing"]]:
    """Self time in ms by service; expected services without a span are "missing"."""
    totals: dict[str, float | Literal["missing"]] = {}
    sums: dict[str, float] = {}
    for span, own in zip(ctx.tree.spans, ctx.own_ms, strict=True):
        sums[span.service] = sums.get(span.service, 0.0) + own
    totals.update({service: round(ms, 3) for service, ms in sums.items()})
    for hop in ctx.missing:
        totals.setdefault(hop.service, "missing")
    return totals


def _notes(ctx: Context) -> list[str]:
    notes: list[str] = []
    if not ctx.baseline.is_learned:
        notes.append(
            f"only {len(ctx.baseline.peers)} comparable executions: thresholds are the constants "
            f"{GAP_MS / 1e3:.0f} s (gap), {NETWORK_GAP_MS / 1e3:.0f} s (network gap), "
            f"{OPERATION_MS / 1e3:.0f} s (operation)"
        )
    if ctx.status == Status.RUNNING and ctx.running:
        notes.append(
            f"{len(ctx.running)} spans have begun and not ended, for {ctx.silent_ms / 1e3:,.0f} s no sign of any"
        )
    if not ctx.tree.spans:
        notes.append("no span of this execution was received: only what its runner recorded is known")
    return notes
