"""Many executions, stored, summarised and diagnosed: what the latency of questions is measured against.

An execution is runner -> router -> Modal function, in the shape of the example pipeline. Of a hundred, 95 complete, a
few of them slowly; the others are refused again and again, time out, or fail before they call anybody. 200 in a row are
a job, which runs one model; there are several root operations, one of them rare.

The first million spans are written, summarised and diagnosed by what the receiver and the worker call. To ten times as
many they are copied in the database under new ids: the same executions in the same three days, ten at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa

from otel_diag.config import Settings, embedded_path
from otel_diag.model import DEFAULT_TENANT, SPAN_SCHEMA
from otel_diag.reader import Reader
from otel_diag.store.appending import HOUR_NANOS
from otel_diag.store.base import LOT_ROWS
from otel_diag.store.open import open_store
from otel_diag.store.schema import metadata
from otel_diag.summaries import fold_traces
from otel_diag.worker import Worker

NANOS_PER_MS: Final = 1_000_000
PERIOD: Final = timedelta(days=3)
"""Executions are spread evenly over this long, whatever their number: more of them lie closer together."""

JOB_SIZE: Final = 200
BATCH: Final = 2_000
FOLDED_TOGETHER: Final = 500
MODELS: Final = ["llama3.2-1b", "qwen2.5-1.5b", "mistral-7b", "gemma-2b", "phi-3"]
REGIONS: Final = ["us-east", "us-west", "eu-west", "ap-south"]
ROOTS: Final = ["runner.execution", "runner.batch", "runner.nightly_report"]
ROOT_SHARES: Final = [0.899, 0.1, 0.001]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step:
    """One span of an execution: ``parent`` is a place in its shape, ``share`` of the execution's time is its length."""

    service: str
    operation: str
    kind: str
    parent: int | None
    offset_ms: float
    share: float
    status: str = "completed"
    error_type: str | None = None
    error_message: str | None = None


COMPLETED: Final = (
    Step("runner", "", "internal", None, 0.0, 1.0),
    Step("runner", "prepare", "internal", 0, 1.0, 0.03),
    Step("runner", "POST", "client", 0, 6.0, 0.93),
    Step("router", "hybrid_router_call", "server", 2, 8.0, 0.9),
    Step("router", "choose_provider", "internal", 3, 9.0, 0.02),
    Step("router", "POST", "client", 3, 12.0, 0.85),
    Step("modal", "modal.function", "server", 5, 15.0, 0.8),
    Step("modal", "tokenize", "internal", 6, 16.0, 0.05),
    Step("modal", "modal.inference", "internal", 6, 22.0, 0.65),
    Step("modal", "detokenize", "internal", 6, 120.0, 0.02),
    Step("modal", "warm_cache", "internal", 6, 15.5, 0.01),
    Step("router", "record_usage", "internal", 3, 130.0, 0.01),
)
"""The last two are left out where an execution has ten spans."""

_REFUSED: Final = ("failed", "ConnectionRefusedError", "connection refused: modal:8000")
_TIMED_OUT: Final = ("timeout", "httpx.ReadTimeout", "no answer within 240 ms")


def _failing(steps: Sequence[Step], places: Sequence[int], said: tuple[str, str, str]) -> list[Step]:
    status, kind, message = said
    return [
        replace(step, status=status, error_type=kind, error_message=message) if place in places else step
        for place, step in enumerate(steps)
    ]


SHAPES: Final[Sequence[Sequence[Step]]] = (
    COMPLETED[:10],
    COMPLETED,
    [
        *_failing(COMPLETED[:5], (0, 2, 3), _REFUSED),
        *(Step("router", "POST", "client", 3, 12.0 + 5 * n, 0.02, *_REFUSED) for n in range(5)),
    ],
    _failing(COMPLETED[:10], (0, 2), _TIMED_OUT),
    _failing(COMPLETED[:2], (0, 1), ("failed", "ValidationError", "prompt: field required")),
)
SHAPE_SHARES: Final = [0.80, 0.15, 0.03, 0.015, 0.005]
SPANS_EACH: Final = sum(share * len(shape) for share, shape in zip(SHAPE_SHARES, SHAPES, strict=True))
"""Spans of an execution, on average: a few more than ten."""

FIRST_FAILING: Final = 2
"""Place in SHAPES."""


@dataclass(frozen=True, slots=True)
class Executions:
    """A run of executions. ``ids`` begin with 1; ``shapes`` are places in SHAPES."""

    ids: Ints
    shapes: Ints
    trace_ids: tuple[str, ...]
    table: pa.Table

    @property
    def failing(self) -> list[int]:
        return [int(one) for one in self.ids[self.shapes >= FIRST_FAILING]]


