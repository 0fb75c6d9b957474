"""An intent as JSON, for who translates a question without the grammar: a language model, or the caller's own.

The fields are those by which an answer says how it was read, their values the words of :mod:`otel_diag.ask.intent`.
Whatever does not exist or does not fit is an error that says so, never ignored: a filter that is left out in silence
widens the question. Names are resolved and times completed by the rules of the grammar, so that the same question has
the same answer, whoever understood it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from otel_diag.ask.intent import (
    ALL_TIME,
    FAILURES,
    RATES,
    Dimension,
    Filters,
    Intent,
    IntentName,
    Known,
    Metric,
    Order,
    Target,
    Window,
    natural_target,
)
from otel_diag.ask.names import Ambiguous, Names, never_seen
from otel_diag.ask.windows import default_window
from otel_diag.model import RootCauseType, Status
from otel_diag.moments import AGE, moment


class Refused(Exception):
    """Why the form is no intent, in words for whoever filled it in."""


def _visible(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control and invisible characters are not allowed")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_visible)]
Names_ = Annotated[tuple[Name, ...], Field(max_length=20)]
Time = Annotated[str, StringConstraints(min_length=1, max_length=40)]
ExecutionId = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
TraceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$", to_lower=True)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class IntentForm(BaseModel):
    """What is asked of the traces. Leave out what the question does not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intent: IntentName = Field(
        description="Of an execution: diagnose (why it failed or was slow), similar (others failing the same way), "
        "compare (with another, or with successful ones), gaps (where time was lost), timeline, summary. Of many: "
        "job_pattern (what failures share), list_failures, search, measure (a metric), slowest, performance "
        "(durations and success), list_names (of the dimension in group_by)."
    )
    target: Target | None = Field(
        None, description="What is counted or listed; spans are single calls of services. operations: only slowest."
    )
    metric: Metric | None = Field(None, description="For measure. Durations in ms; rates are shares.")
    group_by: Annotated[tuple[Dimension, ...], Field(max_length=3)] = ()
    services: Names_ = ()
    operations: Names_ = ()
    models: Names_ = ()
    regions: Names_ = ()
    jobs: Names_ = ()
    statuses: Annotated[tuple[Status, ...], Field(max_length=len(Status))] = ()
    root_causes: Annotated[tuple[RootCauseType, ...], Field(max_length=len(RootCauseType))] = ()
    min_duration_ms: Milliseconds | None = None
    max_duration_ms: Milliseconds | None = None
    text: Annotated[Name, Field(description="Looked for in error messages.")] | None = None
    order: Order | None = Field(None, description="By the metric or the duration; asc: least or fastest first.")
    limit: Annotated[int, Field(ge=1, le=500)] | None = None
    since: Time | None = Field(
        None, description="Start of the window: an age (30m, 24h, 7d) or ISO 8601, UTC; 1970-01-01 for all time."
    )
    until: Time | None = Field(None, description="End of the window, in the same form; now by default.")
    baseline_since: Time | None = Field(None, description="Of measure: start of an earlier window to compare with.")
    baseline_until: Time | None = Field(None, description="Its end; by default where the window starts.")
    execution_ids: Annotated[tuple[ExecutionId, ...], Field(max_length=2)] = ()
    trace_ids: Annotated[tuple[TraceId, ...], Field(max_length=2)] = ()


_FILTERS: Final = frozenset(field.name for field in fields(Filters))
_NAMED: Final = {
    "services": Dimension.SERVICE,
    "operations": Dimension.OPERATION,
    "models": Dimension.MODEL,
    "regions": Dimension.REGION,
    "jobs": Dimension.JOB,
}
_IDS: Final = frozenset({"execution_ids", "trace_ids"})
_WINDOW: Final = frozenset({"since", "until"})
_LISTED: Final = _FILTERS | _WINDOW | {"target", "order", "limit"}
_TAKES: Final[Mapping[IntentName, frozenset[str]]] = {
    IntentName.DIAGNOSE: _IDS,
    IntentName.SIMILAR: _IDS,
    IntentName.COMPARE: _IDS,
    IntentName.GAPS: _IDS,
    IntentName.TIMELINE: _IDS,
    IntentName.SUMMARY: _IDS,
    IntentName.JOB_PATTERN: _FILTERS | _WINDOW,
    IntentName.ERROR_CHANGES: _WINDOW | _NAMED.keys() | {"statuses", "root_causes"},
    IntentName.LIST_FAILURES: _LISTED,
    IntentName.SEARCH: _LISTED,
    IntentName.MEASURE: _LISTED | {"metric", "group_by", "baseline_since", "baseline_until"},
    IntentName.SLOWEST: _LISTED,
    IntentName.PERFORMANCE: _WINDOW | _NAMED.keys(),
    IntentName.LIST_NAMES: _FILTERS | _WINDOW | {"group_by", "limit"},
}
"""What each intent heeds besides its name."""


