"""Which executions to compare with, and what they have: bounded reads for similarity, cohorts and error templates.

Everything is chosen from summaries. Of spans one statement reads at most :data:`MAX_SPANS`, and of these the attributes
alone; a sample is the same at every call over the same content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import pyarrow as pa
from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, union_all

from otel_diag.analyse import similar
from otel_diag.analyse.baseline import Peer
from otel_diag.analyse.cohorts import (
    MIN_PEERS,
    Traits,
    distinguishing,
    joined,
    traits_of_execution,
    traits_of_span,
    unusual,
)
from otel_diag.analyse.summary import Summary
from otel_diag.analyse.templates import Errors, common_template, error_template
from otel_diag.decode.attributes import load_attributes
from otel_diag.model import Cohorts, Distinguishing, SimilarCase, Status
from otel_diag.reader import Reader, Row, Unit, Window, comparable, peer_columns, peer_of, windows_around, within
from otel_diag.store.schema import execution_rollups, trace_spans, trace_summaries

LOOKED_AT: Final = 2_000
"""Executions with the same root operation and status among which similar ones are sought, the newest."""

SHAPES: Final = 40
"""Different sequences of operations that are compared, one row each."""

SIMILAR_LIMIT: Final = 5
SUCCESSFUL_LIMIT: Final = 3

COHORT: Final = 200
PEERS: Final = 100
MAX_ROOTS: Final = 3
MAX_SPANS: Final = 4_000
"""Of both cohorts together."""

_S = trace_summaries.c

MEMBER_COLUMNS: Final = (
    _S.unit_id,
    _S.trace_id,
    _S.execution_id,
    _S.status,
    _S.started_at,
    _S.model_id,
    _S.region,
    _S.job_id,
    _S.service_version,
    _S.root_service,
    _S.root_operation,
    _S.min_start_unix_nano,
    _S.max_start_unix_nano,
    _S.span_count,
)
"""Of a summary, what makes it a member of a cohort."""


# --------------------------------------------------------------------------------------------------
# Executions alike.


@dataclass(frozen=True, slots=True)
class Alike:
    """``executions``: how many of those looked at ran through the same operations and ended with the same status."""

    peer: Peer
    score: float
    executions: int


def similar_cases(reader: Reader, unit: Unit, summary: Summary, limit: int = SIMILAR_LIMIT) -> list[SimilarCase]:
    """Those with the same sequence of operations first, then the nearest of every other one; same model and region
    before all."""
    same = _same_shape(reader, unit, summary, limit)
    found = same if len(same) == limit else _alike(reader, unit, summary, None, limit, similar.THRESHOLD)
    return [
        SimilarCase(
            similar_execution_id=one.peer.execution_id,
            trace_id=one.peer.trace_id or "",
            similarity_score=one.score,
            status=one.peer.status,
            total_duration_ms=one.peer.duration_ms,
            failure_point=one.peer.failure_point,
            executions=one.executions,
        )
        for one in found
    ]


def _same_shape(reader: Reader, unit: Unit, summary: Summary, limit: int) -> list[Alike]:
    """Those with the same sequence of operations, model and region, the newest: none are more alike than ``limit`` of
    these, and they cost a tenth of a search among all."""
    _, days = windows_around(unit.trace)
    shape = reader.select(trace_summaries, _S.status).where(comparable(days), _S.signature == summary.signature)
    newest = (
        shape.with_only_columns(*peer_columns())
        .where(_is(_S.model_id, summary.model_id), _is(_S.region, summary.region))
        .order_by(_S.started_at.desc(), _S.trace_id)
        .limit(limit + 1)
    )
    looked_at = shape.order_by(_S.started_at.desc()).limit(LOOKED_AT).subquery("looked_at").c
    counted = select(looked_at.status, func.count().label("executions")).group_by(looked_at.status)
    kind = (days, summary.signature, summary.model_id, summary.region, limit)
    rows = reader.once(("same shape", *kind), lambda: reader.rows(newest))
    counts = reader.once(
        ("of a shape", days, summary.signature),
        lambda: {row["status"]: int(row["executions"]) for row in reader.rows(counted)},
    )
    own = unit.summary["status"] if unit.summary is not None else None
    others = [row for row in rows if not _is_of(unit, row)][:limit]
    return [Alike(peer_of(row), 1.0, counts[row["status"]] - (row["status"] == own)) for row in others]


def _is_of(unit: Unit, row: Row) -> bool:
    """Whether it is the unit itself or another attempt of its execution."""
    trace = unit.trace
    return row["trace_id"] == trace.trace_id or (
        trace.execution_id is not None and row["execution_id"] == trace.execution_id
    )


def nearest_successful(reader: Reader, unit: Unit, summary: Summary) -> list[tuple[Peer, float]]:
    """Successful peers, nearest first. No threshold: what failed early has little in common with any of them."""
    found = _alike(reader, unit, summary, Status.COMPLETED, SUCCESSFUL_LIMIT, 0.0)
    return [(one.peer, one.score) for one in found]


def _alike(
    reader: Reader, unit: Unit, summary: Summary, status: Status | None, limit: int, threshold: float
) -> list[Alike]:
    rows = _shapes(reader, unit, summary, status, limit) if unit.trace.spans else []
    counts = {(row["execution_id"], row["trace_id"]): int(row["executions"]) for row in rows}
    peers: Iterable[Peer] = [peer_of(row) for row in rows]
    if not rows:
        # Nothing has its root: it may be lost, or never have been.
        peers = reader.peers(unit, status=status, limit=SHAPES)
    return [
        Alike(peer, score, counts.get((peer.execution_id, peer.trace_id), 1))
        for peer, score in similar.rank_similar(summary, peers, limit, threshold)
    ]


@dataclass(frozen=True, slots=True)
class _Like:
    """What executions of one kind and time share in being compared with others: read once for all of them."""

    windows: tuple[Window, Window]
    root_service: str
    root_operation: str
    model_id: str | None
    region: str | None
    signature: int
    statuses: tuple[Status, ...]
    whole: bool
    limit: int

    @property
    def wanted(self) -> int:
        """How many of each sequence of operations but its own."""
        return self.limit if len(self.statuses) == 1 else 1


def _shapes(reader: Reader, unit: Unit, summary: Summary, status: Status | None, limit: int) -> list[Row]:
    """Summary rows by signature: up to ``limit`` with its own, and of each other one the newest of the nearest kind.

    Of the hours around it, where as many are known as are looked at, else of the days. Of successful ones whole traces
    are preferred: what lacks spans teaches the wrong shape.
    """
    statuses = (status,) if status is not None else (Status.FAILED, Status.TIMEOUT, Status.COMPLETED)
    for whole in (True, False) if status is Status.COMPLETED else (False,):
        like = _Like(
            windows=windows_around(unit.trace),
            root_service=summary.root_service,
            root_operation=summary.root_operation,
            model_id=summary.model_id,
            region=summary.region,
            signature=summary.signature,
            statuses=statuses,
            whole=whole,
            limit=limit,
        )
        rows = reader.once(like, partial(_read_shapes, reader, like))
        if others := _without(unit, like, rows):
            return others
    return []


def _read_shapes(reader: Reader, like: _Like) -> list[Row]:
    """One more of each than is wanted: the execution that is compared may be among them."""
    chosen: list[Row] = []
    for window in like.windows:
        chosen = reader.rows(_by_signature(reader, like, window))
        looked_at = {(row["signature"], row["status"]): int(row["executions"]) for row in chosen}
        if sum(looked_at.values()) >= LOOKED_AT * len(like.statuses):
            break
    known = reader.summaries(chosen, _S.unit_id, _S.signature, *peer_columns())
    return [known[row["unit_id"]] | {"executions": int(row["executions"])} for row in chosen if row["unit_id"] in known]


def _without(unit: Unit, like: _Like, rows: Sequence[Row]) -> list[Row]:
    """The rows without the unit itself and other attempts of its execution, as many as are wanted."""
    own = unit.summary
    taken: Counter[tuple[int, str]] = Counter()
    kept = []
    for row in rows:
        way = (row["signature"], row["status"])
        if _is_of(unit, row):
            continue
        taken[way] += 1
        if taken[way] <= (like.limit if row["signature"] == like.signature else like.wanted):
            itself = own is not None and way == (own["signature"], own["status"])
            kept.append(row | {"executions": row["executions"] - itself})
    return kept


def _by_signature(reader: Reader, like: _Like, window: Window) -> Select[Any]:
    columns = (_S.unit_id, _S.signature, _S.status, _S.model_id, _S.region, _S.started_at)
    newest = [
        reader.select(trace_summaries, *columns)
        .where(
            _S.status == status.value,
            _S.root_service == like.root_service,
            _S.root_operation == like.root_operation,
            comparable(window),
            *((_S.complete,) if like.whole else ()),
        )
        .order_by(_S.started_at.desc(), _S.unit_id)
        .limit(LOOKED_AT)
        for status in like.statuses
    ]
    among = _union(newest)
    same_model, same_region = _is(among.model_id, like.model_id), _is(among.region, like.region)
    kind = case((and_(same_model, same_region), 0), (same_model, 1), else_=2)
    ways = (among.signature, among.status)
    order = (kind, among.started_at.desc(), among.unit_id)
    ranked = select(
        among.unit_id,
        among.signature,
        among.status,
        among.started_at,
        kind.label("kind"),
        case((among.signature == like.signature, 0), else_=1).label("other"),
        func.row_number().over(partition_by=ways, order_by=order).label("nth"),
        func.count().over(partition_by=ways).label("executions"),
    ).subquery("ranked")
    shapes = ranked.c
    return (
        select(shapes.unit_id, shapes.signature, shapes.status, shapes.started_at, shapes.executions)
        .where(or_(shapes.nth <= like.wanted + 1, and_(shapes.other == 0, shapes.nth <= like.limit + 1)))
        .order_by(shapes.other, shapes.nth, shapes.kind, shapes.started_at.desc(), shapes.unit_id)
        .limit(2 * SHAPES + like.limit)
    )


def _union(parts: Sequence[Select[Any]]) -> Any:
    """The columns of all parts together; each may have a limit of its own."""
    limited = [select(part.subquery(f"part_{number}")) for number, part in enumerate(parts)]
    return (union_all(*limited) if len(limited) > 1 else limited[0]).subquery("among").c


def _is(column: ColumnElement[Any], value: str | None) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


# --------------------------------------------------------------------------------------------------
# Cohorts.


@dataclass(frozen=True, slots=True)
class Contrast:
    """What was compared, and what distinguishes the first cohort. ``cohorts`` is None where one of them is empty."""

    distinguishing: list[Distinguishing]
    cohorts: Cohorts | None


NO_CONTRAST: Final = Contrast([], None)
_AROUND: Final = (timedelta(minutes=10), timedelta(hours=1))
_PEERS_AROUND: Final = (*_AROUND, timedelta(days=1))
_OF_JOB: Final = ("job_id", "job.id")


def of_job(reader: Reader, rows: Sequence[Row]) -> Contrast:
    """The failed executions of a job (the slow ones, where none failed) against its healthy ones.

    Where the job has fewer than 20 of those, also against others of the same kind and time.
    """
    bad = [row for row in rows if Status(row["status"]).is_failure]
    name: Literal["failed", "slow"] = "failed" if bad else "slow"
    bad = bad or [row for row in rows if _completed(row) and row["suspect"]]
    good = _newest([row for row in rows if _completed(row) and not row["suspect"]])
    if bad and len(good) < MIN_PEERS:
        known = {row["unit_id"] for row in rows}
        good += [row for row in _healthy_then(reader, bad) if row["unit_id"] not in known]
    return _contrast(reader, bad, good, name, skip=_OF_JOB)


def of_failures(reader: Reader, rows: Sequence[Row], conditions: Sequence[ColumnElement[bool]]) -> Contrast:
    """The newest failures against what went well at that time. ``conditions``: on those, what was asked for."""
    bad = _newest(rows)
    return _contrast(reader, bad, _healthy_then(reader, bad, conditions), "failed")


def of_execution(reader: Reader, unit: Unit, summary: Summary) -> Contrast:
    """One execution against successful ones of its kind, minutes around where there are enough, else hours or a day."""
    if summary.started_at is None:
        return NO_CONTRAST
    like = {"root_service": summary.root_service, "root_operation": summary.root_operation}
    rows: list[Row] = []
    for around in _PEERS_AROUND:
        window = (summary.started_at - around, summary.started_at + around)
        rows = healthy(reader, [like], *window, [_S.unit_id != unit.unit_id], limit=PEERS)
        if len(rows) == PEERS:
            break
    if len(rows) < MIN_PEERS:
        return NO_CONTRAST
    columns = {name: getattr(summary, name) for name in _COLUMNS}
    spans = (traits_of_span(s.service, s.service_version, s.attributes, s.resource) for s in unit.trace.spans)
    (peers,) = traits(reader, rows)
    found = unusual(joined([traits_of_execution(columns), *spans]), peers, skip=_OF_JOB)
    return Contrast(found, _sizes("failed" if summary.status.is_failure else "slow", [Traits()], peers))


def _contrast(
    reader: Reader, bad: Sequence[Row], good: Sequence[Row], name: Literal["failed", "slow"], skip: Collection[str] = ()
) -> Contrast:
    if not bad or not good:
        return NO_CONTRAST
    first, second = traits(reader, _newest(bad), good)
    return Contrast(distinguishing(first, second, skip), _sizes(name, first, second))


def _sizes(name: Literal["failed", "slow"], first: Sequence[Traits], second: Sequence[Traits]) -> Cohorts:
    return Cohorts(
        bad=name,
        failed=len(first),
        healthy=len(second),
        failed_with_spans=sum(one.complete for one in first),
        healthy_with_spans=sum(one.complete for one in second),
    )


def _completed(row: Row) -> bool:
    return bool(row["status"] == Status.COMPLETED.value)


def _newest(rows: Sequence[Row]) -> list[Row]:
    timed = sorted(rows, key=lambda row: row["unit_id"])
    return sorted(timed, key=lambda row: row["min_start_unix_nano"], reverse=True)[:COHORT]


def _healthy_then(reader: Reader, bad: Sequence[Row], conditions: Sequence[ColumnElement[bool]] = ()) -> list[Row]:
    """Healthy executions from before the first of these until after the last: ten minutes where there are enough, else
    an hour."""
    times = [row["started_at"] for row in bad if row["started_at"] is not None]
    found: list[Row] = []
    for around in _AROUND if times else ():
        found = healthy(reader, bad, min(times) - around, max(times) + around, conditions)
        if len(found) > COHORT - MAX_ROOTS:  # the part of each root is rounded
            break
    return found


def healthy(
    reader: Reader,
    like: Sequence[Row],
    since: datetime,
    until: datetime,
    conditions: Sequence[ColumnElement[bool]] = (),
    limit: int = COHORT,
) -> list[Row]:
    """Executions of the window that completed in the usual time, of the same root operations as ``like`` and in the
    same proportion. A sample of the newest by a hash of their content: blind, and the same each time.
    """
    parts = []
    for (service, operation), share in _roots(like).items():
        newest = (
            reader.select(trace_summaries, *MEMBER_COLUMNS, _S.content_key)
            .where(
                _S.root_service == service,
                _S.root_operation == operation,
                _S.status == Status.COMPLETED.value,
                _S.started_at >= since,
                _S.started_at < until,
                _S.latest,
                ~_S.suspect,
                *conditions,
            )
            .order_by(_S.started_at.desc(), _S.unit_id)
            .limit(LOOKED_AT)
            .subquery("newest")
        )
        parts.append(
            select(newest).order_by(newest.c.content_key, newest.c.unit_id).limit(max(1, round(limit * share)))
        )
    if not parts:
        return []
    return reader.rows(select(*_union(parts).values()))


def _roots(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """The most frequent root operations, and which share of the rows among them each has."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        root = (row["root_service"], row["root_operation"])
        counts[root] = counts.get(root, 0) + 1
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_ROOTS]
    total = sum(count for _, count in most)
    return {root: count / total for root, count in most}


