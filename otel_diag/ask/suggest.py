"""Questions that work, for somebody whose question did not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from otel_diag.ask.intent import Known
from otel_diag.ask.lexicon import Kind

_COUNT: Final = 4

_QUESTIONS: Final[tuple[tuple[frozenset[Kind], str], ...]] = (
    (frozenset({Kind.WHY, Kind.ANAPHOR}), "Why did execution {execution} fail?"),
    (frozenset({Kind.STATUS, Kind.LIST, Kind.NOT}), "Show me all failed {service} calls in the last hour"),
    (frozenset({Kind.METRIC, Kind.LATENCY}), "What's the average duration for {operation} in the last 24 hours?"),
    (frozenset({Kind.COUNT, Kind.GROUP, Kind.MOST}), "How many executions failed per {dimension} this week?"),
    (frozenset({Kind.SLOWEST}), "Slowest operations today"),
    (frozenset({Kind.CHANGED, Kind.THAN}), "Is {operation} slower than yesterday?"),
    (frozenset({Kind.GAPS}), "Where did execution {execution} lose time?"),
    (frozenset({Kind.TIMELINE, Kind.SUMMARY}), "Show the timeline of execution {execution}"),
    (frozenset({Kind.SIMILAR}), "Are other executions failing the same way as {execution}?"),
    (frozenset({Kind.COMPARE}), "Compare {execution} with a successful one"),
    (frozenset({Kind.DIMENSION, Kind.EXIST}), "Which services are there?"),
    (frozenset({Kind.PERFORMANCE}), "How is {service} performing today?"),
)


def suggestions(kinds: frozenset[Kind], known: Known, execution_id: int | None) -> tuple[str, ...]:
    """The questions that share most with what was recognised, with names from the store where it has any."""
    ranked = sorted(_QUESTIONS, key=lambda question: -len(kinds & question[0]))
    return tuple(
        question.format(
            execution=execution_id if execution_id is not None else 2193,
            service=_name(known.services, "modal"),
            operation=_name(known.operations, "modal.inference"),
            dimension="region" if known.regions or not known.models else "model",
        )
        for _, question in ranked[:_COUNT]
    )


def _name(names: Collection[str], otherwise: str) -> str:
    """A known name, quoted so that it is read as one whatever it contains."""
    if not names:
        return otherwise
    first = min(names, key=lambda name: (len(name), name))
    return first if first.isidentifier() else f'"{first}"'
