"""The product as its users meet it: programs, sockets and exit codes. Nothing of it is imported here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from mcp.client.stdio import StdioServerParameters

PROGRAM = [sys.executable, "-m", "otel_diag.present.cli"]
ANY_PORTS = ["--grpc-port", "0", "--http-port", "0", "--port", "0"]
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def environment() -> dict[str, str]:
    """Ours without anybody's settings, and with traces that settle soon."""
    foreign = ("OTEL_", "DATABASE_URL", "DEMO_EXIT", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"OTEL_DIAG_QUIET_SECONDS": "0.2", "OTEL_DIAG_SETTLE_SECONDS": "1"}


def until(condition: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """The first result that is true. Fails when the deadline passes."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return value


def finished(words: Sequence[str], directory: str | Path) -> subprocess.CompletedProcess[str]:
    """A program run to its end, without a terminal.

    Fails when it hangs, and says where: each of its processes writes what its threads are at.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"PYTHONFAULTHANDLER": "1"},
        cwd=directory,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)
        out, errors = process.communicate()
        pytest.fail(f"It has not ended: {' '.join(words)}\n{out}\n{errors}")
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """One run of ``otel-diag``."""
    return finished([*PROGRAM, *map(str, words)], tempfile.gettempdir())  # where no otel-diag.toml is


def answer_of(*words: object) -> Any:
    """What a command prints with ``--json``."""
    done = command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stdio_server(store: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=PROGRAM[0], args=[*PROGRAM[1:], "mcp", "--store", store], env=environment(), cwd=tempfile.gettempdir()
    )


@dataclass(frozen=True)
class Server:
    """A ready ``otel-diag serve``."""

    process: subprocess.Popen[str]
    url: str
    otlp_http: str
    otlp_grpc: str
    store: str

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    def get(self, path: str, **parameters: Any) -> Any:
        return _read(httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE_SECONDS))

    def post(self, path: str, **body: Any) -> Any:
        return _read(httpx.post(f"{self.url}/api/v1/{path}", json=body, timeout=PATIENCE_SECONDS))

    def rows(self, statement: str) -> list[list[Any]]:
        return self.post("sql", statement=statement)["rows"]

    def span_count(self) -> int:
        ((count,),) = self.rows("SELECT count(*) FROM trace_spans")
        return count

    def diagnosis(self, execution_id: int) -> dict[str, Any]:
        """The report on an execution whose spans have all arrived: from then on it does not change."""

        def settled() -> dict[str, Any] | None:
            response = httpx.post(
                f"{self.url}/api/v1/trace/diagnose", json={"execution_id": execution_id}, timeout=PATIENCE_SECONDS
            )
            if response.status_code == 404:
                return None
            report = _read(response)
            return None if report["data_quality"]["still_arriving"] else report

        return until(settled)

    def send(self, request: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self.otlp_http}/v1/traces", json=request, timeout=PATIENCE_SECONDS)


def _read(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return response.json()


@contextmanager
def serving(store: str, **settings: str) -> Iterator[Server]:
    """``serve`` on free ports, ready; stopped as a service manager does, unless the block ended it.

    ``settings`` are further environment variables.
    """
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--store", store, *ANY_PORTS, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment() | settings,
        cwd=tempfile.gettempdir(),
    )
    try:
        yield _ready(process)
        if process.poll() is None:
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def _ready(process: subprocess.Popen[str]) -> Server:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"serve ended with exit code {process.wait()}"
    said = json.loads(line)
    server = Server(process, said["url"], said["otlp_http"], said["otlp_grpc"], said["store"])
    until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)
    return server


def execution(execution_id: int, trace_id: str, spans: int = 1) -> dict[str, Any]:
    """One OTLP request: a failed execution of ``spans`` spans that ended just now."""
    now = time.time_ns()
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "runner"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": trace_id,
                                "spanId": f"{number + 1:016x}",
                                "parentSpanId": f"{1:016x}" if number else "",
                                "name": "step" if number else "runner.execution",
                                "startTimeUnixNano": str(now - 1_000_000_000 + number),
                                "endTimeUnixNano": str(now - number),
                                "attributes": [{"key": "execution.id", "value": {"intValue": str(execution_id)}}],
                                "status": {"code": 2, "message": "no space left on device"},
                            }
                            for number in range(spans)
                        ]
                    }
                ],
            }
        ]
    }


def lines_file(path: Path, *requests: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(request) + "\n" for request in requests), encoding="utf-8")
    return path