def traits(reader: Reader, *cohorts: Sequence[Row]) -> list[list[Traits]]:
    """What the members of each cohort have, in their order; each cohort gets an equal part of :data:`MAX_SPANS`.

    Members whose trace does not fit have their columns only.
    """
    chosen = [row for rows in cohorts for row in _that_fit(rows, MAX_SPANS // len(cohorts))]
    of_spans = _traits_of_spans(reader, chosen)
    return [[_traits_of(row, of_spans.get(row["trace_id"])) for row in rows] for rows in cohorts]


def _that_fit(rows: Sequence[Row], room: int) -> Iterable[Row]:
    for row in rows:
        if row["trace_id"] is not None and row["span_count"] <= room:
            room -= row["span_count"]
            yield row


_COLUMNS: Final = ("model_id", "region", "job_id", "service_version")
_TraitsByExecution = Mapping[int | None, Sequence[Traits]]


def _traits_of(row: Row, of_spans: _TraitsByExecution | None) -> Traits:
    own = traits_of_execution({name: row[name] for name in _COLUMNS})
    if of_spans is None:
        return own
    # Spans without an execution of their own may be of any in their trace.
    ids = dict.fromkeys((None, row["execution_id"])) if row["execution_id"] is not None else of_spans
    return joined([own, *(part for execution_id in ids for part in of_spans.get(execution_id, ()))])


def _traits_of_spans(reader: Reader, rows: Collection[Row]) -> dict[str, dict[int | None, list[Traits]]]:
    """By trace and execution id. Attributes that are written alike are read once."""
    if not rows:
        return {}
    spans = trace_spans.c
    columns = (spans.service, spans.service_version, spans.attributes, spans.resource_attributes)
    statement = reader.select(trace_spans, spans.trace_id, spans.execution_id, *columns).where(
        spans.trace_id.in_(sorted({row["trace_id"] for row in rows})),
        within(spans.start_unix_nano, ((row["min_start_unix_nano"], row["max_start_unix_nano"]) for row in rows)),
    )
    known: dict[tuple[Any, ...], Traits] = {}
    found: dict[str, dict[int | None, list[Traits]]] = {}
    for trace_id, execution_id, *content in _tuples(reader.store.select(statement, max_rows=2 * MAX_SPANS)):
        key = tuple(content)
        if key not in known:
            service, version, attributes, resource = content
            known[key] = traits_of_span(service, version, load_attributes(attributes), load_attributes(resource))
        parts = found.setdefault(trace_id, {}).setdefault(execution_id, [])
        if known[key] not in parts:
            parts.append(known[key])
    return found


def _tuples(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


# --------------------------------------------------------------------------------------------------
# Error texts of two windows.

ERRORS: Final = 1_000
"""Failures of a window whose error texts are counted, the newest."""

MESSAGES: Final = 500
"""Different texts of a window, the most frequent: in the statement, digits and the letters of hex numbers are alike."""

_VARYING: Final = "123456789abcdefABCDEF"


@dataclass(frozen=True, slots=True)
class CountedErrors:
    """``failures``: how many with a text were counted, of all that failed from ``since`` on."""

    errors: list[Errors]
    failures: int
    since: datetime


def errors_in(
    reader: Reader, failed: Callable[[datetime], Select[Any]], beginnings: Iterable[datetime]
) -> CountedErrors:
    """The error texts of the newest failures of a window. ``failed``: those since a moment, as rows with the columns of
    :data:`ERROR_COLUMNS`; ``beginnings``: such moments, at least one, later ones first, the last begins the window.

    They are grouped where they are stored, as far as a statement can: what is left are few texts to make templates of.
    """
    rows: list[Row] = []
    for since in beginnings:
        rows = reader.rows(_texts(failed(since)))
        if rows and int(rows[0]["all_failures"]) >= ERRORS:
            return _counted(rows, rows[0]["oldest"])
    return _counted(rows, since)


def _counted(rows: Iterable[Row], since: datetime) -> CountedErrors:
    errors = [
        Errors(
            text=template,
            count=int(row["failures"]),
            first_seen=row["first_seen"],
            last_seen=row["last_seen"],
            example_ids=tuple(dict.fromkeys((_id_in(row["one_unit"]), _id_in(row["other_unit"])))),
        )
        for row in rows
        if (template := common_template(row["first_text"], row["last_text"])) is not None
    ]
    return CountedErrors(errors, sum(one.count for one in errors), since)


def errors_among(rows: Iterable[Row], since: datetime) -> CountedErrors:
    """As :func:`errors_in`, of all failures since then, which were read."""
    alike: dict[str, list[Row]] = {}
    for row in rows:
        if (text := row["error_message"] or row["error_type"]) is not None:
            alike.setdefault(text, []).append(row)
    errors = [
        Errors(
            text=template,
            count=len(some),
            first_seen=min(row["started_at"] for row in some),
            last_seen=max(row["started_at"] for row in some),
            example_ids=tuple(dict.fromkeys(_id_in(row["unit_id"]) for row in (some[0], some[-1]))),
        )
        for text, some in alike.items()
        if (template := error_template(text)) is not None
    ]
    return CountedErrors(errors, sum(one.count for one in errors), since)


def _texts(failed: Select[Any]) -> Select[Any]:
    newest = failed.order_by(_S.started_at.desc(), _S.unit_id).limit(ERRORS).subquery("newest").c
    text = func.coalesce(newest.error_message, newest.error_type, "")
    alike = (
        select(
            func.min(text).label("first_text"),
            func.max(text).label("last_text"),
            func.count().label("failures"),
            func.min(newest.started_at).label("first_seen"),
            func.max(newest.started_at).label("last_seen"),
            func.min(newest.unit_id).label("one_unit"),
            func.max(newest.unit_id).label("other_unit"),
        )
        .group_by(func.translate(text, _VARYING, "0" * len(_VARYING)))
        .subquery("alike")
    )
    whole = (
        func.sum(alike.c.failures).over().label("all_failures"),
        func.min(alike.c.first_seen).over().label("oldest"),
    )
    return select(alike, *whole).order_by(alike.c.failures.desc(), alike.c.first_text).limit(MESSAGES)


ERROR_COLUMNS: Final = (_S.unit_id, _S.started_at, _S.error_message, _S.error_type)


def _id_in(unit_id: str) -> int | str:
    """The execution id of a unit, else its trace id."""
    trace_id, _, execution_id = unit_id.partition("/")
    return int(execution_id) if execution_id else trace_id


def executions_in(
    reader: Reader,
    windows: Sequence[tuple[datetime, datetime]],
    now: datetime,
    conditions: Sequence[ColumnElement[bool]] = (),
) -> list[float]:
    """About how many executions started in each window, from the hourly sketches; of an hour that is cut, a share.

    ``conditions``: on columns of ``execution_rollups``.
    """
    rollups = execution_rollups.c
    since, until = min(begin for begin, _ in windows), max(end for _, end in windows)
    rows = reader.rows(
        reader.select(execution_rollups, rollups.bucket_start, func.sum(rollups.sample_count).label("sample_count"))
        .where(rollups.bucket_start > since - _HOUR, rollups.bucket_start < until, *conditions)
        .group_by(rollups.bucket_start)
    )
    return [
        sum(int(row["sample_count"]) * _share_of_hour(row["bucket_start"], begin, end, now) for row in rows)
        for begin, end in windows
    ]


_HOUR: Final = timedelta(hours=1)


def _share_of_hour(hour: datetime, begin: datetime, end: datetime, now: datetime) -> float:
    """The part of the hour, as far as it has passed, that lies in a window."""
    passed = max(min(hour + _HOUR, now), hour + timedelta(seconds=1))
    inside = (min(passed, end) - max(hour, begin)).total_seconds()
    return min(1.0, max(0.0, inside) / (passed - hour).total_seconds())
