"""Plain English to an :class:`~otel_diag.ask.intent.Intent`, without any model: words, chunks, slots, one decision.

The order of the words hardly matters: :mod:`~otel_diag.ask.chunks` finds what each stretch of the question means, here
the names among them are resolved and the filled slots decide what is asked. Nothing is guessed silently: corrections
and assumptions become ``notes``, and a question with too much in it that means nothing here is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from otel_diag.ask.chunks import (
    Chunk,
    Chunker,
    Cue,
    ExecutionId,
    Grouping,
    Length,
    Limit,
    Period,
    Text,
    TraceId,
    Word,
    correct,
)
from otel_diag.ask.intent import (
    FAILURES,
    RATES,
    Dimension,
    Filters,
    Intent,
    IntentName,
    Known,
    Metric,
    NotUnderstood,
    Order,
    Target,
    Window,
    natural_target,
)
from otel_diag.ask.lexicon import Kind
from otel_diag.ask.names import Ambiguous, Named, Names, looks_like_a_name, never_seen
from otel_diag.ask.suggest import suggestions
from otel_diag.ask.tokens import tokenise
from otel_diag.ask.windows import counterpart, default_window, preceding
from otel_diag.model import RootCauseType, Status

MAX_QUESTION: Final = 1000
"""Characters; what is longer is not a question."""

_NAME_DIMENSIONS: Final = (Dimension.SERVICE, Dimension.OPERATION, Dimension.MODEL, Dimension.REGION, Dimension.JOB)
_TRANSPARENT: Final = (Kind.FILLER, Kind.LINK)
_CAUSES_IN_PLURAL: Final = ("root causes", "causes", "reasons")


class _Refused(Exception):
    """Raised inside this module with the message of a NotUnderstood."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The slots, filled. ``dimensions``: kinds of things spoken of without a name ("which regions")."""

    kinds: frozenset[Kind]
    cues: tuple[Cue, ...]
    filters: Filters
    named: tuple[Dimension, ...]
    dimensions: tuple[Dimension, ...]
    group_by: tuple[Dimension, ...]
    windows: tuple[Window, ...]
    baseline: Window | None
    limit: int | None
    execution_ids: tuple[int, ...]
    trace_ids: tuple[str, ...]
    notes: tuple[str, ...]
    ignored: tuple[str, ...]

    def has(self, *kinds: Kind) -> bool:
        return not self.kinds.isdisjoint(kinds)

    def values(self, kind: Kind) -> tuple[str, ...]:
        return tuple(cue.value for cue in self.cues if cue.kind == kind)

    def says(self, kind: Kind, *texts: str) -> bool:
        return any(cue.text in texts for cue in self.cues if cue.kind == kind)


def understand(text: str, known: Known, *, now: datetime, execution_id: int | None = None) -> Intent | NotUnderstood:
    """What the question asks for, or why it cannot be answered and what can.

    ``now`` must be aware; times without a zone are UTC. ``execution_id`` is what "it" and a question that needs an
    execution but names none refer to.
    """
    kinds: frozenset[Kind] = frozenset()
    try:
        if len(text) > MAX_QUESTION:
            raise _Refused(f"A question may have {MAX_QUESTION} characters, this has {len(text)}.")
        names = Names(known)
        tokens, corrections = correct(tokenise(text), names)
        chunks = Chunker(tokens, names, now).chunks()
        kinds = frozenset(chunk.kind for chunk in chunks if isinstance(chunk, Cue))
        reading = _read(chunks, names, corrections)
        intent = _decide(reading, now, execution_id)
    except _Refused as refused:
        return NotUnderstood(str(refused), suggestions(kinds, known, execution_id))
    return replace(intent, notes=(*reading.notes, *intent.notes))


# --------------------------------------------------------------------------------------------------
# Chunks to slots.


