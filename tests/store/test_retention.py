"""What is too old goes from every table alike, and nothing else does."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Thread
from time import time_ns
from typing import Any

import psycopg
import pytest
from sqlalchemy import Table, func, select

from otel_diag.config import Settings
from otel_diag.errors import NotFound, StartupError, StoreInUse, Transient
from otel_diag.model import Declared, PrunedStore, Status
from otel_diag.query import Key, Queries
from otel_diag.store.base import Store, Upsert
from otel_diag.store.duckdb import compact
from otel_diag.store.open import open_store
from otel_diag.store.retention import Cutoff, Period, Usage, before_for_size
from otel_diag.store.schema import (
    diagnoses,
    executions,
    metadata,
    operation_baselines,
    trace_arrivals,
    trace_spans,
    trace_summaries,
)
from otel_diag.upkeep import Bounds, Upkeep, prune
from otel_diag.worker import Worker
from tests.store.batches import batch_of, span, trace_batch, trace_id

DAY = 86_400 * 10**9
ROOT = Path(__file__).parents[2]


def now() -> datetime:
    return datetime.now(UTC)


def count(store: Store, table: Table) -> int:
    (row,) = store.select(select(func.count().label("n")).select_from(table)).to_pylist()
    return int(row["n"])


def traces(store: Store) -> set[str]:
    return set(store.select(select(trace_spans.c.trace_id).distinct())["trace_id"].to_pylist())


def days_old(number: int, days: float, **columns: Any) -> Any:
    """A failed execution ``number``, its trace of the same number, so many days old."""
    start = time_ns() - int(days * DAY)
    columns = {"execution_id": number, "status": "failed", "status_code": 2, "duration_ms": 6_000.0} | columns
    return trace_batch(number, 3, start_unix_nano=start, **columns)


def work(store: Store) -> None:
    worker = Worker(store, Settings(quiet_seconds=0, settle_seconds=0), clock=lambda: now() + timedelta(seconds=1))
    while worker.step():
        pass


def removed(pruned: PrunedStore) -> dict[str, int]:
    return {table.table: table.rows for table in pruned.tables if table.rows}


def test_an_old_execution_goes_from_every_table_and_a_young_one_from_none(store: Store) -> None:
    store.append(days_old(1, 9.5))
    store.append(days_old(2, 0.1))
    work(store)
    queries = Queries(store, Settings())
    queries.declare_execution(Declared(3, Status.FAILED, now() - timedelta(days=9)))
    queries.declare_execution(Declared(4, Status.FAILED, now()))
    assert count(store, diagnoses) >= 2
    sketches = count(store, operation_baselines)

    would = prune(store, Bounds(timedelta(days=5)), now(), dry_run=True)
    assert (count(store, trace_spans), would.bytes_after) == (6, None)
    did = prune(store, Bounds(timedelta(days=5)), now())

    assert removed(would) == removed(did)
    assert removed(did).items() >= {"trace_spans": 3, "trace_summaries": 2, "executions": 1}.items()
    assert traces(store) == {trace_id(2)}
    kept = set(store.select(select(trace_summaries.c.unit_id))["unit_id"].to_pylist())
    assert kept == {f"{trace_id(2)}/2", "/4"}
    assert set(store.select(select(diagnoses.c.unit_id))["unit_id"].to_pylist()) <= kept
    assert store.select(select(executions.c.execution_id))["execution_id"].to_pylist() == [4]
    assert count(store, operation_baselines) == sketches, "last year's latencies are compared with"
    with pytest.raises(NotFound, match="execution 1 is not in the store"):
        queries.diagnose(Key(execution_id=1))
    assert queries.diagnose(Key(execution_id=2)).root_cause is not None
    assert removed(prune(store, Bounds(timedelta(days=5)), now())) == {}


def test_sketches_go_after_a_year(store: Store) -> None:
    store.append(days_old(1, 450))
    work(store)
    assert count(store, operation_baselines)
    prune(store, Bounds(timedelta(days=30)), now())
    assert count(store, operation_baselines) == 0


def test_a_time_no_clock_showed_is_judged_by_when_it_came(store: Store) -> None:
    odd = [0, -1, 2**63 - 1, -(2**63), time_ns() + 3 * DAY, time_ns() + 400 * DAY]
    rows = [span(1, n, start_unix_nano=t, started_at=None, completed_at=None) for n, t in enumerate(odd)]
    store.append(batch_of(rows))

    assert removed(prune(store, Bounds(timedelta(days=1)), now())) == {}
    assert count(store, trace_spans) == len(odd)
    tomorrow = Cutoff(now() + timedelta(seconds=1), now() + timedelta(seconds=2))
    went = {table.table: table.rows for table in store.prune(tomorrow)}
    assert went["trace_spans"] == len(odd)
    assert (count(store, trace_spans), count(store, trace_arrivals)) == (0, 0)


def test_retention_by_age_ends_at_midnight(store: Store) -> None:
    noon = now().replace(hour=12, minute=0, second=0, microsecond=0)
    for number, hours in enumerate([11.9, 12.1, 36.1], start=1):
        store.append(trace_batch(number, 1, start_unix_nano=int((noon - timedelta(hours=hours)).timestamp()) * 10**9))
    Upkeep(store, Settings(retention_days=1), clock=lambda: noon).step()
    assert traces(store) == {trace_id(1), trace_id(2)}
    Upkeep(store, Settings(retention_days=0), clock=lambda: noon).step()
    assert traces(store) == {trace_id(1), trace_id(2)}


HOUR = datetime(2026, 9, 21, tzinfo=UTC)


def periods(*sizes: int) -> list[Period]:
    return [Period(HOUR + timedelta(hours=n), HOUR + timedelta(hours=n + 1), size) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("limit", "hours"), [(100, None), (99, 1), (80, 1), (79, 2), (31, 3), (0, 3)], ids=lambda value: str(value)
)
def test_the_oldest_go_until_the_rest_fits_but_never_the_newest(limit: int, hours: int | None) -> None:
    usage = Usage(100, [*periods(20, 20, 20, 20), Period(HOUR + timedelta(days=9), HOUR + timedelta(days=10), 1)])
    expected = None if hours is None else HOUR + timedelta(hours=hours)
    assert before_for_size(usage, limit, HOUR + timedelta(hours=4)) == expected


def bulky(day: int, rows: int = 200) -> Any:
    """A trace ``day``, so many days old, with 4 KiB a span that hardly compress."""
    start = time_ns() - day * DAY
    noise = random.Random(day)
    texts = [f'{{"a":"{noise.randbytes(2048).hex()}"}}' for _ in range(rows)]
    return batch_of(span(day, n, start_unix_nano=start + n, attributes=text) for n, text in enumerate(texts))


def test_a_store_past_its_size_loses_its_oldest_days(store: Store) -> None:
    for day in (5, 4, 3, 2, 1):
        store.append(bulky(day))
    whole = store.usage()
    limit = whole.bytes - sum(period.bytes for period in whole.periods[:2])

    pruned = prune(store, Bounds(max_bytes=limit), now())

    assert traces(store) == {trace_id(3), trace_id(2), trace_id(1)}
    assert pruned.bytes_after is not None
    assert pruned.bytes_after < pruned.bytes_before


def test_batches_are_appended_while_a_store_is_pruned(store: Store) -> None:
    for day in range(3, 9):
        store.append(days_old(day, day))
    over = Event()
    appended: list[int] = []

    def append() -> None:
        number = 1_000
        while not over.is_set():
            for batch in (days_old(number, 0.1), days_old(number + 1_000_000, 8)):  # one into a day that is going
                while True:
                    with suppress(Transient):  # what a sender does, too
                        appended.append(store.append(batch).stored)
                        break
            number += 1

    thread = Thread(target=append)
    thread.start()
    for days in (6, 4, 2):
        prune(store, Bounds(timedelta(days=days)), now())
    over.set()
    thread.join()
    prune(store, Bounds(timedelta(days=2)), now())
    assert set(appended) == {3}
    assert len(traces(store)) == len(appended) // 2


PRUNER = """
import sys
from datetime import UTC, datetime, timedelta
from otel_diag.store.open import open_store
from otel_diag.upkeep import Bounds, prune
store = open_store(sys.argv[1])
for days in range(19, 4, -1):
    prune(store, Bounds(timedelta(days=days + 0.5)), datetime.now(UTC))
    print(days, flush=True)
