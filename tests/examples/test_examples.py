"""The small examples against a running server: each does what its README says, and its executions are diagnosed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.e2e.processes import Server, environment, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = str(Path(sys.executable).parent)


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

    # Found as an IDE finds it that was started in the virtual environment.
    path = {"PATH": os.pathsep.join([BIN, os.environ["PATH"]]), "OTEL_DIAG_STORE": server.store}
    place = StdioServerParameters(**started, env=environment() | path)
    assert "diagnose_execution" in tools(place)
    base = "http://127.0.0.1:4319"
    assert called.startswith(f"{base}/")
    assert "diagnose_execution" in tools(called.replace(base, server.url))
