"""What differs between two executions, in words with figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rapidfuzz.distance import Levenshtein

from otel_diag.analyse.align import Pair, align
from otel_diag.analyse.attributes import Telling, as_number, as_text, names_one, resource_values, telling
from otel_diag.analyse.critical_path import self_times
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.similar import similarity
from otel_diag.analyse.summary import Summary
from otel_diag.analyse.tree import Tree
from otel_diag.model import (
    NANOS_PER_MS,
    AttributeDifference,
    Divergence,
    ElementChange,
    ServiceTime,
    Span,
    SpanChange,
)

MAX_DIFFERENCES: Final = 40
MAX_ATTRIBUTES: Final = 10
MAX_LINES: Final = 40
MAX_CHANGES: Final = 40
"""Of two traces: lines of the summary, and spans that changed that are still shown one by one."""

_MAX_ELEMENTS: Final = 20
_MAX_SERVICES: Final = 8
_SLOWER: Final = 2.0
_SLOWER_MS: Final = 5.0
_MOST_VALUES: Final = 3
"""An attribute with more pairs of values in the spans of one element belongs to each single span, like an id."""


@dataclass(frozen=True, slots=True)
class Compared:
    """``first_divergence``: in causal order. ``similarity``: 0..1, of the shapes."""

    differences: list[str]
    first_divergence: Divergence | None
    similarity: float
    attributes: list[AttributeDifference]


@dataclass(frozen=True, slots=True)
class Changes:
    """A difference of any size in bounded form. ``spans``: all ``total_spans`` of them, or none if there are many."""

    summary: list[str]
    elements: list[ElementChange]
    services: list[ServiceTime]
    spans: list[SpanChange]
    total_spans: int


def compare(left: Examined, right: Examined) -> Compared:
    """What ``left`` does differently; ``right`` is the one to measure against."""
    return _compared(left, right, align(left.tree, right.tree))


def diff(left: Examined, right: Examined) -> tuple[Compared, Changes]:
    """The same with every change counted, span by span and summed up."""
    mine, other = left, right
    pairs = align(mine.tree, other.tree)
    compared = _compared(mine, other, pairs)
    spans = _span_changes(mine.tree, other.tree, pairs)
    elements = _element_changes(mine.tree, other.tree)
    services = _service_times(mine, other)
    changes = Changes(
        summary=_summary_lines(mine, other, compared, elements, services, spans),
        elements=elements[:_MAX_ELEMENTS],
        services=services[:MAX_LINES],
        spans=spans if len(spans) <= MAX_CHANGES else [],
        total_spans=len(spans),
    )
    return compared, changes


def _compared(mine: Examined, other: Examined, pairs: Sequence[Pair]) -> Compared:
    attributes = attribute_differences(mine.tree, other.tree, pairs)
    differences = [
        *_outcome_words(mine.summary, other.summary),
        *_service_words(mine.summary, other.summary),
        *_element_words(mine.tree, other.tree),
        *_duration_words(mine.tree, other.tree),
        *map(attribute_words, attributes),
    ]
    shown = differences[:MAX_DIFFERENCES]
    if len(differences) > MAX_DIFFERENCES:
        shown.append(f"and {len(differences) - MAX_DIFFERENCES} more differences")
    return Compared(
        shown,
        _first_divergence(mine.tree, other.tree),
        similarity(mine.summary.elements, other.summary.elements),
        attributes,
    )


def _outcome_words(mine: Summary, other: Summary) -> list[str]:
    words: list[str] = []
    if mine.status != other.status:
        because = f" ({mine.error_message[:200]})" if mine.error_message else ""
        words.append(f"{mine.status.value} against {other.status.value}{because}")
    if mine.duration_ms is not None and other.duration_ms is not None and _differ(mine.duration_ms, other.duration_ms):
        words.append(f"{mine.duration_ms:,.0f} ms against {other.duration_ms:,.0f} ms")
    return words


def _service_words(mine: Summary, other: Summary) -> list[str]:
    return [f"no {service} span" for service in other.services if service not in mine.services] + [
        f"{service} spans only here" for service in mine.services if service not in other.services
    ]


def _element_words(ours: Tree, theirs: Tree) -> list[str]:
    here, there = Counter(s.element for s in ours.spans), Counter(s.element for s in theirs.spans)
    return [
        f"{element}: {_times(here[element])} against {_times(there[element])}"
        for element in dict.fromkeys([*there, *here])
        if here[element] != there[element]
    ]


def _duration_words(ours: Tree, theirs: Tree) -> list[str]:
    here, there = _totals(ours), _totals(theirs)
    changed = [(e, here[e], there[e]) for e in here if e in there and _differ(here[e], there[e])]
    changed.sort(key=lambda row: -abs(row[1] - row[2]))
    return [f"{element}: {mine:,.0f} ms against {other:,.0f} ms" for element, mine, other in changed]


def _totals(tree: Tree) -> dict[str, float]:
    totals: dict[str, float] = {}
    for span in tree.spans:
        if span.duration_ms is not None:
            totals[span.element] = totals.get(span.element, 0.0) + span.duration_ms
    return totals


def attribute_differences(ours: Tree, theirs: Tree, pairs: Sequence[Pair]) -> list[AttributeDifference]:
    """Attributes whose values differ in corresponding spans, the most telling first, at most ten.

    Ids, times and addresses are left out, numbers unless one is at least twice the other, and what has another value
    in every span of an element.
    """
    aligned = [(ours.spans[mine], theirs.spans[other]) for mine, other in pairs]
    found = [
        *_differing(aligned, lambda span: span.service, resource_values),
        *_differing(aligned, lambda span: span.element, _own_values),
    ]
    found.sort(key=lambda one: (_rank(one), -one.spans, one.element, one.attribute, one.value or ""))
    return found[:MAX_ATTRIBUTES]


def attribute_words(one: AttributeDifference) -> str:
    where = f"{one.element} version" if one.attribute == "service.version" else f"{one.element}: {one.attribute} is"
    times = f" ({one.spans} spans)" if one.spans > 1 else ""
    return f"{where} {_shown(one.value)} against {_shown(one.other_value)}{times}"


def _differing(
    aligned: Sequence[tuple[Span, Span]], place: Callable[[Span], str], read: Callable[[Span], Mapping[str, str]]
) -> Iterable[AttributeDifference]:
    counts: dict[tuple[str, str], Counter[tuple[str | None, str | None]]] = {}
    for mine, other in aligned:
        here, there = read(mine), read(other)
        if here == there:
            continue
        for name in here.keys() | there.keys():
            counts.setdefault((place(mine), name), Counter())[here.get(name), there.get(name)] += 1
    for (element, name), values in counts.items():
        changed = {pair: spans for pair, spans in values.items() if _is_change(name, *pair)}
        # The same values in another order are no difference, and a value of each span is none either.
        reordered = {pair[0] for pair in values} == {pair[1] for pair in values}
        if reordered or len(changed) > _MOST_VALUES:
            continue
        for (value, other_value), spans in changed.items():
            yield AttributeDifference(
                element=element, attribute=name, value=value, other_value=other_value, spans=spans
            )


def _own_values(span: Span) -> dict[str, str]:
    return {name: text for name, value in span.attributes.items() if (text := as_text(value)) is not None}


def _is_change(name: str, mine: str | None, other: str | None) -> bool:
    if mine == other or any(value is not None and names_one(name, value) for value in (mine, other)):
        return False
    one, two = _number(mine), _number(other)
    if one is None or two is None or telling(name, one) is not Telling.NUMBER:
        return True
    return max(abs(one), abs(two)) >= _SLOWER * min(abs(one), abs(two))


def _rank(one: AttributeDifference) -> tuple[Telling, bool]:
    value = one.value if one.value is not None else one.other_value
    number = _number(value)
    kind = telling(one.attribute, value if number is None else number)
    return kind, one.value is None or one.other_value is None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else as_number(float(text))
    except ValueError:
        return None


def _shown(value: object) -> str:
    return "absent" if value is None else str(value)[:80]


def _first_divergence(ours: Tree, theirs: Tree) -> Divergence | None:
    """Pre-order over both: the first element missing, extra, with another status, or much slower or faster."""
    here, there = _sequence(ours), _sequence(theirs)
    numbers: dict[str, int] = {}
    edits = Levenshtein.opcodes(
        [numbers.setdefault(key, len(numbers)) for key, _ in there],
        [numbers.setdefault(key, len(numbers)) for key, _ in here],
    )
    for edit in edits:
        if edit.tag == "equal":
            for offset in range(edit.src_end - edit.src_start):
                changed = _changed_span(here[edit.dest_start + offset][1], there[edit.src_start + offset][1])
                if changed is not None:
                    return changed
        elif edit.tag == "insert":
            span = here[edit.dest_start][1]
            return Divergence(
                kind="extra",
                element=span.element,
                detail=f"{span.element} is only here",
                span_id=span.span_id,
            )
        else:
            span = there[edit.src_start][1]
            return Divergence(kind="missing", element=span.element, detail=f"no {span.element} span here", span_id=None)
    return None


def _sequence(tree: Tree) -> Sequence[tuple[str, Span]]:
    return [(f"{tree.depths[i]} {tree.spans[i].element}", tree.spans[i]) for i in tree.preorder]


def _changed_span(mine: Span, other: Span) -> Divergence | None:
    if mine.status != other.status:
        because = f" ({mine.error_message[:200]})" if mine.error_message else ""
        return Divergence(
            kind="status",
            element=mine.element,
            detail=f"{mine.element} is {mine.status.value} against {other.status.value}{because}",
            span_id=mine.span_id,
        )
    ours, theirs = mine.duration_ms, other.duration_ms
    if ours is None or theirs is None or not _differ(ours, theirs):
        return None
    return Divergence(
        kind="duration",
        element=mine.element,
        detail=f"{mine.element} took {ours:,.0f} ms against {theirs:,.0f} ms",
        span_id=mine.span_id,
    )


def _differ(a: float, b: float) -> bool:
    return abs(a - b) >= _SLOWER_MS and max(a, b) >= _SLOWER * min(a, b)


def _times(count: int) -> str:
    return {0: "absent", 1: "once"}.get(count, f"{count:,} times")


# --------------------------------------------------------------------------------------------------
# Two traces of any length.


def _span_changes(ours: Tree, theirs: Tree, pairs: Sequence[Pair]) -> list[SpanChange]:
    """In our pre-order, then what is only there in its own."""
    partner = dict(pairs)
    known = set(partner.values())
    changes: list[SpanChange] = []
    for node in ours.preorder:
        span = ours.spans[node]
        if node not in partner:
            changes.append(_only("only_left", span))
            continue
        other = theirs.spans[partner[node]]
        found = _changed_span(span, other)
        if found is not None:
            changes.append(
                SpanChange(
                    kind="status" if found.kind == "status" else "duration",
                    element=span.element,
                    detail=found.detail,
                    left_span_id=span.span_id,
                    right_span_id=other.span_id,
                )
            )
    return changes + [_only("only_right", theirs.spans[node]) for node in theirs.preorder if node not in known]


def _only(side: Literal["only_left", "only_right"], span: Span) -> SpanChange:
    here = side == "only_left"
    took = "" if span.duration_ms is None else f", {span.duration_ms:,.0f} ms"
    return SpanChange(
        kind=side,
        element=span.element,
        detail=f"{span.element} is only {'here' if here else 'there'}{took}",
        left_span_id=span.span_id if here else None,
        right_span_id=None if here else span.span_id,
    )


def _element_changes(ours: Tree, theirs: Tree) -> list[ElementChange]:
    """Elements that differ: in failures first, then in number, then in time alone; the largest gain or loss first."""
    here, there = Counter(s.element for s in ours.spans), Counter(s.element for s in theirs.spans)
    failed_here = Counter(s.element for s in ours.spans if s.status.is_failure)
    failed_there = Counter(s.element for s in theirs.spans if s.status.is_failure)
    ms_here, ms_there = _totals(ours), _totals(theirs)
    changes = [
        ElementChange(
            element=element,
            left_count=here[element],
            right_count=there[element],
            left_failed=failed_here[element],
            right_failed=failed_there[element],
            left_ms=ms_here.get(element, 0.0),
            right_ms=ms_there.get(element, 0.0),
        )
        for element in dict.fromkeys([*here, *there])
        if here[element] != there[element]
        or failed_here[element] != failed_there[element]
        or _differ(ms_here.get(element, 0.0), ms_there.get(element, 0.0))
    ]
    return sorted(
        changes,
        key=lambda c: (
            c.left_failed == c.right_failed,
            c.left_count == c.right_count,
            -abs(c.left_ms - c.right_ms),
        ),
    )


def _service_times(mine: Examined, other: Examined) -> list[ServiceTime]:
    """Self time by service on both sides, on adjusted clocks; what differs most first."""
    here, there = _self_ms(mine), _self_ms(other)
    times = [
        ServiceTime(service=service, left_ms=here.get(service), right_ms=there.get(service))
        for service in dict.fromkeys([*here, *there])
    ]
    return sorted(times, key=lambda time: -abs((time.left_ms or 0.0) - (time.right_ms or 0.0)))


def _self_ms(side: Examined) -> dict[str, float]:
    totals: dict[str, float] = {}
    for span, own in zip(side.tree.spans, self_times(side.tree, side.skew.times), strict=True):
        totals[span.service] = totals.get(span.service, 0.0) + own / NANOS_PER_MS
    return totals


def _summary_lines(
    mine: Examined,
    other: Examined,
    compared: Compared,
    elements: Sequence[ElementChange],
    services: Sequence[ServiceTime],
    spans: Sequence[SpanChange],
) -> list[str]:
    """Nothing when nothing differs."""
    first = compared.first_divergence
    lines = [f"first divergence: {first.detail}"] if first is not None else []
    lines += _outcome_words(mine.summary, other.summary)
    if spans:
        kinds = Counter(change.kind for change in spans)
        counts = f"{mine.summary.span_count:,} spans against {other.summary.span_count:,}"
        lines.append(
            f"{counts}: {kinds['only_left']:,} only here, {kinds['only_right']:,} only there, "
            f"{kinds['status']:,} with another status, {kinds['duration']:,} with another duration"
        )
    lines += [_service_words_of(time) for time in services[:_MAX_SERVICES] if _is_other_time(time)]
    lines += [_element_words_of(change) for change in elements[:_MAX_ELEMENTS]]
    if len(elements) > _MAX_ELEMENTS:
        lines.append(f"and {len(elements) - _MAX_ELEMENTS:,} more operations that differ")
    room = MAX_LINES - len(lines)
    return lines + [attribute_words(one) for one in compared.attributes[:room]]


def _is_other_time(time: ServiceTime) -> bool:
    return time.left_ms is None or time.right_ms is None or _differ(time.left_ms, time.right_ms)


def _service_words_of(time: ServiceTime) -> str:
    left, right = ("absent" if ms is None else f"{ms:,.0f} ms" for ms in (time.left_ms, time.right_ms))
    return f"{time.service} itself: {left} against {right}"


def _element_words_of(change: ElementChange) -> str:
    parts = []
    if change.left_count != change.right_count:
        parts.append(f"{_times(change.left_count)} against {_times(change.right_count)}")
    if change.left_failed != change.right_failed:
        parts.append(f"{change.left_failed:,} failed against {change.right_failed:,}")
    if (gained := round(change.left_ms - change.right_ms)) != 0:
        parts.append(f"{gained:+,} ms")
    return f"{change.element}: {', '.join(parts)}"
