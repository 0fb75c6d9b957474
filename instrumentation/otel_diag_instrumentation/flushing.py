"""Getting what has ended out of the process, in bounded time: when asked, and before the process ends.

The SDK's ``force_flush`` ignores its timeout and may sit in the exporter's retries for ten seconds
(opentelemetry-python#4568). Here it runs in a thread of its own, and the caller decides how long to wait.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, NamedTuple

from opentelemetry import trace

FLUSH_TIMEOUT_S: Final = 1.0
"""How long an input waits for the export of its spans."""

EXIT_TIMEOUT_S: Final = 2.0
"""How long a process that ends waits for the export of its last spans."""

STALLED_FOR_S: Final = 30.0
"""After a flush that did not end in time, nobody waits again for this long: an unreachable endpoint must not
add a second to every input."""

_log = logging.getLogger(__name__)

Step = Callable[[], object]


class _Request(NamedTuple):
    done: threading.Event
    last: bool


class Flusher:
    """Flushes the global tracer provider in a daemon thread; requests that arrive together share one flush.

    The thread is there before the process ends, because Python 3.12 and later refuse to start one in an exit handler.
    """

    def __init__(self) -> None:
        # A signal handler may come while the main thread holds it, and takes it again.
        self._lock = threading.RLock()
        self._requests: SimpleQueue[_Request] = SimpleQueue()
        self._started = False
        self._at_exit = False
        self._stalled_until = 0.0
        self._always: list[Step] = []
        self._at_last: list[Step] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._restart)

    def add(self, step: Step, *, at_last: bool = False) -> None:
        """A further step of every flush, after the spans; with ``at_last`` only of the one before the process ends."""
        (self._at_last if at_last else self._always).append(step)

    def start(self) -> None:
        """Starts the thread; does nothing when it runs."""
        with self._lock:
            if not self._started:
                threading.Thread(target=self._run, name="otel-diag-flush", daemon=True).start()
                self._started = True

    def flush_at_exit(self) -> None:
        """From now on the process ends with a flush, whether it is done or told to end by SIGTERM.

        SIGTERM is left alone when the program handles or ignores it, and outside the main thread, which alone may ask
        for it.
        """
        with self._lock:
            self.start()
            if self._at_exit:
                return
            self._at_exit = True
            atexit.register(self._flush_last)
            in_main_thread = threading.current_thread() is threading.main_thread()
            if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._terminated)

    def flush(self, timeout_s: float) -> bool:
        """Asks for a flush and waits for it at most ``timeout_s`` seconds, not at all while the export is stalled.

        True when everything that had ended before the call was handed to the exporter and its attempts are over.
        """
        done = self._ask(last=False)
        if time.monotonic() < self._stalled_until:
            return False
        if done.wait(timeout_s):
            return True
        self._stalled_until = time.monotonic() + STALLED_FOR_S
        return False

    def _flush_last(self) -> None:
        self._ask(last=True).wait(EXIT_TIMEOUT_S)

    def _ask(self, *, last: bool) -> threading.Event:
        self.start()
        request = _Request(threading.Event(), last)
        self._requests.put(request)
        return request.done

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """The process still dies of the signal, as whoever sent it expects, and at once of a second one."""
        signal.signal(number, signal.SIG_DFL)
        self._flush_last()
        signal.raise_signal(number)

    def _restart(self) -> None:
        """In a forked process: none of the threads came along, and multiprocessing ends without exit handlers."""
        self._lock = threading.RLock()
        self._requests = SimpleQueue()
        multiprocessing = sys.modules.get("multiprocessing.util")
        if self._at_exit and multiprocessing is not None:
            finalize = multiprocessing.Finalize  # its children forget what was registered before they started
            multiprocessing.register_after_fork(self, lambda _: finalize(None, self._flush_last, exitpriority=0))
        if self._started:
            self._started = False
            self.start()

    def _run(self) -> None:
        requests = self._requests
        while True:
            waiting = [requests.get(), *_drain(requests)]
            last = any(request.last for request in waiting)
            for step in (_flush_spans, *(self._at_last if last else ()), *self._always):
                try:
                    step()
                except Exception:  # noqa: BLE001 - somebody else's provider; the thread is needed again
                    _log.exception("a flush failed")
            for request in waiting:
                request.done.set()


def _flush_spans() -> None:
    force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        force_flush()


def _drain(requests: SimpleQueue[_Request]) -> list[_Request]:
    drained: list[_Request] = []
    try:
        while True:
            drained.append(requests.get_nowait())
    except Empty:
        return drained


FLUSHER: Final = Flusher()


def flush(timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
    """Waits until what has ended so far is exported, at most ``timeout_s`` seconds; False when that was not enough.

    Never raises. After a flush that took too long, calls return at once for half a minute (the spans are still sent
    in the background).
    """
    return FLUSHER.flush(timeout_s)
