"""Diagnosing traces of 100,000 spans through REST on a live server, and the size of every answer about them.

Usage: python -m benchmarks.long_trace [--spans N] [--store duckdb|postgres] [SHAPE ...]

Each trace is sent over OTLP/HTTP and asked about at once, before anything about it is summarised or stored. The clock
runs from the request to the last byte of the answer. Then each MCP tool is asked; answers are measured in tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from mcp import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.ingest import in_tables, server, store_url
from otel_diag.present import budget

SPANS: Final = 100_000
LIMIT_SECONDS: Final = 2.0
REQUEST_SPANS: Final = 5_000
NANOS_PER_MS: Final = 1_000_000
SENT_BEFORE: Final = 60
LEVELS: Final = 10
CHILDREN: Final = 10
SERVICES: Final = 200
ORPHANS: Final = 2_000
LONG: Final = "a name that goes on and on, " * 100
INTERNAL, SERVER, CLIENT = 1, 2, 3


@dataclass(slots=True)
class Drawn:
    """One span of a trace to be sent; ``parent`` is a place among its spans. Times in ms since the trace began."""

    parent: int | None
    start: float
    length: float
    service: str = "worker"
    operation: str = "step"
    kind: int = INTERNAL
    error: str | None = None
    lost_parent: bool = False


def fan_out(spans: int) -> list[Drawn]:
    """One parent, all others below it, one after the other in pairs; one fails and its parent handles it."""
    drawn = [Drawn(None, 0, spans + 1, operation="job")]
    drawn += [Drawn(0, n // 2 * 2, 1.9, operation=f"item {n % 50}") for n in range(spans - 1)]
    drawn[spans // 2].error = "ValueError: bad item"
    return drawn


def chain(spans: int) -> list[Drawn]:
    """Each span is the child of the one before; the innermost fails, and all above it."""
    error = "RuntimeError: the innermost step failed"
    return [
        Drawn(n - 1 if n else None, n * 0.01, (spans - n) * 0.02, operation=f"level {n % 100}", error=error)
        for n in range(spans)
    ]


def levels(spans: int) -> list[Drawn]:
    """Ten levels; the first tenth of each level has ten children each."""
    wide = (spans - 1) // LEVELS
    drawn = [Drawn(None, 0, 120_000, operation="job")]
    for level in range(LEVELS):
        above = 1 + (level - 1) * wide
        for n in range(wide):
            parent = above + n // CHILDREN if level else 0
            start = drawn[parent].start + (n % CHILDREN) * 10.0
            drawn.append(Drawn(parent, start, 9.0 + 100 * (LEVELS - level), operation=f"task {level}.{n % CHILDREN}"))
    return drawn


def services(spans: int) -> list[Drawn]:
    """Calls between 200 services, three spans each."""
    drawn = [Drawn(None, 0, spans * 3.0, "gateway", "handle")]
    while len(drawn) + 3 <= spans:
        n = len(drawn) // 3
        start = n * 8.0
        callee = f"service-{n % SERVICES}"
        drawn.append(Drawn(0, start, 7.0, "gateway", f"call {callee}", CLIENT))
        drawn.append(Drawn(len(drawn) - 1, start + 1, 5.0, callee, "serve", SERVER))
        drawn.append(Drawn(len(drawn) - 1, start + 2, 2.0, callee, "work"))
    return drawn


def failed_leaf(spans: int) -> list[Drawn]:
    """As ``levels``; one of the innermost spans is refused a connection, and so everything above it fails."""
    drawn = levels(spans)
    at: int | None = len(drawn) - 1
    drawn[-1].kind = CLIENT
    while at is not None:
        drawn[at].error = "ConnectionRefusedError: connection refused: database:5432"
        at = drawn[at].parent
    return drawn


def slow(spans: int) -> list[Drawn]:
    """Completed; a minute passes in one step, and twice as long in nothing at all."""
    drawn = services(spans)
    drawn[0].length += 180_000
    drawn[-1].length += 60_000
    drawn[-2].length += 60_000
    drawn[-3].length += 60_000
    return drawn


def orphans(spans: int) -> list[Drawn]:
    """As ``services``; the parents of 2,000 spans were never sent."""
    drawn = services(spans)
    for n in range(ORPHANS):
        drawn[2 + n * 3 * (len(drawn) // 3 // ORPHANS)].lost_parent = True
    return drawn


def many_errors(spans: int) -> list[Drawn]:
    """A tenth of the spans fail, all with names and messages of thousands of characters; another tenth are orphans."""
    drawn = fan_out(spans)
    drawn[0].error = f"RuntimeError: {LONG}"
    for n in range(1, spans, 10):
        drawn[n].error = f"RuntimeError: item {n} {LONG}"
        drawn[n].operation = f"item {n} {LONG}"
        if n + 5 < spans:
            drawn[n + 5].lost_parent = True
    return drawn


SHAPES: Final[Mapping[str, Callable[[int], list[Drawn]]]] = {
    shape.__name__: shape for shape in (fan_out, chain, levels, services, failed_leaf, slow, orphans, many_errors)
}


def trace_id_of(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()


def requests(name: str, drawn: list[Drawn]) -> Iterator[bytes]:
    """The trace as exporters would send it, a service's spans together as far as they are neighbours."""
    trace_id = trace_id_of(name)
    begin = time.time_ns() - SENT_BEFORE * 1_000 * NANOS_PER_MS
    for first in range(0, len(drawn), REQUEST_SPANS):
        request = ExportTraceServiceRequest()
        by_service: dict[str, Any] = {}
        for place in range(first, min(first + REQUEST_SPANS, len(drawn))):
            one = drawn[place]
            if one.service not in by_service:
                part = request.resource_spans.add()
                for key, value in (
                    ("service.name", one.service),
                    ("service.version", "1.2.3"),
                    ("host.name", f"host-{one.service}"),
                ):
                    part.resource.attributes.add(key=key).value.string_value = value
                by_service[one.service] = part.scope_spans.add().spans
            parent = 2**40 + place if one.lost_parent else None if one.parent is None else one.parent + 1
            start = begin + int(one.start * NANOS_PER_MS)
            span = by_service[one.service].add(
                trace_id=trace_id,
                span_id=(place + 1).to_bytes(8, "big"),
                parent_span_id=b"" if parent is None else parent.to_bytes(8, "big"),
                name=one.operation,
                kind=one.kind,
                start_time_unix_nano=start,
                end_time_unix_nano=start + int(one.length * NANOS_PER_MS),
            )
            span.attributes.add(key="thread.id").value.int_value = place % 16
            span.attributes.add(key="code.function").value.string_value = "run_step"
            span.attributes.add(key="item.key").value.string_value = f"item-{place}"
            if one.kind != INTERNAL:
                span.attributes.add(key="http.request.method").value.string_value = "POST"
            if one.error is not None:
                kind, _, message = one.error.partition(": ")
                span.status.code = 2
                span.status.message = message
                span.attributes.add(key="error.type").value.string_value = kind
        yield request.SerializeToString()


