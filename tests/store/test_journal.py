"""The journal of an embedded store: what was durable in it gets into the tables, what was not does no harm."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import func, select

from otel_diag.decode.wires import WIRES
from otel_diag.errors import Permanent, StartupError, Transient
from otel_diag.store.base import Appended
from otel_diag.store.journal import Entry, Journal, journal_directory, read, replay, segments
from otel_diag.store.open import open_store
from otel_diag.store.schema import LOG_RECORDS, SPANS, SignalTable, log_records
from tests.decode.golden import GOLDEN
from tests.store.batches import span_count, trace_batch

on_embedded_stores = pytest.mark.parametrize("store_url", ["duckdb", "clickhouse"], indirect=True)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def logs() -> pa.Table:
    return WIRES["logs"].decode_one(GOLDEN["logs"]().SerializeToString(), "default").batch


def written(directory: Path, *batches: pa.Table, signal: SignalTable = SPANS) -> Path:
    """The one segment that these batches are in."""
    journal = Journal(directory)
    for batch in batches:
        journal.append(Entry(batch, signal))
    journal.close()
    return segments(directory)[-1]


class Choosy:
    """A store that refuses batches of one size for good, and those of another for the moment."""

    def __init__(self, refused: int = 0, too_busy: int = 0) -> None:
        self.refused, self.too_busy = refused, too_busy
        self.batches: list[pa.Table] = []

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        if batch.num_rows == self.too_busy:
            raise Transient("busy")
        if self.refused and self.refused in [len(part) for part in batch["trace_id"].chunks]:
            raise Permanent("never")
        self.batches.append(batch)
        return Appended(stored=batch.num_rows, duplicates=0)


@on_embedded_stores
def test_a_store_is_opened_with_what_its_journal_holds(store_url: str) -> None:
    directory = journal_directory(store_url)
    assert directory is not None
    open_store(store_url).close()
    written(directory, trace_batch(1, 3), trace_batch(2, 2))
    written(directory, logs(), signal=LOG_RECORDS)

    with closing(open_store(store_url, read_only=True)) as store:
        assert span_count(store) == 5
        assert store.select(select(func.count()).select_from(log_records)).column(0).to_pylist() == [logs().num_rows]
    assert not directory.exists()


@on_embedded_stores
def test_what_the_store_had_already_is_no_second_time_there(store_url: str) -> None:
    directory = journal_directory(store_url)
    assert directory is not None
    with closing(open_store(store_url)) as store:
        store.append(trace_batch(1, 3))
    written(directory, trace_batch(1, 3), trace_batch(1, 4))

    with closing(open_store(store_url)) as store:
        assert span_count(store) == 4


def test_a_store_without_a_file_has_no_journal() -> None:
    for url in ("duckdb://", "postgresql://somebody@nowhere/db", "clickhousedb://user@host:8123/db"):
        assert journal_directory(url) is None


def test_batches_come_back_as_they_were_written(directory: Path) -> None:
    spans = trace_batch(1, 3, error_type="TimeoutError")
    segment = written(directory, spans)
    other = written(directory, logs(), signal=LOG_RECORDS)

    assert [(entry.signal, entry.batch.to_pylist()) for entry in read(segment)] == [(SPANS, spans.to_pylist())]
    assert [(entry.signal, entry.batch.to_pylist()) for entry in read(other)] == [(LOG_RECORDS, logs().to_pylist())]


def test_an_entry_that_was_cut_off_anywhere_ends_its_segment(directory: Path) -> None:
    first, second = trace_batch(1, 3), trace_batch(2, 2)
    whole = written(directory, first).read_bytes()
    shutil.rmtree(directory)
    segment = written(directory, first, second)
    content = segment.read_bytes()

    for size in [*range(len(whole), len(whole) + 40), *range(len(whole), len(content), 97)]:
        segment.write_bytes(content[:size])
        assert [entry.batch for entry in read(segment)] == [first]
    segment.write_bytes(content)
    assert [entry.batch for entry in read(segment)] == [first, second]


def test_an_entry_with_a_changed_byte_ends_its_segment(directory: Path) -> None:
    segment = written(directory, trace_batch(1, 3), trace_batch(2, 2))
    content = segment.read_bytes()
    for place in range(5, len(content), 211):
        segment.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
        batches = [entry.batch.num_rows for entry in read(segment)]
        assert batches in ([], [3])


def test_columns_that_came_later_are_null(directory: Path) -> None:
    batch = trace_batch(1, 3)
    segment = written(directory, batch.drop_columns(["cost_usd", "links"]))

    (entry,) = read(segment)
    assert entry.batch == batch


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system refuses to write beyond it, as it does when the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_cannot_be_written_is_refused_and_what_comes_after_it_is_kept(directory: Path) -> None:
    journal = Journal(directory)
    first, second, third = (trace_batch(number, 3) for number in (1, 2, 3))
    journal.append(Entry(first, SPANS))
    (segment,) = segments(directory)
    with no_file_larger_than(segment.stat().st_size + 100), pytest.raises(Transient, match="cannot be written"):
        journal.append(Entry(second, SPANS))
    journal.append(Entry(third, SPANS))
    sealed = journal.seal()

    assert [entry.batch for path in sealed for entry in read(path)] == [first, third]
    assert list(sealed) == segments(directory)


def test_a_store_that_is_busy_leaves_the_journal_as_it_is(directory: Path) -> None:
    written(directory, trace_batch(1, 3))
    store = Choosy(too_busy=3)
    with pytest.raises(StartupError, match="busy"):
        replay(directory, store)  # type: ignore[arg-type]
    store.too_busy = 0
    replay(directory, store)  # type: ignore[arg-type]

    assert [batch.num_rows for batch in store.batches] == [3]
    assert not directory.exists()


def test_what_the_store_refuses_for_good_is_kept_aside(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = [trace_batch(number, spans) for number, spans in ((1, 3), (2, 2), (3, 4))]
    written(directory, *batches)
    store = Choosy(refused=2)
    replay(directory, store)  # type: ignore[arg-type]

    assert store.batches == [batches[0], batches[2]]
    (kept,) = directory.iterdir()
    assert [entry.batch for entry in read(kept)] == [batches[1]]
    assert f"2 acknowledged records, kept in {kept}" in caplog.text
