"""``serve`` as a process of its own, and the other commands beside it on the same embedded store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from otel_diag.discovery import Endpoints
from otel_diag.errors import NotFound
from otel_diag.present.client import RemoteQueries
from otel_diag.query import Key
from tests.present.otlp import request

FAILED = 2193
PROGRAM = [sys.executable, "-m", "otel_diag.present.cli"]
ANY_PORTS = ["--grpc-port", "0", "--http-port", "0", "--port", "0"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path / 'store.duckdb'}"


@pytest.fixture
def server(store: str) -> Iterator[Endpoints]:
    with started(store) as process:
        yield endpoints_of(process)
        process.terminate()
        assert process.wait(20) == 0


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps(request(FAILED, failed=True)) + "\n")
    return path


def started(store: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OTEL_DIAG_QUIET_SECONDS": "0.1", "OTEL_DIAG_SETTLE_SECONDS": "1"}
    command = [*PROGRAM, "serve", "--store", store, *ANY_PORTS, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def endpoints_of(process: subprocess.Popen[str]) -> Endpoints:
    assert process.stdout is not None
    return Endpoints(**json.loads(process.stdout.readline()))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=60)


def test_commands_work_beside_the_server_that_owns_the_store(server: Endpoints, store: str, lines: Path) -> None:
    imported = run("import", lines, "--store", store, "--json")
    assert imported.returncode == 0, imported.stderr
    (result,) = json.loads(imported.stdout)
    assert (result["spans"], result["stored"], result["duplicates"]) == (2, 2, None)
    diagnosed = run("diagnose", str(FAILED), "--store", store)
    assert diagnosed.returncode == 0, diagnosed.stderr
    assert "runner.execution" in diagnosed.stdout
    exported = run("export", "--all", "--store", store)
    assert json.loads(exported.stdout)["resourceSpans"]
    unknown = run("diagnose", "1", "--store", store)
    assert (unknown.returncode, str(FAILED) in unknown.stderr) == (3, True)
    second = run("serve", "--store", store, *ANY_PORTS)
    assert second.returncode == 4
    assert len(second.stderr.splitlines()) == 2, "one line and a hint"
    checked = json.loads(run("doctor", "--store", store, "--json").stdout)
    assert any(check["name"] == "server" and server.url in check["detail"] for check in checked)


def test_a_diagnosis_is_the_same_over_every_way_in(server: Endpoints, store: str, lines: Path) -> None:
    assert run("import", lines, "--store", store).returncode == 0
    with RemoteQueries(server.url) as queries:
        rest = settled(queries)
    command = json.loads(run("diagnose", str(FAILED), "--store", store, "--json").stdout)
    over_http = call_tool(f"{server.url}/mcp")
    over_stdio = call_tool(StdioServerParameters(command=PROGRAM[0], args=[*PROGRAM[1:], "mcp", "--store", store]))
    for answer in (command, over_http, over_stdio):
        assert without_moment(answer) == without_moment(rest)


def test_mcp_over_stdio_never_keeps_the_server_from_starting(store: str, lines: Path) -> None:
    assert run("import", lines, "--store", store).returncode == 0
    parameters = StdioServerParameters(command=PROGRAM[0], args=[*PROGRAM[1:], "mcp", "--store", store])

    async def talk() -> list[Any]:
        async with Client(parameters) as client:
            alone = await client.call_tool("diagnose_execution", {"execution_id": FAILED})
            with started(store) as process:
                endpoints = await anyio.to_thread.run_sync(endpoints_of, process)
                beside = await client.call_tool("diagnose_execution", {"execution_id": FAILED})
                os.kill(endpoints.pid, signal.SIGTERM)
                assert await anyio.to_thread.run_sync(process.wait, 20) == 0
            after = await client.call_tool("diagnose_execution", {"execution_id": FAILED})
            return [alone, beside, after]

    for answer in anyio.run(talk):
        assert not answer.is_error, answer.content
        assert answer.structured_content["execution_id"] == FAILED


def settled(queries: RemoteQueries) -> dict[str, Any]:
    """The diagnosis once its trace no longer counts as arriving: from then on it does not change."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            report = queries.diagnose(Key(execution_id=FAILED))
        except NotFound:
            continue
        if not report.data_quality.still_arriving:
            return json.loads(report.model_dump_json())
        time.sleep(0.1)
    raise AssertionError("the trace did not settle")


def call_tool(server: Any) -> dict[str, Any]:
    async def run_one() -> Any:
        async with Client(server) as client:
            return await client.call_tool("diagnose_execution", {"execution_id": FAILED})

    result = anyio.run(run_one)
    assert not result.is_error, result.content
    structured: dict[str, Any] = result.structured_content
    return structured


def without_moment(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "computed_at"}