@dataclass(frozen=True, slots=True)
class Measured:
    """``seconds``: of the first diagnosis through REST. ``answers``: tokens of each answer, by how it was asked."""

    seconds: float
    answers: dict[str, int]
    verdict: str

    @property
    def is_fine(self) -> bool:
        within = all(
            size <= (budget.MARKDOWN_TOKENS if way.endswith("text") else budget.STRUCTURED_TOKENS)
            for way, size in self.answers.items()
        )
        return within and self.seconds < LIMIT_SECONDS


def measured(name: str, spans: int, otlp_port: int, url: str) -> Measured:
    for payload in requests(name, SHAPES[name](spans)):
        _posted(f"http://127.0.0.1:{otlp_port}/v1/traces", payload, "application/x-protobuf")
    in_tables(url)
    trace_id = trace_id_of(name).hex()
    begun = time.perf_counter()
    body = _posted(f"{url}/api/v1/trace/diagnose", json.dumps({"trace_id": trace_id}).encode(), "application/json")
    seconds = time.perf_counter() - begun
    answers = {"REST diagnose": budget.tokens(body.decode())} | asyncio.run(_asked(f"{url}/mcp", trace_id))
    cause = json.loads(body)["root_cause"] or {}
    return Measured(seconds, answers, cause.get("root_cause_type") or json.loads(body)["verdict"])


async def _asked(url: str, trace_id: str) -> dict[str, int]:
    """Tokens of each tool's answer about the trace: as text, and as data."""
    key = {"trace_id": trace_id}
    calls: dict[str, dict[str, Any]] = {
        "diagnose_execution": key,
        "compare_with_successful": key,
        "find_trace_gaps": key,
        "get_recent_failures": {"limit": 100},
        "query_traces": {"query": f"timeline of trace {trace_id}"},
        "analyze_performance": {},
    }
    sizes: dict[str, int] = {}
    async with Client(url) as client:
        for tool, arguments in calls.items():
            result = await client.call_tool(tool, arguments)
            text = "".join(getattr(content, "text", "") for content in result.content)
            if result.is_error:
                raise RuntimeError(f"{tool}({arguments}): {text}")
            sizes[f"{tool} text"] = budget.tokens(text)
            sizes[f"{tool} data"] = budget.tokens(json.dumps(result.structured_content, ensure_ascii=False))
    return sizes


def _posted(url: str, body: bytes, kind: str) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": kind})
    with urllib.request.urlopen(request, timeout=300) as response:
        found: bytes = response.read()
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", default=list(SHAPES), help=f"{', '.join(SHAPES)}")
    parser.add_argument("--spans", type=int, default=SPANS)
    parser.add_argument("--store", default="duckdb", help="duckdb or postgres")
    given = parser.parse_args()
    fine = True
    print(f"{'shape':12} {'seconds':>8}  {'verdict':24} {'text':>7} {'data':>7}  tokens of the largest answers")
    for name in given.shapes:
        with tempfile.TemporaryDirectory(prefix="otel-diag-bench-") as temporary:
            directory = Path(temporary)
            with store_url(given.store, directory) as store, server(store, directory) as (_, otlp_port, url):
                found = measured(name, given.spans, otlp_port, url)
        fine &= found.is_fine
        text = max(size for way, size in found.answers.items() if way.endswith("text"))
        data = max(size for way, size in found.answers.items() if not way.endswith("text"))
        mark = "" if found.is_fine else "MISSED"
        print(f"{name:12} {found.seconds:8.2f}  {found.verdict:24} {text:7,} {data:7,}  {mark}", flush=True)
    print(f"every trace of {given.spans:,} spans diagnosed in {LIMIT_SECONDS:g} s, every answer in its budget: {fine}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
