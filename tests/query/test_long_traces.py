"""Of a trace too long to be read whole, what matters is read, and every answer says how much there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from otel_diag.config import Settings
from otel_diag.errors import BadInput
from otel_diag.model import DEFAULT_TENANT
from otel_diag.present.cli.transfer import trace_pages
from otel_diag.query import Filters, Key, Queries
from otel_diag.reader import Reader
from otel_diag.store.base import Store
from otel_diag.summaries import fold_traces
from tests.query.conftest import later
from tests.store.batches import NOW_NANOS, batch_of, span, span_id, trace_id

MOST = 50
SPANS = 400
FAILED = 391
EXECUTION = 2193
ROOT, ENTRY, LONGEST = 0, 200, 300


@pytest.fixture
def settings() -> Settings:
    return Settings(quiet_seconds=0.0, settle_seconds=0.0, max_trace_spans=MOST)


def long_trace(trace: int = 1) -> list[dict[str, Any]]:
    """A root with a chain of calls below it, each shorter than the last, and at its end the only span that failed."""

    def one(number: int) -> dict[str, Any]:
        above = None if number == ROOT else ROOT
        if number == FAILED:
            above = FAILED - 1
        elif FAILED - 4 < number < FAILED:
            above = number - 1
        length = {ROOT: 10_000.0, LONGEST: 5_000.0, FAILED: 0.001}.get(number, 0.01)
        start = NOW_NANOS + number * 1_000_000
        return span(
            trace,
            number,
            parent_span_id=None if above is None else span_id(above),
            kind="server" if number == ENTRY else "internal",
            status="failed" if number == FAILED else "completed",
            error_message="refused" if number == FAILED else None,
            duration_ms=length,
            end_unix_nano=start + int(length * 1e6),
            execution_id=EXECUTION,
        )

    return [one(number) for number in range(SPANS)]


def numbers(reader: Reader, trace: int = 1) -> list[int]:
    found = reader.spans(reader.trace_bounds([trace_id(trace)]))[trace_id(trace)]
    return [int(read.span_id, 16) for read in found.read]


def test_the_failed_the_roots_the_entries_and_the_longest_survive_and_what_is_above_them(store: Store) -> None:
    rows = long_trace()
    store.append(batch_of(rows[200:]))
    store.append(batch_of(rows[:200]))
    read = numbers(Reader(store, DEFAULT_TENANT, max_spans=MOST))
    assert read == sorted(read)
    above = {FAILED - 1, FAILED - 2, FAILED - 3, FAILED - 4}
    assert {ROOT, ENTRY, LONGEST, FAILED} | above <= set(read)
    # The rest is the earliest of those that are as long: a tenth of the room is left for spans above the others.
    assert sorted(set(read) - above - {ENTRY, LONGEST, FAILED}) == list(range(MOST - MOST // 10 - 3))
    assert read == numbers(Reader(store, DEFAULT_TENANT, max_spans=MOST))


def test_every_answer_says_how_much_there_is(store: Store, work: Callable[[], None], queries: Queries) -> None:
    store.append(batch_of(long_trace()))
    key = Key(execution_id=EXECUTION)
    for summarised in (False, True):
        if summarised:
            work()
        quality = queries.diagnose(key).data_quality
        assert quality.spans == SPANS
        assert 40 < quality.spans_examined <= MOST
        assert quality.orphans == []
        assert f"{quality.spans_examined} of {SPANS} spans were examined" in quality.notes[0]
        timeline, summary, gaps = queries.timeline(key), queries.summary(key), queries.trace_gaps(key)
        assert [answer.total_spans for answer in (timeline, summary, gaps)] == [SPANS] * 3
        assert {timeline.spans_examined, summary.spans_examined, gaps.data_quality.spans_examined} == {
            quality.spans_examined
        }
        assert summary.failed_spans == 1


def test_a_trace_of_two_executions_counts_what_each_left_out(store: Store, queries: Queries) -> None:
    rows = [row | {"execution_id": EXECUTION + (number % 4 == 0)} for number, row in enumerate(long_trace())]
    store.append(batch_of(rows))
    assert queries.summary(Key(execution_id=EXECUTION)).total_spans == SPANS * 3 // 4
    assert queries.summary(Key(execution_id=EXECUTION + 1)).total_spans == SPANS // 4
    assert queries.summary(Key(trace_id=trace_id(1))).total_spans == SPANS


def test_traces_that_are_too_long_together_are_summarised_apart(store: Store, queries: Queries) -> None:
    for trace in range(2, 8):
        store.append(batch_of(span(trace, number, status="failed") for number in range(20)))
    store.append(batch_of(long_trace()))
    reader = Reader(store, DEFAULT_TENANT, max_spans=MOST)
    transactions = 0
    for changes in fold_traces(reader, [trace_id(trace) for trace in range(1, 8)], later()):
        store.apply(changes)
        transactions += 1
    assert transactions == 1 + 6 / 2
    found = queries.search(Filters())
    assert sorted(brief.span_count for brief in found.executions) == [20] * 6 + [SPANS]


def test_a_trace_too_long_to_be_given_at_once_is_exported_whole(store: Store, queries: Queries) -> None:
    rows = long_trace()
    twins = [row | {"content_hash": row["content_hash"] ^ 1} for row in rows[100:103]]
    store.append(batch_of([*rows, *twins]))
    with pytest.raises(BadInput, match=f"more than {MOST} spans"):
        queries.raw_trace(trace_id(1))
    pages = [ids_of(page) for page in trace_pages(queries, trace_id(1), size=50)]
    given = [one for page in pages for one in page]
    assert sorted(given) == sorted(map(span_id, [*range(SPANS), 100, 101, 102]))
    assert all(50 <= len(page) < 55 for page in pages[:-1])


def ids_of(page: Mapping[str, Any]) -> list[str]:
    return [
        span["spanId"] for group in page["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"]
    ]
