"""The background worker: summarises traces as they fall quiet, then diagnoses those that failed or were slow.

Everything it does can be done again: a crash loses no work, because what is left to do is in the store
(``trace_arrivals``; suspects without a diagnosis).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import delete, exists, func, or_, select

from otel_diag.config import Settings
from otel_diag.diagnoses import judge_all
from otel_diag.errors import Conflict, Transient
from otel_diag.model import Declared
from otel_diag.reader import Reader, Row, diagnosis_of
from otel_diag.self_traces import record
from otel_diag.store.base import Delete, Store
from otel_diag.store.schema import trace_arrivals, trace_summaries
from otel_diag.summaries import fold_declared, fold_traces, portions

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_OPEN = timedelta(seconds=30)
"""A trace that never falls quiet is summarised this long after its first span all the same."""

DIAGNOSES_PER_STEP = 200
"""By one reader that remembers: what executions of one kind have in common is read once for so many."""

BUSY_FOLDS = 200
BUSY_DIAGNOSES = 5
"""Traces folded, and units diagnosed, at a stretch while the receiver is busy: some tenths of a second. A fold costs
80 ms whatever its size: 50 traces at a stretch cost 2.3 ms of processor time each, 200 cost 1.0, 500 cost 0.8."""

BUSY_REST = 9.0
"""While the receiver is busy, the worker rests this many times as long as it has worked."""

LONGEST_REST_SECONDS = 5.0

_LONGEST_PAUSE_SECONDS = 5.0
"""Between two tries while the store takes nothing, say because its disk is full: each costs a whole batch."""


@dataclass(slots=True)
class WorkerCounters:
    """What the worker has done since it started."""

    folded_traces: int = 0
    diagnosed: int = 0
    conflicts: int = 0
    failures: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be folded. ``seconds``: how long the oldest arrival has waited, 0 without any."""

    traces: int
    seconds: float


def backlog(store: Store, now: datetime) -> Backlog:
    """Of all tenants, and whoever is to fold it. Raises Transient, also when the store takes longer than a second."""
    arrivals = trace_arrivals.c
    traces = (
        select(func.min(arrivals.ingested_at).label("oldest"))
        .group_by(arrivals.tenant, arrivals.trace_id)
        .subquery("traces")
    )
    totals = [func.count(traces.c.oldest).label("traces"), func.min(traces.c.oldest).label("oldest")]
    (row,) = store.select(select(*totals), timeout_seconds=1.0).to_pylist()
    waited = max(0.0, (now - row["oldest"]).total_seconds()) if row["oldest"] else 0.0
    return Backlog(int(row["traces"]), waited)


def pause(quiet_seconds: float, refused: int) -> float:
    """Seconds until the worker looks again, after so many refusals of the store one after the other."""
    usual = min(1.0, max(0.05, quiet_seconds / 4))
    return min(usual * 2.0 ** min(refused, 16), _LONGEST_PAUSE_SECONDS)


