"""Reads what the analysis works on: one tenant's traces, peers and baselines. The only place that scopes a tenant.

Between the store (Arrow rows) and the analysis (model types); used by the worker and the query service.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
)

from otel_diag.analyse.baseline import Baseline, Kin, OperationStats, Peer, Scope
from otel_diag.analyse.classify import error_text
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.summary import rollups_of
from otel_diag.analyse.tree import split_executions
from otel_diag.decode.rows import COLUMNS, exception_of, table_to_open_spans, table_to_spans
from otel_diag.errors import NotFound
from otel_diag.model import ANNOUNCED, ENGINE_VERSION, EXCEPTION, Declared, RootCauseType, Span, Status, Trace
from otel_diag.store.base import Store
from otel_diag.store.schema import (
    diagnoses,
    executions,
    log_records,
    operation_baselines,
    trace_arrivals,
    trace_spans,
    trace_summaries,
)
from otel_diag.store.text import as_text

Row = dict[str, Any]
T = TypeVar("T")

PEER_LIMIT = 100
"""Peers read for one diagnosis: enough for shares and medians, few enough to parse in milliseconds."""

MIN_PEERS = 20
"""Below this many samples of the same model, samples of any model are taken (spec/2: at least 20)."""

MAX_TRACE_SPANS = 20_000
"""Spans of one trace that are read where nothing else was said: a second's work, some 40 MB of them."""

_MOST_RANGES = 16
"""Gaps between traces that are read together which a statement names."""

_MOST_LEVELS = 64
_MOST_ASKED = 2_000
"""Times that spans above those of a long trace are looked for, and how many at a time."""

LONGEST_NAME = 200
"""Characters of a name that go into a key of a summary or sketch: an index entry is limited to some 2,700 bytes."""

MAX_EXCEPTIONS = 1_000
"""Exceptions in log records that are read for the spans of some traces."""

LOGGED_WITHIN_NANOS = 3_600 * 10**9
"""What is logged in a span longer after the last start of its trace is not looked for."""

MAX_ATTEMPTS = 100
"""Attempts of one execution that are looked at, the newest: a constant id would make all there is an attempt."""

BASELINE_BEFORE = timedelta(days=7)
BASELINE_AFTER = timedelta(days=1)
"""Executions this long around the day of the one in question are comparable; older ones ran on other code."""

PEERS_WITHIN = timedelta(hours=1)
"""Those this long around its hour are looked at first: where there are many of a kind, they are enough."""


_ANNOUNCES = log_records.c.event_name == ANNOUNCED
_TELLS_EXCEPTION = cast(log_records.c.attributes, Text).like(f"%{EXCEPTION}%")
_ANALYSED = tuple(trace_spans.c[name] for name in COLUMNS)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a trace's spans lie in start time, so that reading them touches few pages; about how many there are."""

    first: int
    last: int
    spans: int = 0

    def union(self, other: Bounds) -> Bounds:
        return Bounds(min(self.first, other.first), max(self.last, other.last), self.spans + other.spans)


@dataclass(frozen=True, slots=True)
class Spans:
    """A trace as it was read. ``left_out``: how many spans were not, by their own execution id. ``shared``: it is known
    to hold several executions, of which this may be the part of one."""

    read: tuple[Span, ...] = ()
    left_out: Mapping[int | None, int] = field(default_factory=dict)
    shared: bool = False

    @property
    def may_be_a_part(self) -> bool:
        """Whether it looks like one execution that began below something else."""
        ids = {span.execution_id for span in self.read if span.execution_id is not None}
        return len(ids) == 1 and not any(s.execution_id in ids and s.parent_span_id is None for s in self.read)

    def explained(self, said: Mapping[tuple[str, str], Sequence[Row]]) -> Spans:
        """With the exceptions that were logged in its spans as their events, and the words of the last."""
        return replace(
            self, read=tuple(_explained(span, said.get((span.trace_id, span.span_id), ())) for span in self.read)
        )

    def units(self, trace_id: str) -> tuple[Trace, ...]:
        return split_executions(self.read, trace_id, self.left_out, shared=self.shared)

    def whole(self, trace_id: str, execution_id: int | None = None, declared: Declared | None = None) -> Trace:
        return Trace(self.read, execution_id, trace_id, declared, left_out=sum(self.left_out.values()))

    def execution(self, trace_id: str | None, execution_id: int, declared: Declared | None) -> Trace:
        """The part of a trace that is this execution; the whole of it when only the runner's record links them."""
        if not self.read or trace_id is None:
            return Trace((), execution_id=execution_id, declared=declared)
        for unit in self.units(trace_id):
            if unit.execution_id == execution_id:
                return replace(unit, declared=declared)
        return self.whole(trace_id, execution_id, declared)


@dataclass(frozen=True)
class Unit:
    """One execution (or trace) with what the store knows about it.

    ``trace_ids``: every trace of the execution, newest first; ``trace`` holds the newest. ``newest_ingested`` is None
    without spans. ``summary``: its stored row, None when it was not summarised yet.
    """

    trace: Trace
    trace_ids: tuple[str, ...]
    newest_ingested: datetime | None
    summary: Row | None

    @property
    def unit_id(self) -> str:
        return unit_id(self.trace)

    @cached_property
    def examined(self) -> Examined:
        return Examined(self.trace)

    def is_arriving(self, now: datetime, settle: timedelta) -> bool:
        """Whether its newest span is younger than ``settle``: more may be on their way."""
        return self.newest_ingested is not None and now - self.newest_ingested < settle


