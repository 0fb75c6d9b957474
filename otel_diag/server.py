"""The server: OTLP receivers, worker, REST and MCP over one store, started and stopped in one order."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from contextlib import AbstractContextManager, AsyncExitStack, closing, nullcontext
from dataclasses import asdict

from otel_diag.auth import Access, known_hosts
from otel_diag.config import Settings
from otel_diag.discovery import Endpoints, announced
from otel_diag.errors import OtelDiagError, StartupError
from otel_diag.listen import bind, listening
from otel_diag.metrics import registry_of
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.present.rest.errors import fault
from otel_diag.present.rest.guard import CALLER
from otel_diag.query import Queries
from otel_diag.receive.commit import CommitCounters, GroupCommit
from otel_diag.receive.grpc import serve_grpc
from otel_diag.receive.http import faults, http_app
from otel_diag.receive.inbox import Inbox
from otel_diag.receive.intake import Intake
from otel_diag.store.base import Store
from otel_diag.store.journal import Journal, journal_directory
from otel_diag.upkeep import Upkeep
from otel_diag.worker import Worker

GRACE_SECONDS = 5.0
"""On SIGTERM, requests under way have this long to finish."""


_OTHER_FILES = 256


def run(settings: Settings, store: Store, *, json_output: bool) -> None:
    """Serve until SIGINT or SIGTERM, then close the store. Raises StartupError when a port cannot be had."""
    asyncio.run(_serve(settings, store, json_output))


async def _serve(settings: Settings, store: Store, json_output: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    _allow_files(settings.max_connections)
    # Closed in reverse: no new requests, then the queue is committed, then the store is let go.
    async with AsyncExitStack() as stack:
        stack.enter_context(closing(store))
        if settings.self_traces != "off":
            stack.enter_context(_own_spans(settings, store))
        otlp_socket = stack.enter_context(closing(bind(settings.host, settings.http_port, "OTLP/HTTP", "--http-port")))
        api_socket = stack.enter_context(closing(bind(settings.host, settings.port, "REST and MCP", "--port")))
        counters = CommitCounters()
        journal = journal_directory(settings.store)
        inbox = Inbox(store, Journal(journal), counters.note) if journal else None
        if inbox is not None:
            stack.enter_context(closing(inbox))
        commits = stack.enter_context(closing(GroupCommit(inbox or store, settings, counters)))
        intake = stack.enter_context(closing(Intake(commits, settings)))
        worker = Worker(store, settings, busy=lambda: intake.busy)
        stack.callback(worker.stop)
        upkeep = Upkeep(store, settings)
        stack.callback(upkeep.stop)
        if settings.grpc_port:  # gRPC's own library writes a line of its own when the port is taken
            bind(settings.host, settings.grpc_port, "OTLP/gRPC", "--grpc-port").close()
        grpc_server = await serve_grpc(intake, settings)
        stack.push_async_callback(grpc_server.stop, GRACE_SECONDS)

        def queries_of(tenant: str) -> Queries:
            if inbox is not None:
                inbox.settle()
            return Queries(store, settings, tenant=tenant)

        api = build_app(
            queries_of,
            Access(settings),
            ready=lambda: _is_ready(store, inbox),
            metrics=registry_of(intake, commits, inbox, worker, store, settings),
            mcp=build_server(lambda: nullcontext(queries_of(CALLER.get()))),
            allowed_hosts=known_hosts(settings),
        )
        grace = GRACE_SECONDS
        otlp = listening(
            http_app(intake, settings), otlp_socket, settings, faults(intake.counters), grace_seconds=grace
        )
        people = listening(api, api_socket, settings, fault, lifespan="on", grace_seconds=grace)
        await stack.enter_async_context(otlp)
        await stack.enter_async_context(people)
        worker.start()
        upkeep.start()
        scheme = "https" if settings.tls_cert else "http"
        endpoints = Endpoints(
            pid=os.getpid(),
            url=_url(scheme, api_socket),
            otlp_http=_url(scheme, otlp_socket),
            otlp_grpc=_url(scheme, otlp_socket, port=grpc_server.port),
            store=settings.store,
            tls_cert=str(settings.tls_cert.absolute()) if settings.tls_cert else None,
        )
        stack.enter_context(announced(endpoints))
        _say(endpoints, json_output)
        await stopped.wait()


def _own_spans(settings: Settings, store: Store) -> AbstractContextManager[None]:
    try:
        from otel_diag.self_traces.recorder import recording
    except ImportError as error:
        hint = "Install otel-diag with the extra self-traces, or set self_traces to off."
        raise StartupError(f"self_traces needs the OpenTelemetry SDK: {error}", hint=hint) from error
    return recording(settings, store)


def _allow_files(connections: int) -> None:
    """Raise the limit of open files, each connection being one: the usual 1,024 is soon reached on three ports."""
    wanted = 6 * connections + _OTHER_FILES  # a port refuses politely up to twice its cap
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _url(scheme: str, bound: socket.socket, port: int | None = None) -> str:
    host, chosen = bound.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or chosen}"


def _is_ready(store: Store, inbox: Inbox | None) -> bool:
    try:
        store.ping()
    except OtelDiagError:
        return False
    return inbox is None or not inbox.held.failing


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