def _read(chunks: Sequence[Chunk], names: Names, corrections: Sequence[str]) -> _Reading:
    cues = tuple(_comparison(chunk) for chunk in chunks if isinstance(chunk, Cue))
    kinds = frozenset(cue.kind for cue in cues)
    for cue in cues:
        if cue.kind == Kind.UNSUPPORTED:
            raise _Refused(f"{cue.text!r}: I cannot answer questions about {cue.value}.")
    named, ignored = _resolve_all(chunks, names)
    windows, baseline = _windows(chunks)
    lengths = [chunk for chunk in chunks if isinstance(chunk, Length)]
    texts = [chunk.value for chunk in chunks if isinstance(chunk, Text)]
    if len(texts) > 1:
        raise _Refused("I can look for one text in error messages at a time.")
    lows = [length.low_ms for length in lengths if length.low_ms is not None]
    highs = [length.high_ms for length in lengths if length.high_ms is not None]
    filters = Filters(
        services=_distinct(
            service
            for name in named
            for service in (name.values if name.dimension == Dimension.SERVICE else (name.service or "",))
            if service
        ),
        operations=_values(named, Dimension.OPERATION),
        models=_values(named, Dimension.MODEL),
        regions=_values(named, Dimension.REGION),
        jobs=_values(named, Dimension.JOB),
        statuses=_statuses(cues),
        root_causes=tuple(dict.fromkeys(RootCauseType(cue.value) for cue in cues if cue.kind == Kind.CAUSE)),
        min_duration_ms=max(lows, default=None),
        max_duration_ms=min(highs, default=None),
        text=texts[0] if texts else None,
    )
    return _Reading(
        kinds=kinds,
        cues=cues,
        filters=filters,
        named=tuple(dict.fromkeys(name.dimension for name in named)),
        dimensions=_spoken_of(chunks, named),
        group_by=tuple(dict.fromkeys(d for chunk in chunks if isinstance(chunk, Grouping) for d in chunk.dimensions)),
        windows=windows,
        baseline=baseline,
        limit=next((chunk.count for chunk in chunks if isinstance(chunk, Limit)), None),
        execution_ids=tuple(dict.fromkeys(chunk.value for chunk in chunks if isinstance(chunk, ExecutionId))),
        trace_ids=tuple(dict.fromkeys(chunk.value for chunk in chunks if isinstance(chunk, TraceId))),
        notes=(*corrections, *(name.note for name in named if name.note)),
        ignored=ignored,
    )


def _comparison(cue: Cue) -> Cue:
    """ "slower than" without a duration after it compares with something else: a time, a name, "usual"."""
    if cue.kind in (Kind.LONGER, Kind.SHORTER):
        return replace(cue, kind=Kind.CHANGED if cue.text.endswith("than") else Kind.LINK)
    return cue


def _values(named: Iterable[Named], dimension: Dimension) -> tuple[str, ...]:
    return _distinct(value for name in named if name.dimension == dimension for value in name.values)


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _statuses(cues: Sequence[Cue]) -> tuple[Status, ...]:
    """Any of those mentioned. "Failures due to timeouts" are the time-outs, "failed or timed out" are both."""
    groups = [tuple(map(Status, cue.value.split(","))) for cue in cues if cue.kind == Kind.STATUS]
    if FAILURES in groups and (Status.TIMEOUT,) in groups and not any(cue.kind == Kind.AND for cue in cues):
        groups = [group for group in groups if group != FAILURES]
    return tuple(status for status in Status if any(status in group for group in groups))


def _windows(chunks: Sequence[Chunk]) -> tuple[tuple[Window, ...], Window | None]:
    """The window asked about (none or one), and the one it is compared with."""
    plain: list[Window] = []
    compared: list[Window] = []
    for at, chunk in enumerate(chunks):
        if isinstance(chunk, Period):
            (compared if _follows_comparison(chunks, at) else plain).append(chunk.window)
    comparing = any(
        isinstance(c, Cue) and _comparison(c).kind in (Kind.COMPARE, Kind.THAN, Kind.CHANGED) for c in chunks
    )
    both = sorted((*plain, *compared), key=lambda window: (window.until, window.since))
    if len(both) > 2 or (len(both) == 2 and not comparing):
        raise _Refused("I can look at one time window at a time, or compare two.")
    if len(both) == 2:
        return (both[1],), both[0]
    return tuple(plain), compared[0] if compared else None


