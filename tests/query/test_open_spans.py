"""Spans that were announced: until they come they run, and one that never comes names what was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from otel_diag.config import Settings
from otel_diag.model import DEFAULT_TENANT, RootCauseType, Span, Status
from otel_diag.query import Key, Queries
from otel_diag.reader import Reader
from otel_diag.store.base import Store
from otel_diag.store.schema import open_spans, trace_arrivals, trace_summaries
from tests.query.pipeline import Execution, healthy, send, send_bytes, send_logs

Work = Callable[[], None]
EXECUTION = Execution(2193, "dropped")


def rows(store: Store, *columns: str) -> list[tuple[Any, ...]]:
    table = open_spans.c
    found = store.select(select(open_spans).order_by(table.start_unix_nano, table.span_id)).to_pylist()
    return [tuple(row[name] for name in columns) for row in found]


def read(store: Store, trace_id: str, max_spans: int = 1_000) -> Iterable[Span]:
    reader = Reader(store, DEFAULT_TENANT, max_spans=max_spans)
    return reader.spans(reader.trace_bounds([trace_id]))[trace_id].read


def send_without_modal(store: Store, execution: Execution) -> None:
    runner, router, _ = execution.requests_by_service()
    send_logs(store, execution.announcements("runner", "router", "modal"))
    for request in (runner, router):
        send_bytes(store, request)


def test_a_span_that_never_came_names_the_container_that_was_lost(queries: Queries, store: Store, work: Work) -> None:
    send_without_modal(store, EXECUTION)
    for _ in range(2):  # as it comes in, and from its summary
        report, timeline = queries.diagnose_with_timeline(Key(execution_id=2193))
        assert report.root_cause is not None
        assert report.root_cause.root_cause_type == RootCauseType.MODAL_EXECUTION_FAILURE
        assert (report.root_cause.affected_service, report.root_cause.affected_operation) == ("modal", "modal.function")
        assert "never finished" in report.root_cause.evidence
        running = [span.span_id for span in timeline.timeline if span.status == Status.RUNNING]
        assert len(running) == 2
        assert set(running) <= {*report.root_cause.evidence_spans}
        assert report.data_quality.running_spans == running
        work()

    shown = rows(store, "service", "operation", "kind", "execution_id", "job_id", "model_id", "region")
    known = (2193, "job-1", "llama3.2-1b", "us-east")
    assert shown == [("modal", "modal.function", "server", *known), ("modal", "modal.inference", "internal", *known)]
    (answer,) = queries.sql("SELECT count(*) FROM open_spans").rows
    assert answer == [2]


def test_the_same_without_announcements_does_not_know(queries: Queries, store: Store) -> None:
    runner, router, _ = EXECUTION.requests_by_service()
    for request in (runner, router):
        send_bytes(store, request)
    report = queries.diagnose(Key(execution_id=2193))
    assert report.root_cause is None or report.root_cause.root_cause_type != RootCauseType.MODAL_EXECUTION_FAILURE


@pytest.mark.parametrize("folded_between", [False, True])
def test_a_span_that_comes_after_all_is_open_no_more(
    queries: Queries, store: Store, work: Work, folded_between: bool
) -> None:
    send_without_modal(store, EXECUTION)
    if folded_between:
        work()
    send_bytes(store, EXECUTION.requests_by_service()[2])
    work()
    assert rows(store, "span_id") == []
    report, timeline = queries.diagnose_with_timeline(Key(execution_id=2193))
    assert report.data_quality.running_spans == []
    assert len(timeline.timeline) == 6
    assert report.root_cause is None or report.root_cause.root_cause_type != RootCauseType.MODAL_EXECUTION_FAILURE


def test_announcements_of_a_healthy_execution_change_nothing(queries: Queries, store: Store, work: Work) -> None:
    plain, announced = healthy(1, 100)[0], replace(healthy(1, 100)[0], execution_id=101)
    send(store, plain, announced)
    send_logs(store, announced.announcements("runner", "router", "modal"))
    work()
    assert queries.diagnose(Key(execution_id=101)).verdict == "healthy"
    first, second = store.select(select(trace_summaries).order_by(trace_summaries.c.execution_id)).to_pylist()
    same = {"status", "duration_ms", "span_count", "signature", "complete", "elements", "critical_path"}
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


def test_an_execution_that_died_at_once_is_known_and_runs(queries: Queries, store: Store, work: Work) -> None:
    begun = replace(EXECUTION, started_at=datetime.now(UTC))
    send_logs(store, begun.announcements("runner"))
    send_logs(store, begun.announcements("runner"))
    for _ in range(2):
        report = queries.diagnose(Key(execution_id=2193))
        assert (report.status, report.verdict, report.trace_id) == (Status.RUNNING, "inconclusive", begun.trace_id)
        assert queries.timeline(Key(trace_id=begun.trace_id)).timeline[0].operation == "runner.execution"
        work()
    assert store.select(select(trace_arrivals)).num_rows == 0
    (summary,) = store.select(select(trace_summaries)).to_pylist()
    assert (summary["status"], summary["root_service"], summary["model_id"]) == ("running", "runner", "llama3.2-1b")
    assert not summary["complete"]


@pytest.mark.parametrize(("minutes_ago", "lost"), [(4, False), (60, True)])
def test_an_execution_that_has_long_been_silent_was_lost(
    queries: Queries, store: Store, work: Work, minutes_ago: int, lost: bool
) -> None:
    send(store, *healthy(3))
    died = Execution(2193, started_at=datetime.now(UTC) - timedelta(minutes=minutes_ago))
    send_logs(store, died.announcements("runner", "router", "modal"))
    work()
    report = queries.diagnose(Key(execution_id=2193))
    assert report.status == Status.RUNNING
    assert any("6 spans have begun and not ended" in note for note in report.data_quality.notes)
    if lost:
        assert report.root_cause is not None
        assert report.root_cause.root_cause_type == RootCauseType.MODAL_EXECUTION_FAILURE
        assert report.root_cause.affected_operation == "runner.execution"
        assert "in modal.modal.inference" in report.root_cause.evidence
    else:
        assert report.verdict == "inconclusive"
    send(store, died)
    work()
    assert queries.diagnose(Key(execution_id=2193)).verdict == "healthy"


def test_what_a_sender_says_in_another_type_is_absent(store: Store) -> None:
    strange: dict[str, int | str] = {"span_name": 7, "span_kind": "server", "span_parent_id": 8}
    send_logs(store, EXECUTION.announcements("runner", **strange))
    (first, _) = read(store, EXECUTION.trace_id)
    assert (first.operation, first.kind, first.parent_span_id, first.end_unix_nano) == ("", "internal", None, None)


def test_of_a_trace_too_long_to_be_read_whole_only_what_never_came_is_open(store: Store) -> None:
    send_without_modal(store, EXECUTION)
    found = read(store, EXECUTION.trace_id, max_spans=2)
    assert [span.operation for span in found if span.status == Status.RUNNING] == ["modal.function", "modal.inference"]


def test_announcements_wait_for_the_worker_like_spans(store: Store, settings: Settings) -> None:
    send_logs(store, EXECUTION.announcements("modal"))
    (arrival,) = store.select(select(trace_arrivals)).to_pylist()
    assert (arrival["trace_id"], arrival["span_count"]) == (EXECUTION.trace_id, 2)
