"""One diagnosis per execution content and engine version: computed once, stored, and returned by every way in."""

from __future__ import annotations

from datetime import datetime, timedelta

from otel_diag.analyse.root_cause import diagnose
from otel_diag.analyse.summary import summarise
from otel_diag.model import ENGINE_VERSION, Report
from otel_diag.reader import Reader, Unit
from otel_diag.store.base import Upsert
from otel_diag.store.schema import diagnoses


def diagnosis_of(reader: Reader, unit: Unit, *, now: datetime, settle: timedelta) -> Report:
    """The stored diagnosis of this content, else a new one, stored when it can be.

    While spans are still arriving (the newest is younger than ``settle``) nothing is stored: what is missing now
    may be there in a second. Similar cases and next steps are not part of a diagnosis; the query service adds them.
    """
    still_arriving = unit.newest_ingested is not None and now - unit.newest_ingested < settle
    summary = summarise(unit.trace)
    table = diagnoses.c
    if not still_arriving:
        stored = reader.rows(
            reader.select(diagnoses, table.report).where(
                table.unit_id == unit.unit_id,
                table.engine_version == ENGINE_VERSION,
                table.content_key == summary.content_key,
            )
        )
        if stored:
            return Report.model_validate_json(stored[0]["report"])
    baseline = reader.baseline(unit, (summary.root_service, summary.root_operation))
    report = diagnose(unit.trace, baseline, now=now, still_arriving=still_arriving)
    if not still_arriving and reader.store.capabilities().writable:
        cause = report.root_cause
        row = {
            "tenant": reader.tenant,
            "unit_id": unit.unit_id,
            "engine_version": ENGINE_VERSION,
            "content_key": summary.content_key,
            "computed_at": report.computed_at,
            "verdict": report.verdict,
            "root_cause_type": cause.root_cause_type.value if cause else None,
            "affected_service": cause.affected_service if cause else None,
            "affected_operation": cause.affected_operation if cause else None,
            "confidence": cause.confidence if cause else None,
            "report": report.model_dump_json(),
        }
        reader.store.apply([Upsert(diagnoses, [row])])
    return report
