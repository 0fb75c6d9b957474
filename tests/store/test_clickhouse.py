"""What only ClickHouse has to prove: whole changes without transactions, partitions, the cluster's DDL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from otel_diag.app import open_writer, otel_traces
from otel_diag.config import Settings
from otel_diag.errors import Conflict, NotFound, Permanent, Transient
from otel_diag.query import Key, Queries
from otel_diag.store.base import Accumulate, Appended, Delete, Store, Upsert
from otel_diag.store.clickhouse_tables import Cluster, cluster_tables
from otel_diag.store.open import open_store
from otel_diag.store.schema import SIGNAL_TABLES, executions, metadata, operation_rollups, trace_arrivals, trace_spans
from tests.conftest import chdb_client
from tests.store.batches import NOW_NANOS, batch_of, span, span_count, trace_batch, trace_id
from tests.store.changed import execution, rollup

pytest.importorskip("chdb", reason="the ClickHouse engine is not installed: pip install 'otel-diag[chdb]'")

from tests.store.clickhouse_http import clickhouse_server

ROOT = Path(__file__).parents[2]
DAY = 86_400 * 10**9


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"clickhousedb:///{tmp_path}/store?interface=chdb"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()


def test_a_process_that_dies_between_two_writes_leaves_all_of_a_change_or_nothing(tmp_path: Path) -> None:
    # Arrivals, claim, log row, four steps, removal of the log row: before the log row, with nothing, half and all of
    # it done.
    writes = (2, 3, 5, 7)
    urls = [f"clickhousedb:///{tmp_path}/{number}?interface=chdb" for number in writes]
    dying = [start_dying(url, "apply", number) for number, url in zip(writes, urls, strict=True)]

    assert [process.wait() for process in dying] == [9] * 4
    assert [state(url) for url in urls] == [before(), after(), after(), after()]
    assert state(urls[-1]) == after()  # what was finished is not done again


def test_a_process_that_dies_between_spans_and_their_arrivals_tells_of_them_later(url: str) -> None:
    assert start_dying(url, "append", 1).wait() == 0  # with no other write made

    told = [("00000000000000000000000000000001", 3), ("00000000000000000000000000000002", 5)]
    assert arrivals(url) == told
    assert arrivals(url) == told


def start_dying(url: str, call: str, writes: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.store.dying", url, call, str(writes)], cwd=ROOT)


def arrivals(url: str) -> list[tuple[Any, ...]]:
    columns = trace_arrivals.c
    with chdb_store(url) as store:
        rows = store.select(select(columns.trace_id, columns.span_count).order_by(columns.trace_id)).to_pylist()
    return [tuple(row.values()) for row in rows]


def state(url: str) -> tuple[list[tuple[Any, ...]], ...]:
    """What the tables say."""
    statements = [
        select(executions.c.execution_id, executions.c.job_id).order_by(executions.c.execution_id),
        select(operation_rollups.c.operation, operation_rollups.c.sample_count).order_by("operation"),
        select(trace_arrivals.c.trace_id),
    ]
    with chdb_store(url) as store:
        return tuple([tuple(row.values()) for row in store.select(s).to_pylist()] for s in statements)


def before() -> tuple[list[tuple[Any, ...]], ...]:
    return [(1, None)], [("a", 1)], [(trace_id(1),)]


def after() -> tuple[list[tuple[Any, ...]], ...]:
    return [(1, "new"), (2, None)], [("a", 11), ("b", 2)], []


@contextmanager
def chdb_store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()


# ---------------------------------------------------------------------------------- several processes


def test_of_two_that_fold_the_same_one_gives_way(url: str, store: Store) -> None:
    """Two stores on one engine stand for two processes on one server."""
    other = open_store(url)
    for trace in range(5):
        store.append(trace_batch(trace, 1))
    folded: list[int] = []
    start = Barrier(2)

    def fold(mine: Store) -> None:
        for trace in range(5):
            start.wait()
            gone = delete(trace_arrivals).where(trace_arrivals.c.trace_id == trace_id(trace))
            with suppress(Conflict):
                mine.apply([Accumulate(operation_rollups, [rollup("a", 1, 1.0)]), Delete(gone, expect=1)])
                folded.append(trace)

    workers = [Thread(target=fold, args=(mine,)) for mine in (store, other)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    (counted,) = store.select(select(func.sum(operation_rollups.c.sample_count).label("n"))).column("n").to_pylist()
    left = store.select(select(trace_arrivals)).num_rows
    other.close()

    assert len(folded) == len(set(folded)) == (counted or 0) == 5 - left


def test_a_change_that_was_abandoned_is_finished_by_another(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_store(url)
    store.append(trace_batch(1, 1))
    gone = Delete(delete(trace_arrivals).where(trace_arrivals.c.trace_id == trace_id(1)), expect=1)
    broken: Any = store
    with monkeypatch.context() as patch:
        patch.setattr(broken._engine, "write", fail)
        with pytest.raises(ZeroDivisionError):
            store.apply(
                [Upsert(executions, [execution(1)]), Accumulate(operation_rollups, [rollup("a", 1, 1.0)]), gone]
            )

    with pytest.raises(Conflict, match="another process"):
        other.apply([gone])
    monkeypatch.setattr("otel_diag.store.clickhouse._ABANDONED", timedelta(0))
    with pytest.raises(Conflict, match="another process"):
        other.apply([gone])

    assert other.select(select(trace_arrivals)).num_rows == 0
    assert other.select(select(operation_rollups.c.sample_count)).to_pylist() == [{"sample_count": 1}]
    other.close()


def test_arrivals_of_a_process_that_dies_after_another_has_started_are_made_good(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_diag.store.clickhouse_engine.Engine.embedded", False)
    dying = open_store(url)
    dying.append(trace_batch(1, 1))
    other = open_store(url)
    dying.append(trace_batch(2, 1))  # and is never heard of again
    told = select(trace_arrivals.c.trace_id).order_by(trace_arrivals.c.trace_id)
    early = other.select(told).column(0).to_pylist()
    monkeypatch.setattr("otel_diag.store.clickhouse._ABANDONED", timedelta(0))
    other.append(trace_batch(3, 1))

    assert early == [trace_id(1)]
    assert other.select(told).column(0).to_pylist() == [trace_id(1), trace_id(2), trace_id(3)]
    other.close()


def test_arrivals_of_many_commits_are_one_insert(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[str] = []
    broken: Any = store
    insert = broken._engine.insert

    def noted(table: str, *rest: Any) -> None:
        tables.append(table)
        insert(table, *rest)

    monkeypatch.setattr(broken._engine, "insert", noted)
    for number in range(5):
        store.append(trace_batch(number, 2))

    assert store.select(select(trace_arrivals)).num_rows == 5
    assert tables.count("trace_spans") == 5
    assert tables.count("trace_arrivals") < 3


def fail(sql: str) -> None:
    raise ZeroDivisionError(sql)


def test_what_two_processes_insert_at_once_is_seen_once(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: Any = open_store(url)
    store.append(trace_batch(1, 4))
    monkeypatch.setattr(other, "_without_duplicates", lambda batch, signal: batch)
    other.append(trace_batch(1, 6))

    assert span_count(store) == 6
    other.close()


# ---------------------------------------------------------------------------------- partitions, duplicates


def test_times_no_clock_shows_share_one_partition(url: str, store: Store) -> None:
    odd = [0, 1, -(2**63), 2**63 - 1, 10**18, 3 * 10**18]
    store.append(batch_of(span(1, number, start_unix_nano=nanos, started_at=None) for number, nanos in enumerate(odd)))
    store.append(trace_batch(2, 1))

    with chdb_client(url) as client:
        days = client.query(
            "SELECT DISTINCT partition FROM system.parts WHERE active AND table = 'trace_spans' ORDER BY partition"
        ).result_rows
    assert days == [("0",), ("20260921",)]


def test_a_batch_may_reach_over_many_days(store: Store) -> None:
    rows = [span(1, day, start_unix_nano=NOW_NANOS - day * DAY, started_at=None) for day in range(150)]

    assert store.append(batch_of(rows)) == Appended(stored=150, duplicates=0)
    assert store.append(batch_of(rows)) == Appended(stored=0, duplicates=150)


def test_duplicates_are_found_among_many_rows_of_the_same_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(trace_batch(1, 50))
    monkeypatch.setattr("otel_diag.store.clickhouse._LOOKED_THROUGH", 10)

    assert store.append(trace_batch(1, 60)) == Appended(stored=10, duplicates=50)


# ---------------------------------------------------------------------------------- the cluster


def test_the_clusters_tables_are_accepted_by_the_engine(url: str, store: Store) -> None:
    statements = cluster_tables(Cluster("my cluster", "traces", retention_days=30))

    with chdb_client(url) as client:
        for statement in statements:
            assert client.query("SELECT formatQuery({sql:String})", parameters={"sql": statement}).result_rows
            tree = client.raw_query(f"EXPLAIN AST {statement.removesuffix(';')}").decode()
            assert re.match("(Create|Alter)Query", tree)
    text = "\n".join(statements)
    assert text.count("Distributed('my cluster', 'traces'") == len(metadata.tables)
    assert text.count("ENGINE = Replicated") == len(metadata.tables) + 1
    assert text.count("PARTITION BY if(") == text.count("INTERVAL 30 DAY") == len(SIGNAL_TABLES)


# ---------------------------------------------------------------------------------- the Collector's table


@pytest.fixture
def collected(url: str, store: Store) -> None:
    """The table of the Collector's exporter, in the same database."""
    sql = Path(__file__).with_name("otel_traces.sql").read_text("utf-8")
    with chdb_client(url) as client:
        for statement in sql.split(";\n"):
            if statement.strip():
                client.command(statement)