"""


def test_a_prune_that_is_killed_leaves_whole_traces_and_is_completed_by_the_next(store_url: str) -> None:
    store = open_store(store_url)
    for number in range(1, 21):
        store.append(days_old(number, number))
    work(store)
    store.close()
    process = subprocess.Popen([sys.executable, "-c", PRUNER, store_url], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == [b"19\n", b"18\n", b"17\n"]
    process.kill()
    process.communicate()
    store = open_store(store_url)
    left = traces(store)
    assert {trace_id(number) for number in range(1, 6)} <= left < {trace_id(number) for number in range(1, 19)}
    assert count(store, trace_spans) == 3 * len(left)
    prune(store, Bounds(timedelta(days=4.5)), now())
    assert traces(store) == {trace_id(number) for number in range(1, 5)}
    assert count(store, trace_summaries) == 4
    store.close()


# ---------------------------------------------------------------------------------- partitions on PostgreSQL


def partitions(url: str) -> set[str]:
    """Every table that is none of the schema's."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return {name for (name,) in rows} - set(metadata.tables)


def days_of(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("trace_spans_2"))


def day_name(days_ago: float) -> str:
    return f"trace_spans_{(now() - timedelta(days=days_ago)).strftime('%Y%m%d')}"


def test_old_days_are_dropped_and_a_half_dropped_one_is_finished(postgres_url: str) -> None:
    store = open_store(postgres_url)
    for days in (3, 4, 5):
        store.append(days_old(days, days))
    assert days_of(partitions(postgres_url)) == sorted(day_name(days) for days in (-1, 0, 3, 4, 5))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        # As a process leaves it that dies between detaching and dropping.
        connection.execute(f"ALTER TABLE trace_spans DETACH PARTITION {day_name(5)} CONCURRENTLY")
    pruned = prune(store, Bounds(timedelta(days=3.0)), now().replace(hour=0, minute=0, second=0, microsecond=0))
    assert days_of(partitions(postgres_url)) == sorted(day_name(days) for days in (-1, 0, 3))
    (spans,) = [table for table in pruned.tables if table.table == "trace_spans"]
    assert (spans.rows, spans.partitions) == (3, 1)
    assert spans.bytes
    assert traces(store) == {trace_id(3)}
    store.append(days_old(5, 5))  # late: its day is made again
    assert traces(store) == {trace_id(3), trace_id(5)}
    store.close()


