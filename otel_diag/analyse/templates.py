"""Error messages as templates, so that the same error reads the same; and which are new, gone or more frequent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from otel_diag.analyse.significance import ALPHA, other_rate, threshold
from otel_diag.model import ChangedError, GoneError, NewError

ANY: Final = "<*>"
MAX_TEMPLATES: Final = 10
LONGEST: Final = 200
_EXAMPLES: Final = 5

_LONGEST_READ: Final = 1_000
_MIN_VARIANTS: Final = 4
"""So many different words in one place are a parameter; two or three may be two or three errors (refused, reset)."""

_MAX_WILD: Final = 2
_SURE: Final = 0.05
"""The chance that a template only happened to be absent from the other window."""

_VARIABLE: Final = re.compile(
    r"""
    (?P<kept>                                                                         # which error it is
        \b(?:HTTP(?:/\d(?:\.\d)?)?|status(?:[ _]code)?|code)[ :=]+[1-5]\d\d\b
        | '?\b[45]\d\d[ ](?-i:[A-Z][a-z]+)(?:[ ](?-i:[A-Z][a-z]+))*'?
    )
    | \b[a-z][a-z0-9+.-]*://[^\s'",;)\]]+                                             # URL
    | (?<!\w)'[^'\n]{1,200}'(?!\w) | "[^"\n]{1,200}" | `[^`\n]{1,200}`                # quoted
    | \d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?         # time
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b                # UUID
    | \[?\b(?=[a-f:]*\d)(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}\b\]?(?::\d+)?            # IPv6, or a time of day
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b                                            # IPv4
    | \b0x[0-9a-f]+\b
    | (?<![\w./])(?:~|\.{0,2})/[\w.@%+~-]+(?:/[\w.@%+~-]*)*                           # path
    | \b[a-z]:\\[^\s'",;)]+                                                           # path on Windows
    | \b(?=[a-z_-]*\d)(?=[\d_-]*[a-z])[a-z0-9_-]{12,}\b                               # id of letters and digits
    | \b(?=[a-f]*\d)[0-9a-f]{8,}\b                                                    # hex
    | (?<![\w.+-])[+-]?\d+(?:[.,]\d+)*                                                # number; its unit stays
    | (?<=[-_\#])\d+(?![\w.])                                                         # numbered: worker-3
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Errors:
    """How often a message, or a template of messages, occurred in a window."""

    text: str
    count: int
    first_seen: datetime
    last_seen: datetime
    example_ids: tuple[int | str, ...] = ()

    def plus(self, other: Errors) -> Errors:
        return replace(
            self,
            count=self.count + other.count,
            first_seen=min(self.first_seen, other.first_seen),
            last_seen=max(self.last_seen, other.last_seen),
            example_ids=tuple(dict.fromkeys([*self.example_ids, *other.example_ids]))[:_EXAMPLES],
        )


def error_template(message: str | None) -> str | None:
    """The message in one line, with ``<*>`` for numbers, ids, times, addresses, paths and quoted values.

    The code in "HTTP 503" or "status code 429" stays: it says which error it is. At most 200 characters.
    """
    if message is None:
        return None
    masked = _VARIABLE.sub(lambda match: match["kept"] or ANY, message[:_LONGEST_READ])
    return " ".join(masked.split())[:LONGEST] or None


def common_template(one: str, other: str) -> str | None:
    """What two messages that were counted together say, with ``<*>`` for the words in which they differ."""
    first, second = error_template(one), error_template(other)
    if first is None or second is None or first == second:
        return first
    words, others = first.split(" "), second.split(" ")
    if len(words) != len(others):
        return first
    return " ".join(word if word == other_word else ANY for word, other_word in zip(words, others, strict=True))


Words = tuple[str, ...]


def merged(templates: Iterable[str]) -> dict[str, str]:
    """Each template with the more general one it belongs to, often itself.

    As Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017) templates are grouped
    by their number of words and the first of them, and as IPLoM (Makanju et al., "Clustering Event Logs Using Iterative
    Partitioning", KDD 2009) split further where few different words stand. Where otherwise equal templates have four
    different words or more, in one or two places, that is a parameter. The same whatever the order.
    """
    groups: dict[tuple[int, str], list[Words]] = {}
    for words in sorted({tuple(template.split(" ")) for template in templates}):
        groups.setdefault((len(words), words[0]), []).append(words)
    general: dict[str, str] = {}
    pending = [*groups.values()]
    while pending:
        group = pending.pop()
        columns = [{*column} for column in zip(*group, strict=True)]
        open_places = [place for place, column in enumerate(columns) if len(column) >= _MIN_VARIANTS]
        if len(open_places) > _allowed(group[0]):
            _, place = min((len(column), place) for place, column in enumerate(columns) if len(column) > 1)
            pending += _split(group, [words[place] for words in group])
            continue
        for alike in _split(group, [_masked(words, open_places) for words in group]):
            parameters = [place for place in open_places if len({words[place] for words in alike}) >= _MIN_VARIANTS]
            for words in alike:
                general[" ".join(words)] = _masked(words, parameters)
    return general


def _split(group: Sequence[Words], keys: Sequence[str]) -> list[list[Words]]:
    parts: dict[str, list[Words]] = {}
    for words, key in zip(group, keys, strict=True):
        parts.setdefault(key, []).append(words)
    return [*parts.values()]


def _masked(words: Words, places: Sequence[int]) -> str:
    return " ".join(ANY if place in places else word for place, word in enumerate(words))


def _allowed(words: Sequence[str]) -> int:
    """Half of the words at least have to be the same."""
    return min(_MAX_WILD, (len(words) - 1) // 2)


def counted(now: Iterable[Errors], before: Iterable[Errors]) -> tuple[dict[str, Errors], dict[str, Errors]]:
    """Messages of two windows by template: mined from both together, so that one error has one name."""
    here, there = _by_template(now), _by_template(before)
    general = merged([*here, *there])
    return _renamed(here, general), _renamed(there, general)


def _by_template(errors: Iterable[Errors]) -> dict[str, Errors]:
    return _summed((template, one) for one in errors if (template := error_template(one.text)))


def _renamed(errors: Mapping[str, Errors], general: Mapping[str, str]) -> dict[str, Errors]:
    return _summed((general[template], one) for template, one in errors.items())


def _summed(named: Iterable[tuple[str, Errors]]) -> dict[str, Errors]:
    sums: dict[str, Errors] = {}
    for template, one in named:
        one = replace(one, text=template)
        sums[template] = sums[template].plus(one) if template in sums else one
    return sums


@dataclass(frozen=True, slots=True)
class ErrorChanges:
    new: list[NewError]
    gone: list[GoneError]
    changed: list[ChangedError]


def error_changes(
    now: Mapping[str, Errors], before: Mapping[str, Errors], exposure: float, exposure_before: float
) -> ErrorChanges:
    """Templates that only one of two windows has, and those whose rate changed, the most frequent first.

    ``exposure``: executions in each window. A template is new (gone) when its absence from the other window has a
    chance of 5 % at most were its rate the same, so with as many executions in both, five of it are needed; a rate
    has changed when it did at 1 % for all templates together. Nothing is said without executions on both sides.
    """
    share = exposure / (exposure + exposure_before) if exposure > 0 and exposure_before > 0 else None
    if share is None:
        return ErrorChanges([], [], [])
    new = [
        NewError(template=text, count=one.count, first_seen=one.first_seen, example_ids=list(one.example_ids))
        for text, one in now.items()
        if text not in before and share**one.count <= _SURE
    ]
    gone = [
        GoneError(template=text, count_before=one.count, last_seen=one.last_seen)
        for text, one in before.items()
        if text not in now and (1 - share) ** one.count <= _SURE
    ]
    both = [text for text in now if text in before]
    chances = {text: other_rate(now[text].count, before[text].count, exposure, exposure_before) for text in both}
    least = [min(share, 1 - share) ** (now[text].count + before[text].count) for text in both]
    limit = threshold(least, ALPHA)
    changed = [
        ChangedError(
            template=text,
            count=now[text].count,
            count_before=before[text].count,
            rate=round(now[text].count / exposure, 6),
            rate_before=round(before[text].count / exposure_before, 6),
            example_ids=list(now[text].example_ids),
        )
        for text in both
        if chances[text] <= limit
    ]
    return ErrorChanges(
        sorted(new, key=lambda one: (-one.count, one.template))[:MAX_TEMPLATES],
        sorted(gone, key=lambda one: (-one.count_before, one.template))[:MAX_TEMPLATES],
        sorted(changed, key=lambda one: (-abs(one.count - one.count_before), one.template))[:MAX_TEMPLATES],
    )
