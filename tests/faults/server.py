"""``otel-diag serve`` on ports that stay, to be ended in any way and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60.0


class Server:
    """At most one process at a time. ``misbehaviour``: see :mod:`tests.faults.launch`.

    ``settings`` are environment variables. Not ready until :meth:`start`.
    """

    def __init__(self, store: str, misbehaviour: str = "", **settings: str) -> None:
        self.store = store
        self.grpc_port, self.http_port, self.port = free_ports(3)
        program = ["tests.faults.launch", misbehaviour] if misbehaviour else ["otel_diag.present.cli"]
        ports = {"--grpc-port": self.grpc_port, "--http-port": self.http_port, "--port": self.port}
        options = [str(word) for pair in ports.items() for word in pair]
        self._command = [sys.executable, "-m", *program, "serve", "--store", store, *options, "--json"]
        foreign = ("OTEL_", "DATABASE_URL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self._environment = kept | {"OTEL_DIAG_QUIET_SECONDS": "0.2", "OTEL_DIAG_SETTLE_SECONDS": "1"} | settings
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as this object

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, preexec: Any = None) -> None:
        """Returns when it is ready. ``preexec`` runs in the child, as :class:`subprocess.Popen` has it."""
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
            cwd=ROOT,
            preexec_fn=preexec,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"serve ended with exit code {self._process.wait()}: {self.log()}")
        json.loads(line)

    def end(self, how: signal.Signals) -> float:
        """Send the signal; how many seconds the process took to go."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(how)
        code = self._process.wait(_READY_SECONDS)
        took = time.monotonic() - began
        self._process.communicate()
        self._process = None
        if how is signal.SIGTERM and code != 0:
            raise RuntimeError(f"serve ended with exit code {code}")
        return took

    def log(self) -> str:
        """What it has written to stderr, over all its processes."""
        self._log.seek(0)
        return self._log.read()

    def rows(self, statement: str) -> list[list[Any]]:
        """A query over REST."""
        answer = httpx.post(f"http://127.0.0.1:{self.port}/api/v1/sql", json={"statement": statement}, timeout=60)
        assert answer.is_success, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    def count(self, table: str = "trace_spans") -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])


@contextmanager
def serving(store: str, misbehaviour: str = "", *, preexec: Any = None, **settings: str) -> Iterator[Server]:
    """Ready at once; killed at the end if it still runs."""
    server = Server(store, misbehaviour, **settings)
    with ExitStack() as stack:
        stack.callback(lambda: server._process and server.end(signal.SIGKILL))
        server.start(preexec)
        yield server


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]
