"""What the worker makes of spans: summaries and rollups that are exact however the spans arrive."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Thread
from typing import Any

import psycopg
import pytest
from sqlalchemy import Table, delete, func, select

from otel_diag.config import Settings
from otel_diag.errors import Conflict, NotFound
from otel_diag.model import Declared, Status
from otel_diag.query import Key, Queries
from otel_diag.reader import Reader
from otel_diag.store.base import Change, Delete, Store, Upsert
from otel_diag.store.open import open_store
from otel_diag.store.schema import (
    execution_rollups,
    executions,
    operation_rollups,
    trace_arrivals,
    trace_spans,
    trace_summaries,
)
from otel_diag.summaries import fold_traces
from otel_diag.worker import Backlog, Worker, backlog, pause
from tests.e2e.processes import until
from tests.query.conftest import later
from tests.query.pipeline import NOW, Execution, healthy, send, send_bytes
from tests.store.batches import trace_batch

Work = Callable[[], None]
SKETCHES = (operation_rollups, execution_rollups)
WHEN_FOLDED = {"folded_at", "folded_until"}


def summaries(store: Store) -> list[dict[str, Any]]:
    rows = store.select(select(trace_summaries).order_by(trace_summaries.c.unit_id)).to_pylist()
    return [{name: value for name, value in row.items() if name not in WHEN_FOLDED} for row in rows]


def counted(store: Store, table: Table = operation_rollups) -> Counter[tuple[str, ...]]:
    """Samples per name and status: of operations, or of the root operations of executions."""
    names = [table.c[name] for name in ("service", "operation", "root_service", "root_operation") if name in table.c]
    keys = [*names, table.c.status]
    total = func.sum(table.c.sample_count).label("n")
    rows = store.select(select(*keys, total).group_by(*keys)).to_pylist()
    return Counter({tuple(list(row.values())[:-1]): row["n"] for row in rows if row["n"]})


def test_every_span_is_counted_once_and_the_list_of_arrivals_is_empty(store: Store, work: Work) -> None:
    send(store, *healthy(5), Execution(2193, "refused"))
    work()
    assert len(summaries(store)) == 6
    spans = counted(store)
    assert spans["modal", "modal.inference", "completed"] == 5
    assert spans["router", "POST", "failed"] == 1
    stored = store.select(select(func.count().label("n")).select_from(trace_spans)).to_pylist()[0]["n"]
    assert spans.total() == stored
    assert counted(store, execution_rollups) == {
        ("runner", "runner.execution", "completed"): 5,
        ("runner", "runner.execution", "failed"): 1,
    }
    assert store.select(select(trace_arrivals)).num_rows == 0


def test_order_and_time_of_arrival_do_not_matter(store: Store, work: Work) -> None:
    executions = [*healthy(4), Execution(2193, "refused"), Execution(2194, "died")]
    send(store, *executions)
    work()
    at_once, sketches = summaries(store), [counted(store, table) for table in SKETCHES]

    other = open_store("duckdb://")
    parts = [part for execution in executions for part in execution.requests_by_service()]
    random.Random(3).shuffle(parts)
    worker = Worker(other, Settings(quiet_seconds=0.0, settle_seconds=0.0), clock=later)
    for part in parts:
        send_bytes(other, part)
        while worker.step():
            pass
    assert [row | {"suspect": None} for row in summaries(other)] == [row | {"suspect": None} for row in at_once]
    assert [counted(other, table) for table in SKETCHES] == sketches


def test_the_same_spans_again_change_nothing(store: Store, work: Work) -> None:
    send(store, *healthy(3))
    work()
    before = summaries(store), counted(store)
    send(store, *healthy(3))
    work()
    assert (summaries(store), counted(store)) == before


def test_only_the_newest_attempt_is_the_outcome(store: Store, work: Work, queries: Queries) -> None:
    first = Execution(2193, "refused", attempt=1)
    send(store, first)
    work()
    assert queries.recent_failures().total_failures == 1
    send(store, replace(first, fault="none", attempt=2, started_at=first.started_at + timedelta(minutes=1)))
    work()
    assert queries.recent_failures().total_failures == 0
    assert queries.performance().total_executions == 1
    assert counted(store, execution_rollups).total() == 1


def test_an_execution_without_spans_counts_until_its_spans_arrive(store: Store, work: Work, queries: Queries) -> None:
    execution = Execution(2193, "died")
    declared = Declared(
        execution_id=2193,
        status=Status.FAILED,
        started_at=execution.started_at,
        completed_at=execution.started_at + timedelta(milliseconds=13),
        job_id="job-1",
        error_message="prompt file prompts/17.txt does not exist",
    )
    queries.declare_execution(declared)
    report = queries.diagnose(Key(execution_id=2193))
    assert report.verdict == "root_cause"
    assert report.trace_id is None
    assert [failure.id for failure in queries.recent_failures().failures] == [2193]
    send(store, execution)
    work()
    assert [row["unit_id"] for row in summaries(store)] == [f"{execution.trace_id}/2193"]
    assert queries.recent_failures().total_failures == 1
    assert counted(store, execution_rollups).total() == 1


@pytest.mark.parametrize("offset", [None, timezone(timedelta(hours=2))], ids=["none", "+02:00"])
def test_a_record_is_diagnosed_once_whatever_its_times_are_written_in(
    store: Store, settings: Settings, queries: Queries, offset: timezone | None
) -> None:
    started = (NOW - timedelta(minutes=5)).replace(tzinfo=offset)
    queries.declare_execution(Declared(execution_id=2193, status=Status.FAILED, started_at=started))
    worker = Worker(store, settings, clock=later)
    assert [worker.step() for _ in range(2)] == [True, False]
    assert worker.counters.diagnosed == 1


@pytest.mark.parametrize("left", ["record", "nothing"])
def test_an_outdated_summary_without_a_trace_is_brought_up_to_date(
    store: Store, settings: Settings, queries: Queries, left: str
) -> None:
    queries.declare_execution(Declared(execution_id=2193, status=Status.FAILED, started_at=NOW))
    (row,) = store.select(select(trace_summaries)).to_pylist()
    changes: list[Change] = [Upsert(trace_summaries, [row | {"content_key": 1}])]
    if left == "nothing":
        changes.append(Delete(delete(executions).where(executions.c.execution_id == 2193)))
    store.apply(changes)
    worker = Worker(store, settings, clock=later)
    assert not [worker.step() for _ in range(3)][-1]
    kept = [summary["content_key"] for summary in summaries(store)]
    assert kept == ([row["content_key"]] if left == "record" else [])


def test_attempts_in_any_order_leave_one_outcome(store: Store, work: Work, queries: Queries) -> None:
    started = NOW - timedelta(minutes=20)
    for minute in (2, 0, 3, 1):
        attempt = Execution(2193, "refused", attempt=minute + 1, started_at=started + timedelta(minutes=minute))
        send(store, attempt)
        work()
        latest = [row for row in summaries(store) if row["latest"]]
        assert [row["attempt"] for row in latest] == [max(row["attempt"] for row in summaries(store))]
        assert counted(store, execution_rollups).total() == 1


def test_a_record_by_trace_id_names_the_execution_of_a_trace_that_does_not(
    store: Store, work: Work, queries: Queries
) -> None:
    trace = Execution(7, "refused", job_id=None)
    anonymous = trace._message()
    for resource in anonymous.resource_spans:
        for span in resource.scope_spans[0].spans:
            kept = [a for a in span.attributes if a.key != "execution.id"]
            del span.attributes[:]
            span.attributes.extend(kept)
    send_bytes(store, anonymous.SerializeToString())
    work()
    queries.declare_execution(
        Declared(execution_id=4711, status=Status.FAILED, started_at=NOW, trace_id=trace.trace_id)
    )
    assert [row["execution_id"] for row in summaries(store)] == [4711]
    assert queries.diagnose(Key(execution_id=4711)).trace_id == trace.trace_id


def test_tenants_do_not_see_each_other(store: Store, work: Work, settings: Settings) -> None:
    send(store, Execution(1, "refused"), tenant="one")
    send(store, Execution(2, "refused"), tenant="two")
    work()
    for tenant, own, other in (("one", 1, 2), ("two", 2, 1)):
        queries = Queries(store, settings, tenant=tenant, clock=later)
        assert [failure.id for failure in queries.recent_failures().failures] == [own]
        with pytest.raises(NotFound, match=f"execution {other} is not in the store"):
            queries.diagnose(Key(execution_id=other))
        assert queries.sql("SELECT count(*) AS n FROM trace_spans").rows == [[4]]


def test_workers_side_by_side_count_everything_once(postgres_url: str, settings: Settings) -> None:
    executions = healthy(40)
    stores = [open_store(postgres_url) for _ in range(3)]
    send(stores[0], *executions)

    def run(store: Store) -> None:
        worker = Worker(store, settings.model_copy(update={"fold_traces": 7}), clock=later)
        while True:
            try:
                if not worker.fold_quiet():
                    return
            except Conflict:
                continue

    threads = [Thread(target=run, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(stores[0])["modal", "modal.inference", "completed"] == 40
    assert counted(stores[0], execution_rollups).total() == 40
    for store in stores:
        store.close()


def test_spans_that_commit_later_than_their_time_are_counted(postgres_url: str, settings: Settings) -> None:
    store = open_store(postgres_url)
    spans = trace_batch(1, 3, duration_ms=5.0)
    with psycopg.connect(postgres_url) as blocker, ThreadPoolExecutor(1) as pool:
        store.append(spans.slice(1, 1))
        blocker.execute("CREATE TEMPORARY TABLE same AS SELECT * FROM trace_spans")
        store.apply([Delete(delete(trace_spans)), Delete(delete(trace_arrivals))])
        blocker.execute("INSERT INTO trace_spans SELECT * FROM same")
        late = pool.submit(store.append, spans.slice(0, 2))  # takes its time, then waits for the same key
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        until(lambda: store.select_text(waits, max_rows=1, timeout_seconds=5).num_rows)
        store.append(spans.slice(2))
        worker = Worker(store, settings)
        worker.fold_quiet()
        assert counted(store).total() == 1
        blocker.rollback()
        assert late.result(30).stored == 2
    times = store.select(select(trace_spans.c.ingested_at).order_by(trace_spans.c.span_id))["ingested_at"].to_pylist()
    assert times[0] < times[2]
    worker.fold_quiet()
    assert counted(store).total() == 3
    store.close()


def test_names_longer_than_an_index_entry_are_counted(store: Store, work: Work, queries: Queries) -> None:
    long = Execution(2193, "refused", model_id="m" * 5_000, region="ü" * 5_000)
    message = long._message()
    for resource in message.resource_spans:
        resource.resource.attributes[0].value.string_value += "s" * 5_000
        for span in resource.scope_spans[0].spans:
            span.name += "o" * 5_000
    send_bytes(store, message.SerializeToString())
    work()
    assert counted(store).total() == 4
    assert queries.diagnose(Key(execution_id=2193)).verdict == "root_cause"


def test_one_broken_trace_does_not_stop_the_others(store: Store, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Execution(1)

    def fold(reader: Reader, trace_ids: Collection[str], now: datetime) -> list[Change]:
        if broken.trace_id in trace_ids:
            raise ZeroDivisionError("a bug that only this trace meets")
        return fold_traces(reader, trace_ids, now)

    monkeypatch.setattr("otel_diag.worker.fold_traces", fold)
    send(store, broken, *healthy(3))
    work()
    assert {row["execution_id"] for row in summaries(store)} == {one.execution_id for one in healthy(3)}
    assert store.select(select(trace_arrivals)).num_rows == 0


def test_a_busy_receiver_slows_the_worker_and_never_stops_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("duckdb://")
    stretches: list[int] = []
    asked = 0

    def fold(reader: Reader, trace_ids: Collection[str], now: datetime) -> list[Change]:
        stretches.append(len(trace_ids))
        return fold_traces(reader, trace_ids, now)

    def busy() -> bool:
        nonlocal asked
        asked += 1
        return asked <= 3

    monkeypatch.setattr("otel_diag.worker.fold_traces", fold)
    monkeypatch.setattr("otel_diag.worker.BUSY_FOLDS", 20)
    send(store, *healthy(50))
    assert backlog(store, later()).traces == 50
    worker = Worker(store, settings, busy=busy, clock=later)
    assert worker.fold_quiet()
    assert stretches == [20, 30], "a short one, a rest until it is no longer busy, all that is left"
    assert backlog(store, later()) == Backlog(0, 0.0)
    store.close()


def test_the_backlog_is_as_old_as_its_oldest_arrival(store: Store) -> None:
    send(store, *healthy(3))
    send(store, Execution(2193), tenant="another")
    waiting = backlog(store, datetime.now(UTC) + timedelta(hours=1))
    assert waiting.traces == 4
    assert 3_600 <= waiting.seconds < 3_660


def test_the_worker_leaves_a_store_that_refuses_longer_and_longer() -> None:
    """A whole batch is read again at each try: on a full disk that was two thirds of a processor."""
    pauses = [pause(2.0, refused) for refused in range(12)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert set(pauses[4:]) == {5.0}
    assert pause(60.0, 0) == 1.0
    assert pause(0.0, 10_000) == 5.0