def read_form(given: Mapping[str, Any], known: Known, *, now: datetime, execution_id: int | None = None) -> Intent:
    """The intent that was given as JSON. Raises Refused; see :func:`intent_of`."""
    try:
        form = IntentForm.model_validate(given)
    except ValidationError as error:
        raise Refused(problems(error)) from None
    return intent_of(form, known, now=now, execution_id=execution_id)


def intent_of(form: IntentForm, known: Known, *, now: datetime, execution_id: int | None = None) -> Intent:
    """The form with its names resolved and its times absolute, as the grammar would have understood it.

    ``now`` must be aware. ``execution_id`` is what an intent about an execution without an id is about. Raises Refused.
    """
    unheeded = sorted(_given(form) - _TAKES[form.intent] - {"intent"})
    if unheeded:
        takes = ", ".join(name for name in IntentForm.model_fields if name in _TAKES[form.intent])
        raise Refused(f"{form.intent} takes no {' or '.join(unheeded)}; it takes {takes}.")
    if _TAKES[form.intent] is _IDS:
        return _about_given(form, execution_id)
    filters, notes = _filters(form, Names(known))
    intent = Intent(
        form.intent,
        target=form.target or natural_target(filters, form.group_by),
        metric=form.metric,
        filters=filters,
        group_by=tuple(dict.fromkeys(form.group_by)),
        order=form.order,
        limit=form.limit,
        window=_window(form.since, form.until, now),
        notes=notes,
    )
    return _completed(intent, form, now)


def fields_in_words() -> dict[str, str]:
    """Every field with what it takes, for somebody who is to fill in the form."""
    schema = IntentForm.model_json_schema()
    return {
        name: ". ".join(filter(None, [_type_in_words(field, schema["$defs"]), field.get("description", "")]))
        for name, field in schema["properties"].items()
    }


_PROBLEMS: Final = 5


def problems(error: ValidationError) -> str:
    """What is wrong, field by field, without the values: whoever filled in the form knows them."""
    found = error.errors(include_input=False, include_url=False)
    return " ".join([*(_problem(one) for one in found[:_PROBLEMS]), *(["..."] if len(found) > _PROBLEMS else [])])


# --------------------------------------------------------------------------------------------------


def _given(form: IntentForm) -> set[str]:
    return {name for name, value in form if value not in (None, ())}


def _about_given(form: IntentForm, execution_id: int | None) -> Intent:
    executions, traces = tuple(dict.fromkeys(form.execution_ids)), tuple(dict.fromkeys(form.trace_ids))
    if not executions and not traces and execution_id is not None:
        executions = (execution_id,)
    most = 2 if form.intent is IntentName.COMPARE else 1
    if not 1 <= len(executions) + len(traces) <= most:
        raise Refused(f"{form.intent} is about {'one or two' if most == 2 else 'one'} of execution_ids and trace_ids.")
    return Intent(form.intent, execution_ids=executions, trace_ids=traces)


def _filters(form: IntentForm, names: Names) -> tuple[Filters, tuple[str, ...]]:
    """The filters by their names in the store, and what is to be said about them."""
    resolved: dict[str, list[str]] = {field: [] for field in _NAMED}
    notes: list[str] = []
    for field, dimension in _NAMED.items():
        for text in getattr(form, field):
            found = names.resolve(text, dimension)
            if isinstance(found, Ambiguous):
                raise Refused(str(found))
            named = found or never_seen(dimension, text)
            resolved[field] += named.values
            resolved["services"] += [named.service] if named.service else []
            notes += [named.note] if named.note else []
    low, high = form.min_duration_ms, form.max_duration_ms
    if low is not None and high is not None and low > high:
        raise Refused("min_duration_ms is more than max_duration_ms.")
    given = {field: getattr(form, field) for field in _FILTERS} | {
        field: tuple(dict.fromkeys(values)) for field, values in resolved.items()
    }
    return Filters(**given), tuple(notes)