@pytest.mark.usefixtures("collected")
def test_what_the_collector_stored_is_imported_and_diagnosed(url: str, store: Store) -> None:
    with open_writer(Settings(store=url)) as writer:
        imported = [writer.append_payload(line, "application/json") for line in otel_traces(url)]
        again = [writer.append_payload(line, "application/json") for line in otel_traces(url)]
    queries = Queries(store, Settings(store=url))

    assert [(one.stored, one.duplicates, one.rejected) for one in imported] == [(3, 0, {})]
    assert [(one.stored, one.duplicates) for one in again] == [(0, 3)]
    report = queries.diagnose(Key(execution_id=2193))
    assert report.root_cause is not None
    assert queries.summary(Key(trace_id="5b8efff798038103d269b633813fc60c")).timeout_spans == 2
    columns = trace_spans.c
    rows = store.select(select(trace_spans).order_by(columns.start_unix_nano)).to_pylist()
    assert [(row["service"], row["kind"], row["status"]) for row in rows] == [
        ("runner", "internal", "timeout"),
        ("runner", "client", "timeout"),
        ("router", "server", "completed"),
    ]
    assert rows[0]["start_unix_nano"] == 1789992000000000001
    assert rows[0]["end_unix_nano"] - rows[0]["start_unix_nano"] == 61_000_000_000
    named = ("execution_id", "job_id", "region", "service_version", "scope_name", "error_type", "trace_state")
    assert [rows[0][name] for name in named] == [
        2193,
        "nightly",
        "us-east",
        "1.4.2",
        "runner",
        "httpx.ReadTimeout",
        "a=b",
    ]
    assert rows[2]["input_tokens"] == 17
    assert json.loads(rows[2]["attributes"])['naïve "key"'] == "a\\b"
    assert json.loads(rows[2]["links"])[0]["attributes"] == {"why": "retry"}