def executions(first: int, count: int, begin_ns: int, step_ns: int) -> Executions:
    """``count`` executions from the id ``first``, ``step_ns`` apart. The same for the same arguments."""
    rng = np.random.default_rng(first)
    ids = np.arange(first, first + count, dtype=np.int64)
    shapes = rng.choice(len(SHAPES), count, p=SHAPE_SHARES).astype(np.int64)
    roots = rng.choice(len(ROOTS), count, p=ROOT_SHARES).astype(np.int64)
    starts = begin_ns + np.arange(count, dtype=np.int64) * step_ns
    lengths_ms = rng.lognormal(5.0, 0.15, count) * np.where(rng.random(count) < 0.003, 6.0, 1.0)
    digits = rng.bytes(16 * count).hex()
    trace_ids = tuple(digits[32 * n : 32 * n + 32] for n in range(count))
    tables = []
    for place, steps in enumerate(SHAPES):
        among = np.flatnonzero(shapes == place)
        if len(among):
            of_these = [trace_ids[n] for n in among]
            tables.append(_spans(steps, ids[among], of_these, starts[among], lengths_ms[among], roots[among]))
    table = pa.concat_tables(tables).sort_by([("start_unix_nano", "ascending")])
    return Executions(ids, shapes, trace_ids, table)