class Worker:
    """One thread over one store. Several may run against a server database.

    It shares the interpreter with the receiver. While ``busy`` says that requests pile up there, it works in short
    stretches and rests in between: about a tenth of the time is left to it, never none.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._busy = busy
        self._now = clock or (lambda: datetime.now(UTC))
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="otel-diag-worker", daemon=True)
        self._undiagnosable: list[str] = []
        self.counters = WorkerCounters()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the transaction under way and end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> bool:
        """Fold one batch of quiet traces, else diagnose one batch of suspects. False: there was nothing to do.

        Raises what the store raises.
        """
        return self.fold_quiet() or self.diagnose_suspects()

    def _run(self) -> None:
        refused = 0
        while not self._stopping:
            busy = False
            try:
                busy = self.step()
                refused = 0
            except Conflict:
                self.counters.conflicts += 1
            except Transient as error:
                self.counters.failures += 1
                refused += 1
                log.warning("summaries wait for the store: %s", error)
            if not busy:
                self._wake.wait(pause(self._settings.quiet_seconds, refused))

    def fold_quiet(self) -> bool:
        """Fold one batch of quiet traces. False: there was none."""
        arrivals = trace_arrivals.c
        now = self._now()
        newest, oldest = func.max(arrivals.ingested_at), func.min(arrivals.ingested_at)
        quiet = now - timedelta(seconds=self._settings.quiet_seconds)
        statement = (
            select(arrivals.tenant, arrivals.trace_id)
            .group_by(arrivals.tenant, arrivals.trace_id)
            .having(or_(newest <= quiet, oldest <= now - MAX_OPEN))
            .order_by(oldest)
            .limit(self._settings.fold_traces)
        )
        due: dict[str, list[str]] = {}
        for row in self._store.select(statement).to_pylist():
            due.setdefault(row["tenant"], []).append(row["trace_id"])
        for tenant, trace_ids in due.items():
            reader = Reader(self._store, tenant, max_spans=self._settings.max_trace_spans)
            fold, forget = partial(self._fold, reader, now), partial(self._forget, reader)
            self._in_stretches(trace_ids, fold, forget, BUSY_FOLDS)
        return bool(due)

    def _fold(self, reader: Reader, now: datetime, trace_ids: Sequence[str]) -> None:
        started = time.time_ns()
        for changes in fold_traces(reader, trace_ids, now):
            self._store.apply(changes)
        self.counters.folded_traces += len(trace_ids)
        record("fold", started, {"otel_diag.traces": len(trace_ids)}, trace_ids=trace_ids)

    def _forget(self, reader: Reader, trace_id: str) -> None:
        """Take a trace that cannot be folded off the list; its spans stay, and new ones put it on again."""
        arrivals = trace_arrivals.c
        mine = delete(trace_arrivals).where(arrivals.tenant == reader.tenant, arrivals.trace_id == trace_id)
        self._store.apply([Delete(mine)])

    def diagnose_suspects(self) -> bool:
        """Diagnose one batch of failed or slow units that have no diagnosis yet. False: there was none."""
        now = self._now()
        settle = timedelta(seconds=self._settings.settle_seconds)
        summaries = trace_summaries.c
        diagnosed = exists().where(diagnosis_of(summaries))
        statement = (
            select(trace_summaries)
            .where(
                summaries.suspect,
                summaries.folded_until <= now - settle,
                summaries.unit_id.not_in(self._undiagnosable),
                ~diagnosed,
            )
            .order_by(summaries.folded_until.desc())
            .limit(DIAGNOSES_PER_STEP)
        )
        due: dict[str, list[Row]] = {}
        for row in self._store.select(statement).to_pylist():
            due.setdefault(row["tenant"], []).append(row)
        for tenant, rows in due.items():
            reader = Reader(self._store, tenant, max_spans=self._settings.max_trace_spans, remember=True)
            self._in_stretches(
                rows,
                partial(self._diagnose, reader, now, settle),
                lambda row: self._undiagnosable.append(row["unit_id"]),
                BUSY_DIAGNOSES,
            )
        return bool(due)

    def _diagnose(self, reader: Reader, now: datetime, settle: timedelta, rows: Sequence[Row]) -> None:
        started = time.time_ns()
        for part in portions(rows, [row["span_count"] for row in rows], reader.max_spans):
            self._judge(reader, now, settle, part)
        trace_ids = [row["trace_id"] or "" for row in rows]
        record("diagnose", started, {"otel_diag.executions": len(rows)}, trace_ids=trace_ids)

    def _judge(self, reader: Reader, now: datetime, settle: timedelta, rows: Sequence[Row]) -> None:
        units = reader.units(rows)
        judge_all(reader, units, now=now, settle=settle)
        self.counters.diagnosed += len(units)
        # A summary of older content, or of none, would be found due again and again: bring it up to date.
        current = {unit.unit_id: unit.examined.summary.content_key for unit in units}
        stale = [row for row in rows if current.get(row["unit_id"]) != row["content_key"]]
        self._refresh(reader, stale, {unit.unit_id: unit.trace.declared for unit in units}, now)

    def _refresh(
        self, reader: Reader, stale: Sequence[Row], declared: Mapping[str, Declared | None], now: datetime
    ) -> None:
        """Fold anew what these summaries are of; one of an execution that nothing is left of goes."""
        if trace_ids := {row["trace_id"] for row in stale if row["trace_id"] is not None}:
            for changes in fold_traces(reader, trace_ids, now):
                self._store.apply(changes)
        for row in stale:
            if row["trace_id"] is not None:
                continue
            said = declared.get(row["unit_id"])
            summaries = trace_summaries.c
            gone = delete(trace_summaries).where(summaries.tenant == reader.tenant, summaries.unit_id == row["unit_id"])
            self._store.apply([Delete(gone)] if said is None else fold_declared(reader, said, now))

    def _in_stretches(
        self, items: Sequence[T], work: Callable[[Sequence[T]], None], give_up: Callable[[T], None], busy_size: int
    ) -> None:
        """Do the work for all items: at once, or while the receiver is busy ``busy_size`` at a time, with rests."""
        while items and not self._stopping:
            size = busy_size if self._busy() else len(items)
            started = time.monotonic()
            self._isolating(items[:size], work, give_up)
            items = items[size:]
            self._rest(BUSY_REST * (time.monotonic() - started))

    def _rest(self, seconds: float) -> None:
        """Leave the interpreter to the receiver for so long, or until it is no longer busy."""
        until = time.monotonic() + min(seconds, LONGEST_REST_SECONDS)
        while self._busy() and (left := until - time.monotonic()) > 0 and not self._wake.wait(min(left, 0.1)):
            pass

    def _isolating(self, items: Sequence[T], work: Callable[[Sequence[T]], None], give_up: Callable[[T], None]) -> None:
        """Do the work for all items; when that fails, for each alone, and give up those that fail alone too."""
        try:
            work(items)
        except Transient:
            raise
        except Exception:  # whatever is wrong with one trace must not stop the summaries of all others
            if len(items) > 1:
                for item in items:
                    self._isolating([item], work, give_up)
                return
            log.exception("gave up on %s", items[0])
            self.counters.given_up += 1
            give_up(items[0])
