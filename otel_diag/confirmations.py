"""Outcome memory: what people said was the cause, kept and offered when a similar execution fails.

It never changes a verdict: that is the engine's alone, and the same for the same spans.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import and_, or_

from otel_diag.analyse.similar import THRESHOLD, similarity
from otel_diag.analyse.summary import Summary
from otel_diag.analyse.templates import error_template
from otel_diag.errors import BadInput
from otel_diag.model import MAX_NOTE, MAX_SAID, Confirmation, ConfirmedCause, Report, RootCause, RootCauseType
from otel_diag.reader import Reader, Row, Unit
from otel_diag.store.base import Upsert
from otel_diag.store.schema import confirmed_causes

_CANDIDATES: Final = 500
_SHOWN: Final = 5


def confirm(
    reader: Reader, unit: Unit, summary: Summary, report: Report, said: Confirmation, now: datetime
) -> ConfirmedCause:
    """Keep what was said of this verdict, in place of what was said before. Raises BadInput."""
    row = _row(reader.tenant, unit, summary, report, _checked(said, report), now)
    reader.store.apply([Upsert(confirmed_causes, [row])])
    return _cause(row, 1.0, ["itself"])


def confirmed_alike(reader: Reader, unit: Unit, summary: Summary, report: Report) -> list[ConfirmedCause]:
    """What was said of this execution, then of those that failed alike, then of those with the same cause.

    Alike: the same failure point and error text, numbers and ids aside; or the same root operation and root cause (as
    judged or as confirmed), and similar by at least 0.7.
    """
    table, template = confirmed_causes.c, error_template(summary.error_message)
    alike = [
        table.unit_id == unit.unit_id,
        and_(table.root_service == summary.root_service, table.root_operation == summary.root_operation),
    ]
    if template is not None:
        alike.append(table.error_template == template)
    statement = reader.select(confirmed_causes).where(or_(*alike)).order_by(table.confirmed_at.desc())
    found = []
    for row in reader.rows(statement.limit(_CANDIDATES)):
        score = similarity(summary.elements, json.loads(row["elements"]))
        matches = _matches(row, unit, summary, template, report.root_cause, score)
        if matches:
            found.append(_cause(row, score, matches))
    found.sort(key=lambda cause: (_RANK[cause.matches[0]], -cause.similarity_score))
    return found[:_SHOWN]


def recommendation_of(causes: Sequence[ConfirmedCause]) -> str | None:
    """Where to look first, when it is known what an execution like this one died of. Without the note: that is quoted
    where it can be told from words of this program."""
    known = next(
        (cause for cause in causes if cause.confirmed or cause.root_cause_type is not None or cause.note), None
    )
    if known is None:
        return None
    name = f"execution {known.execution_id}" if known.execution_id is not None else f"trace {known.trace_id}"
    kind = f" as {known.root_cause_type.value}" if known.root_cause_type is not None else ""
    at = ".".join(part for part in (known.affected_service, known.affected_operation) if part)
    where = f" at {at}" if at else ""
    if known.matches[0] == "itself":
        return f"The cause of this execution was confirmed{kind}{where}: see confirmed_causes."
    return f"Check first whether it is what was confirmed for {name}{kind}{where}: see confirmed_causes."


_RANK: Final = {"itself": 0, "failure": 1, "root_cause": 2}


def _matches(
    row: Row, unit: Unit, summary: Summary, template: str | None, cause: RootCause | None, score: float
) -> list[str]:
    """What is alike, the most telling first; nothing when that is too little."""
    if row["unit_id"] == unit.unit_id:
        return ["itself"]
    found = []
    if template is not None and (row["failure_point"], row["error_template"]) == (summary.failure_point, template):
        found.append("failure")
    same_root = (row["root_service"], row["root_operation"]) == (summary.root_service, summary.root_operation)
    if cause is not None and same_root and score >= THRESHOLD:
        this = (cause.root_cause_type.value, cause.affected_service, cause.affected_operation)
        told = (row["root_cause_type"], row["affected_service"], row["affected_operation"])
        judged = (row["judged_type"], row["judged_service"], row["judged_operation"])
        if this in (told, judged):
            found.append("root_cause")
    return found


def _checked(said: Confirmation, report: Report) -> Confirmation:
    lengths = {
        "note": (said.note, MAX_NOTE),
        "by": (said.by, MAX_SAID),
        "affected_service": (said.affected_service, MAX_SAID),
        "affected_operation": (said.affected_operation, MAX_SAID),
    }
    for name, (text, most) in lengths.items():
        if text is not None and len(text) > most:
            raise BadInput(f"{name} has {len(text):,} characters, more than {most:,}", hint="Shorten it.")
    nothing = said.root_cause_type is None and not said.affected_service and not said.note
    if said.confirmed and report.root_cause is None and nothing:
        raise BadInput(
            f"the verdict is {report.verdict}: there is no root cause to confirm",
            hint="Say what it was: root_cause_type, affected_service or a note.",
        )
    return said


def _row(tenant: str, unit: Unit, summary: Summary, report: Report, said: Confirmation, now: datetime) -> Row:
    judged = report.root_cause
    # Who confirms a verdict means it where they say nothing else; who calls it wrong does not.
    kept = judged if said.confirmed else None
    return {
        "tenant": tenant,
        "unit_id": unit.unit_id,
        "execution_id": unit.trace.execution_id,
        "trace_id": unit.trace.trace_id,
        "confirmed": said.confirmed,
        "root_cause_type": said.root_cause_type or (kept.root_cause_type if kept else None),
        "affected_service": said.affected_service or (kept.affected_service if kept else None),
        "affected_operation": said.affected_operation or (kept.affected_operation if kept else None),
        "note": said.note or None,
        "confirmed_by": said.by or None,
        "confirmed_at": now,
        "judged_type": judged.root_cause_type.value if judged else None,
        "judged_service": judged.affected_service if judged else None,
        "judged_operation": judged.affected_operation if judged else None,
        "root_service": summary.root_service,
        "root_operation": summary.root_operation,
        "failure_point": summary.failure_point,
        "error_template": error_template(summary.error_message),
        "elements": json.dumps(summary.elements, separators=(",", ":")),
    }


def _cause(row: Row, score: float, matches: list[str]) -> ConfirmedCause:
    return ConfirmedCause(
        execution_id=row["execution_id"],
        trace_id=row["trace_id"],
        confirmed=row["confirmed"],
        root_cause_type=RootCauseType(row["root_cause_type"]) if row["root_cause_type"] else None,
        affected_service=row["affected_service"],
        affected_operation=row["affected_operation"],
        note=row["note"],
        by=row["confirmed_by"],
        confirmed_at=row["confirmed_at"],
        similarity_score=score,
        matches=matches,
    )