def _follows_comparison(chunks: Sequence[Chunk], at: int) -> bool:
    for chunk in reversed(chunks[:at]):
        if not isinstance(chunk, Cue):
            return False
        kind = _comparison(chunk).kind
        if kind in (Kind.THAN, Kind.COMPARE) or chunk.text.endswith("than"):
            return True
        if kind not in _TRANSPARENT:
            return False
    return False


def _spoken_of(chunks: Sequence[Chunk], named: Sequence[Named]) -> tuple[Dimension, ...]:
    """Dimensions mentioned as a kind of thing, not as the label of a name before or after ("router service")."""
    found: list[Dimension] = []
    taken = {name.dimension for name in named}
    for at, chunk in enumerate(chunks):
        if not isinstance(chunk, Cue) or chunk.kind != Kind.DIMENSION:
            continue
        dimension = Dimension(chunk.value)
        before = chunks[at - 1] if at else None
        after = chunks[at + 1] if at + 1 < len(chunks) else None
        labels = (isinstance(after, Word) and after.hint == dimension) or (
            isinstance(before, Word) and (dimension in taken or not chunk.text.endswith("s"))
        )
        if not labels and dimension not in found:
            found.append(dimension)
    return tuple(found)


# --------------------------------------------------------------------------------------------------
# Names.


def _resolve_all(chunks: Sequence[Chunk], names: Names) -> tuple[tuple[Named, ...], tuple[str, ...]]:
    """Every word outside the grammar: what it names, and those that name nothing."""
    named: list[Named] = []
    ignored: list[str] = []
    for at, chunk in enumerate(chunks):
        if not isinstance(chunk, Word):
            continue
        found = _resolve(chunk, chunks, at, names)
        if found is not None:
            named.append(found)
        elif _follows(chunks, at, (Kind.METRIC, Kind.COUNT)):
            raise _Refused(f"I do not know what {chunk.text!r} means here: it is nothing that I can measure.")
        else:
            ignored.append(chunk.text)
    return tuple(named), tuple(ignored)


def _resolve(word: Word, chunks: Sequence[Chunk], at: int, names: Names) -> Named | None:
    after = chunks[at + 1] if at + 1 < len(chunks) else None
    label = Dimension(after.value) if isinstance(after, Cue) and after.kind == Kind.DIMENSION else None
    hint = word.hint or (label if label in _NAME_DIMENSIONS else None)
    found = names.resolve(word.text, hint)
    if found is None and word.hint is None and hint is not None:
        found = names.resolve(word.text, None)
    if isinstance(found, Ambiguous):
        raise _Refused(str(found))
    if found is not None:
        return found
    named_by_place = word.hint is not None or _stands_where_a_name_does(chunks, at)
    if not (word.quoted or looks_like_a_name(word.text) or named_by_place):
        return None
    dimension = hint or names.likely_dimension(word.text)
    return never_seen(dimension, word.text)


def _stands_where_a_name_does(chunks: Sequence[Chunk], at: int) -> bool:
    """After "for", "of", "in" ..., or before "calls", "service", "failures", "latency" ..."""
    after = chunks[at + 1] if at + 1 < len(chunks) else None
    if isinstance(after, Cue) and (
        after.kind in (Kind.DIMENSION, Kind.LATENCY)
        or (after.kind == Kind.NOUN and after.value == "spans")
        or (after.kind == Kind.STATUS and after.text.endswith("s"))
    ):
        return True
    return _follows(chunks, at, (Kind.LINK,))


def _follows(chunks: Sequence[Chunk], at: int, kinds: Sequence[Kind]) -> bool:
    for chunk in reversed(chunks[:at]):
        if not isinstance(chunk, Cue):
            return False
        if _comparison(chunk).kind in kinds:
            return True
        if chunk.text not in ("the", "our", "my", "all"):
            return False
    return False


# --------------------------------------------------------------------------------------------------
# Slots to the one thing that is asked.


def _decide(reading: _Reading, now: datetime, context: int | None) -> Intent:
    about_one = _about_executions(reading, context)
    if about_one is None and reading.has(Kind.NOT):
        raise _Refused("I cannot leave things out: say which ones to include instead.")
    _check_ignored(reading, about_one is not None)
    notes = tuple(f"{word!r} was not understood and is ignored" for word in reading.ignored)
    intent = about_one or _about_many(reading, now)
    return replace(intent, notes=(*notes, *intent.notes), ignored=reading.ignored)


