"""The corpus: questions as people ask them, and what each must be understood as."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from otel_diag.ask.describe import describe, understood
from otel_diag.ask.grammar import understand
from otel_diag.ask.intent import Filters, Intent, Known, NotUnderstood, Window

CORPUS = json.loads(Path(__file__).with_name("phrasings.json").read_text())
KNOWN = Known(**{dimension: frozenset(names) for dimension, names in CORPUS["known"].items()})
NOW = datetime.fromisoformat(CORPUS["now"])


def reading(question: str) -> dict[str, Any]:
    """The understood question in the notation of the corpus: only what is not empty."""
    intent = understand(question, KNOWN, now=NOW)
    if isinstance(intent, NotUnderstood):
        return {"question": question, "intent": None}
    filters = {field.name: plain(getattr(intent.filters, field.name)) for field in fields(Filters)}
    found = {
        "question": question,
        "intent": str(intent.name),
        "target": intent.target if intent.target != "executions" else None,
        "metric": intent.metric,
        "filters": {name: value for name, value in filters.items() if value not in (None, [])},
        "group_by": plain(intent.group_by),
        "order": intent.order,
        "limit": intent.limit,
        "execution_ids": plain(intent.execution_ids),
        "trace_ids": plain(intent.trace_ids),
        "window": times(intent.window),
        "baseline": times(intent.baseline),
        "explicit": intent.window.explicit if intent.window else None,
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def times(window: Window | None) -> list[str] | None:
    return [moment.strftime("%Y-%m-%dT%H:%M") for moment in (window.since, window.until)] if window else None


@pytest.mark.parametrize("expected", CORPUS["phrasings"], ids=lambda expected: expected["question"])
def test_is_understood_as_meant(expected: dict[str, Any]) -> None:
    assert reading(expected["question"]) == expected


@pytest.mark.parametrize("rewrite", [str.upper, str.lower, lambda text: f"please, {text.rstrip('?')} ???"])
def test_case_and_politeness_do_not_matter(rewrite: Any) -> None:
    """Names that the store has not seen keep the case they were typed in, so only known ones are compared."""
    for expected in CORPUS["phrasings"]:
        question = expected["question"]
        before = understand(question, KNOWN, now=NOW)
        if isinstance(before, NotUnderstood) or before.notes or before.filters.text or before.trace_ids:
            continue
        assert understand(rewrite(question), KNOWN, now=NOW) == before, question


def test_every_understood_question_can_be_stated_back() -> None:
    for expected in CORPUS["phrasings"]:
        intent = understand(expected["question"], KNOWN, now=NOW)
        if isinstance(intent, Intent):
            sentence, fields_of_it = describe(intent), understood(intent)
            assert sentence.endswith(".")
            assert fields_of_it.intent == expected["intent"]
            json.dumps(fields_of_it.model_dump())
            assert all(str(identity) in sentence for identity in intent.execution_ids)
