"""What bounds a request before anything is decoded: its size, expanded too, and the bytes in the house at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from otel_diag.errors import BadInput, Transient

_GZIP: Final = 16 + zlib.MAX_WBITS


class TooLarge(BadInput):
    """The request, on the wire or expanded, is larger than ``max_request_bytes``."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request is larger than {limit} bytes", hint="Send smaller batches.")


def gunzip(body: bytes, limit: int) -> bytes:
    """Expand a gzip body, all of its members. Stops at ``limit`` bytes: raises TooLarge; BadInput when corrupt."""
    parts: list[bytes] = []
    room = limit
    while body:
        member = zlib.decompressobj(_GZIP)
        try:
            # One byte past the room tells a body that just fits from one that does not.
            part = member.decompress(body, room + 1)
        except zlib.error as error:
            raise BadInput(f"the body is not valid gzip: {error}") from error
        if len(part) > room:
            raise TooLarge(limit)
        if not member.eof:
            raise BadInput("the gzip body is truncated")
        parts.append(part)
        room -= len(part)
        body = member.unused_data
    return b"".join(parts)


class Budget:
    """Bytes of requests that may be in memory at once; thread-safe. Past it, clients are told to retry."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._lock = Lock()

    @contextmanager
    def spend(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes. Raises Transient when they are not there; alone, a request of any size gets in."""
        with self._lock:
            if self._used and self._used + size > self._limit:
                raise Transient("too many requests are waiting")
            self._used += size
        try:
            yield
        finally:
            with self._lock:
                self._used -= size
