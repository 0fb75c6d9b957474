"""What only DuckDB has to prove: the file is opened anew from time to time, and nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from otel_diag.store import duckdb
from otel_diag.store.duckdb import DuckDBStore
from tests.store.batches import span_count, trace_batch


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DuckDBStore]:
    monkeypatch.setattr(duckdb, "_ROWS_BEFORE_REOPENING", 10)
    with closing(DuckDBStore.open(tmp_path / "store.duckdb")) as opened:
        yield opened


def openings(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    opened, made = duckdb._opened, []

    def counted(path: str, read_only: bool) -> object:
        made.append(path)
        return opened(path, read_only)

    monkeypatch.setattr(duckdb, "_opened", counted)
    return made


def test_it_is_opened_anew_after_so_many_rows(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = openings(store, monkeypatch)
    for trace in range(6):
        store.append(trace_batch(trace, 5))
        assert span_count(store) == 5 * (trace + 1)
    assert len(made) == 3
    assert store.append(trace_batch(0, 5)).duplicates == 5


def test_readers_and_writers_go_on_meanwhile(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = openings(store, monkeypatch)
    over = Event()

    def read() -> list[int]:
        seen = []
        while not over.is_set():
            seen.append(span_count(store))
        return seen

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for done in [pool.submit(store.append, trace_batch(trace, 5)) for trace in range(80)]:
            assert done.result().stored == 5
        over.set()
        for reader in readers:
            assert reader.result() == sorted(reader.result())
    assert made
    assert span_count(store) == 400


def test_a_store_in_memory_is_never_opened_anew(store: DuckDBStore) -> None:
    with closing(DuckDBStore.open(duckdb.MEMORY)) as memory:
        for trace in range(4):
            memory.append(trace_batch(trace, 5))
        assert span_count(memory) == 20
