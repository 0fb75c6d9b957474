"""Who is let in while others are served: bytes that arrive, calls under way, records a tenant may send in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from otel_diag.errors import Transient


class QuotaExceeded(Transient):
    """A tenant has sent more than its share. ``retry_seconds``: when there is room again."""

    def __init__(self, tenant: str, per_second: int, retry_seconds: float) -> None:
        super().__init__(f"tenant {tenant} sends more than {per_second} records a second")
        self.retry_seconds = retry_seconds


class Quota:
    """Records a tenant may send: a bucket that holds one second's worth and fills at that rate.

    How many records a request has is known once it is decoded, so that a request is admitted while anything is left,
    and what it took too much is owed. For use on one event loop.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_second``: 0 for any number."""
        self._per_second = per_second
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        """By tenant: records left, and when that was so."""

    def admit(self, tenant: str) -> None:
        """Raises QuotaExceeded when nothing is left."""
        if not self._per_second:
            return
        left = self._left_now(tenant)
        if left <= 0:
            raise QuotaExceeded(tenant, self._per_second, (1 - left) / self._per_second)

    def charge(self, tenant: str, records: int) -> None:
        if self._per_second:
            self._left[tenant] = (self._left_now(tenant) - records, self._clock())

    def _left_now(self, tenant: str) -> float:
        now = self._clock()
        left, since = self._left.get(tenant, (float(self._per_second), now))
        return min(float(self._per_second), left + (now - since) * self._per_second)


class Room:
    """Bytes of the bodies that are arriving, all connections together. For use on one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Give one body a call that takes room for as many more bytes; it raises Transient when there is none.

        A body that is alone may be of any size.
        """
        own = 0

        def take(size: int) -> None:
            nonlocal own
            if self._used > own and self._used + size > self._limit:
                raise Transient("too many requests are arriving at once")
            own += size
            self._used += size

        try:
            yield take
        finally:
            self._used -= own


class Slots:
    """Calls under way. For use on one event loop."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises Transient when all are taken."""
        if not self._free:
            raise Transient("too many requests are under way")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