def _check_ignored(reading: _Reading, about_one: bool) -> None:
    """Too much that means nothing here, or the very thing to be measured unknown: refuse instead of guessing."""
    if not reading.ignored:
        return
    words = ", ".join(map(repr, reading.ignored))
    if about_one:
        if len(reading.ignored) > 4:
            raise _Refused(f"I do not know what {words} mean here.")
        return
    understood = len(reading.kinds - {Kind.FILLER, Kind.LINK, Kind.AND, Kind.LIST, Kind.COUNT, Kind.EXIST})
    understood += len(reading.named) + len(reading.windows)
    measures_unknown = reading.has(Kind.METRIC, Kind.COUNT) and not (
        reading.has(Kind.NOUN, Kind.LATENCY, Kind.STATUS, Kind.CAUSE, Kind.DIMENSION) or reading.named
    )
    if measures_unknown or len(reading.ignored) > max(1, understood - 1):
        raise _Refused(f"I do not know what {words} means here.")


def _about_executions(reading: _Reading, context: int | None) -> Intent | None:
    """The intents that concern given executions; None when the question is about a set of them."""
    ids, traces = reading.execution_ids, reading.trace_ids
    if not ids and not traces:
        if not _needs_an_execution(reading):
            return None
        if context is None:
            raise _Refused("Which execution? Give its id.")
        ids = (context,)
    elif reading.has(Kind.COMPARE) and reading.has(Kind.ANAPHOR) and len(ids) == 1:
        if context is None:
            raise _Refused("Compare which execution? Give both ids.")
        ids = (context, *ids)
    intent = Intent(_execution_intent(reading, len(ids) + len(traces)), execution_ids=ids, trace_ids=traces)
    if intent.name == IntentName.SIMILAR:
        return replace(intent, limit=reading.limit, filters=reading.filters, window=next(iter(reading.windows), None))
    if len(ids) + len(traces) > (2 if intent.name == IntentName.COMPARE else 1):
        raise _Refused("I can look at one execution at a time, or compare two.")
    return intent


def _needs_an_execution(reading: _Reading) -> bool:
    several = reading.named or reading.dimensions or reading.group_by or reading.windows or _plural(reading)
    if reading.has(Kind.ANAPHOR):
        return not (several or reading.has(Kind.METRIC, Kind.COUNT))
    if reading.has(Kind.METRIC, Kind.COUNT, Kind.SLOWEST, Kind.MOST, Kind.CHANGED) or reading.group_by:
        return False
    if reading.has(Kind.GAPS, Kind.TIMELINE):
        return not reading.has(Kind.LATENCY, Kind.CAUSE)
    if reading.says(Kind.SIMILAR, "like", "also", "related to"):
        return False
    if reading.has(Kind.SIMILAR):
        return not (reading.named or reading.windows)
    if reading.has(Kind.COMPARE):
        return not (several or reading.baseline) or set(reading.filters.statuses) == {Status.COMPLETED}
    return reading.has(Kind.WHY) and not several and not reading.has(Kind.PERFORMANCE, Kind.CAUSE)


def _plural(reading: _Reading) -> bool:
    nouns = ("failures", "errors", "timeouts", "crashes", "problems", "issues")
    return any(
        (cue.kind == Kind.NOUN and (cue.text.endswith("s") or cue.text in ("everything", "stuff"))) or cue.text in nouns
        for cue in reading.cues
    )


