"""The server: OTLP receivers, worker, REST and MCP over one store, started and stopped in one order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import asdict
from typing import Any

import uvicorn

from otel_diag.config import Settings
from otel_diag.discovery import Endpoints, announced
from otel_diag.errors import OtelDiagError, StartupError
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.present.rest.guard import LOOPBACK_HOSTS
from otel_diag.query import Queries
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.grpc import serve_grpc
from otel_diag.receive.http import http_app
from otel_diag.receive.intake import Intake
from otel_diag.store.base import Store
from otel_diag.worker import Worker

GRACE_SECONDS = 5.0
"""On SIGTERM, requests under way have this long to finish."""


def run(settings: Settings, store: Store, *, json_output: bool) -> None:
    """Serve until SIGINT or SIGTERM, then close the store. Raises StartupError when a port cannot be had."""
    asyncio.run(_serve(settings, store, json_output))


async def _serve(settings: Settings, store: Store, json_output: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    # Closed in reverse: no new requests, then the queue is committed, then the store is let go.
    async with AsyncExitStack() as stack:
        stack.enter_context(closing(store))
        otlp_socket = stack.enter_context(closing(_bind(settings.host, settings.http_port, "OTLP/HTTP", "--http-port")))
        api_socket = stack.enter_context(closing(_bind(settings.host, settings.port, "REST and MCP", "--port")))
        commits = stack.enter_context(closing(GroupCommit(store, settings)))
        intake = stack.enter_context(closing(Intake(commits, settings)))
        worker = Worker(store, settings, busy=lambda: intake.busy)
        stack.callback(worker.stop)
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
