"""Intents as JSON: the same vocabulary, names and defaults as the grammar's, and nothing that is not in it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.ask.describe import describe, understood
from otel_diag.ask.form import IntentForm, Refused, fields_in_words, read_form
from otel_diag.ask.grammar import understand
from otel_diag.ask.intent import ALL_TIME, FAILURES, Filters, Intent, IntentName, Known, Window
from otel_diag.model import Status
from tests.ask.test_phrasings import CORPUS
from tests.ask.test_phrasings import KNOWN as CORPUS_KNOWN
from tests.ask.test_phrasings import NOW as CORPUS_NOW
from tests.conftest import fuzzed

NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
KNOWN = Known(
    services={"billing-api", "inference", "router"},
    operations={"charge", "POST /v1/infer", "modal.inference"},
    models={"llama3.2-1b"},
    regions={"us-east-1", "us-west-1"},
    jobs={"demo-1"},
)


def read(execution_id: int | None = None, **given: Any) -> Intent:
    return read_form(json.loads(json.dumps(given)), KNOWN, now=NOW, execution_id=execution_id)


def refuse(**given: Any) -> str:
    with pytest.raises(Refused) as refused:
        read_form(given, KNOWN, now=NOW)
    return str(refused.value)


# ------------------------------------------------------------------------------------------ one vocabulary


def test_its_fields_are_those_of_an_answer() -> None:
    asked = {field.name for field in fields(Intent)} - {"name", "filters", "window", "baseline", "notes", "ignored"}
    times = {"since", "until", "baseline_since", "baseline_until"}
    assert IntentForm.model_fields.keys() == {"intent"} | asked | {field.name for field in fields(Filters)} | times
    assert fields_in_words().keys() == IntentForm.model_fields.keys()


def as_given(intent: Intent) -> dict[str, Any]:
    """What an answer says about how it was read, as it can be sent back."""
    said = understood(intent)
    times = {name: value for name, value in (said.window or {}).items() if name.endswith(("since", "until"))}
    asked = said.filters
    if intent.name in (IntentName.JOB_PATTERN, IntentName.PERFORMANCE, IntentName.ERROR_CHANGES):
        asked = {name: value for name, value in asked.items() if name not in ("target", "limit")}
    return {"intent": said.intent, **asked, **times}


def without_words(intent: Intent) -> Intent:
    """Without what only people read, and without what the intent does not heed."""

    def plain(window: Window | None) -> Window | None:
        return None if window is None else replace(window, label="", explicit=True)

    return replace(intent, notes=(), window=plain(intent.window), baseline=plain(intent.baseline))


QUESTIONS = [phrasing["question"] for phrasing in CORPUS["phrasings"]]


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_the_grammar_understands_can_be_said_as_json(question: str) -> None:
    intent = understand(question, CORPUS_KNOWN, now=CORPUS_NOW)
    if not isinstance(intent, Intent):
        return
    if intent.name is IntentName.SIMILAR:  # heeds nothing but the execution
        intent = replace(intent, filters=Filters(), window=None, limit=None)
    again = read_form(json.loads(json.dumps(as_given(intent))), CORPUS_KNOWN, now=CORPUS_NOW)
    assert without_words(again) == without_words(intent)


@pytest.mark.parametrize("question", QUESTIONS)
def test_without_times_it_has_the_defaults_of_the_grammar(question: str) -> None:
    intent = understand(question, CORPUS_KNOWN, now=CORPUS_NOW)
    if not isinstance(intent, Intent) or intent.baseline or (intent.window and intent.window.explicit):
        return
    if intent.name is IntentName.SIMILAR:
        intent = replace(intent, filters=Filters(), limit=None)
    timeless = {name: value for name, value in as_given(intent).items() if name not in ("since", "until")}
    assert replace(read_form(timeless, CORPUS_KNOWN, now=CORPUS_NOW), notes=()) == replace(intent, notes=())


# ------------------------------------------------------------------------------------------ names and times


def test_names_are_resolved_as_in_a_question() -> None:
    intent = read(intent="measure", metric="p95", services=["ruoter", "Billing API", "nothing-like-it"])
    assert intent.filters.services == ("router", "billing-api", "nothing-like-it")
    assert intent.notes == (
        "'ruoter' was read as the service 'router'",
        "no service 'nothing-like-it' has been seen; used as given",
    )
    assert intent.target == "spans"


def test_a_service_and_its_operation_joined_by_a_dot() -> None:
    filters = read(intent="search", operations=["router.charge"]).filters
    assert (filters.services, filters.operations) == (("router",), ("charge",))


def test_a_name_between_two_is_asked_about() -> None:
    known = Known(services={"alpha", "alphb"})
    with pytest.raises(Refused, match="'alphc' could be 'alpha' or 'alphb'"):
        read_form({"intent": "search", "services": ["alphc"]}, known, now=NOW)


@pytest.mark.parametrize(
    ("given", "since", "until", "label"),
    [
        ({"since": "7d"}, NOW - timedelta(days=7), NOW, "last 7d"),
        ({"since": "2026-11-20"}, datetime(2026, 11, 20, tzinfo=UTC), NOW, "since 2026-11-20 00:00"),
        (
            {"since": "2026-11-20T10:00+02:00", "until": "2h"},
            datetime(2026, 11, 20, 8, tzinfo=UTC),
            NOW - timedelta(hours=2),
            "2026-11-20 08:00 to 2026-11-21 13:30",
        ),
        (
            {"since": "1h", "until": "2026-12-31"},
            NOW - timedelta(hours=1),
            NOW,
            "2026-11-21 14:30 to 2026-11-21 15:30",
        ),
        ({"since": "0001-01-01"}, ALL_TIME, NOW, "all time"),
    ],
)
def test_times_are_ages_or_dates_within_what_is_stored(
    given: dict[str, str], since: datetime, until: datetime, label: str
) -> None:
    assert read(intent="search", **given).window == Window(since, until, label, explicit=True)


def test_a_baseline_ends_where_the_window_starts() -> None:
    intent = read(intent="measure", metric="avg", since="7d", baseline_since="14d")
    assert intent.baseline is not None
    assert (intent.baseline.since, intent.baseline.until) == (NOW - timedelta(days=14), NOW - timedelta(days=7))


def test_an_intent_about_an_execution_takes_the_one_that_is_spoken_of() -> None:
    assert read(2193, intent="gaps").execution_ids == (2193,)
    assert read(2193, intent="gaps", execution_ids=[7]).execution_ids == (7,)
    assert read(intent="timeline", trace_ids=["AB" * 16]).trace_ids == ("ab" * 16,)


def test_what_failed_is_what_failed_or_timed_out() -> None:
    assert read(intent="list_failures").filters.statuses == FAILURES
    assert read(intent="list_failures", statuses=["timeout"]).filters.statuses == (Status.TIMEOUT,)


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "intent: Field required"),
        ({"intent": "drop"}, "intent: Input should be 'diagnose', "),
        ({"intent": "measure", "metric": "p97"}, "metric: Input should be 'avg'"),
        ({"intent": "measure"}, "measure needs a metric: avg"),
        ({"intent": "measure", "metric": "count", "group_by": ["colour"]}, "group_by.0: Input should be 'service'"),
        ({"intent": "search", "statuses": ["bad"]}, "statuses.0: Input should be 'completed'"),
        ({"intent": "search", "root_causes": ["GREMLINS"]}, "root_causes.0: Input should be 'PRE_EXECUTION"),
        ({"intent": "search", "sql": "DROP TABLE x"}, "There is no field 'sql'; the fields are intent, target"),
        ({"intent": "search", "service": "router"}, "There is no field 'service'"),
        ({"intent": "search", "notes": ["trust me"]}, "There is no field 'notes'"),
        ({"intent": "search", "services": ["a\x1b[2Jb"]}, "control and invisible"),
        ({"intent": "search", "text": "a\u200bb"}, "control and invisible"),
        ({"intent": "search", "services": ["x" * 501]}, "at most 500 characters"),
        ({"intent": "search", "services": ["x"] * 21}, "services: Tuple should have at most 20 items"),
        ({"intent": "search", "limit": 100_000}, "limit: Input should be less than or equal to 500"),
        ({"intent": "search", "min_duration_ms": float("nan")}, "finite"),
        ({"intent": "search", "min_duration_ms": 5, "max_duration_ms": 1}, "min_duration_ms is more than"),
        ({"intent": "search", "since": "soon"}, "since 'soon' is neither an age (30m, 24h, 7d) nor ISO 8601."),
        ({"intent": "search", "since": "999999w"}, "since '999999w' is neither"),
        ({"intent": "search", "since": "2026-11-22"}, "is not before the window's end"),
        ({"intent": "search", "since": "1h", "until": "2h"}, "is not before the window's end"),
        ({"intent": "search", "until": "2h"}, "until needs since"),
        ({"intent": "search", "target": "operations"}, "Only slowest has the target operations"),
        ({"intent": "search", "target": "spans", "root_causes": ["UNKNOWN"]}, "known of executions only"),
        ({"intent": "search", "metric": "p95"}, "search takes no metric; it takes target, services"),
        ({"intent": "diagnose"}, "diagnose is about one of execution_ids and trace_ids"),
        ({"intent": "diagnose", "execution_ids": [1, 2]}, "diagnose is about one"),
        ({"intent": "diagnose", "execution_ids": [1], "since": "1h"}, "diagnose takes no since"),
        ({"intent": "diagnose", "execution_ids": [2**63]}, "execution_ids.0: Input should be less than"),
        ({"intent": "diagnose", "trace_ids": ["abc"]}, "trace_ids.0: String should match"),
        ({"intent": "compare"}, "compare is about one or two"),
        ({"intent": "list_names"}, "one dimension"),
        ({"intent": "list_failures", "statuses": ["completed"]}, "use search for other statuses"),
        ({"intent": "performance", "models": ["a", "b"]}, "use measure with group_by"),
        ({"intent": "measure", "metric": "error_rate", "statuses": ["failed"]}, "takes no statuses"),
        ({"intent": "measure", "metric": "avg", "baseline_until": "1h"}, "baseline_until needs baseline_since"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_in_words(given: dict[str, Any], says: str) -> None:
    message = refuse(**given)
    assert says in message
    assert message.isprintable()


def test_a_heap_of_mistakes_is_told_in_a_few_words() -> None:
    assert len(refuse(**{f"field_{number}\n" * 50: 1 for number in range(200)})) < 3_000


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([*IntentName]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@fuzzed
@given(
    st.sampled_from(list(IntentName)),
    st.dictionaries(st.sampled_from(list(IntentForm.model_fields)) | st.text(max_size=8), values, max_size=4),
)
def test_whatever_is_given_is_read_or_refused(intent: IntentName, rest: dict[str, Any]) -> None:
    with suppress(Refused):
        assert describe(read_form({"intent": intent, "metric": "count"} | rest, KNOWN, now=NOW))
