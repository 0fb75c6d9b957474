"""What the grammar promises beyond single phrasings: names, context, defaults, honesty about what it does not know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_diag.ask.describe import describe, understood
from otel_diag.ask.grammar import MAX_QUESTION, understand
from otel_diag.ask.intent import ALL_TIME, Dimension, Intent, IntentName, Known, Metric, NotUnderstood
from otel_diag.ask.lexicon import WORDS
from otel_diag.model import RootCauseType, Status

NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
KNOWN = Known(
    services={"billing-api", "inference", "router"},
    operations={"charge", "POST /v1/infer", "render page", "modal.inference"},
    models={"llama3.2-1b", "llama3.2-3b"},
    regions={"us-east-1", "us-west-1"},
    jobs={"demo-1", "demo-2"},
)


def ask(question: str, known: Known = KNOWN, execution_id: int | None = None) -> Intent:
    intent = understand(question, known, now=NOW, execution_id=execution_id)
    assert isinstance(intent, Intent), intent
    return intent


def refuse(question: str, known: Known = KNOWN, execution_id: int | None = None) -> NotUnderstood:
    refused = understand(question, known, now=NOW, execution_id=execution_id)
    assert isinstance(refused, NotUnderstood), refused
    return refused


# ------------------------------------------------------------------------------------------ names


def test_a_name_is_found_however_it_is_spelled() -> None:
    for spelling in (
        "billing-api",
        "Billing-API",
        "billing api",
        '"billing-api"',
        "billing_api",
        "the billing-api service",
    ):
        assert ask(f"error rate of {spelling}").filters.services == ("billing-api",), spelling


def test_names_with_spaces_and_slashes() -> None:
    assert ask("p95 of POST /v1/infer today").filters.operations == ("POST /v1/infer",)
    assert ask("average duration of render page").filters.operations == ("render page",)


def test_a_service_and_its_operation_joined_by_a_dot() -> None:
    filters = ask("average duration of router.charge").filters
    assert (filters.services, filters.operations) == (("router",), ("charge",))


def test_a_typo_is_corrected_and_said() -> None:
    intent = ask("error rate of ruoter")
    assert intent.filters.services == ("router",)
    assert intent.notes == ("'ruoter' was read as the service 'router'",)


@pytest.mark.parametrize("name", ["us-north-1", "us-east-2", "llama3.2-7b", "demo-3"])
def test_another_name_of_the_same_family_is_not_a_typo(name: str) -> None:
    intent = ask(f"failures in {name}")
    named = (*intent.filters.regions, *intent.filters.models, *intent.filters.jobs)
    assert named == (name,)
    assert "has been seen" in intent.notes[0]


def test_a_typo_between_two_names_is_asked_about() -> None:
    known = Known(services={"alpha", "alphb"})
    assert refuse("error rate of alphc", known).message == "'alphc' could be 'alpha' or 'alphb': which one do you mean?"


def test_part_of_a_name_means_every_name_with_that_part() -> None:
    intent = ask("average duration of llama")
    assert intent.filters.models == ("llama3.2-1b", "llama3.2-3b")
    assert "'llama3.2-1b' or 'llama3.2-3b'" in intent.notes[0]


@pytest.mark.parametrize(
    ("question", "dimension", "value"),
    [
        ("average duration for hybrid_router_call", "operations", "hybrid_router_call"),
        ("p95 of modal.inference since yesterday", "operations", "modal.inference"),
        ("failures of mistral-7b", "models", "mistral-7b"),
        ("failures in eu-central-1", "regions", "eu-central-1"),
        ("why did job nightly fail", "jobs", "nightly"),
        ("failures of service gateway", "services", "gateway"),
        ("failed Modal calls", "services", "Modal"),
    ],
)
def test_a_name_that_was_never_seen_still_filters_and_is_said(question: str, dimension: str, value: str) -> None:
    intent = ask(question, Known())
    assert getattr(intent.filters, dimension) == (value,)
    assert f"{value!r} has been seen" in " ".join(intent.notes)


# ------------------------------------------------------------------------------------------ context, times, defaults


def test_a_follow_up_means_the_execution_of_the_context() -> None:
    assert ask("why did it fail?", execution_id=7).execution_ids == (7,)
    assert ask("where did the time go?", execution_id=7).name == IntentName.GAPS
    assert ask("compare it with 9", execution_id=7).execution_ids == (7, 9)
    assert ask("are there similar ones?", execution_id=7).name == IntentName.SIMILAR


def test_the_context_does_not_capture_other_questions() -> None:
    for question in ("slowest operations today", "why did 8 fail", "failures by region", "why are all jobs failing"):
        assert ask(question, execution_id=7).execution_ids != (7,), question


@pytest.mark.parametrize(("question", "hours"), [("show failures", 1), ("average duration of charge", 24)])
def test_default_windows_are_marked_as_such(question: str, hours: int) -> None:
    window = ask(question).window
    assert window is not None
    assert not window.explicit
    assert window.until - window.since == timedelta(hours=hours)
    assert understood(ask(question)).window == {
        "since": window.since.isoformat(),
        "until": NOW.isoformat(),
        "label": window.label,
        "chosen": "by default",
    }


@pytest.mark.parametrize(
    ("words", "since", "until"),
    [
        ("in the last hour", "2026-11-21T14:30", "2026-11-21T15:30"),
        ("last 90s", "2026-11-21T15:28", "2026-11-21T15:30"),
        ("in the past couple of hours", "2026-11-21T13:30", "2026-11-21T15:30"),
        ("in the last half hour", "2026-11-21T15:00", "2026-11-21T15:30"),
        ("this month", "2026-11-01T00:00", "2026-11-21T15:30"),
        ("last month", "2026-10-01T00:00", "2026-11-01T00:00"),
        ("since 2pm", "2026-11-21T14:00", "2026-11-21T15:30"),
        ("since 23:00", "2026-11-20T23:00", "2026-11-21T15:30"),
        ("since yesterday at 14:00", "2026-11-20T14:00", "2026-11-21T15:30"),
        ("since monday 9 am", "2026-11-16T09:00", "2026-11-21T15:30"),
        ("on Friday", "2026-11-20T00:00", "2026-11-21T00:00"),
        ("on 20 November", "2026-11-20T00:00", "2026-11-21T00:00"),
        ("on Dec 24th", "2025-12-24T00:00", "2025-12-25T00:00"),
        ("from 2026-11-18 to 2026-11-19", "2026-11-18T00:00", "2026-11-20T00:00"),
        ("between 2026-11-20T10:00:00+02:00 and 2026-11-20T12:00Z", "2026-11-20T08:00", "2026-11-20T12:00"),
        ("from 10:00 until 11:30", "2026-11-21T10:00", "2026-11-21T11:30"),
        ("around 14:00", "2026-11-21T13:45", "2026-11-21T14:15"),
        ("before 10:00", "2026-11-21T00:00", "2026-11-21T10:00"),
        ("this morning", "2026-11-21T00:00", "2026-11-21T12:00"),
        ("of all time", ALL_TIME.strftime("%Y-%m-%dT%H:%M"), "2026-11-21T15:30"),
    ],
)
def test_time_windows(words: str, since: str, until: str) -> None:
    window = ask(f"show failures {words}").window
    assert window is not None
    assert window.explicit
    assert [moment.strftime("%Y-%m-%dT%H:%M") for moment in (window.since, window.until)] == [since, until]


@pytest.mark.parametrize(
    ("words", "low", "high"),
    [
        ("longer than 5 s", 5000, None),
        ("over 1.5 minutes", 90_000, None),
        ("taking at least 250ms", 250, None),
        ("> 2 s", 2000, None),
        ("in under 30 ms", None, 30),
        ("in 10-30ms", 10, 30),
        ("between 10 ms and 2 s", 10, 2000),
        ("from 10 to 30 ms", 10, 30),
        ("in about 100 ms", 90, 110),
        ("over 1 s and under 3 s", 1000, 3000),
    ],
)
def test_durations(words: str, low: float | None, high: float | None) -> None:
    filters = ask(f"failed executions {words} today").filters
    assert filters.min_duration_ms == (None if low is None else pytest.approx(low))
    assert filters.max_duration_ms == (None if high is None else pytest.approx(high))


def test_slots_may_come_in_any_order() -> None:
    parts = ["p95 of modal.inference", "for llama3.2-1b", "in us-east-1", "since yesterday"]
    first = ask(" ".join(parts))
    assert first.filters.models == ("llama3.2-1b",)
    for turn in range(1, len(parts)):
        assert ask(" ".join(parts[turn:] + parts[:turn])) == first


def test_two_names_of_a_kind_are_compared_side_by_side() -> None:
    intent = ask("is llama3.2-1b slower than llama3.2-3b")
    assert (intent.metric, intent.group_by, intent.baseline) == (Metric.AVG, (Dimension.MODEL,), None)


def test_root_causes_may_be_named_by_their_type() -> None:
    intent = ask("NETWORK_TIMEOUT executions today")
    assert intent.filters.root_causes == (RootCauseType.NETWORK_TIMEOUT,)
    assert intent.filters.statuses == ()


def test_failed_or_timed_out_are_both_and_failed_with_a_timeout_is_one() -> None:
    assert ask("failed or timed out executions").filters.statuses == (Status.FAILED, Status.TIMEOUT)
    assert ask("failures due to timeouts").filters.statuses == (Status.TIMEOUT,)


# ------------------------------------------------------------------------------------------ refusing


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("why did it fail", "Which execution"),
        ("failures except in us-east-1", "leave things out"),
        ("average cost per model", "money and tokens"),
        ("delete failed executions", "only read"),
        ("average mood of charge", "'mood'"),
        ("failures today in the last hour", "one time window"),
        ("timeline of 1 and 2", "one execution at a time"),
        ("", "did not understand"),
        ("x" * (MAX_QUESTION + 1), "characters"),
    ],
)
def test_refusals_say_why(question: str, reason: str) -> None:
    assert reason in refuse(question).message


def test_ignored_words_are_said() -> None:
    assert "'flabbergasted' was not understood and is ignored" in ask("failures by region today flabbergasted").notes


@pytest.mark.parametrize("known", [Known(), KNOWN, Known(services={"by region"}, operations={"?"}, models={"m"})])
@pytest.mark.parametrize("question", ["hello", "why did it fail", "average mood of charge", "failures except today"])
def test_what_is_suggested_works(question: str, known: Known) -> None:
    refused = refuse(question, known)
    assert len(refused.suggestions) == 4
    for suggestion in refused.suggestions:
        assert ask(suggestion, known).execution_ids in ((), (2193,))


@given(
    st.lists(
        st.sampled_from([*sorted(WORDS), "2193", "5s", "14:00", "router", '"x y"', "?", "2026-11-20"]), max_size=12
    )
)
@example(["between", "14:00", "and"])
def test_any_words_are_either_understood_or_refused(words: list[str]) -> None:
    result = understand(" ".join(words), KNOWN, now=NOW)
    if isinstance(result, Intent):
        assert describe(result)
        assert understood(result).intent == result.name
        for window in (result.window, result.baseline):
            assert window is None or ALL_TIME <= window.since <= window.until
    else:
        assert result.message
        assert result.suggestions


@given(st.text(max_size=200))
def test_any_text_is_either_understood_or_refused(text: str) -> None:
    assert isinstance(understand(text, KNOWN, now=NOW), Intent | NotUnderstood)
