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
    A larger item goes alone. ``enough``: what has to wait for a group beside another."""

    size: Callable[[T], int]
    limit: int
    alike: Callable[[T], Hashable]
    enough: int = 1


class Groups(Generic[T]):
    """Works on everything that waits, group by group, in order. Thread-safe.

    Nobody waits for company: a group starts as soon as the one before has ended. With more places than one, the next
    starts meanwhile once as much waits as is under way, and enough: smaller groups would cost more than they gain.
    """

    def __init__(self, name: str, work: Callable[[Sequence[T]], None], rules: Rules[T], *, places: int = 1) -> None:
        """``work`` must not raise; at most ``places`` groups are under way."""
        self._work = work
        self._rules = rules
        self._places = places
        self._waiting: deque[T] = deque()
        self._waiting_size = 0
        self._running: list[int] = []
        """Sizes of the groups under way."""
        self._starting = False
        self._closed = False
        self._idle = Condition()
        self._threads = ThreadPoolExecutor(places, name)

    def put(self, items: Sequence[T]) -> None:
        """Queue items, in one step: a group takes them together. Raises Transient after :meth:`close`."""
        with self._idle:
            if self._closed:
                raise Transient("the server is shutting down")
            self._waiting.extend(items)
            self._waiting_size += sum(map(self._rules.size, items))
            self._start()

    def close(self) -> None:
        """Refuse new items, work on those that wait, stop. Idempotent."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not (self._starting or self._running))
        self._threads.shutdown()

    def _start(self) -> None:
        wanted = max(*self._running, self._rules.enough) if self._running else 0
        has_place = not self._starting and len(self._running) < self._places
        if self._waiting and has_place and self._waiting_size >= wanted:
            self._starting = True
            self._threads.submit(self._run).add_done_callback(_log_bug)

    def _run(self) -> None:
        group, size = self._next()
        try:
            self._work(group)
        finally:  # an error nobody foresaw ends this run, not the thread
            with self._idle:
                self._running.remove(size)
                self._start()
                self._idle.notify_all()

    def _next(self) -> tuple[list[T], int]:
        size, alike, limit = self._rules.size, self._rules.alike, self._rules.limit
        with self._idle:
            group = [self._waiting.popleft()]
            kind, total = alike(group[0]), size(group[0])
            while self._waiting and alike(self._waiting[0]) == kind and total + size(self._waiting[0]) <= limit:
                group.append(self._waiting.popleft())
                total += size(group[-1])
            self._waiting_size -= total
            self._running.append(total)
            self._starting = False
            self._start()
            return group, total


def _log_bug(run: Future[None]) -> None:
    error = run.exception()
    if error is not None:
        log.error("a group ended in an unexpected error", exc_info=error)