def _execution_intent(reading: _Reading, count: int) -> IntentName:
    one_each = reading.has(Kind.SIMILAR, Kind.GAPS, Kind.TIMELINE, Kind.SUMMARY)
    if reading.has(Kind.COMPARE) or (count == 2 and not one_each):
        return IntentName.COMPARE
    if reading.has(Kind.SIMILAR) and not reading.has(Kind.THAN):
        return IntentName.SIMILAR
    if reading.has(Kind.THAN, Kind.CHANGED):
        return IntentName.COMPARE
    if reading.has(Kind.GAPS):
        return IntentName.GAPS
    if reading.has(Kind.WHY):
        return IntentName.DIAGNOSE
    if reading.has(Kind.TIMELINE):
        return IntentName.TIMELINE
    if reading.has(Kind.SUMMARY, Kind.COUNT, Kind.LATENCY, Kind.METRIC, Kind.PERFORMANCE):
        return IntentName.SUMMARY
    about_spans = "spans" in reading.values(Kind.NOUN) or Dimension.OPERATION in reading.dimensions
    if about_spans or reading.has(Kind.SLOWEST) or reading.says(Kind.NOUN, "trace"):
        return IntentName.TIMELINE
    if reading.has(Kind.LIST) and not reading.filters.statuses:
        return IntentName.SUMMARY
    if reading.filters.statuses and not reading.has(Kind.LIST) and reading.says(Kind.FILLER, "did", "was", "is", "has"):
        return IntentName.SUMMARY
    return IntentName.DIAGNOSE


def _about_many(reading: _Reading, now: datetime) -> Intent:
    if reading.has(Kind.WHY) and (found := _why(reading, now)):
        return found
    dimensions, filters = reading.dimensions, reading.filters
    if _asks_for_changed_errors(reading):
        return _error_changes(reading, now)
    if _compares(reading):
        return _measure(reading, now, baseline=True)
    if reading.group_by or reading.has(Kind.METRIC, Kind.LATENCY):
        return _measure(reading, now)
    if _lists_names(reading):
        return Intent(
            IntentName.LIST_NAMES,
            filters=filters,
            group_by=dimensions[:1],
            limit=reading.limit,
            window=next(iter(reading.windows), None),
        )
    if reading.has(Kind.COUNT, Kind.COMPARE, Kind.CHANGED) or (reading.has(Kind.MOST) and filters.statuses):
        return _measure(reading, now)
    if reading.has(Kind.SLOWEST):
        return _slowest(reading, now)
    counted = filters.statuses or filters.root_causes or reading.has(Kind.MOST)
    if counted and any(dimension != Dimension.OPERATION or _asks_which(reading) for dimension in dimensions):
        return _measure(reading, now)
    if filters.root_causes or (filters.statuses and set(filters.statuses) <= set(FAILURES)):
        return _listing(reading, now, IntentName.LIST_FAILURES)
    if reading.has(Kind.PERFORMANCE, Kind.SUMMARY) and not filters.statuses:
        return _performance(reading, now)
    if filters.text is not None and not filters.statuses:
        return _listing(reading, now, IntentName.LIST_FAILURES)
    lengths = filters.min_duration_ms is not None or filters.max_duration_ms is not None
    things = set(reading.values(Kind.NOUN)) - {""}
    if filters.statuses or lengths or (things and (reading.has(Kind.LIST) or reading.named or reading.windows)):
        return _listing(reading, now, IntentName.SEARCH)
    if things and reading.limit is not None:
        return _listing(reading, now, IntentName.SEARCH)
    raise _Refused("I did not understand what is asked.")


def _why(reading: _Reading, now: datetime) -> Intent | None:
    """Why something about a set of executions: what their failures share, or how their durations changed."""
    if reading.has(Kind.COUNT) or reading.group_by:
        return None
    if reading.filters.jobs:
        window = next(iter(reading.windows), None)
        filters = replace(reading.filters, statuses=reading.filters.statuses or FAILURES)
        return Intent(IntentName.JOB_PATTERN, filters=filters, window=window, limit=reading.limit)
    if reading.says(Kind.WHY, *_CAUSES_IN_PLURAL):
        filters = replace(reading.filters, statuses=reading.filters.statuses or FAILURES)
        grouped = replace(reading, filters=filters, group_by=(Dimension.ROOT_CAUSE,), dimensions=())
        return _measure(grouped, now)
    if not reading.filters.statuses and reading.has(Kind.SLOWEST, Kind.CHANGED, Kind.LATENCY, Kind.METRIC):
        measured = _measure(reading, now, baseline=True)
        return replace(
            measured, notes=(*measured.notes, "this says how durations changed; for why, ask about one execution")
        )
    filters = reading.filters
    if not filters.statuses and not filters.root_causes:
        filters = replace(filters, statuses=FAILURES)
    return Intent(
        IntentName.JOB_PATTERN, filters=filters, window=_window(reading, now, failures=True), limit=reading.limit
    )


