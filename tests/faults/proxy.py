"""A TCP proxy that loses answers: the request gets through, what came of it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from threading import Thread

_STEP = 1 << 16
_REQUEST_BYTES = 1000
"""A connection that has sent more has sent a request, not only what opens it."""


@contextmanager
def losing_answers(port: int, every: int = 2) -> Iterator[int]:
    """A port that leads to ``port``; of every so many connections one is ended with its first answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    Thread(target=_accept, args=(listener, port, every), daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def _accept(listener: socket.socket, port: int, every: int) -> None:
    for number in count():
        try:
            near, _ = listener.accept()
        except OSError:
            return  # closed
        far = socket.create_connection(("127.0.0.1", port))
        _Connection(near, far, loses=number % every == 0).start()


class _Connection:
    def __init__(self, near: socket.socket, far: socket.socket, *, loses: bool) -> None:
        self._near, self._far, self._loses = near, far, loses
        self._sent = 0

    def start(self) -> None:
        for pump in (self._forth, self._back):
            Thread(target=pump, daemon=True).start()

    def _forth(self) -> None:
        with suppress(OSError):
            while data := self._near.recv(_STEP):
                self._sent += len(data)
                self._far.sendall(data)
        self._end()

    def _back(self) -> None:
        with suppress(OSError):
            while data := self._far.recv(_STEP):
                if self._loses and self._sent > _REQUEST_BYTES:
                    time.sleep(0.3)  # gRPC acknowledges bytes before it answers: let the commit happen
                    break
                self._near.sendall(data)
        self._end()

    def _end(self) -> None:
        for each in (self._near, self._far):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
