"""Work in groups: what gathers while one group is worked on makes up the next."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

from otel_diag.errors import Transient

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules(Generic[T]):
    """Which items are worked on together: alike ones, one after the other, whose sizes add up to ``limit`` at most.
    A larger item goes alone."""

    size: Callable[[T], int]
    limit: int
    alike: Callable[[T], Hashable]


class Groups(Generic[T]):
    """One thread that works on everything that waits, group by group, in order. Thread-safe.

    Nobody waits for company: a group starts as soon as the one before has ended.
    """

    def __init__(self, name: str, work: Callable[[Sequence[T]], None], rules: Rules[T]) -> None:
        """``work`` must not raise."""
        self._work = work
        self._rules = rules
        self._waiting: deque[T] = deque()
        self._running = False
        self._closed = False
        self._idle = Condition()
        self._thread = ThreadPoolExecutor(1, name)

    def put(self, items: Sequence[T]) -> None:
        """Queue items, in one step: a group takes them together. Raises Transient after :meth:`close`."""
        with self._idle:
            if self._closed:
                raise Transient("the server is shutting down")
            self._waiting.extend(items)
            if not self._running:
                self._schedule()

    def close(self) -> None:
        """Refuse new items, work on those that wait, stop. Idempotent."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._running)
        self._thread.shutdown()

    def _schedule(self) -> None:
        self._running = True
        self._thread.submit(self._run).add_done_callback(_log_bug)

    def _run(self) -> None:
        try:
            self._work(self._next())
        finally:  # an error nobody foresaw ends this run, not the thread
            with self._idle:
                self._running = False
                if self._waiting:
                    self._schedule()
                else:
                    self._idle.notify_all()

    def _next(self) -> list[T]:
        size, alike, limit = self._rules.size, self._rules.alike, self._rules.limit
        with self._idle:
            group = [self._waiting.popleft()]
            kind, total = alike(group[0]), size(group[0])
            while self._waiting and alike(self._waiting[0]) == kind and total + size(self._waiting[0]) <= limit:
                group.append(self._waiting.popleft())
                total += size(group[-1])
            return group


def _log_bug(run: Future[None]) -> None:
    error = run.exception()
    if error is not None:
        log.error("a group ended in an unexpected error", exc_info=error)