def _asks_for_changed_errors(reading: _Reading) -> bool:
    """ "New errors", "error messages that disappeared": of their texts, not of how many there are."""
    errors = reading.says(Kind.STATUS, "error", "errors", "exception", "exceptions")
    spoken_of = errors or Dimension.ERROR in reading.dimensions
    counted = reading.has(Kind.COUNT, Kind.METRIC, Kind.LATENCY) or reading.group_by
    return bool(reading.has(Kind.NEW) and spoken_of and not counted)


def _error_changes(reading: _Reading, now: datetime) -> Intent:
    if (several := _several_of_one_dimension(reading)) is not None:
        raise _Refused(f"I can tell the new errors of one {several} at a time, or of all.")
    filters = replace(reading.filters, statuses=reading.filters.statuses or FAILURES)
    window = _window(reading, now)
    other = reading.baseline is not None and reading.baseline != preceding(window)
    note = ("errors are compared with those of the window of the same length before",) if other else ()
    return Intent(IntentName.ERROR_CHANGES, filters=filters, window=window, notes=note)


def _compares(reading: _Reading) -> bool:
    """Whether two times are compared: "than yesterday", "this week vs last week", "got slower"."""
    if reading.baseline is not None:
        return True
    return (
        reading.has(Kind.CHANGED, Kind.THAN)
        and not _several_of_one_dimension(reading)
        and not reading.has(Kind.COMPARE)
    )


def _several_of_one_dimension(reading: _Reading) -> Dimension | None:
    filters = reading.filters
    for dimension, values in (
        (Dimension.MODEL, filters.models),
        (Dimension.REGION, filters.regions),
        (Dimension.SERVICE, filters.services),
        (Dimension.OPERATION, filters.operations),
        (Dimension.JOB, filters.jobs),
    ):
        if len(values) > 1:
            return dimension
    return None


def _lists_names(reading: _Reading) -> bool:
    asks = reading.has(Kind.LIST, Kind.EXIST, Kind.COUNT) or not reading.has(
        Kind.NOUN, Kind.PERFORMANCE, Kind.SUMMARY, Kind.COMPARE
    )
    other = reading.has(Kind.SLOWEST, Kind.MOST, Kind.CHANGED, Kind.WHY, Kind.COMPARE, Kind.PERFORMANCE)
    counted = reading.filters.statuses or reading.filters.root_causes or "executions" in reading.values(Kind.NOUN)
    listable = [dimension for dimension in reading.dimensions if dimension in _NAME_DIMENSIONS]
    return bool(asks and listable and not other and not counted)


def _asks_which(reading: _Reading) -> bool:
    return reading.says(Kind.LIST, "which", "what") or reading.has(Kind.MOST, Kind.COUNT)


def _measure(reading: _Reading, now: datetime, *, baseline: bool = False) -> Intent:
    metric = _metric(reading)
    filters = reading.filters
    if metric in RATES:
        filters = replace(filters, statuses=())
    group_by = reading.group_by or reading.dimensions or _compared_dimensions(reading)
    if not group_by and reading.has(Kind.MOST) and metric == Metric.COUNT:
        common = reading.says(Kind.MOST, "most common", "commonest", "most frequent")
        group_by = (Dimension.ERROR if common else Dimension.OPERATION,)
    if Dimension.ERROR in group_by and not filters.statuses:
        filters = replace(filters, statuses=FAILURES)
    failures = metric == Metric.COUNT and bool(filters.statuses) and set(filters.statuses) <= set(FAILURES)
    main, before = _window(reading, now, failures=failures), reading.baseline
    if before is not None and not reading.windows:
        main, before = counterpart(before, now)
    elif baseline and before is None:
        before = preceding(main)
    return Intent(
        IntentName.MEASURE,
        target=_target(reading, group_by),
        metric=metric,
        filters=filters,
        group_by=group_by,
        order=_order(reading),
        limit=reading.limit,
        window=main,
        baseline=before,
    )


