"""One diagnosis per execution content and engine version: computed once, stored, and returned by every way in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from otel_diag.analyse.root_cause import Context, build_context, judge
from otel_diag.evidence.ledger import MAX_CLAIMS, claims_of
from otel_diag.evidence.surroundings import Surroundings, comparable, surroundings_of
from otel_diag.evidence.unexamined import not_examined
from otel_diag.model import ENGINE_VERSION, Report, Status
from otel_diag.reader import Reader, Row, Unit
from otel_diag.store.base import Upsert
from otel_diag.store.schema import diagnoses


def diagnosis_of(reader: Reader, unit: Unit, *, now: datetime, settle: timedelta) -> Report:
    """The stored diagnosis of this content, else a new one, stored when it can be.

    While spans are still arriving (the newest is younger than ``settle``) nothing is stored: what is missing now
    may be there in a second. Nor while it runs: what that means depends on for how long. Similar cases and next steps
    are not part of a diagnosis; the query service adds them.
    """
    if not unit.is_arriving(now, settle):
        table = diagnoses.c
        stored = reader.rows(
            reader.select(diagnoses, table.report).where(
                table.unit_id == unit.unit_id,
                table.engine_version == ENGINE_VERSION,
                table.content_key == unit.examined.summary.content_key,
            )
        )
        if stored:
            return Report.model_validate_json(stored[0]["report"])
    return judge_all(reader, [unit], now=now, settle=settle)[0]


def judge_all(reader: Reader, units: Iterable[Unit], *, now: datetime, settle: timedelta) -> list[Report]:
    """New diagnoses of these units, in their order, stored together as far as they can be."""
    reports = []
    rows = []
    known = list(units)
    for unit, beside in zip(known, surroundings_of(reader, known), strict=True):
        arriving = unit.is_arriving(now, settle)
        baseline = reader.baseline(unit)
        ctx = build_context(unit.trace, baseline, now=now, still_arriving=arriving)
        report = _with_evidence(reader, ctx, judge(ctx), replace(beside, comparable=comparable(reader, baseline)))
        reports.append(report)
        if not arriving and report.status != Status.RUNNING:
            rows.append(_row(reader.tenant, unit, report))
    if rows and reader.store.capabilities().writable:
        reader.store.apply([Upsert(diagnoses, rows)])
    return reports


def _with_evidence(reader: Reader, ctx: Context, report: Report, around: Surroundings) -> Report:
    """What it rests on and what it did not look at are part of a diagnosis: they are stored as they were judged."""
    claims = claims_of(ctx, report, reader.store.capabilities().name)
    return report.model_copy(
        update={
            "evidence_ledger": claims[:MAX_CLAIMS],
            "total_claims": len(claims),
            "not_examined": not_examined(ctx, around),
        }
    )


def _row(tenant: str, unit: Unit, report: Report) -> Row:
    cause = report.root_cause
    return {
        "tenant": tenant,
        "unit_id": unit.unit_id,
        "engine_version": ENGINE_VERSION,
        "content_key": unit.examined.summary.content_key,
        "computed_at": report.computed_at,
        "verdict": report.verdict,
        "root_cause_type": cause.root_cause_type.value if cause else None,
        "affected_service": cause.affected_service if cause else None,
        "affected_operation": cause.affected_operation if cause else None,
        "confidence": cause.confidence if cause else None,
        "report": report.model_dump_json(),
    }
