"""What is acknowledged is stored, however the server ends; and an IDE's stdio server lives beside it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from mcp.client import Client

from tests.e2e.conftest import Pipeline, Record
from tests.e2e.processes import Server, answer_of, command, execution, serving, stdio_server, until
from tests.e2e.test_answers import call, check

SPANS = 5
SENDERS = 4


@contextmanager
def load(server: Server, first: int) -> Iterator[set[str]]:
    """Sends traces of five spans from several connections; yields the growing set of acknowledged ids."""
    acknowledged: set[str] = set()
    numbers = count(first)
    over = threading.Event()

    def send() -> None:
        with httpx.Client() as client:
            while not over.is_set():
                number = next(numbers)
                trace_id = f"{number:032x}"
                try:
                    response = client.post(f"{server.otlp_http}/v1/traces", json=execution(number, trace_id, SPANS))
                except httpx.TransportError:
                    return  # the server is gone
                if response.status_code == 200:
                    acknowledged.add(trace_id)

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        yield acknowledged
    finally:
        over.set()
        for sender in senders:
            sender.join()


def spans_by_trace(server: Server) -> dict[str, int]:
    rows: list[list[Any]] = []
    while page := server.rows(
        f"SELECT trace_id, count(*) FROM trace_spans WHERE trace_id > '{rows[-1][0] if rows else ''}' "
        "GROUP BY trace_id ORDER BY trace_id LIMIT 1000"
    ):
        rows += page
    return dict(rows)


def test_everything_acknowledged_is_stored_however_the_server_ends(store_url: str) -> None:
    acknowledged: set[str] = set()
    for round_number, how in enumerate([signal.SIGKILL, signal.SIGTERM], start=1):
        with serving(store_url) as server, load(server, round_number * 1_000_000) as now:
            until(lambda now=now: len(now) >= 40)
            server.process.send_signal(how)
            assert server.process.wait(10) == (0 if how is signal.SIGTERM else -how)
        acknowledged |= now
    with serving(store_url) as server:
        stored = spans_by_trace(server)
        newest = server.diagnosis(int(max(acknowledged), 16))
    assert acknowledged <= stored.keys()
    assert set(stored.values()) == {SPANS}, "a request is stored whole or not at all"
    assert newest["root_cause"]["root_cause_type"] == "RESOURCE_EXHAUSTED"


def test_the_stdio_server_lives_beside_serve_and_after_it(pipeline: Pipeline, tmp_path: Path) -> None:
    if pipeline.server.store.startswith("postgresql"):
        pytest.skip("a database server is shared by nature")
    spans = tmp_path / "spans.jsonl"
    assert command("export", "--all", "-o", spans, "--store", pipeline.server.store).returncode == 0
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    answer_of("import", spans, "--store", store)
    first, last = pipeline.of("lost_response"), pipeline.of("slow_model")

    async def talk() -> None:
        async with Client(stdio_server(store)) as client, AsyncExitStack() as stack:

            async def ask(record: Record) -> None:
                report, _ = await call(client, "diagnose_execution", {"execution_id": record.execution_id})
                check(record, report)

            async def keep_asking() -> None:
                while not enough.is_set():
                    await ask(first)

            await ask(first)  # alone, from the file
            enough = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep_asking)
                starting = serving(store)
                server = await anyio.to_thread.run_sync(starting.__enter__)
                stack.callback(starting.__exit__, None, None, None)
                await ask(last)  # from the server
                enough.set()
            sent = await anyio.to_thread.run_sync(server.send, execution(77, "77" * 16, spans=2))
            assert sent.status_code == 200
            server.process.kill()
            server.process.wait()
            await ask(last)  # from the file again, which nobody closed
            # The server may have died before it summarised this trace; its spans are there all the same.
            gaps, _ = await call(client, "find_trace_gaps", {"trace_id": "77" * 16})
            assert gaps["total_spans"] == 2

    anyio.run(talk)