def _compared_dimensions(reading: _Reading) -> tuple[Dimension, ...]:
    several = _several_of_one_dimension(reading)
    if several is None or not reading.has(
        Kind.COMPARE, Kind.CHANGED, Kind.THAN, Kind.SLOWEST, Kind.MOST, Kind.PERFORMANCE
    ):
        return ()
    return (several,)


def _metric(reading: _Reading) -> Metric:
    """The most specific one named; else a duration, or the count of what is spoken of."""
    named = [value for value in reading.values(Kind.METRIC) if value != "share"]
    specific = [Metric(value) for value in named if value != Metric.AVG]
    statuses = reading.filters.statuses
    if "share" in reading.values(Kind.METRIC) or (specific and specific[0] in RATES):
        if statuses == (Status.TIMEOUT,):
            return Metric.TIMEOUT_RATE
        if statuses == (Status.COMPLETED,):
            return Metric.SUCCESS_RATE
        return specific[0] if specific else Metric.ERROR_RATE
    if specific:
        return specific[0]
    if named or reading.has(Kind.LATENCY):
        return Metric.AVG
    counts = reading.has(Kind.COUNT) or statuses or reading.filters.root_causes
    if counts or (
        reading.has(Kind.NOUN) and not reading.has(Kind.COMPARE, Kind.CHANGED, Kind.SLOWEST, Kind.PERFORMANCE)
    ):
        return Metric.COUNT
    if reading.has(Kind.MOST) and not reading.has(Kind.SLOWEST, Kind.CHANGED, Kind.COMPARE, Kind.PERFORMANCE):
        return Metric.COUNT
    return Metric.AVG


def _order(reading: _Reading) -> Order | None:
    """Of a ranking: the largest first, unless the least, the fastest ... are asked for."""
    rankings = (*reading.values(Kind.MOST), *reading.values(Kind.SLOWEST))
    if not rankings:
        return "desc" if reading.limit is not None else None
    return "asc" if "asc" in rankings else "desc"


def _target(reading: _Reading, group_by: Sequence[Dimension] = ()) -> Target:
    """Spans where calls are spoken of, unless executions are or only they have what is asked for."""
    nouns, natural = reading.values(Kind.NOUN), natural_target(reading.filters, group_by)
    if "spans" in nouns and not (reading.filters.root_causes or Dimension.ROOT_CAUSE in group_by):
        return "spans"
    return "executions" if "executions" in nouns else natural


def _slowest(reading: _Reading, now: datetime) -> Intent:
    if any(dimension != Dimension.OPERATION for dimension in reading.dimensions) or _compared_dimensions(reading):
        return _measure(reading, now)
    target = _target(reading)
    things = set(reading.values(Kind.NOUN)) - {""}
    if Dimension.OPERATION in reading.dimensions or not (things or reading.filters.operations):
        target = "operations"
    return Intent(
        IntentName.SLOWEST,
        target=target,
        filters=reading.filters,
        order=_order(reading),
        limit=reading.limit,
        window=_window(reading, now),
    )


def _performance(reading: _Reading, now: datetime) -> Intent:
    if reading.dimensions or _several_of_one_dimension(reading):
        return _measure(reading, now)
    return Intent(
        IntentName.PERFORMANCE, target=_target(reading), filters=reading.filters, window=_window(reading, now)
    )


def _listing(reading: _Reading, now: datetime, name: IntentName) -> Intent:
    failures = name == IntentName.LIST_FAILURES
    return Intent(
        name,
        target=_target(reading),
        filters=replace(reading.filters, statuses=FAILURES) if failures and _unstated(reading) else reading.filters,
        limit=reading.limit,
        window=_window(reading, now, failures=failures),
    )


def _unstated(reading: _Reading) -> bool:
    return not reading.filters.statuses and not reading.filters.root_causes


def _window(reading: _Reading, now: datetime, *, failures: bool = False) -> Window:
    """The window asked for, else the default."""
    return reading.windows[0] if reading.windows else default_window(now, failures=failures)
