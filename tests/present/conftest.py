"""The presenters over a query service that knows one incident, reached in process or over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from otel_diag.auth import Access
from otel_diag.config import Settings
from otel_diag.listen import listening
from otel_diag.present.client import RemoteQueries
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.present.rest.errors import fault
from otel_diag.query import Queries
from tests.present.answers import OneIncident

LOOPBACK = "http://127.0.0.1"

# One service behind everything, forgotten between tests: building an application takes longer than asking it.
_INCIDENT = OneIncident()


@pytest.fixture
def incident() -> OneIncident:
    _INCIDENT.reset()
    return _INCIDENT


def build_api() -> FastAPI:
    queries = cast(Queries, _INCIDENT)
    access = Access(Settings())
    return build_app(lambda _: queries, access, ready=lambda: _INCIDENT.error is None, mcp=build_server(queries))


@pytest.fixture(scope="session")
def _client() -> Iterator[TestClient]:
    with TestClient(build_api(), base_url=LOOPBACK, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def http(_client: TestClient, incident: OneIncident) -> TestClient:
    return _client


@pytest.fixture(scope="session")
def _address() -> Iterator[str]:
    bound = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    async def serve() -> None:
        async with listening(build_api(), bound, Settings(), fault, lifespan="on"):
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    address = f"{LOOPBACK}:{bound.getsockname()[1]}"
    httpx.get(f"{address}/healthz", timeout=20)  # The socket listens already: this waits until it is served.
    yield address
    stop.set()
    thread.join()
    bound.close()


@pytest.fixture
def url(_address: str, incident: OneIncident) -> str:
    """A real server on a real port."""
    return _address


@pytest.fixture
def remote(url: str) -> Iterator[RemoteQueries]:
    with RemoteQueries(url) as queries:
        yield queries
