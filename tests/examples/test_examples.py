"""The small examples against a running server: each does what its README says, and its executions are diagnosed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.e2e.processes import Server, environment, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = str(Path(sys.executable).parent)
PATH = os.pathsep.join([BIN, os.environ["PATH"]])
"""As in a shell where the virtual environment is active."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(f"duckdb:///{tmp_path_factory.mktemp('examples') / 'store.duckdb'}") as running:
        yield running


# ---------------------------------------------------------------------------------- ide


def entry(ide: str, way: str) -> dict[str, Any]:
    """The only server that the file names, without what merely says which kind it is."""
    (servers,) = json.loads((EXAMPLES / "ide" / ide / f"{way}.json").read_text("utf-8")).values()
    assert servers.keys() == {"otel-diag"}
    return {key: value for key, value in servers["otel-diag"].items() if key != "type"}


def tools(place: Any) -> set[str]:
    async def listed() -> set[str]:
        async with Client(place) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    return anyio.run(listed)


def test_what_an_ide_starts_or_calls_is_the_mcp_server(server: Server) -> None:
    started, called = entry("windsurf", "stdio"), entry("windsurf", "http")["serverUrl"]
    for ide in ("cursor", "vscode", "claude-code"):
        assert entry(ide, "stdio") == started
        assert entry(ide, "http") == {"url": called}

    place = StdioServerParameters(**started, env=environment() | {"PATH": PATH, "OTEL_DIAG_STORE": server.store})
    assert "diagnose_execution" in tools(place)
    base = "http://127.0.0.1:4319"
    assert called.startswith(f"{base}/")
    assert "diagnose_execution" in tools(called.replace(base, server.url))


# ---------------------------------------------------------------------------------- programs


def executions(path: str, **settings: str) -> list[tuple[int, str]]:
    """Runs an example to its end: the executions it prints, and what it says of each."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / path], env=environment() | settings, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    printed = [line.removeprefix("execution ").partition(": ") for line in done.stdout.splitlines()]
    return [(int(execution_id), said) for execution_id, _, said in printed]


def to(server: Server) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": server.otlp_http, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


def blamed(report: dict[str, Any]) -> str:
    """Where the cause lies. Which type of cause it is may depend on how long the little that happens took."""
    found = report["root_cause"]
    return f"{found['affected_service']}.{found['affected_operation']}"


def operations(server: Server, report: dict[str, Any]) -> list[str]:
    """Service and operation of every span of the execution, in the order of their starts."""
    rows = server.rows(
        "SELECT service, operation FROM trace_spans "
        f"WHERE trace_id = '{report['trace_id']}' ORDER BY start_unix_nano, parent_span_id IS NOT NULL"
    )
    return [".".join(row) for row in rows]


def test_script(server: Server) -> None:
    *whole, (broken, said) = executions("script/script.py", **to(server))
    assert len(whole) == 2
    assert said.startswith("failed")
    assert {server.diagnosis(execution_id)["verdict"] for execution_id, _ in whole} == {"healthy"}
    report = server.diagnosis(broken)
    assert blamed(report) == "reports.add"
    assert "n/a" in report["root_cause"]["evidence"]


def test_async_worker(server: Server) -> None:
    printed = dict(executions("async_worker/worker.py", **to(server)))
    reports = {execution_id: server.diagnosis(execution_id) for execution_id in printed}
    (failed,) = [execution_id for execution_id, said in printed.items() if said.startswith("failed")]
    assert blamed(reports.pop(failed)) == "thumbnailer.decode"
    assert {report["verdict"] for report in reports.values()} == {"healthy"}
    upload = server.rows("SELECT DISTINCT trace_id FROM trace_spans WHERE operation = 'upload'")
    links = server.rows("SELECT links FROM trace_spans WHERE operation = 'process thumbnails'")
    linked = [[link["trace_id"] for link in json.loads(text)] for (text,) in links]
    assert linked == upload * len(printed)


def test_modal(server: Server) -> None:
    pytest.importorskip("modal")
    printed = executions("modal/run_jobs.py", **to(server))
    *answered, failed = [server.diagnosis(execution_id) for execution_id, _ in printed]
    below = {
        said.split()[0]: operations(server, report) for (_, said), report in zip(printed[:-1], answered, strict=True)
    }
    start = ["runner.runner.execution", "runner.POST", "router.POST /jobs", "router.choose_shape"]
    assert below == {
        "function": [*start, "router.modal.tokenize"],
        "async": [*start, "router.modal.moderate"],
        "generator": [*start, "router.modal.stream"],
        "method": [*start, "router.modal.load", "router.modal.generate"],
        "web": [*start, "router.modal.web"],
    }
    assert {report["verdict"] for report in answered} == {"healthy"}
    assert "failed" in printed[-1][1]
    assert blamed(failed) == "router.modal.generate"


def test_llm_app(server: Server) -> None:
    *answered, (failed, said) = executions("llm_app/chat.py", **to(server))
    assert said.startswith("failed")
    for execution_id, _ in answered:
        report = server.diagnosis(execution_id)
        assert report["verdict"] == "healthy"
        spans = ["runner.execution", "look_up", "embeddings tiny-embed", "chat tiny-chat"]
        assert operations(server, report) == [f"chat.{span}" for span in spans]
        rows = server.rows(
            f"SELECT attributes FROM trace_spans WHERE trace_id = '{report['trace_id']}' AND kind = 'client' "
            "ORDER BY start_unix_nano"
        )
        embedding, chat = [json.loads(text) for (text,) in rows]
        assert embedding["gen_ai.usage.input_tokens"] == 4
        assert (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]) == (7, 3)
        assert chat["gen_ai.response.time_to_first_chunk"] > 0
    assert blamed(server.diagnosis(failed)) == "chat.chat tiny-chat"


def test_fastapi(server: Server) -> None:
    if not entry_points(group="opentelemetry_configurator", name="otel_diag"):
        pytest.skip("the instrumentation is installed without its entry points")
    words = ["uvicorn", "--app-dir", str(EXAMPLES / "fastapi"), "app:app", "--port", "0"]
    service = subprocess.Popen(
        [f"{BIN}/opentelemetry-instrument", *words],
        env=environment() | to(server) | {"OTEL_SERVICE_NAME": "shop", "PATH": PATH},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stderr is not None
        (url,) = next(found for line in service.stderr if (found := re.findall(r"running on (http://\S+)", line)))
        assert httpx.get(f"{url}/items/1", headers={"baggage": "execution.id=71"}).json()["cents"] == 250
        assert httpx.get(f"{url}/items/9", headers={"baggage": "execution.id=72"}).status_code == 500
    finally:
        service.terminate()
        service.communicate(timeout=30)
    assert server.diagnosis(71)["verdict"] == "healthy"
    report = server.diagnosis(72)
    assert report["status"] == "failed"
    assert "KeyError" in report["root_cause"]["evidence"]
    assert "shop.GET /items/{item}" in operations(server, report)
