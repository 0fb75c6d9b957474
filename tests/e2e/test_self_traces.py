"""The server's own spans: there when asked for, and no more of them when there is no more work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.client import Client
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind
from prometheus_client.parser import text_string_to_metric_families

from otel_diag.self_traces.recorder import BURST, Bounded
from tests.e2e.processes import Server, execution, serving, until

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
EXECUTIONS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = f"duckdb:///{tmp_path_factory.mktemp('own') / 'store.duckdb'}"
    with serving(store, OTEL_DIAG_SELF_TRACES="store", **SOON) as server:
        yield server


def own(server: Server, kind: str) -> dict[str, int]:
    """How many own spans are stored, by name."""
    where = f"service = 'otel-diag' AND kind = '{kind}'"
    return dict(server.rows(f"SELECT operation, count(*) FROM trace_spans WHERE {where} GROUP BY operation"))


def folded(server: Server) -> float:
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    return next(family.samples[0].value for family in families if family.name == "otel_diag_traces_folded")


def ask_until_folded(server: Server, traces: int) -> None:
    """Asking makes spans too, and each is stored and folded: that alone must make no other."""
    start = folded(server)
    until(lambda: own(server, "server") and folded(server) >= start + traces)


def call_tool(server: Server, name: str, **arguments: object) -> None:
    async def call() -> None:
        async with Client(server.mcp) as client:
            assert not (await client.call_tool(name, arguments)).is_error

    anyio.run(call)


def test_what_the_server_did_is_stored_and_storing_it_is_not(server: Server) -> None:
    for number in range(EXECUTIONS):
        assert server.send(execution(number, f"{number + 1:032x}")).is_success
    numbers = cycle(range(1, EXECUTIONS + 1))

    def done() -> bool:
        # Again and again, and about another each time: only so many questions a second are recorded, with what they do.
        server.diagnosis(next(numbers))
        call_tool(server, "get_recent_failures")
        inside, asked = own(server, "internal"), own(server, "server")
        tools = {"POST /api/v1/trace/diagnose", "tools/call get_recent_failures"}
        return {"commit", "decode", "fold", "diagnose"} <= inside.keys() and tools <= asked.keys()

    until(done)
    commits = server.rows("SELECT attributes FROM trace_spans WHERE service = 'otel-diag' AND operation = 'commit'")
    assert sum(json.loads(attributes)["otel_diag.records"] for (attributes,) in commits) == EXECUTIONS
    until(lambda: server.rows("SELECT count(*) FROM trace_arrivals") == [[0]])
    ask_until_folded(server, 2)  # spans are stored in order: what was recorded of the executions is before these
    before = own(server, "internal")
    ask_until_folded(server, 5)
    assert own(server, "internal") == before


def test_own_spans_that_come_in_make_no_others(server: Server, tmp_path: Path) -> None:
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    before = own(server, "internal")
    with serving(store, OTEL_DIAG_SELF_TRACES="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=server.otlp_http, **SOON) as sender:
        assert sender.send(execution(7, "7" * 32)).is_success
        until(lambda: own(server, "internal")["fold"] > before["fold"])
        assert own(sender, "internal") == {}
    assert own(server, "internal")["commit"] == before["commit"] + 1


def test_busy_work_makes_a_bounded_number_of_spans() -> None:
    now = 0.0
    sampler = Bounded(clock=lambda: now)

    def taken(name: str, kind: SpanKind = SpanKind.INTERNAL) -> int:
        decisions = [sampler.should_sample(None, 1, name, kind).decision for _ in range(1_000)]
        return decisions.count(Decision.RECORD_AND_SAMPLE)

    assert taken("commit") == BURST
    assert taken("fold") == BURST, "each kind of work has its own share"
    assert taken("tools/call one", SpanKind.SERVER) == BURST
    assert taken("tools/call two", SpanKind.SERVER) == 0, "names that clients choose share one"
    now = 3.0
    assert taken("commit") == 3
