"""What may be wrong with an installation, and what to do about it."""

from __future__ import annotations

import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

import otel_diag
from otel_diag import app as wiring
from otel_diag.config import Settings, embedded_path
from otel_diag.discovery import Endpoints, find_server
from otel_diag.errors import OtelDiagError
from otel_diag.present.text import clean, hint_of

MIN_PYTHON: Final = (3, 11)
MIN_FREE_BYTES: Final = 1024**3
_LISTEN: Final = "0A"


@dataclass(frozen=True, slots=True)
class Check:
    """``detail`` is what was found, ``to_do`` is empty when all is well."""

    name: str
    ok: bool
    detail: str
    to_do: str = ""


def run(settings: Settings) -> list[Check]:
    server = find_server(settings)
    ports = {"OTLP/gRPC": settings.grpc_port, "OTLP/HTTP": settings.http_port, "REST and MCP": settings.port}
    return [
        _python(),
        _server(server),
        _store(settings),
        *(_port(name, settings.host, port, server) for name, port in ports.items() if port),
        *_disk(settings),
        *_model(settings),
    ]


def table(checks: list[Check]) -> Table:
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim")
    for name in ("", "check", "found", "what to do"):
        result.add_column(name, overflow="fold")
    for check in checks:
        mark = Text("OK", style="green") if check.ok else Text("✖", style="red")
        result.add_row(mark, Text(check.name), Text(clean(check.detail, 500)), Text(clean(check.to_do, 500)))
    return result


def _python() -> Check:
    found = f"Python {platform.python_version()}, otel-diag {otel_diag.__version__}"
    enough = sys.version_info >= MIN_PYTHON
    return Check("Python", enough, found, "" if enough else f"Use {'.'.join(map(str, MIN_PYTHON))} or newer.")


def _server(server: Endpoints | None) -> Check:
    if server is None:
        return Check("server", True, "none was found for this store")
    return Check("server", True, f"pid {server.pid} at {server.url}")


def _store(settings: Settings) -> Check:
    path = embedded_path(settings.store)
    if path is not None and not path.exists():
        return Check("store", True, f"{path} does not exist yet; `otel-diag serve` creates it")
    try:
        with wiring.open_queries(settings) as queries:
            queries.trace_ids(limit=1)
    except OtelDiagError as error:
        return Check("store", False, error.message, hint_of(error))
    return Check("store", True, "reachable, schema up to date")


def _port(name: str, host: str, port: int, server: Endpoints | None) -> Check:
    name = f"port {port} ({name})"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            ours = server is not None and any(
                url.endswith(f":{port}") for url in (server.url, server.otlp_http, server.otlp_grpc)
            )
            if ours:
                return Check(name, True, "taken by the running server")
            owner = owner_of(port)
            found = f"taken by {owner}" if owner else (error.strerror or str(error))
            return Check(name, False, found, "Stop that process, or choose another port when starting `serve`.")
    return Check(name, True, "free")


def owner_of(port: int, proc: Path = Path("/proc")) -> str | None:
    """The process that listens on a TCP port, as ``pid N (name)``; None where /proc does not tell."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port, proc)}
    for link in proc.glob("[0-9]*/fd/*") if sockets else ():
        try:
            if str(link.readlink()) in sockets:
                process = link.parents[1]
                return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:  # It ended meanwhile, or belongs to somebody else.
            continue
    return None


def _listening(port: int, proc: Path) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _disk(settings: Settings) -> Iterator[Check]:
    """Free space where the embedded store lies; a server database looks after its own."""
    path = embedded_path(settings.store)
    if path is None:
        return
    directory = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(directory).free
    enough = free >= MIN_FREE_BYTES
    yield Check("disk", enough, f"{free / 1024**3:,.1f} GiB free in {directory}", "" if enough else "Free some space.")


def _model(settings: Settings) -> Iterator[Check]:
    """The language model for questions, where one is configured here; a running server has settings of its own."""
    if settings.ask_model is None:
        return
    try:
        wiring.check_model(settings.ask_model)
    except OtelDiagError as error:
        yield Check("ask_model", False, error.message, error.hint)
    else:
        yield Check("ask_model", True, f"{settings.ask_model} can be asked; whether it answers was not tried")