def _completed(intent: Intent, form: IntentForm, now: datetime) -> Intent:
    """With the defaults of its kind. Raises Refused for what contradicts itself."""
    _check_target(intent)
    if intent.name is IntentName.MEASURE:
        return _measure(intent, form, now)
    filters, window = intent.filters, intent.window
    if intent.name is IntentName.LIST_NAMES:
        if len(intent.group_by) != 1:
            raise Refused("list_names lists the names of one dimension: give it in group_by.")
        return replace(intent, target="executions")
    if intent.name is IntentName.JOB_PATTERN:
        if not filters.statuses and not (filters.root_causes and not filters.jobs):
            filters = replace(filters, statuses=FAILURES)
        if window is None and not filters.jobs:
            window = default_window(now, failures=True)
        return replace(intent, target="executions", filters=filters, window=window)
    if intent.name is IntentName.ERROR_CHANGES and any(
        len(getattr(filters, field)) > 1 for field in (*_NAMED, "root_causes")
    ):
        raise Refused("error_changes is of one service, operation, model, region, job and root cause, or of all.")
    if intent.name in (IntentName.LIST_FAILURES, IntentName.ERROR_CHANGES):
        if not set(filters.statuses) <= set(FAILURES):
            raise Refused(f"{intent.name} is of what failed or timed out: use search for other statuses.")
        if not filters.statuses and not filters.root_causes:
            filters = replace(filters, statuses=FAILURES)
        if intent.name is IntentName.ERROR_CHANGES:
            return replace(intent, target="executions", filters=filters, window=window or default_window(now))
        return replace(intent, filters=filters, window=window or default_window(now, failures=True))
    if intent.name is IntentName.PERFORMANCE and any(len(getattr(filters, field)) > 1 for field in _NAMED):
        raise Refused("performance is of one service, operation, model, region, job: use measure with group_by.")
    if intent.name is IntentName.SLOWEST:
        intent = replace(intent, order=intent.order or "desc")
    return replace(intent, window=window or default_window(now))


def _check_target(intent: Intent) -> None:
    if intent.target == "operations" and intent.name is not IntentName.SLOWEST:
        raise Refused("Only slowest has the target operations: use spans, grouped by operation.")
    if intent.target != "executions" and (intent.filters.root_causes or Dimension.ROOT_CAUSE in intent.group_by):
        raise Refused("Root causes are known of executions only.")


def _measure(intent: Intent, form: IntentForm, now: datetime) -> Intent:
    if intent.metric is None:
        raise Refused(f"measure needs a metric: {', '.join(Metric)}.")
    filters = intent.filters
    if intent.metric in RATES and filters.statuses:
        raise Refused(f"{intent.metric} is a share of all statuses: it takes no statuses.")
    if Dimension.ERROR in intent.group_by and not filters.statuses:
        filters = replace(filters, statuses=FAILURES)
    failures = intent.metric is Metric.COUNT and bool(filters.statuses) and set(filters.statuses) <= set(FAILURES)
    window = intent.window or default_window(now, failures=failures)
    baseline = None
    if form.baseline_since is not None:
        baseline = _between(form.baseline_since, form.baseline_until, "baseline_", now, until=window.since)
    elif form.baseline_until is not None:
        raise Refused("baseline_until needs baseline_since.")
    return replace(intent, filters=filters, window=window, baseline=baseline)


def _window(since: str | None, until: str | None, now: datetime) -> Window | None:
    if since is None and until is None:
        return None
    if since is None:
        raise Refused("until needs since.")
    return _between(since, until, "", now, until=now)


def _between(begin: str, end: str | None, prefix: str, now: datetime, *, until: datetime) -> Window:
    """The window between two times as given; ``until`` is its end where none is given."""
    since = max(_moment(f"{prefix}since", begin, now), ALL_TIME)
    stop = until if end is None else min(_moment(f"{prefix}until", end, now), now)
    if since >= stop:
        raise Refused(f"{prefix}since ({since.isoformat()}) is not before the window's end ({stop.isoformat()}).")
    if end is None and since == ALL_TIME:
        label = "all time"
    elif end is None and until == now:
        label = f"last {begin.strip().lower()}" if AGE.fullmatch(begin.strip().lower()) else f"since {_written(since)}"
    else:
        label = f"{_written(since)} to {_written(stop)}"
    return Window(since, stop, label, explicit=True)


def _moment(name: str, text: str, now: datetime) -> datetime:
    try:
        return moment(text, now).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(f"{name} {text!r} is neither an age (30m, 24h, 7d) nor ISO 8601.") from None


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _problem(problem: Mapping[str, Any]) -> str:
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"There is no field {name!r:.80}; the fields are {', '.join(IntentForm.model_fields)}."
    return f"{name}: {problem['msg']}." if name else f"{problem['msg']}."


def _type_in_words(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return _type_in_words(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in field:
        return _type_in_words(next(choice for choice in field["anyOf"] if choice.get("type") != "null"), definitions)
    if "enum" in field:
        return "|".join(field["enum"])
    if field["type"] == "array":
        return f"list of {_type_in_words(field['items'], definitions)}"
    return str(field["type"])
