"""What differs between two executions, in words with figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rapidfuzz.distance import Levenshtein

from otel_diag.analyse.examined import Examined
from otel_diag.analyse.similar import similarity
from otel_diag.analyse.summary import Summary
from otel_diag.analyse.tree import Tree
from otel_diag.model import Attributes, Divergence, Span

MAX_DIFFERENCES: Final = 40
_SLOWER: Final = 2.0
_SLOWER_MS: Final = 5.0
_NOT_COMPARED: Final = ("id", "uuid", "thread", "pid", "port", "timestamp", "time_ms", "address", "pod", "hostname")
"""Endings and parts of attribute names whose values differ between any two executions."""


def compare(left: Examined, right: Examined) -> tuple[list[str], Divergence | None, float]:
    """(differences, first divergence in causal order, similarity 0..1); ``right`` is the one to measure against."""
    ours, mine = left.tree, left.summary
    theirs, other = right.tree, right.summary
    differences = [
        *_outcome_words(mine, other),
        *_service_words(mine, other),
        *_element_words(ours, theirs),
        *_duration_words(ours, theirs),
        *_attribute_words(ours, theirs),
    ]
    shown = differences[:MAX_DIFFERENCES]
    if len(differences) > MAX_DIFFERENCES:
        shown.append(f"and {len(differences) - MAX_DIFFERENCES} more differences")
    return shown, _first_divergence(ours, theirs), similarity(mine.elements, other.elements)


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


def _attribute_words(ours: Tree, theirs: Tree) -> list[str]:
    """Attribute and version values of the first span of each shared element that differ."""
    there: dict[str, Span] = {}
    for span in theirs.spans:
        there.setdefault(span.element, span)
    words: dict[str, None] = {}
    seen: set[str] = set()
    for span in ours.spans:
        other = there.get(span.element)
        if other is None or span.element in seen:
            continue
        seen.add(span.element)
        if span.service_version != other.service_version:
            words[f"{span.service} version {span.service_version} against {other.service_version}"] = None
        for name, mine, theirs_value in _changed(span.attributes, other.attributes):
            words[f"{span.element}: {name} is {_shown(mine)} against {_shown(theirs_value)}"] = None
    return list(words)


def _changed(mine: Attributes, other: Attributes) -> list[tuple[str, object, object]]:
    names = sorted({*mine, *other})
    return [
        (name, mine.get(name), other.get(name))
        for name in names
        if mine.get(name) != other.get(name) and not _is_individual(name)
    ]


def _is_individual(name: str) -> bool:
    last = name.lower().rpartition(".")[2]
    return last.endswith(_NOT_COMPARED) or last == "attempt"


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
    return {0: "absent", 1: "once"}.get(count, f"{count} times")
