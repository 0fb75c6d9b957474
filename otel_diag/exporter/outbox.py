"""What the exporters share: a batch goes out or is given up with a line in the log, and the application goes on."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from otel_diag.errors import OtelDiagError

if TYPE_CHECKING:
    from otel_diag.delivery import Taken

log = logging.getLogger(__name__)

COMPLAIN_SECONDS: Final = 60.0
"""What is lost is said at most this often."""

EXIT_SECONDS: Final = 30.0
"""A process that ends waits this long for a batch that is on its way. As long as the SDK does."""

Write = Callable[[str, bytes, int], "Taken"]
"""Takes a signal, an export request of it in protobuf, and how many records that has. Raises OtelDiagError."""

Record = TypeVar("Record")

WHOLE: Final = threading.RLock()
"""Held while modules are imported and while the store is open: a fork waits for it, since neither a module that is half
imported nor an open store is of use in the child, and so does the end of the process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=WHOLE.acquire, after_in_parent=WHOLE.release, after_in_child=WHOLE.release)

_providers: list[Callable[[], object]] = []


def shut_down_at_exit(provider: Callable[[], object]) -> None:
    """Wait at exit for what this provider of the SDK still has: who set it up may wait less than the first batch takes,
    which has to load the store. From then on it takes no more, so that a thread that goes on does not keep the process.
    """
    _providers.append(provider)


@atexit.register
def _finish() -> None:
    """At the end the store is taken and never given back. Python ends daemon threads, among them the SDK's, as soon as
    they come back to it, and one that comes from the C++ of DuckDB or Arrow aborts the process."""
    for provider in _providers:
        shutdown = getattr(provider(), "shutdown", None)
        if shutdown is not None:
            shutdown()
    WHOLE.acquire(timeout=EXIT_SECONDS)


def by_the_settings(signal: str, request: bytes, records: int) -> Taken:
    """Deliver to the store of the settings, or the server that owns it. Raises OtelDiagError."""
    with WHOLE:
        from otel_diag.exporter.turns import turns  # a second or two on a small machine
    return turns()(signal, request, records)


class Outbox(Generic[Record]):
    """Batches of one signal. Used by one thread at a time, as the SDK exports."""

    def __init__(self, signal: str, noun: str, encode: Callable[[Sequence[Record]], bytes], write: Write) -> None:
        """``noun``: what a record is called, in the plural."""
        self._signal = signal
        self._noun = noun
        self._encode = encode
        self._write = write
        self._lost = 0
        self._complained = -COMPLAIN_SECONDS

    def put(self, batch: Sequence[Record]) -> bool:
        """Whether all of it is stored. What is not is lost: the SDK gives every batch once."""
        try:
            with WHOLE:
                request = self._encode(batch)
            taken = self._write(self._signal, request, len(batch))
        except OtelDiagError as error:
            self._complain(len(batch), f"{error.message}. {error.hint}".strip())
            return False
        except ImportError as error:
            self._complain(len(batch), f"{error}. Install it: pip install 'otel-diag[exporter]'.")
            return False
        except OSError as error:
            self._complain(len(batch), str(error))
            return False
        for reason, count in taken.rejected.items():
            self._complain(count, reason)
        return not taken.rejected

    def _complain(self, lost: int, reason: str) -> None:
        self._lost += lost
        if time.monotonic() - self._complained < COMPLAIN_SECONDS:
            return
        log.warning("otel-diag: %d %s are lost: %s", self._lost, self._noun, reason)
        self._lost = 0
        self._complained = time.monotonic()
