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

from otel_diag.config import embedded_path


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running server listens, as it was chosen (never port 0)."""

    pid: int
    url: str
    otlp_http: str
    otlp_grpc: str
    store: str


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


def find_server(store_url: str) -> Endpoints | None:
    """The server that owns this embedded store and answers, else None: a file left behind by a crash is ignored."""
    path = _file_of(store_url)
    endpoints = _read(path) if path else None
    if endpoints is None or not _answers(endpoints.url):
        return None
    return endpoints


def _read(path: Path) -> Endpoints | None:
    try:
        return Endpoints(**json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def _answers(url: str) -> bool:
    if urlsplit(url).hostname is None:
        return False
    try:
        return httpx.get(f"{url}/healthz", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