def test_a_long_read_does_not_keep_partitions_from_coming(postgres_url: str) -> None:
    store = open_store(postgres_url)
    store.append(days_old(1, 1))
    with psycopg.connect(postgres_url) as reader:
        reader.execute("SELECT count(*) FROM trace_spans")  # holds its locks until it ends
        assert store.append(days_old(2, 20)).stored == 3
    store.close()


def test_far_days_share_a_partition(postgres_url: str) -> None:
    store = open_store(postgres_url)
    starts = [time_ns() + days * DAY for days in range(-3_000, 3_000, 10)]
    store.append(batch_of(span(1, n, start_unix_nano=start, started_at=None) for n, start in enumerate(starts)))
    assert len(partitions(postgres_url)) < 60
    assert store.append(batch_of([span(1, 0, start_unix_nano=starts[0], started_at=None)])).duplicates == 1
    store.close()


def test_processes_that_need_the_same_partitions_at_once_get_them(postgres_url: str) -> None:
    stores = [open_store(postgres_url) for _ in range(4)]
    start = Barrier(len(stores))

    def append(store: Store, first: int) -> int:
        start.wait()
        return sum(store.append(days_old(first + number, 5 + number)).stored for number in range(8))

    with ThreadPoolExecutor(len(stores)) as pool:
        stored = list(pool.map(append, stores, range(0, 400, 100)))
    assert stored == [24] * 4
    assert count(stores[0], trace_spans) == 4 * 8 * 3
    for store in stores:
        store.close()


# ---------------------------------------------------------------------------------- the embedded file


def test_compacting_gives_room_back_and_keeps_all_else(tmp_path: Path) -> None:
    path = tmp_path / "it's.duckdb"
    url = f"duckdb:///{path}"
    store = open_store(url)
    for day in (9, 8, 7):
        store.append(bulky(day, 1_000))
    store.append(days_old(1, 0.1))
    row = {"tenant": "default", "execution_id": 1, "status": "failed", "started_at": now(), "declared_at": now()}
    store.apply([Upsert(executions, [row])])
    prune(store, Bounds(timedelta(days=5)), now())
    store.close()
    before = path.stat().st_size

    compact(path)

    assert path.stat().st_size < before / 2
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    store = open_store(url)
    assert traces(store) == {trace_id(1)}
    store.apply([Upsert(executions, [row])])
    assert count(store, executions) == 1, "the keys are there"
    store.close()


def test_a_file_is_compacted_only_when_nobody_has_it_open(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    with pytest.raises(StartupError, match="there is no store"):
        compact(path)
    assert not path.exists()
    words = [sys.executable, "-m", "tests.store.writer", f"duckdb:///{path}", "0", "1000000"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(StoreInUse, match=str(writer.pid)):
            compact(path)
        writer.kill()
