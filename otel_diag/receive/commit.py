"""Group commit: many requests, one transaction, then every one of them is acknowledged."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

import pyarrow as pa

from otel_diag.config import Settings
from otel_diag.errors import Permanent, Transient
from otel_diag.store.base import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    batch: pa.Table
    size: int
    """Bytes it holds while it waits."""
    arrived: float = field(default_factory=time.monotonic)
    committed: Future[None] = field(default_factory=Future)


class GroupCommit:
    """A bounded queue of batches before a store, and one thread that commits them. Thread-safe.

    A commit takes everything that waits, up to ``commit_spans``. It starts as soon as the one before has ended,
    unless more requests are :meth:`expected`: then it waits for them, ``commit_interval_ms`` at most. A lone client
    thus never waits, and many share transactions.
    """

    def __init__(self, store: Store, settings: Settings, on_committed: Callable[[], None] | None = None) -> None:
        """``on_committed`` is called after each commit, in the committing thread; it must return at once."""
        self._store = store
        self._settings = settings
        self._on_committed = on_committed
        self._waiting: deque[_Request] = deque()
        self._queued_bytes = 0
        self._expected = 0
        self._running = False
        self._closed = False
        self._changed = Condition()
        self._thread = ThreadPoolExecutor(1, "group-commit")

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Inside, a batch is being made ready: commits wait for it, within bounds."""
        with self._changed:
            self._expected += 1
        try:
            yield
        finally:
            with self._changed:
                self._expected -= 1
                self._changed.notify_all()

    def submit(self, batch: pa.Table) -> Future[None]:
        """Queue a batch. The future is done when it is durable, or has failed with Transient or Permanent.

        Raises Transient when ``max_queued_bytes`` wait already, or after :meth:`close`.
        """
        request = _Request(batch, batch.nbytes)
        # Running: a caller that goes away must not take its batch out of a group that is being committed.
        request.committed.set_running_or_notify_cancel()
        with self._changed:
            if self._closed:
                raise Transient("the server is shutting down")
            if self._queued_bytes and self._queued_bytes + request.size > self._settings.max_queued_bytes:
                raise Transient("too much data is waiting to be stored")
            self._queued_bytes += request.size
            self._waiting.append(request)
            self._changed.notify_all()
            if not self._running:
                self._schedule()
        return request.committed

    def close(self) -> None:
        """Refuse new batches, commit those that wait, stop. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running)
        self._thread.shutdown()

    def _schedule(self) -> None:
        self._running = True
        self._thread.submit(self._run).add_done_callback(_log_bug)

    def _run(self) -> None:
        group = self._next_group()
        try:
            self._commit(group)
        finally:
            # An error nobody foresaw ends this run, not the thread, and leaves nobody waiting.
            for request in group:
                if not request.committed.done():
                    request.committed.set_exception(Transient("the commit failed, see the server's log"))
            with self._changed:
                self._queued_bytes -= sum(request.size for request in group)
                self._running = False
                if self._waiting:
                    self._schedule()
                self._changed.notify_all()
        if self._on_committed is not None:
            self._on_committed()

    def _next_group(self) -> list[_Request]:
        limit = self._settings.commit_spans
        with self._changed:
            deadline = self._waiting[0].arrived + self._settings.commit_interval_ms / 1000
            self._changed.wait_for(
                lambda: not self._expected or self._closed or self._waiting_spans() >= limit,
                max(0.0, deadline - time.monotonic()),
            )
            group = [self._waiting.popleft()]
            spans = group[0].batch.num_rows
            while self._waiting and spans + self._waiting[0].batch.num_rows <= limit:
                group.append(self._waiting.popleft())
                spans += group[-1].batch.num_rows
            return group

    def _waiting_spans(self) -> int:
        return sum(request.batch.num_rows for request in self._waiting)

    def _commit(self, group: list[_Request]) -> None:
        try:
            self._store.append(pa.concat_tables([request.batch for request in group]))
        except Transient as error:
            _fail(group, error)
        except Permanent as error:
            if len(group) == 1:
                _fail(group, error)
                return
            # One request poisoned the transaction; the others must not suffer for it.
            for request in group:
                self._commit([request])
        else:
            for request in group:
                request.committed.set_result(None)


def _fail(group: list[_Request], error: Transient | Permanent) -> None:
    for request in group:
        request.committed.set_exception(error)


def _log_bug(run: Future[None]) -> None:
    error = run.exception()
    if error is not None:
        log.error("a commit ended in an unexpected error", exc_info=error)
