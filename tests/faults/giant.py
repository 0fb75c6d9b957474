"""One trace of very many spans: memory and answers stay small and say how much there is.

``python -m tests.faults.giant --spans 1000000 --store duckdb``; part of ``make faults``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from mcp.client import Client

from tests.e2e.processes import until
from tests.faults.clients import GrpcClient
from tests.faults.payloads import START, encoded
from tests.faults.server import Server, serving
from tests.faults.stores import empty_store, most_resident_bytes

MIB = 1024 * 1024
TRACE = b"a very long trac"
MAX_ANSWER = 2 * MIB
MAX_RSS = {"duckdb": 1024 * MIB, "postgres": 1024 * MIB, "clickhouse": 2048 * MIB}
"""The ClickHouse engine takes half a gigabyte before its first row."""

_BATCH = 2000
_SENDERS = 4
_FOLD_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """One way to ask about the trace."""

    way: str
    size: int
    total: int | None
    """Spans of the trace, as the answer says."""
    examined: int | None
    seconds: float


@dataclass(frozen=True)
class Giant:
    store: str
    spans: int
    answers: list[Answer]
    rss: int
    """The most there was."""

    @property
    def clean(self) -> bool:
        return self.rss < MAX_RSS[self.store] and all(
            answer.size < MAX_ANSWER and answer.total == self.spans and answer.examined for answer in self.answers
        )

    def __str__(self) -> str:
        said = ", ".join(
            f"{a.way} {a.size // 1024} KiB of {a.examined} of {a.total} spans in {a.seconds:.1f} s"
            for a in self.answers
        )
        return f"{self.spans:,} spans in one trace: {said}; RSS at most {self.rss // MIB} MiB"


def giant(store: str, spans: int) -> Giant:
    with empty_store(store) as url, serving(url, OTEL_DIAG_QUERY_SECONDS="120") as server:
        clients = [GrpcClient(server.grpc_port) for _ in range(_SENDERS)]
        with ThreadPoolExecutor(_SENDERS) as pool:
            sent = pool.map(lambda number, payload: clients[number % _SENDERS].send(payload), *_numbered(spans))
            if any(answer.outcome != "ok" for answer in sent):
                raise RuntimeError("the trace was not stored")
        unsummarised = list(_over_rest(server))
        until(lambda: _is_summarised(server), _FOLD_SECONDS)
        answers = [*unsummarised, *_over_rest(server), *anyio.run(_over_mcp, server)]
        return Giant(store, spans, answers, most_resident_bytes(server.pid))


def _numbered(spans: int) -> tuple[range, Iterator[bytes]]:
    """A root and its children, some of them failed, a batch at a time."""

    def batch(first: int) -> bytes:
        return encoded(
            *(
                {
                    "trace_id": TRACE,
                    "span_id": number.to_bytes(8, "big"),
                    "parent_span_id": (1).to_bytes(8, "big") if number > 1 else b"",
                    "start_time_unix_nano": START + number * 1000,
                    "end_time_unix_nano": START + (number * 1000 if number > 1 else spans * 1000) + 5000,
                    "status": {"code": 2, "message": "refused"} if number % 1000 == 0 else None,
                }
                for number in range(first, min(first + _BATCH, spans + 1))
            )
        )

    starts = range(1, spans + 1, _BATCH)
    return range(len(starts)), (batch(first) for first in starts)


def _is_summarised(server: Server) -> bool:
    statement = "SELECT (SELECT count(*) FROM trace_summaries) > 0 AND (SELECT count(*) FROM trace_arrivals) = 0"
    answer = httpx.post(f"http://127.0.0.1:{server.port}/api/v1/sql", json={"statement": statement}, timeout=60)
    return bool(answer.raise_for_status().json()["rows"][0][0])


def _over_rest(server: Server) -> Iterator[Answer]:
    base = f"http://127.0.0.1:{server.port}/api/v1/trace"
    trace = {"trace_id": TRACE.hex()}
    with httpx.Client(timeout=600) as client:
        for way in ("diagnose", "timeline", "summary", "gaps"):
            began = time.monotonic()
            if way == "diagnose":
                answer = client.post(f"{base}/{way}", json=trace)
            else:
                answer = client.get(f"{base}/{way}", params=trace)
            answer.raise_for_status()
            yield _answer(f"REST {way}", len(answer.content), answer.json(), time.monotonic() - began)


async def _over_mcp(server: Server) -> list[Answer]:
    answers = []
    async with Client(f"http://127.0.0.1:{server.port}/mcp") as client:
        for tool in ("diagnose_execution", "find_trace_gaps"):
            began = time.monotonic()
            result = await client.call_tool(tool, {"trace_id": TRACE.hex()})
            size = sum(len(getattr(content, "text", "")) for content in result.content)
            structured = result.structured_content or {}
            answers.append(_answer(f"MCP {tool}", size, structured, time.monotonic() - began))
    return answers


def _answer(way: str, size: int, content: dict[str, Any], seconds: float) -> Answer:
    quality = content.get("data_quality") or {}
    total = content.get("total_spans") or quality.get("spans")
    return Answer(way, size, total, content.get("spans_examined") or quality.get("spans_examined"), seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--store", default="duckdb")
    given = parser.parse_args()
    found = giant(given.store, given.spans)
    print(f"{'ok' if found.clean else 'FAIL'} {found}")
    sys.exit(not found.clean)