def unit_id(trace: Trace) -> str:
    """The key of a summary: ``<trace_id>``, ``<trace_id>/<execution_id>`` or ``/<execution_id>``."""
    if trace.execution_id is None:
        return trace.trace_id or ""
    return f"{trace.trace_id or ''}/{trace.execution_id}"


class Reader:
    """Reads for one tenant. Thread-safe, as the store is, unless it remembers.

    Of a trace with more than ``max_spans`` spans it reads that many: see :meth:`spans`. With ``remember`` it reads each
    baseline once: for a burst of diagnoses of the same kind, then to be thrown away.
    """

    def __init__(self, store: Store, tenant: str, *, max_spans: int = MAX_TRACE_SPANS, remember: bool = False) -> None:
        self.store = store
        self.tenant = tenant
        self.max_spans = max_spans
        self._memory: dict[Hashable, Any] | None = {} if remember else None

    def select(self, table: Table, *columns: Any, source: FromClause | None = None) -> Select[Any]:
        """A statement over ``table`` that sees this tenant's rows only. Without columns: all of them.

        ``source``: ``table`` joined with others, on the tenant among other things.
        """
        chosen = columns or tuple(table.c)
        return select(*chosen).select_from(table if source is None else source).where(table.c.tenant == self.tenant)

    def rows(self, statement: Select[Any]) -> list[Row]:
        return self.store.select(statement).to_pylist()  # type: ignore[no-any-return]

    def count(self, statement: Select[Any]) -> int:
        """How many rows the statement has, before any limit of its own is set."""
        return int(self.rows(statement.order_by(None).with_only_columns(func.count().label("total")))[0]["total"])

    # ---------------------------------------------------------------------------------- traces

    def execution(self, execution_id: int) -> Unit:
        """The newest attempt of an execution. Raises NotFound, naming the nearest execution ids."""
        summaries = trace_summaries.c
        of_this = self.select(trace_summaries).where(summaries.execution_id == execution_id)
        rows = self.rows(of_this.order_by(summaries.min_start_unix_nano.desc()).limit(MAX_ATTEMPTS))
        bounds = {row["trace_id"]: _bounds(row) for row in rows if row["trace_id"] is not None}
        for trace_id, found in self._unfolded(execution_id).items():
            bounds[trace_id] = bounds[trace_id].union(found) if trace_id in bounds else found
        declared = self.declared([execution_id], []).get(execution_id)
        if declared is not None and declared.trace_id is not None and declared.trace_id not in bounds:
            bounds |= self.trace_bounds([declared.trace_id])
        newest_first = sorted(bounds, key=lambda trace_id: bounds[trace_id].first, reverse=True)
        newest = newest_first[0] if newest_first else None
        spans = Spans()
        if newest is not None:
            arrived = self._arrived([newest]).get(newest)
            whole = bounds[newest] if arrived is None else bounds[newest].union(arrived)
            spans = self.spans({newest: whole}).get(newest, spans)
        if not spans.read and declared is None:
            raise self._unknown_execution(execution_id)
        unit = spans.execution(newest, execution_id, declared)
        summary = next((row for row in rows if row["unit_id"] == unit_id(unit)), None)
        return Unit(unit, tuple(newest_first), _newest(spans.read), summary)

    def units(self, rows: Sequence[Row]) -> list[Unit]:
        """The units of these summary rows, in their order, read together. Those without content left are skipped."""
        spans = self.spans(self.bounds_of(rows))
        declared = self.declared([row["execution_id"] for row in rows if row["execution_id"] is not None], [])
        units = []
        for row in rows:
            found = spans.get(row["trace_id"], Spans())
            said = declared.get(row["execution_id"])
            if not found.read and said is None:
                continue
            if row["execution_id"] is None:
                trace = found.whole(row["trace_id"])
            else:
                trace = found.execution(row["trace_id"], row["execution_id"], said)
            trace_ids = (row["trace_id"],) if found.read else ()
            units.append(Unit(trace, trace_ids, _newest(found.read), row))
        return units

    def summaries(self, rows: Sequence[Row], *columns: Any) -> dict[str, Row]:
        """By unit id, the summaries of these rows, which have ``unit_id`` and ``started_at``; ``columns``: all without.

        They are sought in the time of the rows: where nothing leads to those of a unit, few have to be looked at.
        """
        if not rows:
            return {}
        summaries = trace_summaries.c
        times = [row["started_at"] for row in rows if row["started_at"] is not None]
        then = [summaries.started_at.between(min(times), max(times))] if times else []
        then += [summaries.started_at.is_(None)] if len(times) < len(rows) else []
        units = sorted(row["unit_id"] for row in rows)
        found = self.rows(self.select(trace_summaries, *columns).where(summaries.unit_id.in_(units), or_(*then)))
        return {row["unit_id"]: row for row in found}

    def bounds_of(self, rows: Iterable[Row]) -> dict[str, Bounds]:
        """Bounds of the traces of these summary rows, with what they have not seen yet."""
        found: dict[str, Bounds] = {}
        for row in rows:
            if (trace_id := row["trace_id"]) is not None:
                found[trace_id] = found[trace_id].union(_bounds(row)) if trace_id in found else _bounds(row)
        for trace_id, arrived in self._arrived(found).items():
            found[trace_id] = found[trace_id].union(arrived)
        return found

    def trace(self, trace_id: str) -> Unit:
        """A whole trace; one that belongs to a single execution is that execution's. Raises NotFound."""
        trace_id = trace_id.lower()
        bounds = self.trace_bounds([trace_id])
        found = self.spans(bounds).get(trace_id, Spans())
        if not found.read:
            raise self._unknown_trace(trace_id)
        units = found.units(trace_id)
        execution_ids = [unit.execution_id for unit in units if unit.execution_id is not None]
        declared = self.declared(execution_ids, [trace_id])
        linked = next((told for told in declared.values() if told.trace_id == trace_id), None)
        if len(units) == 1:
            execution_id = units[0].execution_id if linked is None else linked.execution_id
            said = declared.get(execution_id) if execution_id is not None else None
            unit = found.whole(trace_id, execution_id, said)
        else:
            unit = found.whole(trace_id)
        return Unit(unit, (trace_id,), _newest(found.read), self._summary(unit))

    def _summary(self, trace: Trace) -> Row | None:
        rows = self.rows(self.select(trace_summaries).where(trace_summaries.c.unit_id == unit_id(trace)))
        return rows[0] if rows else None

    def trace_of(self, peer: Peer) -> Trace:
        """The spans behind a peer. Empty when they are gone."""
        if peer.trace_id is None:
            return Trace((), execution_id=peer.execution_id)
        found = self.spans(self._bounds_of_peer(peer)).get(peer.trace_id, Spans())
        if peer.execution_id is None:
            return found.whole(peer.trace_id)
        return found.execution(peer.trace_id, peer.execution_id, None)

    def _bounds_of_peer(self, peer: Peer) -> dict[str, Bounds]:
        """By when it started, too: where nothing leads to the rows of a trace, few of them have to be looked at."""
        summaries = trace_summaries.c
        of_trace = self.select(trace_summaries, *_BOUNDS).where(summaries.trace_id == peer.trace_id)
        return self.bounds_of(self.rows(of_trace.where(summaries.started_at == peer.started_at)))

    def spans(self, bounds: Mapping[str, Bounds]) -> dict[str, Spans]:
        """The spans of these traces, in start order, then those that were announced and have not come, in start order
        too. Traces without either are absent. A failed span without words has those of the exceptions logged in it.

        Of a trace with more than ``max_spans``: a tenth is kept for the spans above the others, the rest are those that
        did not complete, then roots, then what other services called, then all others, each with the longest first and
        the earliest of these. The same ones in every read of the same trace.
        """
        if not bounds:
            return {}
        found = self._stored_spans(bounds)
        parts = [trace_id for trace_id, spans in found.items() if spans.may_be_a_part]
        found |= {trace_id: replace(found[trace_id], shared=True) for trace_id in self._shared(parts)}
        logged = self._telling_logs(bounds)
        if not self.rows(logged.with_only_columns(log_records.c.span_id).limit(1)):
            return found
        found = self._explained(found, logged.where(_TELLS_EXCEPTION))
        for trace_id, still_open in self._open_spans(bounds, logged.where(_ANNOUNCES)).items():
            come = found.get(trace_id, Spans())
            found[trace_id] = replace(come, read=come.read + still_open)
        return found

    def _shared(self, trace_ids: Collection[str]) -> list[str]:
        """Those of the traces that hold several executions."""
        if not trace_ids:
            return []
        of_trace = self.select(trace_summaries, trace_summaries.c.trace_id)
        several = of_trace.where(trace_summaries.c.trace_id.in_(sorted(trace_ids))).group_by(trace_summaries.c.trace_id)
        return [row["trace_id"] for row in self.rows(several.having(func.count() > 1))]

    def _telling_logs(self, bounds: Mapping[str, Bounds]) -> Select[Any]:
        """The log records that announce a span of these traces, or tell of an exception in one."""
        logs = log_records.c
        then = ((bound.first, bound.last + LOGGED_WITHIN_NANOS) for bound in bounds.values())
        return self.select(log_records).where(
            logs.trace_id.in_(list(bounds)),
            within(logs.logged_unix_nano, then),
            logs.span_id.is_not(None),
            or_(_ANNOUNCES, _TELLS_EXCEPTION),
        )

    def _explained(self, found: dict[str, Spans], logged: Select[Any]) -> dict[str, Spans]:
        """Failed spans without words with the last exceptions that were logged in them."""
        wordless = {
            (trace_id, span.span_id)
            for trace_id, spans in found.items()
            for span in spans.read
            if span.status.is_failure and not error_text(span)
        }
        if not wordless:
            return found
        logs = log_records.c
        in_these = logged.where(logs.span_id.in_(sorted({span_id for _, span_id in wordless})))
        last = in_these.order_by(logs.logged_unix_nano.desc(), logs.content_hash).limit(MAX_EXCEPTIONS)
        said: dict[tuple[str, str], list[Row]] = {}
        for row in reversed(self.rows(last)):
            if (span := (row["trace_id"], row["span_id"])) in wordless:
                said.setdefault(span, []).append(row)
        return {trace_id: spans.explained(said) for trace_id, spans in found.items()}

    def _stored_spans(self, bounds: Mapping[str, Bounds]) -> dict[str, Spans]:
        if max(bound.spans for bound in bounds.values()) <= self.max_spans:
            table = self._analysed(bounds, max_rows=self.max_spans + 1)
            if table.num_rows <= self.max_spans:
                return {trace_id: Spans(spans) for trace_id, spans in _by_trace(table_to_spans(table)).items()}
        return self._some_spans(bounds)

    def _open_spans(self, bounds: Mapping[str, Bounds], announced: Select[Any]) -> dict[str, tuple[Span, ...]]:
        """What the view ``open_spans`` has of these traces, without its look at all that is stored."""
        logs, spans = log_records.c, trace_spans.c
        # The bounds may be of one execution of the trace; what was announced in it may have begun before.
        since = {trace: replace(bound, first=bound.first - LOGGED_WITHIN_NANOS) for trace, bound in bounds.items()}
        come = self._spans_of(since, spans.trace_id, spans.span_id)
        missing = announced.where(tuple_(logs.trace_id, logs.span_id).not_in(come))
        in_order = missing.order_by(logs.logged_unix_nano, logs.content_hash).limit(self.max_spans)
        once = {(span.trace_id, span.span_id): span for span in table_to_open_spans(self.store.select(in_order))}
        return _by_trace(once.values())

    def span_rows(self, bounds: Mapping[str, Bounds], *, max_rows: int) -> pa.Table:
        """The stored rows of these traces, or the first ``max_rows``, in start order."""
        return self._in_order(self._spans_of(bounds), max_rows)

    def span_page(self, bounds: Mapping[str, Bounds], after: str, size: int) -> pa.Table:
        """Rows with the next span ids past ``after``, in start order: at least ``size``, else all that are left."""
        spans = trace_spans.c
        following = self._spans_of(bounds, spans.span_id).where(spans.span_id > after)
        last = self.rows(following.order_by(spans.span_id).offset(size - 1).limit(1))
        page = self._spans_of(bounds).where(spans.span_id > after, *(spans.span_id <= row["span_id"] for row in last))
        return self._in_order(page)

    def _analysed(self, bounds: Mapping[str, Bounds], *more: Any, max_rows: int | None = None) -> pa.Table:
        """What spans are made of, of the stored rows of these traces, in start order."""
        return self._in_order(self._spans_of(bounds, *_ANALYSED).where(*more), max_rows)

    def _in_order(self, rows: Select[Any], max_rows: int | None = None) -> pa.Table:
        spans = trace_spans.c
        return self.store.select(rows.order_by(spans.start_unix_nano, spans.span_id).limit(max_rows))

    def _spans_of(self, bounds: Mapping[str, Bounds], *columns: Any) -> Select[Any]:
        spans = trace_spans.c
        return self.select(trace_spans, *columns).where(
            spans.trace_id.in_(list(bounds)),
            within(spans.start_unix_nano, ((bound.first, bound.last) for bound in bounds.values())),
        )

    def _some_spans(self, bounds: Mapping[str, Bounds]) -> dict[str, Spans]:
        """As :meth:`spans`, for traces of which some may be too long."""
        spans = trace_spans.c
        totals: dict[str, Counter[int | None]] = {}
        counts = self._spans_of(bounds, spans.trace_id, spans.execution_id, func.count().label("spans"))
        for row in self.rows(counts.group_by(spans.trace_id, spans.execution_id)):
            totals.setdefault(row["trace_id"], Counter())[row["execution_id"]] += row["spans"]
        short = {trace_id: bounds[trace_id] for trace_id, total in totals.items() if total.total() <= self.max_spans}
        found = (
            {trace_id: Spans(read) for trace_id, read in _by_trace(table_to_spans(self._analysed(short))).items()}
            if short
            else {}
        )
        for trace_id in totals.keys() - short.keys():
            some = table_to_spans(self._most_telling(trace_id, bounds[trace_id]))
            read = tuple(sorted(some, key=lambda span: (span.start_unix_nano, span.span_id)))
            totals[trace_id].subtract(span.execution_id for span in read)
            found[trace_id] = Spans(read, {key: count for key, count in totals[trace_id].items() if count > 0})
        return found

    def _most_telling(self, trace_id: str, within: Bounds) -> pa.Table:
        """``max_spans`` rows of a trace that has more, in no order."""
        bounds = {trace_id: within}
        kept = max(1, self.max_spans - self.max_spans // 10)
        names = [f"key_{position}" for position in range(len(_RANK))]
        ranked = self._spans_of(bounds, *(key.label(name) for key, name in zip(_RANK, names, strict=True)))
        (last,) = self.rows(ranked.order_by(*names).offset(kept - 1).limit(1))
        table = self._analysed(bounds, _up_to(_RANK, [last[name] for name in names]))
        asked: set[str] = set()
        newest = table
        for _ in range(_MOST_LEVELS):
            known = {*table.column("span_id").to_pylist()}
            by_status = newest.select(["status", "parent_span_id"]).sort_by([("status", "descending")])
            parents = by_status.column("parent_span_id").to_pylist()
            above = list(dict.fromkeys(p for p in parents if p is not None and p not in known and p not in asked))
            above = above[: min(_MOST_ASKED, self.max_spans - table.num_rows)]
            if not above:
                break
            asked.update(above)
            newest = self._analysed(bounds, trace_spans.c.span_id.in_(above), max_rows=self.max_spans - table.num_rows)
            table = pa.concat_tables([table, newest])
        return table

    def trace_bounds(self, trace_ids: Collection[str]) -> dict[str, Bounds]:
        """Bounds of the traces that are known, from their summaries and from what was not summarised yet."""
        found = self._arrived(trace_ids)
        for trace_id, bounds in self._extent(trace_summaries, trace_ids).items():
            found[trace_id] = found[trace_id].union(bounds) if trace_id in found else bounds
        return found

    def _arrived(self, trace_ids: Collection[str]) -> dict[str, Bounds]:
        """Bounds of what no summary has seen yet."""
        return self._extent(trace_arrivals, trace_ids)

    def _extent(self, table: Table, trace_ids: Collection[str]) -> dict[str, Bounds]:
        if not trace_ids:
            return {}
        first, last = func.min(table.c.min_start_unix_nano), func.max(table.c.max_start_unix_nano)
        statement = (
            self.select(
                table,
                table.c.trace_id,
                first.label("first"),
                last.label("last"),
                cast(func.sum(table.c.span_count), BigInteger).label("spans"),
            )
            .where(table.c.trace_id.in_(list(trace_ids)))
            .group_by(table.c.trace_id)
        )
        return {row["trace_id"]: Bounds(row["first"], row["last"], row["spans"]) for row in self.rows(statement)}

    def _unfolded(self, execution_id: int) -> dict[str, Bounds]:
        """Traces of an execution among the spans, and announcements, that no summary has seen yet."""
        arrivals = trace_arrivals.c
        (unfolded,) = self.rows(
            self.select(
                trace_arrivals,
                func.min(arrivals.ingested_at).label("oldest"),
                func.min(arrivals.min_start_unix_nano).label("first"),
                func.max(arrivals.max_start_unix_nano).label("last"),
            )
        )
        if unfolded["oldest"] is None:
            return {}
        found: dict[str, Bounds] = {}
        for table, time, *only in (
            (trace_spans, trace_spans.c.start_unix_nano),
            (log_records, log_records.c.logged_unix_nano, log_records.c.event_name == ANNOUNCED),
        ):
            first, last = func.min(time), func.max(time)
            statement = (
                self.select(table, table.c.trace_id, first.label("first"), last.label("last"))
                .where(
                    table.c.execution_id == execution_id,
                    table.c.ingested_at >= unfolded["oldest"],
                    time.between(unfolded["first"], unfolded["last"]),
                    *only,
                )
                .group_by(table.c.trace_id)
                .order_by(first.desc())
                .limit(MAX_ATTEMPTS)
            )
            for row in self.rows(statement):
                bounds = Bounds(row["first"], row["last"])
                known = found.get(row["trace_id"])
                found[row["trace_id"]] = known.union(bounds) if known else bounds
        return found

    def declared(self, execution_ids: Collection[int], trace_ids: Collection[str]) -> dict[int, Declared]:
        """What runners recorded about these executions, or about executions of these traces."""
        if not execution_ids and not trace_ids:
            return {}
        statement = self.select(executions).where(
            or_(executions.c.execution_id.in_(list(execution_ids)), executions.c.trace_id.in_(list(trace_ids)))
        )
        return {row["execution_id"]: _declared(row) for row in self.rows(statement)}

    def _unknown_execution(self, execution_id: int) -> NotFound:
        summaries = trace_summaries.c
        nearest = self.rows(
            self.select(trace_summaries, summaries.execution_id)
            .where(summaries.execution_id.is_not(None))
            .group_by(summaries.execution_id)
            .order_by(func.abs(summaries.execution_id - execution_id))
            .limit(5)
        )
        ids = tuple(str(row["execution_id"]) for row in nearest)
        hint = (
            f"Nearest known: {', '.join(ids)}." if ids else "No execution is stored yet: send spans or import a file."
        )
        return NotFound(f"execution {execution_id} is not in the store", hint=hint, nearest=ids)

    def _unknown_trace(self, trace_id: str) -> NotFound:
        summaries = trace_summaries.c
        statement = self.select(trace_summaries, summaries.trace_id).where(summaries.trace_id.is_not(None))
        alike = statement.where(summaries.trace_id.like(trace_id[:4].replace("%", "").replace("_", "") + "%"))
        nearest = self.rows(alike.limit(5)) or self.rows(statement.order_by(summaries.started_at.desc()).limit(5))
        ids = tuple(dict.fromkeys(row["trace_id"] for row in nearest))
        hint = f"Nearest known: {', '.join(ids)}." if ids else "No trace is stored yet: send spans or import a file."
        return NotFound(f"trace {trace_id} is not in the store", hint=hint, nearest=ids)

    # ---------------------------------------------------------------------------------- baselines

    def baseline(self, unit: Unit) -> Baseline:
        """What other executions look like: latency per operation, and successful peers with the same root.

        The unit itself is left out: of the peers by its ids, of the sketches by subtracting what it put in.
        """
        names = {(span.service, span.operation) for span in unit.trace.spans}
        # Longer ones are kept under their beginning, which says nothing about any one of them.
        operations = {name for name in names if max(map(len, name)) <= LONGEST_NAME}
        model_id, day = _model_of(unit.trace), day_of(unit.trace)
        stats = self._operation_stats(operations, day, model_id)
        thin: set[tuple[str, str]] = set()
        if model_id is not None:
            thin = {key[:2] for key in _keys(operations) if stats.get(key, _NO_STATS).count < MIN_PEERS}
            stats |= self._operation_stats(thin, day, None)
        own = self._own_stats(unit)
        others = {key: found.minus(own[key]) if key in own else found for key, found in stats.items()}
        kin, (since, until), peers = self._peers(unit, Status.COMPLETED, PEER_LIMIT)
        return Baseline(
            operations={key[:2]: found for key, found in others.items() if key[2] == "duration"},
            self_times={key[:2]: found for key, found in others.items() if key[2] == "self"},
            peers=peers,
            scope=Scope(
                since=since,
                until=until,
                kin=kin,
                root=unit.examined.root,
                job_id=_job_of(unit.trace),
                model_id=model_id,
                any_model=frozenset(thin),
            ),
        )

    def _operation_stats(
        self, operations: Collection[tuple[str, str]], day: datetime, model_id: str | None
    ) -> dict[tuple[Any, ...], OperationStats]:
        if not operations:
            return {}
        baselines = operation_baselines.c
        statement = (
            self.select(
                operation_baselines,
                baselines.service,
                baselines.operation,
                baselines.measure,
                baselines.latency_bucket,
                func.sum(baselines.sample_count).label("sample_count"),
                func.sum(baselines.sum_ms).label("sum_ms"),
            )
            .where(
                baselines.bucket_start.between(day - BASELINE_BEFORE, day + BASELINE_AFTER),
                baselines.service.in_(sorted({service for service, _ in operations})),
                baselines.operation.in_(sorted({operation for _, operation in operations})),
                baselines.status == Status.COMPLETED.value,
            )
            .group_by(baselines.service, baselines.operation, baselines.measure, baselines.latency_bucket)
        )
        if model_id is not None:
            statement = statement.where(baselines.model_id == model_id)
        return self._remembered(statement, lambda rows: collect_stats(rows, ("service", "operation", "measure")))

    def _own_stats(self, unit: Unit) -> dict[tuple[Any, ...], OperationStats]:
        if unit.summary is None:
            return {}
        folded_until = unit.summary["folded_until"]
        contributed = rollups_of(
            unit.examined.tree,
            unit.examined.skew,
            lambda s: s.ingested_at is not None and s.ingested_at <= folded_until,
        )
        rows = [
            {"service": key[1], "operation": key[2], "measure": key[6], "latency_bucket": key[7]}
            | {"sample_count": count, "sum_ms": total}
            for key, (count, total) in contributed.items()
            if key[5] == Status.COMPLETED.value
        ]
        return collect_stats(rows, ("service", "operation", "measure"))

    def peers(
        self, unit: Unit, *, status: Status | None = Status.COMPLETED, limit: int = PEER_LIMIT
    ) -> tuple[Peer, ...]:
        """Other units like this one: same root operation, else same job; same model first, newest first.

        Of those that started within an hour of its own, if they are enough and of its model, else of the days around.
        A unit without any span has no root: its job stands for its kind, else all executions do.
        """
        return self._peers(unit, status, limit)[2]

    def _peers(self, unit: Unit, status: Status | None, limit: int) -> tuple[Kin, Window, tuple[Peer, ...]]:
        """With what they have in common and the window they were sought in."""
        near, days = windows_around(unit.trace)
        kin, found = self._peers_between(unit, near, status, limit)
        model_id = _model_of(unit.trace)
        alike = limit if model_id is None else sum(peer.model_id == model_id for peer in found)
        if len(found) >= limit and alike >= MIN_PEERS:
            return kin, near, found
        kin, found = self._peers_between(unit, days, status, limit)
        return kin, days, found

    def _peers_between(
        self, unit: Unit, window: Window, status: Status | None, limit: int
    ) -> tuple[Kin, tuple[Peer, ...]]:
        """Of those that completed, a trace that lacks spans teaches the wrong template: only where no whole one is
        known, and never by its job."""
        summaries = trace_summaries.c
        kinds = _kinds(unit, unit.examined.root)
        candidates = self._candidates(window, limit)
        if status is not Status.COMPLETED:
            wanted = candidates.where(or_(*kinds.values()))
            wanted = wanted if status is None else wanted.where(summaries.status == status.value)
            return "root", self._same_model_first(unit, wanted, limit)
        completed = candidates.where(summaries.status == Status.COMPLETED.value)
        whole = [(kin, and_(kind, summaries.complete)) for kin, kind in kinds.items()]
        for kin, kind in (*whole, ("root", kinds["root"])):
            if found := self._same_model_first(unit, completed.where(kind), limit):
                return kin, found
        return "root", ()

    def knows_peers(self, unit: Unit, enough: int = MIN_PEERS) -> bool:
        """Whether :meth:`peers` has ``enough`` successful ones, without reading them."""
        summaries, kinds = trace_summaries.c, _kinds(unit, unit.examined.root)
        others = self.select(trace_summaries, summaries.unit_id).where(
            comparable(windows_around(unit.trace)[1]), _is_other(unit.trace), summaries.status == Status.COMPLETED.value
        )
        whole = [and_(kind, summaries.complete) for kind in kinds.values()]
        for kind in (*whole, kinds["root"]):
            some = others.where(kind).limit(enough).subquery("others")
            if found := self.count(select(some.c.unit_id).select_from(some)):
                return found >= enough
        return False

    def _candidates(self, window: Window, limit: int) -> Select[Any]:
        return (
            self.select(trace_summaries, *peer_columns())
            .where(comparable(window))
            .order_by(trace_summaries.c.started_at.desc())
            .limit(limit + 1)  # itself may be among them
        )

    def _same_model_first(self, unit: Unit, statement: Select[Any], limit: int) -> tuple[Peer, ...]:
        found: tuple[Peer, ...] = ()
        model_id = _model_of(unit.trace)
        if model_id is not None:
            found = self._others(unit, statement.where(trace_summaries.c.model_id == model_id))
        if len(found) < MIN_PEERS:
            known = set(found)
            found += tuple(peer for peer in self._others(unit, statement) if peer not in known)
        return found[:limit]

    def _others(self, unit: Unit, statement: Select[Any]) -> tuple[Peer, ...]:
        """Peers other than the unit itself and other attempts of its execution."""
        trace = unit.trace
        return tuple(
            peer
            for peer in self._remembered(statement, lambda rows: tuple(peer_of(row) for row in rows))
            if peer.trace_id != trace.trace_id
            and (trace.execution_id is None or peer.execution_id != trace.execution_id)
        )

    def _remembered(self, statement: Select[Any], make: Callable[[list[Row]], T]) -> T:
        """What ``make`` makes of the rows; read once for a reader that remembers."""
        if self._memory is None:
            return make(self.rows(statement))
        return self.once(as_text(statement), lambda: make(self.rows(statement)))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` makes, of which the key tells everything; made once by a reader that remembers."""
        if self._memory is None:
            return make()
        if key not in self._memory:
            self._memory[key] = make()
        found: T = self._memory[key]
        return found


_NO_STATS = OperationStats({}, 0.0)


def collect_stats(rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> dict[tuple[Any, ...], OperationStats]:
    """Sketch rows (latency_bucket, sample_count, sum_ms) gathered into one OperationStats per key."""
    buckets: dict[tuple[Any, ...], dict[int, int]] = {}
    sums: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        counts = buckets.setdefault(key, {})
        bucket = row["latency_bucket"]
        counts[bucket] = counts.get(bucket, 0) + int(row["sample_count"])
        sums[key] = sums.get(key, 0.0) + float(row["sum_ms"])
    return {key: OperationStats(counts, sums[key]) for key, counts in buckets.items()}


def _explained(span: Span, logged: Sequence[Row]) -> Span:
    """Part of its content, so that what was judged without them is judged anew."""
    for row in logged:
        exception = exception_of(row)
        span = replace(
            span,
            events=(*span.events, exception),
            error_message=str(exception.attributes.get("exception.message") or "") or span.error_message,
            logged=span.logged + 1,
            content_hash=span.content_hash ^ row["content_hash"],
        )
    return span


def _keys(operations: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    return [(service, operation, measure) for service, operation in operations for measure in ("duration", "self")]


_BOUNDS = [trace_summaries.c[name] for name in ("trace_id", "min_start_unix_nano", "max_start_unix_nano", "span_count")]


def _bounds(row: Row) -> Bounds:
    return Bounds(row["min_start_unix_nano"], row["max_start_unix_nano"], row["span_count"])


def _by_trace(spans: Iterable[Span]) -> dict[str, tuple[Span, ...]]:
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return {trace_id: tuple(spans) for trace_id, spans in traces.items()}


def _rank() -> tuple[ColumnElement[Any], ...]:
    """What orders the spans of a trace, the most telling first. No two spans of a trace are alike in it."""
    spans = trace_spans.c
    kind = case(
        (spans.status != Status.COMPLETED.value, 0),
        (spans.parent_span_id.is_(None), 1),
        (spans.kind.in_(["server", "consumer"]), 2),
        else_=3,
    )
    # In whole microseconds: what an engine says of a double need not be the same when it is given back.
    length = cast(func.coalesce(spans.duration_ms, 0.0) * 1000, BigInteger)
    return kind, -length, spans.start_unix_nano, spans.span_id, spans.content_hash


_RANK = _rank()


def _up_to(keys: Sequence[ColumnElement[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether the keys come before these values, or are these."""
    key, value = keys[0], values[0]
    at_value = _up_to(keys[1:], values[1:]) if len(keys) > 1 else true()
    return or_(key < value, and_(key == value, at_value))


def within(time: ColumnElement[int], ranges: Iterable[tuple[int, int]]) -> ColumnElement[bool]:
    """Whether a time lies in one of the ranges, of which those that are near each other are taken as one.

    Stores that are laid out by time then pass over what lies between them; those with indexes need the whole range.
    """
    ordered = sorted(ranges)
    if not ordered:
        return false()
    begin, end = ordered[0][0], max(last for _, last in ordered)
    near = (end - begin) // _MOST_RANGES
    taken = [ordered[0]]
    for first, last in ordered[1:]:
        before, until = taken[-1]
        if first - until <= near:
            taken[-1] = (before, max(until, last))
        else:
            taken.append((first, last))
    whole = time.between(begin, end)
    return whole if len(taken) == 1 else and_(whole, or_(*(time.between(*one) for one in taken)))


Window = tuple[datetime, datetime]


def windows_around(trace: Trace) -> tuple[Window, Window]:
    """Where executions to compare it with are sought: in the hours around its own, and in the days; the same for all of
    an hour: see _remembered."""
    hour = _moment(trace).replace(minute=0, second=0, microsecond=0)
    day = day_of(trace)
    return (
        (hour - PEERS_WITHIN, hour + PEERS_WITHIN + timedelta(hours=1)),
        (day - BASELINE_BEFORE, day + timedelta(days=1) + BASELINE_AFTER),
    )


def comparable(window: Window) -> ColumnElement[bool]:
    """Whether a summary is of this time, and of spans."""
    summaries = trace_summaries.c
    return and_(summaries.span_count > 0, summaries.started_at.between(*window))


def _is_other(trace: Trace) -> ColumnElement[bool]:
    """Whether a summary is of another trace and execution."""
    summaries = trace_summaries.c
    other = _differs(summaries.trace_id, trace.trace_id)
    return other if trace.execution_id is None else and_(other, _differs(summaries.execution_id, trace.execution_id))


def _differs(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return column.is_not(None) if value is None else or_(column.is_(None), column != value)


def _newest(spans: Iterable[Span]) -> datetime | None:
    return max((span.ingested_at for span in spans if span.ingested_at is not None), default=None)


def _moment(trace: Trace) -> datetime:
    """When it ran, by its first start, else by what its runner said."""
    if trace.spans:
        return min(trace.spans, key=lambda span: span.start_unix_nano).started_at
    return trace.declared.started_at if trace.declared else datetime.now(UTC)


def day_of(trace: Trace) -> datetime:
    """The day it ran; the same for all of a day: see _remembered."""
    return _moment(trace).replace(hour=0, minute=0, second=0, microsecond=0)


def _model_of(trace: Trace) -> str | None:
    return _first([*(span.model_id for span in trace.spans), trace.declared.model_id if trace.declared else None])


def _job_of(trace: Trace) -> str | None:
    return _first([*(span.job_id for span in trace.spans), trace.declared.job_id if trace.declared else None])


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def _kinds(unit: Unit, root: tuple[str, str]) -> dict[Kin, ColumnElement[bool]]:
    """What may make another unit one of the same kind, the closest first."""
    summaries = trace_summaries.c
    kinds: dict[Kin, ColumnElement[bool]] = {
        "root": and_(summaries.root_service == root[0], summaries.root_operation == root[1])
    }
    if (job_id := _job_of(unit.trace)) is not None:
        kinds["job"] = summaries.job_id == job_id
    if not unit.trace.spans:
        kinds["any"] = summaries.execution_id.is_not(None)
    return kinds


def _declared(row: Row) -> Declared:
    return Declared(
        execution_id=row["execution_id"],
        status=Status(row["status"]),
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        job_id=row["job_id"],
        model_id=row["model_id"],
        region=row["region"],
        error_message=row["error_message"],
        trace_id=row["trace_id"],
    )


def diagnosis_of(summaries: Any) -> ColumnElement[bool]:
    """What joins columns of ``trace_summaries`` with the diagnosis of each as it is now."""
    return and_(
        diagnoses.c.tenant == summaries.tenant,
        diagnoses.c.unit_id == summaries.unit_id,
        diagnoses.c.engine_version == ENGINE_VERSION,
        diagnoses.c.content_key == summaries.content_key,
    )


_PATTERN_COLUMNS = [
    "unit_id",
    "execution_id",
    "trace_id",
    "status",
    "duration_ms",
    "model_id",
    "region",
    "job_id",
    "error_message",
    "started_at",
    "failure_point",
]


def pattern_columns() -> list[Column[Any]]:
    """What :func:`peer_of` needs where only the outcome matters, but its root cause."""
    return [trace_summaries.c[name] for name in _PATTERN_COLUMNS]


def peer_columns() -> list[Column[Any]]:
    """What :func:`peer_of` needs for a peer with its shape."""
    return [trace_summaries.c[name] for name in (*_PATTERN_COLUMNS, "elements", "hops", "complete", "services")]


def brief_columns() -> list[Column[Any]]:
    """What a list shows of an execution, but its root cause."""
    return [*pattern_columns(), trace_summaries.c.span_count]


def peer_of(row: Row) -> Peer:
    """A summary row as what the analysis compares with; without the columns that were not read."""
    return Peer(
        execution_id=row["execution_id"],
        trace_id=row["trace_id"],
        status=Status(row["status"]),
        duration_ms=row["duration_ms"],
        elements=tuple(json.loads(row.get("elements", "[]"))),
        hops=tuple((caller, callee) for caller, callee in json.loads(row.get("hops", "[]"))),
        services=tuple(json.loads(row.get("services", "[]"))),
        model_id=row["model_id"],
        region=row["region"],
        job_id=row["job_id"],
        root_cause_type=RootCauseType(row["root_cause_type"]) if row.get("root_cause_type") else None,
        error_message=row["error_message"],
        started_at=row["started_at"],
        failure_point=row["failure_point"],
        complete=row.get("complete", True),
        service_version=row.get("service_version"),
    )
