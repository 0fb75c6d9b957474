"""Appending batches: nothing twice, nothing lost, arrivals told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from otel_diag.errors import Permanent
from otel_diag.model import SPAN_SCHEMA
from otel_diag.store.base import Appended, Delete, Store
from otel_diag.store.schema import trace_arrivals, trace_spans
from tests.store.batches import NOW_NANOS, batch_of, span, span_count, trace_batch, trace_id

HOUR = 3_600_000_000_000


def arrivals(store: Store) -> list[tuple[str, int, int, int]]:
    columns = trace_arrivals.c
    rows = store.select(select(trace_arrivals).order_by(columns.ingested_at, columns.trace_id)).to_pylist()
    names = ("trace_id", "span_count", "min_start_unix_nano", "max_start_unix_nano")
    return [tuple(row[name] for name in names) for row in rows]


def test_every_column_comes_back_as_it_went_in(store: Store) -> None:
    filled = {
        "parent_span_id": "00000000000000ff",
        "error_type": "TimeoutError",
        "error_message": "čas vypršel \U0001f525 'quoted' %s $1",
        "execution_id": -(2**63),
        "attempt": 2**31 - 1,
        "attributes": '{"a":  1.0, "a": [1, {"b": null}],"é":"\\u0000"}',
        "events": "[]",
        "flags": 2**63 - 1,
        "duration_ms": 0.1 + 0.2,
        "input_tokens": 2**53 + 1,
        "cost_usd": 5e-324,
    }
    batch = batch_of([span(1, 1, **filled), span(1, 2)])
    store.append(batch)

    columns = [trace_spans.c[name] for name in SPAN_SCHEMA.names]
    stored = store.select(select(*columns).order_by(trace_spans.c.span_id))

    assert stored.to_pylist() == batch.to_pylist()
    assert stored.schema.types == SPAN_SCHEMA.types


def test_ingested_at_is_the_time_of_the_commit_and_the_same_for_arrivals(store: Store) -> None:
    before = datetime.now(UTC)
    store.append(trace_batch(1, 3))
    after = datetime.now(UTC)

    times = store.select(select(trace_spans.c.ingested_at)).column(0).to_pylist()
    times += store.select(select(trace_arrivals.c.ingested_at)).column(0).to_pylist()

    assert len(set(times)) == 1
    assert before - timedelta(seconds=1) <= times[0] <= after + timedelta(seconds=1)


def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert store.append(SPAN_SCHEMA.empty_table()) == Appended(stored=0, duplicates=0)
    assert arrivals(store) == []


def test_a_retry_stores_nothing_and_tells_no_arrival(store: Store) -> None:
    batch = trace_batch(1, 100)

    assert store.append(batch) == Appended(stored=100, duplicates=0)
    assert store.append(batch) == Appended(stored=0, duplicates=100)
    assert span_count(store) == 100
    assert arrivals(store) == [(trace_id(1), 100, NOW_NANOS, NOW_NANOS + 99_000_000)]


def test_a_retry_is_found_however_much_later_it_comes(store: Store) -> None:
    first = trace_batch(1, 10)
    store.append(first)
    for day in range(1, 30):
        store.append(batch_of([span(day + 1, 1, start_unix_nano=NOW_NANOS + day * 24 * HOUR)]))

    assert store.append(first) == Appended(stored=0, duplicates=10)


def test_only_the_new_rows_of_a_partly_known_batch_are_stored(store: Store) -> None:
    store.append(batch_of([span(1, 1), span(2, 1)]))

    appended = store.append(batch_of([span(1, 1), span(1, 2), span(2, 1), span(3, 5), span(1, 2)]))

    assert appended == Appended(stored=2, duplicates=3)
    assert arrivals(store)[2:] == [
        (trace_id(1), 1, NOW_NANOS + 2_000_000, NOW_NANOS + 2_000_000),
        (trace_id(3), 1, NOW_NANOS + 5_000_000, NOW_NANOS + 5_000_000),
    ]


def test_what_stands_twice_in_a_batch_is_stored_once(store: Store) -> None:
    assert store.append(batch_of([span(1, 1), span(1, 2), span(1, 1)])) == Appended(stored=2, duplicates=1)
    assert arrivals(store) == [(trace_id(1), 2, NOW_NANOS + 1_000_000, NOW_NANOS + 2_000_000)]


def test_different_content_under_one_id_is_kept_beside_the_other(store: Store) -> None:
    store.append(batch_of([span(1, 1, status="completed")]))

    assert store.append(batch_of([span(1, 1, status="failed")])) == Appended(stored=1, duplicates=0)
    assert span_count(store) == 2


def test_tenants_do_not_hide_each_others_spans(store: Store) -> None:
    store.append(batch_of([span(1, 1, tenant="a")]))

    assert store.append(batch_of([span(1, 1, tenant="b")])) == Appended(stored=1, duplicates=0)


def test_equal_hashes_of_different_spans_are_no_duplicates(store: Store) -> None:
    store.append(batch_of([span(1, 1, content_hash=7)]))

    appended = store.append(batch_of([span(1, 2, content_hash=7), span(2, 1, content_hash=7)]))

    assert appended == Appended(stored=2, duplicates=0)


EXTREMES = (0, 1, -1, 2**63 - 1, -(2**63), NOW_NANOS)


def test_times_at_both_ends_of_64_bits_are_kept_and_recognised(store: Store) -> None:
    rows = [
        span(
            1, number, start_unix_nano=nanos, end_unix_nano=nanos, started_at=None, completed_at=None, duration_ms=None
        )
        for number, nanos in enumerate(EXTREMES)
    ]
    assert store.append(batch_of(rows)) == Appended(stored=len(rows), duplicates=0)
    assert store.append(batch_of(rows)) == Appended(stored=0, duplicates=len(rows))
    assert arrivals(store) == [(trace_id(1), len(rows), -(2**63), 2**63 - 1)]


def test_starts_scattered_over_many_hours_are_all_recognised(store: Store) -> None:
    rows = [span(1, number, start_unix_nano=NOW_NANOS + number * 2 * HOUR, started_at=None) for number in range(50)]
    store.append(batch_of(rows))

    assert store.append(batch_of(rows[::-1])) == Appended(stored=0, duplicates=50)


STARTS = st.sampled_from([*EXTREMES, NOW_NANOS + HOUR, NOW_NANOS + HOUR + 1, NOW_NANOS - 5 * HOUR])
SPANS = st.tuples(st.integers(0, 2), st.integers(0, 3), STARTS, st.sampled_from(["completed", "failed"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(SPANS, max_size=8), max_size=4))
def test_any_sequence_of_batches_stores_each_distinct_span_once(
    store: Store, batches: list[list[tuple[int, int, int, str]]]
) -> None:
    store.apply([Delete(delete(trace_spans)), Delete(delete(trace_arrivals))])
    known: set[tuple[int, int, int, str]] = set()
    for batch in batches:
        rows = [
            span(trace, number, start_unix_nano=start, started_at=None, completed_at=None, status=status)
            for trace, number, start, status in batch
        ]
        new = set(batch) - known
        assert store.append(batch_of(rows)) == Appended(stored=len(new), duplicates=len(batch) - len(new))
        known |= new
    assert span_count(store) == len(known)
    assert sum(count for _, count, _, _ in arrivals(store)) == len(known)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(batch_of([span(1, 1)]).drop_columns("service"), id="a column is missing"),
        pytest.param(batch_of([span(1, 1), span(1, 2, service=None)]), id="a required value is missing"),
        pytest.param(
            batch_of([span(1, 1)]).set_column(4, "service", pa.array([[1]])), id="a column has the wrong type"
        ),
    ],
)
def test_a_batch_that_can_never_be_stored_is_refused_whole(store: Store, broken: pa.Table) -> None:
    with pytest.raises(Permanent):
        store.append(broken)

    assert span_count(store) == 0
    assert arrivals(store) == []
    assert store.append(trace_batch(2, 3)).stored == 3


def test_nul_characters_are_stored_or_refused(store: Store) -> None:
    batch = batch_of([span(1, 1, operation="a\0b")])
    if store.capabilities().name == "postgres":
        with pytest.raises(Permanent):
            store.append(batch)
    else:
        store.append(batch)
        assert store.select(select(trace_spans.c.operation)).to_pylist() == [{"operation": "a\0b"}]


def test_readers_see_whole_commits_while_batches_are_written(store: Store) -> None:
    done = Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(span_count(store))

    readers = [Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for trace in range(20):
        store.append(trace_batch(trace, 50))
    done.set()
    for reader in readers:
        reader.join()

    assert seen
    assert all(count % 50 == 0 for count in seen)
    assert span_count(store) == 1000


def test_several_threads_append_at_once(store: Store) -> None:
    appended: list[Appended] = []

    def write(worker: int) -> None:
        appended.extend(store.append(trace_batch(worker % 2 * 100 + step, 20)) for step in range(10))

    writers = [Thread(target=write, args=(worker,)) for worker in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sum(result.stored for result in appended) == span_count(store) == 400
    assert sum(result.duplicates for result in appended) == 400
