"""One diagnosis per execution content and engine version: computed once, stored, and returned by every way in.

With the report are stored what its timeline says of the spans, and the executions like it at that time, so that these
stay the same too, for SQL functions as for everybody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter

from otel_diag.analyse.baseline import MIN_EXECUTIONS
from otel_diag.analyse.root_cause import Context, build_context, judge
from otel_diag.analyse.timeline import Marks, marks_of
from otel_diag.cohorts import similar_cases
from otel_diag.errors import Transient
from otel_diag.evidence.ledger import MAX_CLAIMS, claims_of
from otel_diag.evidence.surroundings import Surroundings, comparable, surroundings_of
from otel_diag.evidence.unexamined import not_examined
from otel_diag.model import ENGINE_VERSION, Report, SimilarCase, Status
from otel_diag.reader import Reader, Row, Unit
from otel_diag.store.base import Upsert
from otel_diag.store.schema import diagnoses

SIMILAR_KEPT: Final = 20

_SIMILAR_CASES: Final = TypeAdapter(tuple[SimilarCase, ...])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A judgement and what was seen with it. ``similar``: up to ``SIMILAR_KEPT`` executions, the most alike first.

    The report itself has no similar cases and no next steps: the query service adds them.
    """

    report: Report
    marks: Marks
    similar: tuple[SimilarCase, ...]


def diagnosis_of(reader: Reader, unit: Unit, *, now: datetime, settle: timedelta) -> Diagnosis:
    """The stored diagnosis of this content, else a new one, stored when it can be.

    While spans are still arriving (the newest is younger than ``settle``) nothing is stored: what is missing now
    may be there in a second. Nor while it runs: what that means depends on for how long. One that was judged by
    constants, before enough was known of others, is judged again once there is.
    """
    stored = None if unit.is_arriving(now, settle) else _stored(reader, unit)
    if stored is not None:
        return stored
    found, rows = _judge(reader, [unit], now, settle)
    with suppress(Transient):  # who cannot write, or not now, can still ask
        _store(reader, rows)
    return found[0]


def judge_all(reader: Reader, units: Iterable[Unit], *, now: datetime, settle: timedelta) -> list[Report]:
    """New diagnoses of these units, in their order, stored together as far as they can be."""
    found, rows = _judge(reader, list(units), now, settle)
    _store(reader, rows)
    return [diagnosis.report for diagnosis in found]


def _stored(reader: Reader, unit: Unit) -> Diagnosis | None:
    table = diagnoses.c
    rows = reader.rows(
        reader.select(diagnoses, table.report, table.marks, table.similar_cases).where(
            table.unit_id == unit.unit_id,
            table.engine_version == ENGINE_VERSION,
            table.content_key == unit.examined.summary.content_key,
        )
    )
    if not rows or rows[0]["marks"] is None:
        return None
    report = Report.model_validate_json(rows[0]["report"])
    by_constants = report.data_quality.baseline_executions < MIN_EXECUTIONS
    if by_constants and reader.knows_peers(unit):
        return None
    return Diagnosis(
        report,
        Marks.model_validate_json(rows[0]["marks"]),
        _SIMILAR_CASES.validate_json(rows[0]["similar_cases"]),
    )


def _judge(
    reader: Reader, units: Sequence[Unit], now: datetime, settle: timedelta
) -> tuple[list[Diagnosis], list[Row]]:
    """The diagnoses, and the rows of those that are to be stored."""
    found = []
    rows = []
    around = surroundings_of(reader, units)
    for unit, beside in zip(units, around, strict=True):
        arriving = unit.is_arriving(now, settle)
        baseline = reader.baseline(unit)
        ctx = build_context(unit.examined, baseline, now=now, still_arriving=arriving)
        report = _with_evidence(reader, ctx, judge(ctx), replace(beside, comparable=comparable(reader, baseline)))
        alike = tuple(similar_cases(reader, unit, unit.examined.summary, SIMILAR_KEPT))
        diagnosis = Diagnosis(report, marks_of(unit.examined, baseline), alike)
        found.append(diagnosis)
        if not arriving and report.status != Status.RUNNING:
            rows.append(_row(reader.tenant, unit, diagnosis))
    return found, rows


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


def _store(reader: Reader, rows: Sequence[Row]) -> None:
    if rows and reader.store.capabilities().writable:
        reader.store.apply([Upsert(diagnoses, rows)])


def _row(tenant: str, unit: Unit, diagnosis: Diagnosis) -> Row:
    report, cause = diagnosis.report, diagnosis.report.root_cause
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
        "marks": diagnosis.marks.model_dump_json(),
        "similar_cases": _SIMILAR_CASES.dump_json(diagnosis.similar).decode(),
    }
