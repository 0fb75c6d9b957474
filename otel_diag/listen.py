"""The HTTP ports: one listener for OTLP and for people, with bounds on what a connection may cost.

uvicorn bounds neither the time a request takes to arrive nor, with answers of our own form, the number of connections;
its protocol is completed here (docs/adr/0013).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from otel_diag.config import Settings
from otel_diag.errors import StartupError
from otel_diag.tls import server_context

HEAD_BYTES: Final = 64 * 1024
"""Largest request line with headers."""

Headers = list[tuple[bytes, bytes]]
Fault = Callable[[HTTPStatus, str], tuple[Headers, bytes]]
"""How a port words what is wrong with a connection, before there is a request its application could answer."""


def bind(host: str, port: int, what: str, option: str) -> socket.socket:
    """A listening socket. Raises StartupError, naming the ``option`` that chooses another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StartupError(
            f"cannot listen on {host}:{port} for {what}: {os.strerror(error.errno or 0)}",
            hint=f"Stop the process that uses the port, or choose another with {option} (0 takes any free one).",
        ) from error
    bound.listen(1024)
    return bound


@asynccontextmanager
async def listening(
    app: Any,
    bound: socket.socket,
    settings: Settings,
    fault: Fault,
    *,
    lifespan: Any = "off",
    grace_seconds: float = 5.0,
) -> AsyncIterator[None]:
    """Serve ``app`` on the socket while the block runs; then requests under way have ``grace_seconds`` to finish.

    Raises StartupError when the application cannot start, or the TLS files cannot be used.
    """
    context = server_context(settings)
    config = uvicorn.Config(
        app,
        http=partial(BoundedProtocol, settings=settings, fault=fault),  # type: ignore[arg-type]
        ws="none",
        proxy_headers=False,
        lifespan=lifespan,
        log_level="error",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=int(grace_seconds),
    )
    config.load()
    config.ssl = context
    server = _Uvicorn(config)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        if running.done():
            await running
            raise StartupError("the HTTP server did not start", hint="The log above says why.")
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await running


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to us: three servers stop in one order, on one signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class BoundedProtocol(H11Protocol):
    """One connection. It ends when a head, a body or the reading of an answer takes too long."""

    def __init__(self, *args: Any, settings: Settings, fault: Fault, **options: Any) -> None:
        super().__init__(*args, **options)
        self._settings = settings
        self._fault = fault
        self._awaited: tuple[str, object] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > 2 * self._settings.max_connections:
            transport.abort()
        elif len(self.connections) > self._settings.max_connections:
            # Told only once it has asked: what is written before the request can be lost with the connection.
            self.app = partial(_refuse, self._fault)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this while it handles the parser's error. What was sent is not repeated: it may be a secret."""
        error = sys.exception()
        status = HTTPStatus(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400)
        self._end(status, _FAULTS.get(status, msg))

    def _watch(self) -> None:
        """Set the clock when what is waited for has changed; bytes that trickle in do not wind it up again."""
        awaited = self._next_step()
        if awaited == self._awaited:
            return
        self._stop_watch()
        if awaited is not None:
            self._awaited = awaited
            seconds = self._settings.head_seconds if awaited[0] == "head" else self._settings.body_seconds
            self._deadline = self.loop.call_later(seconds, self._too_slow, awaited[0])

    def _stop_watch(self) -> None:
        self._awaited = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _next_step(self) -> tuple[str, object] | None:
        """What the client has to do next, and for which request. None: nothing, or it is idle and uvicorn's to end."""
        if self.transport.is_closing():
            return None
        if self.flow.write_paused:
            return "read", self.cycle
        if self.cycle is None or self.cycle.response_complete:
            return None if self.timeout_keep_alive_task is not None else ("head", self.cycle)
        return ("body", self.cycle) if self.cycle.more_body else None

    def _too_slow(self, what: str) -> None:
        if what == "head":
            seconds = self._settings.head_seconds
            self._end(HTTPStatus.REQUEST_TIMEOUT, f"no request arrived within {seconds:g} s")
        elif what == "body":
            seconds = self._settings.body_seconds
            self._end(HTTPStatus.SERVICE_UNAVAILABLE, f"the body of the request did not arrive within {seconds:g} s")
        else:
            self.transport.abort()

    def _end(self, status: HTTPStatus, message: str) -> None:
        """Answer, where no answer has begun yet, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers, body = self._fault(status, message)
            length = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            response = h11.Response(status_code=status, headers=[*headers, *length], reason=status.phrase.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        # A client that reads nothing would keep the connection as long as a byte of the answer is left.
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


_LINGER_SECONDS: Final = 5.0

_FAULTS: Final = {
    HTTPStatus.BAD_REQUEST: "the request is not valid HTTP/1.1",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"request line and headers are larger than {HEAD_BYTES} bytes",
    HTTPStatus.NOT_IMPLEMENTED: "this transfer encoding is not supported; use Content-Length or chunked",
}


async def _refuse(fault: Fault, _: Any, __: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """An application that has no room for anybody."""
    headers, body = fault(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
    headers = [*headers, (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
