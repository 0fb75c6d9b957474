"""The inbox of an embedded store: durable at once, in the tables soon, and complete for whoever asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pytest

from otel_diag.errors import Permanent, Transient
from otel_diag.receive import inbox as inboxes
from otel_diag.receive.inbox import Inbox
from otel_diag.store.base import Appended, Store
from otel_diag.store.journal import Journal, segments
from otel_diag.store.open import open_store
from otel_diag.store.schema import SPANS, SignalTable
from tests.store.batches import span_count, trace_batch

NEVER = 3_600.0


class Gate:
    """Passes batches on to a store, once it is open and unless it is down."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.entered, self.open = Event(), Event()
        self.open.set()
        self.down = False
        self.sizes: list[int] = []

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        self.entered.set()
        assert self.open.wait(20)
        if self.down:
            raise Transient("the disk is full")
        self.sizes.append(batch.num_rows)
        return self.store.append(batch, signal)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store.journal"


@pytest.fixture
def gate(embedded: Store) -> Gate:
    return Gate(embedded)


@pytest.fixture
def noted() -> list[Appended]:
    return []


@pytest.fixture
def inbox(gate: Gate, directory: Path, noted: list[Appended], monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """One that moves nothing unasked, unless it is enough."""
    monkeypatch.setattr(inboxes, "LOT_SECONDS", NEVER)
    inbox = Inbox(gate, Journal(directory), noted.append)  # type: ignore[arg-type]
    yield inbox
    gate.open.set()
    gate.down = False
    inbox.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_appended_is_durable_first_and_in_the_tables_for_who_asks(
    inbox: Inbox, embedded: Store, directory: Path, noted: list[Appended]
) -> None:
    assert inbox.append(trace_batch(1, 3)) == Appended(stored=0, duplicates=0, pending=3)
    assert inbox.append(trace_batch(1, 4)) == Appended(stored=0, duplicates=0, pending=4)
    assert span_count(embedded) == 0
    assert len(segments(directory)) == 1
    assert inbox.held.rows == 7

    inbox.settle()
    assert span_count(embedded) == 4
    assert segments(directory) == []
    assert inbox.held == inboxes.NOTHING
    assert noted == [Appended(stored=4, duplicates=3)]


def test_nobody_has_to_ask(gate: Gate, directory: Path, embedded: Store) -> None:
    with closing(Inbox(gate, Journal(directory), lambda _: None)) as inbox:  # type: ignore[arg-type]
        inbox.append(trace_batch(1, 3))
        until(lambda: span_count(embedded) == 3)


def test_enough_is_moved_at_once(inbox: Inbox, gate: Gate, embedded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "LOT_ROWS", 5)
    inbox.append(trace_batch(1, 3))
    assert not gate.entered.wait(0.05)
    inbox.append(trace_batch(2, 3))
    until(lambda: span_count(embedded) == 6)
    assert gate.sizes == [6]


def test_what_comes_while_a_lot_is_moved_makes_up_the_next(inbox: Inbox, gate: Gate, directory: Path) -> None:
    gate.open.clear()
    inbox.append(trace_batch(1, 3))
    asking = Thread(target=inbox.settle)
    asking.start()
    assert gate.entered.wait(20)
    inbox.append(trace_batch(2, 2))
    inbox.append(trace_batch(3, 1))
    assert len(segments(directory)) == 2
    gate.open.set()
    asking.join(20)
    inbox.settle()
    assert gate.sizes == [3, 3]


def test_a_batch_that_does_not_fit_is_refused_before_it_is_written(inbox: Inbox, directory: Path) -> None:
    with pytest.raises(Permanent):
        inbox.append(pa.table({"trace_id": ["a"]}))
    assert segments(directory) == []


def test_closing_moves_what_waits_and_leaves_nothing(inbox: Inbox, embedded: Store, directory: Path) -> None:
    inbox.append(trace_batch(1, 3))
    inbox.close()
    assert span_count(embedded) == 3
    assert not directory.exists()
    with pytest.raises(Transient, match="shutting down"):
        inbox.append(trace_batch(2, 1))


def test_while_the_store_takes_nothing_all_stays_in_the_journal_and_who_asks_is_not_held_up(
    inbox: Inbox, gate: Gate, embedded: Store, directory: Path
) -> None:
    gate.down = True
    inbox.append(trace_batch(1, 3))
    inbox.settle()
    assert inbox.held.failing
    assert len(segments(directory)) == 1

    inbox.append(trace_batch(2, 2))
    assert span_count(embedded) == 0
    gate.down = False
    until(lambda: not inbox.held.failing)
    inbox.settle()
    assert span_count(embedded) == 5


def test_the_next_process_stores_what_this_one_could_not(gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    gate.down = True
    inbox = Inbox(gate, Journal(tmp_path / "other.duckdb.journal"), lambda _: None)  # type: ignore[arg-type]
    inbox.append(trace_batch(1, 3))
    inbox.settle()
    inbox.append(trace_batch(2, 2))
    inbox.close()

    with closing(open_store(f"duckdb:///{path}")) as store:
        assert span_count(store) == 5


def test_a_sender_is_refused_when_the_store_takes_nothing_for_long(
    inbox: Inbox, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = trace_batch(1, 3)
    monkeypatch.setattr(inboxes, "MOST_BYTES", batch.get_total_buffer_size())
    gate.down = True
    inbox.append(batch)
    inbox.settle()
    inbox.append(batch)
    with pytest.raises(Transient, match="too much data"):
        inbox.append(batch)
    gate.down = False
    until(lambda: not inbox.held.failing)
    inbox.append(batch)


def test_a_sender_waits_while_too_much_waits(inbox: Inbox, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = trace_batch(1, 3)
    monkeypatch.setattr(inboxes, "MOST_BYTES", batch.get_total_buffer_size())
    gate.open.clear()
    inbox.append(batch)
    Thread(target=inbox.settle).start()
    assert gate.entered.wait(20)
    inbox.append(batch)
    sender = Thread(target=inbox.append, args=(batch,))
    sender.start()
    sender.join(0.05)
    assert sender.is_alive()
    Thread(target=inbox.settle).start()
    gate.open.set()
    sender.join(20)
    assert not sender.is_alive()


def test_an_error_nobody_foresaw_ends_with_refusals_and_everything_in_the_journal(
    gate: Gate, directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Appended:
        raise RuntimeError("a bug")

    monkeypatch.setattr(gate, "append", broken)
    inbox = Inbox(gate, Journal(directory), lambda _: None)  # type: ignore[arg-type]
    inbox.append(trace_batch(1, 3))
    inbox.settle()
    until(lambda: inbox.held.failing)
    with pytest.raises(Transient):
        inbox.append(trace_batch(2, 3))
    inbox.close()
    assert len(segments(directory)) == 1
    until(lambda: "nothing is moved" in caplog.text)