def _spans(
    steps: Sequence[Step],
    ids: Ints,
    trace_ids: Sequence[str],
    starts: Ints,
    lengths_ms: npt.NDArray[np.float64],
    roots: Ints,
) -> pa.Table:
    """All spans of executions of one shape."""
    each, size = len(steps), len(steps) * len(ids)
    place = np.tile(np.arange(each), len(ids))
    one = np.repeat(np.arange(len(ids)), each)

    def by_step(name: str) -> pa.Array:
        return pa.array([getattr(step, name) for step in steps], pa.string()).take(pa.array(place))

    def named(names: Sequence[str], which: Ints) -> pa.Array:
        return pa.array(names, pa.string()).take(pa.array(which[one]))

    parents = np.array([-1 if step.parent is None else step.parent for step in steps])[place]
    begun = starts[one] + (np.array([step.offset_ms for step in steps])[place] * NANOS_PER_MS).astype(np.int64)
    shares = np.array([step.share for step in steps])[place]
    lasted = (lengths_ms[one] * shares * NANOS_PER_MS).astype(np.int64)
    base = (ids * 16)[one]
    span_ids = [f"{number:016x}" for number in (base + place + 1).tolist()]
    above = [f"{number:016x}" for number in (base + parents + 1).tolist()]
    operations = np.where(place == 0, len(steps) + roots[one], place)
    services = {step.service: f'{{"service.name":"{step.service}"}}' for step in steps}
    jobs = [f"job-{number}" for number in (ids // JOB_SIZE).tolist()]
    columns: dict[str, Any] = {
        "tenant": pa.array([DEFAULT_TENANT] * size),
        "trace_id": pa.array(trace_ids).take(pa.array(one)),
        "span_id": pa.array(span_ids),
        "parent_span_id": pa.array(above, mask=parents < 0),
        "operation": pa.array([*(step.operation for step in steps), *ROOTS]).take(pa.array(operations)),
        **{name: by_step(name) for name in ("service", "kind", "status", "error_type", "error_message")},
        "started_at": pa.array(begun // 1000).cast(pa.timestamp("us", "UTC")),
        "completed_at": pa.array((begun + lasted) // 1000).cast(pa.timestamp("us", "UTC")),
        "duration_ms": lasted / NANOS_PER_MS,
        "start_unix_nano": begun,
        "end_unix_nano": begun + lasted,
        "execution_id": ids[one],
        "job_id": pa.array(jobs).take(pa.array(one)),
        "model_id": named(MODELS, ids // JOB_SIZE % len(MODELS)),
        "region": named(REGIONS, ids % len(REGIONS)),
        "attributes": pa.array(['{"http.request.method":"POST","server.address":"modal","retry":0}'] * size),
        "resource_attributes": pa.array([services[step.service] for step in steps]).take(pa.array(place)),
        "status_code": np.where(np.array([step.status != "completed" for step in steps])[place], 2, 0).astype(np.int32),
        "flags": np.zeros(size, np.int64),
        "content_hash": base + place,
    }
    absent = {field.name: pa.nulls(size, field.type) for field in SPAN_SCHEMA if field.name not in columns}
    return pa.table({name: {**columns, **absent}[name] for name in SPAN_SCHEMA.names}, schema=SPAN_SCHEMA)


@dataclass(frozen=True, slots=True)
class Rates:
    """What a second of filling did: spans written, spans summarised, executions diagnosed."""

    written: float
    summarised: float
    diagnosed: float


@dataclass(frozen=True, slots=True)
class Filled:
    """What a store holds now: executions 1 to ``executions``, those of ``failing`` failed. At ``until``, minutes
    after the last of them, none is arriving any more.

    The first ``originals`` were written as they came, the others are copies of theirs.
    """

    originals: int
    executions: int
    spans: int
    failing: tuple[int, ...]
    until: datetime
    rates: Rates


def fill(url: str, spans: int) -> Filled:
    """Bring an empty store to at least this many spans: written, summarised and diagnosed as a server does it."""
    count = int(spans / SPANS_EACH) + 1
    last = datetime.now(UTC)
    step_ns = int(PERIOD.total_seconds() * 1e9) // count
    begin_ns = int(last.timestamp() * 1e9) - count * step_ns
    written = 0
    failing: list[int] = []
    writing, begun = 0.0, time.perf_counter()
    with closing(open_store(url)) as store:
        reader = Reader(store, DEFAULT_TENANT)
        for start in range(0, count, BATCH):
            some = executions(1 + start, min(BATCH, count - start), begin_ns + start * step_ns, step_ns)
            before = time.perf_counter()
            store.append(some.table)
            writing += time.perf_counter() - before
            written += some.table.num_rows
            failing += some.failing
            _fold(reader, some.trace_ids)
            if start % (10 * BATCH) == 0:
                print(f"  {written:,} spans stored after {time.perf_counter() - begun:,.0f} s", flush=True)
        folding = time.perf_counter() - begun - writing
        begun = time.perf_counter()
        worker = Worker(store, Settings(quiet_seconds=0.0, settle_seconds=0.0))
        while worker.diagnose_suspects():
            pass
        diagnosing = time.perf_counter() - begun
    rates = Rates(written / writing, written / folding, worker.counters.diagnosed / diagnosing)
    settled = datetime.now(UTC) + timedelta(seconds=Settings().settle_seconds)
    return Filled(count, count, written, tuple(failing), settled, rates)


def job_of(filled: Filled, execution_id: int) -> str:
    copy, original = divmod(execution_id - 1, filled.originals)
    job = f"job-{(original + 1) // JOB_SIZE}"
    return f"{job}.{copy}" if copy else job


def _fold(reader: Reader, trace_ids: Sequence[str]) -> None:
    for start in range(0, len(trace_ids), FOLDED_TOGETHER):
        for changes in fold_traces(reader, trace_ids[start : start + FOLDED_TOGETHER], datetime.now(UTC)):
            reader.store.apply(changes)


# ---------------------------------------------------------------------------------- ten times as many

_COPIED: Final = {
    "trace_spans": "start_unix_nano",
    "trace_summaries": "min_start_unix_nano",
    "diagnoses": None,
}
_SKETCHES: Final = ("operation_rollups", "execution_rollups", "operation_baselines")


def multiply(url: str, filled: Filled, times: int) -> Filled:
    """``times`` as many executions at the same moments: each is copied under ids of its own, in order of time.

    Sketches count them too, so that all tables say what they would had the copies been summarised.
    """
    execute, maintain = _sql_of(url)
    copies = ", ".join(f"({n})" for n in range(1, times))
    new = {
        "trace_id": "md5(t.trace_id || '/' || c.n)",
        "unit_id": f"md5(split_part(t.unit_id, '/', 1) || '/' || c.n) || '/' || "
        f"(split_part(t.unit_id, '/', 2)::bigint + c.n * {filled.executions})",
        "execution_id": f"t.execution_id + c.n * {filled.executions}",
        "job_id": "t.job_id || '.' || c.n",
    }
    first_ns = int((filled.until - PERIOD - timedelta(hours=1)).timestamp() * 1e9) // HOUR_NANOS * HOUR_NANOS
    slices = range(first_ns, int(filled.until.timestamp() * 1e9) + 1, HOUR_NANOS)
    begun = time.perf_counter()
    for name, moment in _COPIED.items():
        columns = [column.name for column in metadata.tables[name].columns]
        values = ", ".join(new.get(column, f"t.{column}") for column in columns)
        statement = (
            f"INSERT INTO {name} ({', '.join(columns)}) "
            f"SELECT {values} FROM {name} t CROSS JOIN (VALUES {copies}) AS c(n)"
        )
        if moment is None:
            execute(statement)
            continue
        for number, begin in enumerate(slices):
            within = f" WHERE t.{moment} >= {begin} AND t.{moment} < {begin + HOUR_NANOS}"
            execute(f"{statement}{within} ORDER BY t.{moment}, c.n")
            if number % 12 == 0:
                print(f"  {name}: {number} hours after {time.perf_counter() - begun:,.0f} s", flush=True)
    for name in _SKETCHES:
        execute(f"UPDATE {name} SET sample_count = sample_count * {times}, sum_ms = sum_ms * {times}")
    maintain()
    failing = [one + n * filled.executions for n in range(times) for one in filled.failing]
    return replace(
        filled, executions=filled.executions * times, spans=filled.spans * times, failing=tuple(sorted(failing))
    )


def _sql_of(url: str) -> tuple[Callable[[str], Any], Callable[[], None]]:
    """What runs a statement in a transaction of its own, and what a database does by itself in quieter hours."""
    if (path := embedded_path(url)) is not None:
        database = duckdb.connect()
        database.execute(f"ATTACH '{path}' AS store (ROW_GROUP_SIZE {LOT_ROWS}); USE store; SET TimeZone = 'UTC'")
        return database.execute, database.close
    connection = psycopg.connect(url, autocommit=True)

    def vacuum() -> None:
        connection.execute("VACUUM (ANALYZE)")
        connection.close()

    return connection.execute, vacuum
