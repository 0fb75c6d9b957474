"""Says how a question was read: as the fields of an answer, and as one English sentence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from otel_diag.ask.intent import ALL_TIME, Dimension, Filters, Intent, IntentName, Metric, Window
from otel_diag.model import Understood

_METRICS: Final = {
    Metric.AVG: "average duration",
    Metric.MIN: "shortest duration",
    Metric.MAX: "longest duration",
    Metric.P50: "median duration",
    Metric.P75: "75th percentile of the duration",
    Metric.P90: "90th percentile of the duration",
    Metric.P95: "95th percentile of the duration",
    Metric.P99: "99th percentile of the duration",
    Metric.COUNT: "number",
    Metric.ERROR_RATE: "error rate",
    Metric.TIMEOUT_RATE: "time-out rate",
    Metric.SUCCESS_RATE: "success rate",
    Metric.THROUGHPUT: "throughput",
}
_ABOUT_ONE: Final = {
    IntentName.DIAGNOSE: "Diagnosis of {it}",
    IntentName.SIMILAR: "Executions similar to {it}",
    IntentName.GAPS: "Gaps in {it}",
    IntentName.TIMELINE: "Timeline of {it}",
    IntentName.SUMMARY: "Summary of {it}",
}
_PLURALS: Final = {Dimension.STATUS: "statuses"}


GRAMMAR: Final = "grammar"
CLIENT: Final = "client"
"""Who may have read a question; besides these, ``model`` and its name."""


def said_by(by: str) -> str:
    """The sentence that says who read the question; nothing of the grammar, which does as a rule."""
    if by == GRAMMAR:
        return ""
    return f"Read by {'the caller' if by == CLIENT else f'the {by}'}, not by the grammar."


def understood(intent: Intent, by: str = GRAMMAR) -> Understood:
    """The intent as an answer states it: ``filters`` holds what narrows or shapes it, and nothing that is empty."""
    given: dict[str, Any] = {field.name: getattr(intent.filters, field.name) for field in fields(Filters)}
    given |= {
        "execution_ids": intent.execution_ids,
        "trace_ids": intent.trace_ids,
        "group_by": intent.group_by,
        "metric": intent.metric,
        "order": intent.order,
        "limit": intent.limit,
    }
    if not _is_about_given(intent):
        given["target"] = intent.target
    filters = {name: _plain(value) for name, value in given.items() if value not in (None, ())}
    window = None if intent.window is None else _window(intent.window)
    if window is not None and intent.baseline is not None:
        window |= {f"baseline_{name}": value for name, value in _window(intent.baseline).items() if name != "chosen"}
    return Understood(intent=intent.name.value, filters=filters, window=window, by=by)


def describe(intent: Intent) -> str:
    """One sentence, ending in a full stop, without the notes."""
    parts = [_subject(intent), *_conditions(intent.filters)]
    if intent.group_by and intent.name == IntentName.MEASURE:
        parts.append(f"per {' and '.join(_spoken(dimension) for dimension in intent.group_by)}")
    if intent.order is not None and intent.name == IntentName.MEASURE:
        parts.append(f"{'largest' if intent.order == 'desc' else 'smallest'} first")
    if intent.limit is not None:
        parts.append(f"at most {intent.limit}")
    if intent.window is not None:
        parts.append(_times(intent.window))
    if intent.baseline is not None:
        parts.append(f"compared with {_times(intent.baseline)}")
    return ", ".join(parts) + "."


def _is_about_given(intent: Intent) -> bool:
    return bool(intent.execution_ids or intent.trace_ids) or intent.name == IntentName.LIST_NAMES


def _plain(value: Any) -> Any:
    """Tuples and enumerations as JSON has them."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float) else str(value)


def _window(window: Window) -> dict[str, str]:
    return {
        "since": window.since.isoformat(),
        "until": window.until.isoformat(),
        "label": window.label,
        "chosen": "by the question" if window.explicit else "by default",
    }


def _times(window: Window) -> str:
    if window.since == ALL_TIME:
        return window.label
    return f"{window.label} ({window.since:%Y-%m-%d %H:%M} to {window.until:%Y-%m-%d %H:%M} UTC)"


def _subject(intent: Intent) -> str:
    things = [f"execution {identity}" for identity in intent.execution_ids]
    things += [f"trace {identity}" for identity in intent.trace_ids]
    if intent.name == IntentName.COMPARE:
        return f"Comparison of {' with '.join(things) if len(things) > 1 else f'{things[0]} with successful ones'}"
    if intent.name in _ABOUT_ONE:
        return _ABOUT_ONE[intent.name].format(it=" and ".join(things))
    if intent.name == IntentName.LIST_NAMES:
        return f"Names of {_PLURALS.get(intent.group_by[0], f'{_spoken(intent.group_by[0])}s')}"
    if intent.name == IntentName.MEASURE and intent.metric is not None:
        return f"{_METRICS[intent.metric].capitalize()} of {intent.target}"
    if intent.name == IntentName.SLOWEST:
        return f"{'Fastest' if intent.order == 'asc' else 'Slowest'} {intent.target}"
    return {
        IntentName.JOB_PATTERN: "What failures have in common",
        IntentName.ERROR_CHANGES: "Error texts that are new, gone or changed against the window before",
        IntentName.LIST_FAILURES: f"Failures of {intent.target}",
        IntentName.PERFORMANCE: f"Performance of {intent.target}",
    }.get(intent.name, intent.target.capitalize())


def _spoken(dimension: Dimension) -> str:
    return dimension.value.replace("_", " ")


def _conditions(filters: Filters) -> list[str]:
    """One phrase for each field that narrows."""
    named = (
        ("service", filters.services),
        ("operation", filters.operations),
        ("model", filters.models),
        ("region", filters.regions),
        ("job", filters.jobs),
        ("status", filters.statuses),
        ("root cause", filters.root_causes),
    )
    phrases = [f"{label} {' or '.join(values)}" for label, values in named if values]
    if filters.min_duration_ms is not None:
        phrases.append(f"of at least {filters.min_duration_ms:g} ms")
    if filters.max_duration_ms is not None:
        phrases.append(f"of at most {filters.max_duration_ms:g} ms")
    if filters.text is not None:
        phrases.append(f"with {filters.text!r} in the error message")
    return phrases
