"""The MCP server as its clients see it: in process with both protocols, over HTTP, over stdio."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult, TextContent

from otel_diag.errors import Transient
from otel_diag.model import (
    Answer,
    Comparison,
    GapReport,
    JobAnalysis,
    Performance,
    QueryAnswer,
    RecentFailures,
    Report,
)
from otel_diag.present.client import AnyQueries
from otel_diag.present.mcp.server import build_server
from otel_diag.query import Filters, Key
from tests.present.answers import EXECUTION, TRACE, OneIncident

KEY = Key(execution_id=EXECUTION)

CALLS: list[tuple[str, dict[str, Any], tuple[Any, ...], type[Answer]]] = [
    ("diagnose_execution", {"execution_id": EXECUTION}, ("diagnose", KEY, "full"), Report),
    ("diagnose_execution", {"trace_id": TRACE}, ("diagnose", Key(trace_id=TRACE), "full"), Report),
    ("find_timeout_root_cause", {"job_id": "nightly"}, ("timeout_root_cause", "nightly", None), JobAnalysis),
    ("find_timeout_root_cause", {"execution_id": EXECUTION}, ("timeout_root_cause", None, EXECUTION), JobAnalysis),
    ("compare_with_successful", {"execution_id": EXECUTION}, ("compare_with_successful", KEY), Comparison),
    (
        "get_recent_failures",
        {"limit": 3, "region": "us-east", "status": "timeout"},
        ("recent_failures", 3, Filters(region="us-east", status="timeout")),
        RecentFailures,
    ),
    ("analyze_performance", {"operation": "x"}, ("performance", Filters(operation="x")), Performance),
    ("find_trace_gaps", {"trace_id": TRACE}, ("trace_gaps", Key(trace_id=TRACE)), GapReport),
    ("query_traces", {"query": "slowest today"}, ("ask", "slowest today", None, None), QueryAnswer),
]


def call(server: Any, tool: str, arguments: dict[str, Any], mode: str = "auto") -> CallToolResult:
    async def run() -> CallToolResult:
        async with Client(server, mode=mode) as client:
            return await client.call_tool(tool, arguments)

    return anyio.run(run)


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@pytest.fixture
def server(incident: OneIncident) -> Any:
    return build_server(cast(AnyQueries, incident))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(("tool", "arguments", "asked", "model"), CALLS)
def test_a_tool_answers_in_markdown_and_in_fields(
    server: Any,
    incident: OneIncident,
    tool: str,
    arguments: dict[str, Any],
    asked: tuple[Any, ...],
    model: type[Answer],
    mode: str,
) -> None:
    result = call(server, tool, arguments, mode)
    assert not result.is_error
    assert incident.asked[0] == asked
    assert text_of(result).startswith("# ")
    assert set(result.structured_content or {}) == set(model.model_fields)
    json.dumps(result.structured_content, allow_nan=False)


def test_not_a_number_is_null_in_the_fields(server: Any) -> None:
    result = anyio.run(server.call_tool, "query_traces", {"query": "slowest"})
    assert result.structured_content["results"][0]["p99_ms"] is None


def test_exactly_the_seven_tools_each_read_only_within_the_budget(server: Any) -> None:
    async def run() -> Any:
        async with Client(server) as client:
            return await client.list_tools(), client.instructions

    listed, instructions = anyio.run(run)
    assert [tool.name for tool in listed.tools] == list(dict.fromkeys(tool for tool, *_ in CALLS))
    for tool in listed.tools:
        assert tool.annotations.read_only_hint
        assert tool.output_schema["properties"]
    definitions = json.dumps([tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools])
    assert math.ceil(len(definitions.encode()) / 3) < 6_000
    assert all(tool.name in instructions for tool in listed.tools)


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("diagnose_execution", {}, "exactly one"),
        ("diagnose_execution", {"execution_id": EXECUTION, "trace_id": TRACE}, "exactly one"),
        ("diagnose_execution", {"execution_id": "abc"}, "valid integer"),
        ("diagnose_execution", {"execution_id": 2**70}, "64 bits"),
        (
            "diagnose_execution",
            {"executionId": 1},
            "there is no argument executionId. The arguments of diagnose_execution are execution_id, trace_id.",
        ),
        ("diagnose_execution", {"trace_id": "abc"}, "32 hexadecimal"),
        ("get_recent_failures", {"since": "soon"}, "24h"),
        ("get_recent_failures", {"limit": 0}, "greater than or equal to 1"),
        ("get_recent_failures", {"status": "bad"}, "completed, failed, timeout"),
        ("find_timeout_root_cause", {}, "exactly one"),
        ("query_traces", {"query": ""}, "at least 1"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_right(
    server: Any, incident: OneIncident, tool: str, arguments: dict[str, Any], says: str
) -> None:
    result = call(server, tool, arguments)
    assert result.is_error
    assert says in text_of(result)
    assert "pydantic" not in text_of(result)
    assert not incident.asked


def test_an_unknown_execution_is_told_with_the_nearest(server: Any) -> None:
    result = call(server, "diagnose_execution", {"execution_id": 1})
    assert result.is_error
    assert "execution 1 is not in the store" in text_of(result)
    assert "2192, 2193" in text_of(result)


def test_the_service_is_opened_for_each_call_and_let_go(incident: OneIncident) -> None:
    events: list[str] = []

    @contextmanager
    def opened() -> Iterator[AnyQueries]:
        events.append("open")
        yield cast(AnyQueries, incident)
        events.append("close")

    server = build_server(opened)
    assert events == []
    call(server, "find_trace_gaps", {"trace_id": TRACE})
    call(server, "find_trace_gaps", {"trace_id": TRACE})
    assert events == ["open", "close"] * 2


def test_a_service_that_cannot_be_opened_is_an_error_text() -> None:
    @contextmanager
    def opened() -> Iterator[AnyQueries]:
        raise Transient("the store is locked", hint="Wait.")
        yield

    result = call(build_server(opened), "query_traces", {"query": "x"})
    assert result.is_error
    assert "the store is locked. Wait." in text_of(result)


def test_the_prompt_names_the_execution(server: Any) -> None:
    async def run() -> Any:
        async with Client(server) as client:
            return await client.get_prompt("why_did_execution_fail", {"execution_id": str(EXECUTION)})

    (message,) = anyio.run(run).messages
    assert str(EXECUTION) in message.content.text


def test_it_is_served_over_http(url: str) -> None:
    for mode in ("auto", "legacy"):
        result = call(f"{url}/mcp", "diagnose_execution", {"execution_id": EXECUTION}, mode)
        assert (result.structured_content or {})["root_cause"]["root_cause_type"] == "NETWORK_TIMEOUT"


def test_it_is_served_over_stdio(tmp_path: Any) -> None:
    store = f"duckdb:///{tmp_path / 'none.duckdb'}"
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "otel_diag.present.cli", "mcp", "--store", store]
    )
    result = call(command, "diagnose_execution", {"execution_id": EXECUTION})
    assert result.is_error  # There is no store yet; it says so and goes on.
    assert "otel-diag" in text_of(result) or "store" in text_of(result)
