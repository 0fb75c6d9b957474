"""The front of an embedded store: batches are durable in its journal at once, and in its tables some at a time."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Lock
from typing import Final

import pyarrow as pa
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from otel_diag.config import MIB
from otel_diag.errors import Transient
from otel_diag.store.base import LOT_ROWS, Appended, Store
from otel_diag.store.journal import Entry, Journal, move
from otel_diag.store.rows import checked_batch
from otel_diag.store.schema import SPANS, SignalTable

log = logging.getLogger(__name__)

LOT_SECONDS: Final = 0.2
"""What is in the journal waits so long for company, unless somebody asks for it."""

MOST_BYTES: Final = 32 * MIB
"""Of batches that wait, besides those on their way into the tables: past it, :meth:`Inbox.append` waits too."""

ROOM_SECONDS: Final = 10.0
"""It waits so long, and then refuses."""

_RETRY: Final = wait_exponential(multiplier=0.1, max=5.0)


@dataclass(frozen=True, slots=True)
class Held:
    """What is durable and not in the tables yet. ``failing``: the store does not take it at the moment."""

    rows: int
    bytes: int
    failing: bool


NOTHING: Final = Held(0, 0, failing=False)


@dataclass(slots=True, eq=False)
class _Lot:
    """What is moved together. ``since``: when its first batch came."""

    entries: list[Entry] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    since: float = 0.0

    def add(self, entry: Entry) -> None:
        if not self.entries:
            self.since = time.monotonic()
        self.entries.append(entry)
        self.rows += entry.batch.num_rows
        self.bytes += entry.batch.get_total_buffer_size()


class Inbox:
    """Takes batches for a store that is open in this process alone. Thread-safe.

    A transaction of an embedded engine costs milliseconds before its first row, and a checkpoint holds up the commits
    behind it. Here a sender waits for neither: its batch is written to the journal and flushed. A thread moves what
    has gathered into the tables, in lots that cost least; who wants to read everything calls :meth:`settle` first.
    """

    def __init__(self, store: Store, journal: Journal, note: Callable[[Appended], None]) -> None:
        """``note`` hears what became of each lot, from the moving thread."""
        self._store = store
        self._journal = journal
        self._note = note
        self._writing = Lock()
        """Held while the journal is written; what waits and the segments it is in change together."""
        self._changed = Condition()
        self._waiting = _Lot()
        self._moving = _Lot()
        self._appended = self._moved = self._wanted = 0
        """Batches that were ever appended, moved, and asked for."""
        self._failing = self._closing = self._ended = False
        self._thread = ThreadPoolExecutor(1, "inbox", initializer=_give_way)
        self._thread.submit(self._run).add_done_callback(_log_bug)

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        """Durable when it returns; what of it is new turns out later. Waits while too much waits.

        Raises Permanent for a batch that does not fit, Transient without room or when the journal cannot be written.
        """
        entry = Entry(checked_batch(batch, signal), signal)
        if not entry.batch.num_rows:
            return Appended(stored=0, duplicates=0)
        self._wait_for_room()
        with self._writing:
            self._journal.append(entry)
            with self._changed:
                self._waiting.add(entry)
                self._appended += 1
                self._changed.notify_all()
        return Appended(stored=0, duplicates=0, pending=entry.batch.num_rows)

    def settle(self) -> None:
        """Wait until the tables have what was appended before; not longer than the store takes it."""
        with self._changed:
            target = self._appended
            self._wanted = max(self._wanted, target)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._moved >= target or self._failing or self._ended)

    @property
    def held(self) -> Held:
        with self._changed:
            lots = (self._moving, self._waiting)
            failing = self._failing or self._ended
            return Held(sum(lot.rows for lot in lots), sum(lot.bytes for lot in lots), failing)

    def close(self) -> None:
        """Move what waits, stop. What the store does not take now stays in the journal. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.shutdown()
        self._journal.close()

    def _wait_for_room(self) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting.bytes < MOST_BYTES or self._failing or self._ended or self._closing, ROOM_SECONDS
            )
            if self._ended or self._closing:
                raise Transient("the server is shutting down")
            if self._waiting.bytes >= MOST_BYTES:
                raise Transient("too much data is waiting to be stored")

    def _run(self) -> None:
        try:
            while self._wait():
                self._move_lot()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _wait(self) -> bool:
        """Until a lot is due. False: there is nothing left to do."""
        with self._changed:
            while not (self._closing or self._is_due()):
                left = self._waiting.since + LOT_SECONDS - time.monotonic() if self._waiting.entries else None
                self._changed.wait(left)
            return bool(self._waiting.entries)

    def _is_due(self) -> bool:
        lot = self._waiting
        return bool(lot.entries) and (
            lot.rows >= LOT_ROWS
            or lot.bytes >= MOST_BYTES
            or self._wanted > self._moved
            or time.monotonic() >= lot.since + LOT_SECONDS
        )

    def _move_lot(self) -> None:
        with self._writing, self._changed:
            lot = self._moving = self._waiting
            self._waiting = _Lot()
            segments = self._journal.seal()
            self._changed.notify_all()
        appended = self._tried(lot.entries)
        if appended is None:
            return
        for segment in segments:
            segment.unlink()
        self._note(appended)
        with self._changed:
            self._moved += len(lot.entries)
            self._moving = _Lot()
            self._failing = False
            self._changed.notify_all()

    def _tried(self, entries: Sequence[Entry]) -> Appended | None:
        """What became of a lot; None when the store does not take it and there is no more time."""
        attempts = Retrying(
            retry=retry_if_exception_type(Transient),
            wait=_RETRY,
            before_sleep=self._note_failure,
            sleep=self._sleep,
            stop=lambda _: self._closing,
            reraise=True,
        )
        try:
            return attempts(move, entries, self._store, self._journal.directory)
        except Transient as error:
            log.warning("%d batches stay in the journal: %s", len(entries), error)
            return None

    def _note_failure(self, attempt: RetryCallState) -> None:
        log.warning("what was acknowledged waits in the journal: %s", attempt.outcome and attempt.outcome.exception())
        with self._changed:
            self._failing = True
            self._changed.notify_all()

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)


def _give_way() -> None:
    """Somebody waits for an acknowledgement, and nobody for this thread while there is room."""
    if sys.platform == "linux":  # elsewhere it is the whole process's
        os.nice(_NICER)


_NICER: Final = 10


def _log_bug(run: Future[None]) -> None:
    error = run.exception()
    if error is not None:
        log.error("nothing is moved from the journal any more", exc_info=error)
