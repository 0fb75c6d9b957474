"""The only place that wires the parts together: the server, and the ways a command reaches the data."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn

from otel_diag.config import Settings, embedded_path
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.traces import decode_traces
from otel_diag.discovery import Endpoints, announced, find_server
from otel_diag.errors import OtelDiagError, StartupError, StoreInUse
from otel_diag.model import DEFAULT_TENANT
from otel_diag.present.client import AnyQueries, RemoteQueries
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.present.rest.guard import LOOPBACK_HOSTS
from otel_diag.query import Queries
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.grpc import serve_grpc
from otel_diag.receive.http import http_app
from otel_diag.receive.intake import Intake
from otel_diag.store.base import Store
from otel_diag.store.open import open_store
from otel_diag.worker import Worker

LOCK_WAIT_SECONDS = 5.0
"""A command that reads the embedded store holds it for milliseconds only: who needs it waits this long."""

LOCK_POLL_SECONDS = 0.05

GRACE_SECONDS = 5.0
"""On SIGTERM, requests under way have this long to finish."""


# ---------------------------------------------------------------------------------- the server


def serve(settings: Settings, *, json_output: bool = False) -> None:
    """Run the server until SIGINT or SIGTERM. Prints where it listens, as one JSON line with ``json_output``.

    Raises StartupError: port taken, store locked, database down.
    """
    asyncio.run(_serve(settings, json_output))


async def _serve(settings: Settings, json_output: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    # Closed in reverse: no new requests, then the queue is committed, then the store is let go.
    async with AsyncExitStack() as stack:
        otlp_socket = stack.enter_context(closing(_bind(settings.host, settings.http_port, "OTLP/HTTP", "--http-port")))
        api_socket = stack.enter_context(closing(_bind(settings.host, settings.port, "REST and MCP", "--port")))
        store = stack.enter_context(closing(_open_patiently(settings.store)))
        worker = Worker(store, settings)
        stack.callback(worker.stop)
        commits = stack.enter_context(closing(GroupCommit(store, settings)))
        intake = stack.enter_context(closing(Intake(commits, settings)))
        if settings.grpc_port:  # gRPC's own library writes a line of its own when the port is taken
            _bind(settings.host, settings.grpc_port, "OTLP/gRPC", "--grpc-port").close()
        grpc_server = await serve_grpc(intake, settings)
        stack.push_async_callback(grpc_server.stop, GRACE_SECONDS)
        queries = Queries(store, settings)
        api = build_app(
            queries,
            ready=lambda: _is_ready(store),
            mcp=build_server(queries),
            allowed_hosts={*LOOPBACK_HOSTS, settings.host},
        )
        await _listen(stack, http_app(intake, settings), otlp_socket, lifespan="off")
        await _listen(stack, api, api_socket, lifespan="on")
        worker.start()
        endpoints = Endpoints(
            pid=os.getpid(),
            url=_url(api_socket),
            otlp_http=_url(otlp_socket),
            otlp_grpc=_url(otlp_socket, port=grpc_server.port),
            store=settings.store,
        )
        stack.enter_context(announced(endpoints))
        _say(endpoints, json_output)
        await stopped.wait()


async def _listen(stack: AsyncExitStack, app: Any, bound: socket.socket, *, lifespan: Any) -> None:
    """Serve ``app`` on the socket until the stack closes. Raises StartupError when the application cannot start."""
    config = uvicorn.Config(
        app,
        lifespan=lifespan,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    server = _Uvicorn(config)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        if running.done():
            await running
            raise StartupError("the HTTP server did not start", hint="The log above says why.")
        await asyncio.sleep(0.01)

    async def stop() -> None:
        server.should_exit = True
        await running

    stack.push_async_callback(stop)


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to us: three servers stop in one order, on one signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int, what: str, option: str) -> socket.socket:
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


def _url(bound: socket.socket, port: int | None = None) -> str:
    host, chosen = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port or chosen}"


def _is_ready(store: Store) -> bool:
    try:
        store.ping()
    except OtelDiagError:
        return False
    return True


def _say(endpoints: Endpoints, json_output: bool) -> None:
    if json_output:
        lines = [json.dumps(asdict(endpoints))]
    else:
        lines = [
            f"otel-diag serves {_without_password(endpoints.store)}",
            f"  OTLP/gRPC  {endpoints.otlp_grpc}",
            f"  OTLP/HTTP  {endpoints.otlp_http}",
            f"  REST       {endpoints.url}/api/v1  (described at {endpoints.url}/docs)",
            f"  MCP        {endpoints.url}/mcp",
            "Ctrl-C ends it.",
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _without_password(store_url: str) -> str:
    scheme, separator, rest = store_url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}{separator}{user}{at}{place}"


# ---------------------------------------------------------------------------------- commands


@contextmanager
def open_queries(settings: Settings) -> Iterator[AnyQueries]:
    """Answers for one command: from the server that owns the embedded store, else from the store itself.

    The embedded file is opened read-only and let go at the end, so that it never keeps ``serve`` from starting.
    Raises StartupError: no store yet, locked by a process that does not answer, database down.
    """
    embedded = embedded_path(settings.store) is not None
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        if (server := find_server(settings.store)) is not None:
            with RemoteQueries(server.url) as remote:
                yield remote
            return
        try:
            store = open_store(settings.store, read_only=embedded)
            break
        except StoreInUse:  # by a server that is starting, or by another command
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_POLL_SECONDS)
    with closing(store):
        yield Queries(store, settings)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one payload: ``stored + duplicates + sum(rejected)`` is its number of spans."""

    stored: int
    duplicates: int
    rejected: dict[str, int]


class Writer:
    """Writes OTLP payloads straight to a store; what it wrote is summarised when it closes."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def append_payload(self, payload: bytes, content_type: str = "application/x-protobuf") -> Imported:
        """Store one export request, protobuf or JSON by its content type. Raises BadInput, Transient, Permanent."""
        request = json_to_request(payload) if content_type == "application/json" else payload
        decoded = decode_traces(request, DEFAULT_TENANT)
        appended = self._store.append(decoded.batch)
        return Imported(appended.stored, appended.duplicates, dict(decoded.reasons))

    def summarise(self) -> None:
        """Fold every trace that was written, without waiting for it to fall quiet."""
        worker = Worker(self._store, self._settings.model_copy(update={"quiet_seconds": 0.0}))
        while worker.fold_quiet():
            pass


@contextmanager
def open_writer(settings: Settings) -> Iterator[Writer]:
    """The store, opened for writing and brought up to date. Raises StartupError, also when a server owns it."""
    with closing(_open_patiently(settings.store)) as store:
        writer = Writer(store, settings)
        yield writer
        writer.summarise()


def migrate(settings: Settings) -> None:
    """Bring the store's schema up to date; opening it does. Raises StartupError."""
    _open_patiently(settings.store).close()


def _open_patiently(store_url: str) -> Store:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return open_store(store_url)
        except StoreInUse:
            if time.monotonic() > deadline or find_server(store_url) is not None:
                raise
            time.sleep(LOCK_POLL_SECONDS)
