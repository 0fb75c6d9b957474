"""What bounds a request before anything is decoded: its size, expanded too, and the bytes in the house at once."""

from __future__ import annotations

import math
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from otel_diag.errors import BadInput, Transient

_GZIP: Final = 16 + zlib.MAX_WBITS
_MAX_MEMBERS: Final = 1000
_PACKED_STEP: Final = 1 << 16
_EXPANDED_STEP: Final = 1 << 20

MEAN_SECONDS: Final = 1.0
"""In :attr:`Budget.mean_requests`, what is so old weighs a third of what is new."""


class TooLarge(BadInput):
    """The request, on the wire or expanded, is larger than ``max_request_bytes``."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request is larger than {limit} bytes", hint="Send smaller batches.")


def gunzip(body: bytes, limit: int) -> bytes:
    """Expand a gzip body, all of its members. Stops at ``limit`` bytes: raises TooLarge; BadInput when corrupt.

    A bomb never holds more than a quarter of ``limit``: what gets so large is expanded to its end first, and not kept.
    """
    parts: list[bytes] = []
    held, checked = 0, False
    for part in _expanded(body, limit):
        parts.append(part)
        held += len(part)
        if held > limit // 4 and not checked:
            deque(_expanded(body, limit), maxlen=0)
            checked = True
    return b"".join(parts)


def _expanded(body: bytes, limit: int) -> Iterator[bytes]:
    """The expanded body in small steps; what follows a member is not copied for each of them."""
    size = position = 0
    view = memoryview(body)
    for _ in range(_MAX_MEMBERS):
        if position == len(body):
            return
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            packed: bytes | memoryview = member.unconsumed_tail
            if not packed:
                packed = view[position : position + _PACKED_STEP]
                position += len(packed)
            try:
                part = member.decompress(packed, min(_EXPANDED_STEP, limit - size + 1))
            except zlib.error as error:
                raise BadInput(f"the body is not valid gzip: {error}") from error
            if not packed and not part and not member.eof:
                raise BadInput("the gzip body is truncated")
            size += len(part)
            if size > limit:
                raise TooLarge(limit)
            yield part
        position -= len(member.unused_data)
    if position < len(body):
        raise BadInput(f"the gzip body has more than {_MAX_MEMBERS} members", hint="Compress a request as one.")


class Budget:
    """Bytes of requests that may be in memory at once; thread-safe. Past it, clients are told to retry."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._used = 0
        self._requests = 0
        self._mean_requests = 0.0
        self._changed = clock()
        self._lock = Lock()

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    @property
    def requests(self) -> int:
        """Requests that hold them."""
        return self._requests

    @property
    def mean_requests(self) -> float:
        """The same over the last seconds, the newest weighing most: how far requests pile up.

        By Little's law requests a second times the seconds each stays. Neither many that are answered at once nor a
        single slow one make it large; how far they are compressed does not matter.
        """
        with self._lock:
            return self._mean_until_now()

    def _mean_until_now(self) -> float:
        now = self._clock()
        kept = math.exp((self._changed - now) / MEAN_SECONDS)
        self._mean_requests = kept * self._mean_requests + (1 - kept) * self._requests
        self._changed = now
        return self._mean_requests

    def _hold(self, size: int, requests: int) -> None:
        self._mean_until_now()
        self._used += size
        self._requests += requests

    @contextmanager
    def spend(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes. Raises Transient when they are not there; alone, a request of any size gets in."""
        with self._lock:
            if self._used and self._used + size > self._limit:
                raise Transient("too many requests are waiting")
            self._hold(size, 1)
        try:
            yield
        finally:
            with self._lock:
                self._hold(-size, -1)
