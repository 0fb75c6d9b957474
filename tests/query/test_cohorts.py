"""What distinguishes failed executions from healthy ones: found, stated with figures, or not claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from otel_diag import cohorts, query, statements
from otel_diag.ask.intent import Filters as AskedFilters
from otel_diag.model import Distinguishing
from otel_diag.query import Filters, Key, Queries
from otel_diag.store.base import Store
from tests.query.pipeline import NOW, Execution, healthy, send

Work = Callable[[], None]

GOOD = (("router.provider", "p1"), ("host.name", "a"), ("service.version", "1.9"))
BAD = (("router.provider", "p2"), ("host.name", "b"), ("service.version", "2.0"))


def refused(count: int, first_id: int = 2200, **changes: object) -> list[Execution]:
    return [
        replace(Execution(first_id + n, "refused", started_at=NOW - timedelta(minutes=25 + n)), **changes)
        for n in range(count)
    ]


def named(found: list[Distinguishing]) -> list[tuple[str | None, str, str]]:
    return [(one.service, one.attribute, one.value) for one in found]


def test_what_the_failures_have_is_named_in_each_answer(store: Store, work: Work, queries: Queries) -> None:
    good = [replace(one, router=GOOD) for one in healthy(25)]
    # Two of the healthy ones ran on the new version too, so version and provider are two things.
    older = NOW - timedelta(minutes=70)
    mixed = [replace(one, router=(*GOOD[:2], BAD[2]), started_at=older) for one in healthy(2, 150)]
    send(store, *good, *mixed, *refused(8, router=BAD))
    work()
    failures = queries.recent_failures()
    assert failures.cohorts is not None
    assert (failures.cohorts.bad, failures.cohorts.failed, failures.cohorts.healthy) == ("failed", 8, 27)
    assert (failures.cohorts.failed_with_spans, failures.cohorts.healthy_with_spans) == (8, 27)
    first, second = failures.distinguishing
    assert named([first, second]) == [("router", "host.name", "b"), ("router", "service.version", "2.0")]
    assert first.same_as == ["router router.provider p2"]
    assert (first.failed_count, first.healthy_count, first.score) == (8, 0, 1.0)
    assert (second.failed_share, second.healthy_share) == (1.0, pytest.approx(2 / 27, abs=1e-4))
    job = queries.timeout_root_cause(job_id="job-1")
    assert job.distinguishing == failures.distinguishing
    one = queries.compare_with_successful(Key(execution_id=2200))
    assert ("router", "host.name", "b") in named(one.distinguishing)
    assert one.cohorts is not None
    assert (one.cohorts.failed, one.cohorts.healthy) == (1, 27)
    assert [(a.attribute, a.value, a.other_value) for a in one.attributes][:2] == [
        ("service.version", "2.0", "1.9"),
        ("host.name", "b", "a"),
    ]


def test_failures_like_everything_else_have_nothing_of_their_own(store: Store, work: Work, queries: Queries) -> None:
    send(store, *[replace(one, router=GOOD) for one in healthy(25)], *refused(8, router=GOOD))
    work()
    failures = queries.recent_failures()
    assert (failures.distinguishing, failures.cohorts is not None) == ([], True)
    assert queries.timeout_root_cause(job_id="job-1").distinguishing == []
    assert queries.compare_with_successful(Key(execution_id=2200)).distinguishing == []


def test_a_few_failures_claim_nothing(store: Store, work: Work, queries: Queries) -> None:
    send(store, *[replace(one, router=GOOD) for one in healthy(4)], *refused(2, router=BAD))
    work()
    failures = queries.recent_failures()
    assert failures.distinguishing == []
    assert queries.compare_with_successful(Key(execution_id=2200)).cohorts is None


def test_the_healthy_ones_are_of_the_same_kind_and_pass_the_filters(store: Store, work: Work, queries: Queries) -> None:
    other = [replace(one, region="eu-west") for one in healthy(25, 400)]
    send(store, *[replace(one, router=GOOD) for one in healthy(25)], *other, *refused(14, router=BAD))
    work()
    everywhere = queries.recent_failures()
    assert (None, "region", "us-east") in named(everywhere.distinguishing)
    here = queries.recent_failures(filters=Filters(region="us-east"))
    assert here.cohorts is not None
    assert here.cohorts.healthy == 25
    assert named(here.distinguishing) == [("router", "service.version", "2.0")]
    assert queries.recent_failures(filters=Filters(region="ap-south")).cohorts is None


def test_a_job_without_healthy_executions_is_compared_with_others(store: Store, work: Work, queries: Queries) -> None:
    send(store, *[replace(one, router=GOOD) for one in healthy(25)], *refused(8, job_id="job-2", router=BAD))
    work()
    job = queries.timeout_root_cause(job_id="job-2")
    assert job.cohorts is not None
    assert (job.cohorts.failed, job.cohorts.healthy) == (8, 25)
    assert named(job.distinguishing) == [("router", "service.version", "2.0")]


def test_slow_executions_stand_in_where_nothing_failed(store: Store, work: Work, queries: Queries) -> None:
    send(store, *[replace(one, router=GOOD) for one in healthy(40)])
    work()
    slow = [replace(one, inference_ms=9_000.0, router=BAD) for one in healthy(8, 2200)]
    send(store, *slow)
    work()
    job = queries.timeout_root_cause(job_id="job-1")
    assert job.failed_executions == 0
    assert job.cohorts is not None
    assert (job.cohorts.bad, job.cohorts.failed, job.cohorts.healthy) == ("slow", 8, 40)
    assert named(job.distinguishing) == [("router", "service.version", "2.0")]


def test_what_is_read_of_long_traces_is_bounded_and_said(
    store: Store, work: Work, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohorts, "MAX_SPANS", 80)
    send(store, *[replace(one, router=GOOD) for one in healthy(25)], *refused(12, region="eu-west", router=BAD))
    work()
    failures = queries.recent_failures()
    assert failures.cohorts is not None
    assert (failures.cohorts.failed_with_spans, failures.cohorts.healthy_with_spans) == (10, 6)
    assert (None, "region", "eu-west") in named(failures.distinguishing)
    assert failures.distinguishing == queries.recent_failures().distinguishing


def test_errors_that_are_new_or_gone_are_told_against_the_window_before(
    store: Store, work: Work, queries: Queries
) -> None:
    earlier = [replace(one, started_at=one.started_at - timedelta(minutes=65)) for one in healthy(25, 300)]
    before = [replace(one, fault="died", started_at=one.started_at - timedelta(minutes=65)) for one in refused(6, 2300)]
    dropped = [replace(one, fault="dropped") for one in refused(2, 2400)]
    send(store, *healthy(25), *earlier, *refused(9), *before, *dropped)
    work()
    failures = queries.recent_failures(filters=Filters(since=NOW - timedelta(hours=1)))
    assert (failures.total_failures, failures.examined_failures) == (11, 11)
    assert (failures.errors_examined, failures.errors_examined_before) == (11, 6)
    (new,) = failures.new_errors
    assert (new.template, new.count) == ("connection refused", 9)
    assert new.first_seen == min(one.started_at for one in refused(9))
    assert set(new.example_ids) <= {one.execution_id for one in refused(9)}
    (gone,) = failures.gone_errors
    assert (gone.template, gone.count_before) == ("prompt file prompts/<*>.txt does not exist", 6)
    assert gone.last_seen == max(one.started_at for one in before)
    assert failures.changed_errors == []
    asked = queries.ask("which errors are new or gone in the last hour?")
    assert [(found["change"], found["template"]) for found in asked.results] == [
        ("new", new.template),
        ("gone", gone.template),
    ]
    assert asked.sql_or_call is not None
    assert asked.sql_or_call.startswith("get_recent_failures(since=")
    nothing = queries.ask("new errors in eu-west in the last hour")
    assert (nothing.results, "No error text is new or gone" in nothing.message) == ([], True)
    # Of the same job only: its executions before count, so it is told all the same. Another region has none of it.
    assert queries.recent_failures(filters=Filters(since=NOW - timedelta(hours=1), job_id="job-1")).new_errors == [new]
    assert queries.recent_failures(filters=Filters(since=NOW - timedelta(hours=1), region="eu-west")).new_errors == []


def test_nothing_is_new_when_there_was_nothing_before(store: Store, work: Work, queries: Queries) -> None:
    send(store, *healthy(25), *refused(9))
    work()
    failures = queries.recent_failures(filters=Filters(since=NOW - timedelta(hours=1)))
    assert (failures.new_errors, failures.gone_errors, failures.changed_errors) == ([], [], [])
    assert (failures.errors_examined, failures.errors_examined_before) == (9, 0)


def test_error_texts_are_counted_among_the_newest_and_that_is_said(
    store: Store, work: Work, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohorts, "ERRORS", 5)
    monkeypatch.setattr(query, "PATTERN_ROWS", 5)
    send(store, *healthy(5), *refused(9))
    work()
    failures = queries.recent_failures()
    assert (failures.total_failures, failures.errors_examined) == (9, 5)


def test_rates_are_of_the_executions_among_which_texts_were_counted(
    store: Store, work: Work, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohorts, "ERRORS", 15)
    monkeypatch.setattr(query, "PATTERN_ROWS", 15)

    def at(minutes: float, one: Execution) -> Execution:
        return replace(one, started_at=NOW - timedelta(minutes=minutes))

    # All fourteen failures before are counted, among 94 executions; fifteen of sixty now, in the last quarter of 100.
    before = [at(70 + n * 0.6, one) for n, one in enumerate(healthy(80))]
    before += [at(71 + n * 3, one) for n, one in enumerate(refused(14, 2000))]
    now = [at(1 + n * 1.4, one) for n, one in enumerate(healthy(40, 300))]
    now += [at(1 + n * 0.95, one) for n, one in enumerate(refused(60, 2200))]
    send(store, *before, *now)
    work()
    failures = queries.recent_failures(filters=Filters(since=NOW - timedelta(hours=1)))
    assert (failures.errors_examined, failures.errors_examined_before) == (15, 14)
    (changed,) = failures.changed_errors
    assert (changed.template, changed.count, changed.count_before) == ("connection refused", 15, 14)
    assert changed.rate == pytest.approx(15 / 25, abs=0.05)
    assert changed.rate_before == pytest.approx(14 / 94, abs=0.001)


def test_in_a_large_store_executions_are_counted_by_the_hour(
    store: Store, work: Work, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "SCANNED_ROWS", 0)
    hour = NOW.replace(minute=0)
    earlier = [replace(one, started_at=hour - timedelta(minutes=30)) for one in healthy(20)]
    send(store, *earlier, *[replace(one, started_at=hour - timedelta(minutes=150)) for one in healthy(5, 200)])
    work()
    windows = ((hour - timedelta(hours=1), hour), (hour - timedelta(minutes=150), hour - timedelta(hours=1)))
    assert queries._executions_in(AskedFilters(), *windows) == [20.0, 2.5]
    assert queries._executions_in(AskedFilters(regions=("eu-west",)), *windows) == [0.0, 0.0]


def test_a_job_says_what_its_failures_share(store: Store, work: Work, queries: Queries) -> None:
    late = [replace(one, started_at=NOW - timedelta(minutes=20 - n)) for n, one in enumerate(refused(9))]
    send(store, *[replace(one, started_at=NOW - timedelta(minutes=60 + n)) for n, one in enumerate(healthy(40))], *late)
    work()
    job = queries.timeout_root_cause(job_id="job-1")
    shared = {pattern.pattern: (pattern.count, pattern.total) for pattern in job.patterns}
    assert shared["failed before reaching modal.modal.function"] == (9, 9)
    assert shared["CONNECTION_FAILURE at router.POST"] == (9, 9)
    begun = "none of 40 failed before "
    assert begun in job.pattern
    assert job.pattern.endswith("UTC, 9 of 9 since")
