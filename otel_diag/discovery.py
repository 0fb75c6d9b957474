"""How a command finds the ``serve`` that owns an embedded store: a small file beside it says where that listens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from otel_diag.config import Settings, embedded_path
from otel_diag.tls import client_context


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running server listens, as it was chosen (never port 0)."""

    pid: int
    url: str
    otlp_http: str
    otlp_grpc: str
    store: str
    tls_cert: str | None = None
    """File of the certificate it shows."""


def _file_of(store_url: str) -> Path | None:
    path = embedded_path(store_url)
    return path.with_name(path.name + ".serve.json") if path else None


@contextmanager
def announced(endpoints: Endpoints) -> Iterator[None]:
    """Let commands find this server while the block runs. Nothing is written for a store that is not a file."""
    path = _file_of(endpoints.store)
    if path is None:
        yield
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(asdict(endpoints)))
    draft.replace(path)  # A reader sees the whole file or none of it.
    try:
        yield
    finally:
        if _read(path) == endpoints:
            path.unlink(missing_ok=True)


def find_server(settings: Settings) -> Endpoints | None:
    """The server that owns this embedded store and answers, else None: a file left behind by a crash is ignored.

    Raises StartupError when the server speaks TLS and the files for that cannot be used.
    """
    path = _file_of(settings.store)
    endpoints = _read(path) if path else None
    if endpoints is None or not _answers(endpoints, settings):
        return None
    return endpoints


def http_client(server: Endpoints, settings: Settings, *, timeout: float) -> httpx.Client:
    """A client for a running server: with the token of the settings, and trust in the server's own certificate."""
    token = settings.token
    return httpx.Client(
        timeout=timeout,
        trust_env=False,  # A proxy from the environment must never see a loopback call.
        verify=client_context(Path(server.tls_cert), settings) if server.tls_cert else True,
        headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else None,
    )


def _read(path: Path) -> Endpoints | None:
    try:
        return Endpoints(**json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError, TypeError):  # not there, or not for us
        return None


def _answers(server: Endpoints, settings: Settings) -> bool:
    if urlsplit(server.url).hostname is None:
        return False
    try:
        with http_client(server, settings, timeout=2.0) as client:
            return client.get(f"{server.url}/healthz").is_success
    except httpx.HTTPError:
        return False
