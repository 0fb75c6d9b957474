"""Totals of windows, which are sums of sketches as far as they can be, are what counting the rows gives."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from otel_diag import statements
from otel_diag.ask.intent import Filters
from otel_diag.model import Declared, RootCauseType, Status
from otel_diag.query import Filters as Asked
from otel_diag.query import Queries
from otel_diag.reader import Reader
from otel_diag.store.base import Store
from otel_diag.store.schema import trace_summaries
from tests.query.conftest import AT_ONCE, work_on
from tests.query.pipeline import NOW, Execution, send

HOUR = NOW.replace(minute=0, second=0, microsecond=0)
WINDOWS = [
    (HOUR - timedelta(hours=5), HOUR),
    (HOUR - timedelta(hours=4, minutes=23), HOUR + timedelta(minutes=7)),
    (HOUR - timedelta(hours=3), HOUR - timedelta(hours=2, minutes=20)),
    (HOUR - timedelta(minutes=50), HOUR - timedelta(minutes=10)),
    (HOUR - timedelta(days=2), HOUR - timedelta(days=1)),
]
FILTERS = [
    Filters(),
    Filters(statuses=(Status.FAILED, Status.TIMEOUT)),
    Filters(regions=("eu-west",), statuses=(Status.COMPLETED,)),
    Filters(models=("phi-3",)),
    Filters(jobs=("job-1",)),
    Filters(services=("modal",)),
    Filters(root_causes=(RootCauseType.CONNECTION_FAILURE,)),
]


@pytest.fixture(scope="module")
def store(shared_store: Store) -> Store:
    executions = [
        Execution(
            100 + number,
            fault="refused" if number % 5 == 0 else "none",
            started_at=HOUR - timedelta(minutes=17 * number),
            region=("us-east", "eu-west")[number % 2],
            model_id=("llama3.2-1b", "phi-3")[number % 3 == 0],
        )
        for number in range(24)
    ]
    send(shared_store, *executions)
    work_on(shared_store)
    # Known by its runner only, and without an end: no sketch counts it.
    Queries(shared_store, AT_ONCE).declare_execution(
        Declared(execution_id=900, status=Status.FAILED, started_at=HOUR - timedelta(hours=2, minutes=30))
    )
    return shared_store


def test_filtering_by_a_root_cause_finds_those_judged_so(store: Store) -> None:
    reader = Reader(store, "default")
    window = (HOUR - timedelta(hours=24), HOUR + timedelta(hours=1))
    failed = statements.executions(reader, Filters(statuses=(Status.FAILED,)), *window)
    judged = {row["unit_id"]: row["root_cause_type"] for row in reader.rows(failed)}
    refused = Filters(root_causes=(RootCauseType.CONNECTION_FAILURE,))
    found = {row["unit_id"] for row in reader.rows(statements.executions(reader, refused, *window))}
    assert found == {unit for unit, cause in judged.items() if cause == "CONNECTION_FAILURE"}
    assert 0 < len(found) < len(judged)


def test_a_total_is_what_counting_gives(store: Store) -> None:
    reader = Reader(store, "default")
    for since, until in WINDOWS:
        for filters in FILTERS:
            counted = statements.count_executions(reader, filters, since, until)
            assert counted == statements.Count(rows_of(reader, filters, since, until)), (since, until, filters)


def test_a_total_that_is_not_counted_to_the_end_says_so(
    store: Store, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "COUNTED_ROWS", 3)
    window = (HOUR - timedelta(hours=24), HOUR + timedelta(hours=1))
    reader = Reader(store, "default")
    assert statements.count_executions(reader, Filters(jobs=("job-1",)), *window) == statements.Count(3, True)
    assert not statements.count_executions(reader, Filters(), *window).is_partial
    page = queries.search(Asked(job_id="job-1", since=window[0], until=window[1]), limit=5)
    assert page.total_is_partial
    assert page.total >= len(page.executions) == page.next_offset == 5
    pages = [queries.search(Asked(job_id="job-1"), limit=10, offset=offset) for offset in (0, 10, 20)]
    assert sum(len(page.executions) for page in pages) == 24
    assert pages[-1].next_offset is None


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_the_newest_are_the_newest_of_all(store: Store, limit: int) -> None:
    reader = Reader(store, "default")
    for filters in FILTERS:
        for since, until in WINDOWS:
            statement = statements.executions(reader, filters, since, until, *trace_summaries.c)
            newest = statements.newest_rows(reader, statement, since, until, limit)
            whole = statements.executions(reader, filters, since, until)
            everything = sorted(reader.rows(whole), key=lambda row: row["started_at"], reverse=True)
            assert newest == everything[:limit]


@pytest.mark.parametrize("limit", [3, 50])
def test_what_started_after_now_is_among_the_newest(store: Store, limit: int) -> None:
    """The clocks of others may be ahead: where to look first is told by ours, and the window by the statement."""
    reader, since = Reader(store, "default"), HOUR - timedelta(hours=24)
    window = (since, HOUR + timedelta(hours=1))
    statement = statements.executions(reader, Filters(), *window, *trace_summaries.c)
    whole = statements.executions(reader, Filters(), *window)
    everything = sorted(reader.rows(whole), key=lambda row: row["started_at"], reverse=True)
    assert statements.newest_rows(reader, statement, since, HOUR - timedelta(hours=2), limit) == everything[:limit]


def rows_of(reader: Reader, filters: Filters, since: datetime, until: datetime) -> int:
    return len(reader.rows(statements.executions(reader, filters, since, until)))
