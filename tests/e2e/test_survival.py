"""An IDE's stdio server lives beside ``serve``, however that ends. (What is acknowledged is stored: tests/faults.)"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
from mcp.client import Client

from tests.e2e.processes import answer_of, execution, lines_file, serving, stdio_server
from tests.e2e.test_answers import call

FIRST, LAST = 1, 2


def test_the_stdio_server_lives_beside_serve_and_after_it(tmp_path: Path) -> None:
    """On an embedded store, which is one process's at a time: a database server is shared by nature."""
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    spans = lines_file(tmp_path / "spans.jsonl", *(execution(number, f"{number:032x}") for number in (FIRST, LAST)))
    answer_of("import", spans, "--store", store)

    async def talk() -> None:
        async with Client(stdio_server(store)) as client, AsyncExitStack() as stack:

            async def ask(execution_id: int) -> None:
                report, _ = await call(client, "diagnose_execution", {"execution_id": execution_id})
                assert (report["execution_id"], report["trace_id"]) == (execution_id, f"{execution_id:032x}")
                assert (report["status"], report["verdict"]) == ("failed", "root_cause")
                cause = report["root_cause"]
                assert cause["root_cause_type"] == "RESOURCE_EXHAUSTED"
                assert (cause["affected_service"], cause["affected_operation"]) == ("runner", "runner.execution")

            async def keep_asking() -> None:
                while not enough.is_set():
                    await ask(FIRST)

            await ask(FIRST)  # alone, from the file
            enough = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep_asking)
                starting = serving(store)
                server = await anyio.to_thread.run_sync(starting.__enter__)
                stack.callback(starting.__exit__, None, None, None)
                await ask(LAST)  # from the server
                enough.set()
            sent = await anyio.to_thread.run_sync(server.send, execution(77, "77" * 16, spans=2))
            assert sent.status_code == 200
            server.process.kill()
            server.process.wait()
            await ask(LAST)  # from the file again, which nobody closed
            # The server may have died before it summarised this trace; its spans are there all the same.
            gaps, _ = await call(client, "find_trace_gaps", {"trace_id": "77" * 16})
            assert gaps["total_spans"] == 2

    anyio.run(talk)


def test_a_question_sees_what_was_acknowledged_before_it(tmp_path: Path) -> None:
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server:
        for number in range(1, 11):
            assert server.send(execution(number, f"{number:032x}")).is_success
            assert server.span_count() == number