def test_a_database_without_the_collectors_table_says_so(url: str, store: Store) -> None:
    with pytest.raises(NotFound, match="no table otel_traces"):
        list(otel_traces(url))
    with pytest.raises(NotFound, match=r"no table other\.spans"):
        list(otel_traces(f"{url}&table=other.spans"))


# ---------------------------------------------------------------------------------- over HTTP


def test_a_server_is_written_and_read_over_http(tmp_path: Path) -> None:
    seen: list[Mapping[str, str]] = []
    with (
        chdb_client(f"clickhousedb:///{tmp_path}/engine?interface=chdb"),
        clickhouse_server(tmp_path / "engine", seen) as port,
    ):
        store = open_store(f"clickhousedb://bob:s3cret@127.0.0.1:{port}/default?async_insert=1")
        assert store.append(trace_batch(1, 20)) == Appended(stored=20, duplicates=0)
        assert store.append(trace_batch(1, 30)) == Appended(stored=10, duplicates=20)
        gone = Delete(delete(trace_arrivals).where(trace_arrivals.c.trace_id == trace_id(1)), expect=2)
        store.apply(
            [
                Upsert(executions, [execution(1, job_id="it's")]),
                Accumulate(operation_rollups, [rollup("a", 1, 0.5)]),
                gone,
            ]
        )
        with pytest.raises(Conflict):
            store.apply([gone])

        assert span_count(store) == 30
        assert store.select(select(executions.c.job_id)).to_pylist() == [{"job_id": "it's"}]
        assert store.select_text("SELECT job_id FROM executions", max_rows=5, timeout_seconds=5).to_pylist() == [
            {"job_id": "it's"}
        ]
        many = "(SELECT arrayJoin(range(1000000)) AS n)"
        with pytest.raises(Transient, match=r"cancelled after 0\.2 s"):
            store.select_text(
                f"SELECT count() FROM {many} AS a CROSS JOIN {many} AS b WHERE sqrt(a.n * b.n) > 1",
                max_rows=1,
                timeout_seconds=0.2,
            )
        with pytest.raises(Permanent, match="UNKNOWN_IDENTIFIER"):
            store.select_text("SELECT nothing FROM trace_spans", max_rows=1, timeout_seconds=5)
        store.close()

    inserts = [request for request in seen if request["statement"].startswith("INSERT")]
    assert {(request["async_insert"], request["wait_for_async_insert"]) for request in inserts} == {("1", "1")}
    assert all(request["wait_end_of_query"] == "1" for request in inserts)
    assert {request["readonly"] for request in seen if "readonly" in request} == {"2"}
