"""Waiting for the export of ended spans, for a bounded time.

The SDK's ``force_flush`` ignores its timeout and may sit in the exporter's retries for ten seconds
(opentelemetry-python#4568). Here it runs in a thread of its own, and the caller decides how long to wait.
"""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import Final

from opentelemetry import trace

FLUSH_TIMEOUT_S: Final = 1.0
"""How long an input waits for the export of its spans."""

EXIT_TIMEOUT_S: Final = 2.0
"""How long a process that ends waits for the export of its last spans."""

STALLED_FOR_S: Final = 30.0
"""After a flush that did not end in time, nobody waits again for this long: an unreachable endpoint must not
add a second to every input."""


class Flusher:
    """Flushes the global tracer provider in a daemon thread; requests that arrive together share one flush.

    The thread is there before the process ends, because Python 3.12 and later refuse to start one in an exit handler.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: SimpleQueue[threading.Event] = SimpleQueue()
        self._started = False
        self._stalled_until = 0.0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._restart)

    def start(self) -> None:
        """Starts the thread; does nothing when it runs."""
        with self._lock:
            if not self._started:
                threading.Thread(target=self._run, name="otel-diag-flush", daemon=True).start()
                self._started = True

    def flush(self, timeout_s: float, *, even_if_stalled: bool = False) -> bool:
        """Asks for a flush and waits for it at most ``timeout_s`` seconds, not at all while the export is stalled.

        True when everything that had ended before the call was handed to the exporter and its attempts are over.
        """
        self.start()
        done = threading.Event()
        self._requests.put(done)
        if time.monotonic() < self._stalled_until and not even_if_stalled:
            return False
        if done.wait(timeout_s):
            return True
        self._stalled_until = time.monotonic() + STALLED_FOR_S
        return False

    def _restart(self) -> None:
        self._lock = threading.Lock()
        self._requests = SimpleQueue()
        if self._started:
            self._started = False
            self.start()

    def _run(self) -> None:
        requests = self._requests
        while True:
            waiting = [requests.get(), *_drain(requests)]
            force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
            if force_flush is not None:
                force_flush()
            for done in waiting:
                done.set()


def _drain(requests: SimpleQueue[threading.Event]) -> list[threading.Event]:
    drained: list[threading.Event] = []
    try:
        while True:
            drained.append(requests.get_nowait())
    except Empty:
        return drained


FLUSHER: Final = Flusher()


def flush(timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
    """Waits until the spans ended so far are exported, at most ``timeout_s`` seconds; False when that was not enough.

    Never raises. After a flush that took too long, calls return at once for half a minute (the spans are still sent
    in the background).
    """
    return FLUSHER.flush(timeout_s)
