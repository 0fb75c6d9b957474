"""What failed executions have that healthy ones have not: attributes ranked by how differently they are distributed.

The idea is Honeycomb's BubbleUp and ClickStack's event deltas. Nothing is claimed that chance explains as well: see
:mod:`otel_diag.analyse.significance`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Final

import numpy as np

from otel_diag.analyse.attributes import as_number, as_text, says_nothing, says_outcome, telling
from otel_diag.analyse.significance import at_least, same_distribution, threshold
from otel_diag.model import Attributes, Distinguishing

MAX_DISTINGUISHING: Final = 10
MIN_DIFFERENCE: Final = 0.2
"""Of the shares: a value that fewer than a fifth more of the failures have explains little."""

MIN_PEERS: Final = 20
"""Only among so many peers (spec/2) can one execution have something rare."""

_MIN_FAILED: Final = 3
_MIN_NUMBERS: Final = 8
_MOST_LEVELS: Final = 10
"""Numbers with more different values than this are compared as numbers, others as names."""

_RARE: Final = 0.05
_FAR: Final = 2.0
_FENCE: Final = 3.0
_SAME_SHOWN: Final = 5

Key = tuple[str | None, str]
"""(service, attribute); the service is None for what holds for the whole execution."""

Trait = tuple[str | None, str, str]
"""(service, attribute, value)."""


@dataclass(frozen=True)
class Traits:
    """What one execution has: each value once, of each number the largest.

    ``complete`` is False where its spans were not read: then it says nothing of what services have.
    """

    values: frozenset[Trait] = frozenset()
    numbers: Mapping[Key, float] = field(default_factory=dict)
    complete: bool = True

    @cached_property
    def keys(self) -> frozenset[Key]:
        return frozenset((service, attribute) for service, attribute, _ in self.values)


def traits_of_execution(columns: Mapping[str, str | None], *, complete: bool = False) -> Traits:
    """Of an execution as a whole: its model, region, job ..., those that are known."""
    return Traits(frozenset((None, name, value) for name, value in columns.items() if value), complete=complete)


def traits_of_span(service: str, version: str | None, attributes: Attributes, resource: Attributes) -> Traits:
    """Of one span: its attributes and those of its resource, without what follows from how it ended."""
    values: set[Trait] = set()
    numbers: dict[Key, float] = {}
    if version is not None:
        values.add((service, "service.version", version))
    for name, value in chain(resource.items(), attributes.items()):
        if name in ("service.name", "service.version") or says_outcome(name) or says_nothing(name):
            continue
        text, number = as_text(value), as_number(value)
        if text is not None:
            values.add((service, name, text))
        if number is not None:
            numbers[service, name] = number
    return Traits(frozenset(values), numbers)


def joined(parts: Iterable[Traits]) -> Traits:
    """One execution from its own traits and those of its spans."""
    parts = list(parts)
    numbers: dict[Key, float] = {}
    for part in parts:
        for key, number in part.numbers.items():
            numbers[key] = max(number, numbers.get(key, number))
    values = frozenset(chain.from_iterable(part.values for part in parts))
    return Traits(values, numbers, complete=any(part.complete for part in parts))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A question put to both cohorts, by the members that have it. ``smallest``: the least p it could have given."""

    key: Key
    value: str
    failed: frozenset[int]
    healthy: frozenset[int]
    p: float
    smallest: float


def distinguishing(
    failed: Sequence[Traits], healthy: Sequence[Traits], skip: Collection[str] = (), limit: int = MAX_DISTINGUISHING
) -> list[Distinguishing]:
    """Values that many more of the failed executions have, by the difference of their shares.

    ``skip``: attributes that say nothing here. Empty when nothing differs, and when chance would explain what does.
    Values that the very same executions have are one entry, named by the most telling attribute.
    """
    failed_read, healthy_read = (sum(one.complete for one in cohort) for cohort in (failed, healthy))
    numeric = _numeric_keys([*failed, *healthy])
    candidates = _by_members(
        [
            *_named(failed, healthy, failed_read, healthy_read, {*numeric}, skip),
            *_numbered(failed, healthy, numeric, skip),
        ]
    )
    alike = list(candidates.values())
    limit_p = threshold(group[0].smallest for group in alike)
    found: list[Distinguishing] = []
    for first, *others in alike:
        of_failed, of_healthy = (len(failed), len(healthy)) if first.key[0] is None else (failed_read, healthy_read)
        one = _entry(first, of_failed, of_healthy, others)
        if len(first.failed) >= _MIN_FAILED and one.score >= MIN_DIFFERENCE and first.p <= limit_p:
            found.append(one)
    found.sort(
        key=lambda one: (-one.score, telling(one.attribute, one.value), one.attribute, one.service or "", one.value)
    )
    return found[:limit]


def _entry(first: _Candidate, failed: int, healthy: int, others: Sequence[_Candidate]) -> Distinguishing:
    failed_share = len(first.failed) / failed if failed else 0.0
    healthy_share = len(first.healthy) / healthy if healthy else 0.0
    return Distinguishing(
        attribute=first.key[1],
        value=first.value,
        service=first.key[0],
        failed_share=round(failed_share, 4),
        healthy_share=round(healthy_share, 4),
        failed_count=len(first.failed),
        healthy_count=len(first.healthy),
        score=round(failed_share - healthy_share, 4),
        same_as=[" ".join(filter(None, (*one.key, one.value))) for one in others[:_SAME_SHOWN]],
    )


def _by_members(candidates: Iterable[_Candidate]) -> dict[tuple[frozenset[int], frozenset[int]], list[_Candidate]]:
    groups: dict[tuple[frozenset[int], frozenset[int]], list[_Candidate]] = {}
    for one in candidates:
        groups.setdefault((one.failed, one.healthy), []).append(one)
    for group in groups.values():
        group.sort(key=lambda one: (telling(one.key[1], one.value), one.key[1], one.key[0] or "", one.value))
    return groups


def _numeric_keys(cohort: Iterable[Traits]) -> dict[Key, None]:
    """Keys with so many different numbers that none of them would be a group."""
    seen: dict[Key, set[float]] = {}
    for one in cohort:
        for key, number in one.numbers.items():
            seen.setdefault(key, set()).add(number)
    return {key: None for key in sorted(seen, key=str) if len(seen[key]) > _MOST_LEVELS}


def _named(
    failed: Sequence[Traits],
    healthy: Sequence[Traits],
    failed_read: int,
    healthy_read: int,
    numeric: Collection[Key],
    skip: Collection[str],
) -> Iterable[_Candidate]:
    here, there = _members(failed), _members(healthy)
    for trait in sorted(here, key=str):
        service, attribute, value = trait
        if attribute in skip or (service, attribute) in numeric:
            continue
        drawn, others = (len(failed), len(healthy)) if service is None else (failed_read, healthy_read)
        bad, good = frozenset(here[trait]), frozenset(there.get(trait, ()))
        having, total = len(bad) + len(good), drawn + others
        p = at_least(len(bad), drawn, having, total)
        yield _Candidate((service, attribute), value, bad, good, p, at_least(min(having, drawn), drawn, having, total))


def _members(cohort: Sequence[Traits]) -> dict[Trait, list[int]]:
    members: dict[Trait, list[int]] = {}
    for number, one in enumerate(cohort):
        for trait in one.values:
            members.setdefault(trait, []).append(number)
    return members


def _numbered(
    failed: Sequence[Traits], healthy: Sequence[Traits], numeric: Iterable[Key], skip: Collection[str]
) -> Iterable[_Candidate]:
    """Numbers by the cut that parts the cohorts best: where their Kolmogorov-Smirnov distance lies."""
    for key in numeric:
        here = {i: one.numbers[key] for i, one in enumerate(failed) if key in one.numbers}
        there = {i: one.numbers[key] for i, one in enumerate(healthy) if key in one.numbers}
        if key[1] in skip or min(len(here), len(there)) < _MIN_NUMBERS:
            continue
        cut, above, distance = _best_cut(list(here.values()), list(there.values()))
        yield _Candidate(
            key,
            f"{'>' if above else '<='} {cut:g}",
            frozenset(i for i, number in here.items() if (number > cut) == above),
            frozenset(i for i, number in there.items() if (number > cut) == above),
            same_distribution(distance, len(here), len(there)),
            same_distribution(1.0, len(here), len(there)),
        )


def _best_cut(first: Sequence[float], second: Sequence[float]) -> tuple[float, bool, float]:
    """(cut, whether ``first`` lies above it, distance of the two distribution functions there)."""
    one, two = np.sort(first), np.sort(second)
    cuts = np.unique(np.concatenate([one, two]))
    below = np.searchsorted(one, cuts, "right") / len(one) - np.searchsorted(two, cuts, "right") / len(two)
    at = int(np.argmax(np.abs(below)))
    return float(cuts[at]), bool(below[at] < 0), float(abs(below[at]))


def unusual(
    own: Traits, peers: Sequence[Traits], skip: Collection[str] = (), limit: int = MAX_DISTINGUISHING
) -> list[Distinguishing]:
    """Values of one execution that hardly any of its successful peers has.

    Among at least 20 peers that have the attribute at all, and only where the peers agree with each other: at most one
    in twenty of them, with this execution, may have a value as rare as its own. An id is rare for everybody.
    """
    read = [peer for peer in peers if peer.complete]
    levels: dict[Key, Counter[str]] = {}
    for peer in peers:
        for service, attribute, value in peer.values:
            levels.setdefault((service, attribute), Counter())[value] += 1
    numeric = _numeric_keys([own, *read])
    found = []
    for service, attribute, value in sorted(own.values, key=str):
        key = (service, attribute)
        having = sum(key in peer.keys for peer in peers)
        if attribute in skip or key in numeric or having < MIN_PEERS:
            continue
        counts = levels[key]
        rare = 1 + sum(count for other, count in counts.items() if other == value or count <= counts[value] + 1)
        if rare / (having + 1) <= _RARE:
            found.append(_rarity(key, value, counts[value], having))
    for key in numeric:
        numbers = [peer.numbers[key] for peer in read if key in peer.numbers]
        if key in own.numbers and key[1] not in skip and len(numbers) >= MIN_PEERS:
            found += _far_off(key, own.numbers[key], numbers)
    found.sort(key=lambda one: (telling(one.attribute, one.value), -one.score, one.attribute, one.service or ""))
    return found[:limit]


def _rarity(key: Key, value: str, count: int, having: int) -> Distinguishing:
    return Distinguishing(
        attribute=key[1],
        value=value,
        service=key[0],
        failed_share=1.0,
        healthy_share=round(count / having, 4),
        failed_count=1,
        healthy_count=count,
        score=round(1 - count / having, 4),
    )


def _far_off(key: Key, number: float, peers: Sequence[float]) -> Iterable[Distinguishing]:
    """A number beyond the outer fences (J. W. Tukey, "Exploratory Data Analysis", 1977), twice or half the usual."""
    low, usual, high = np.quantile(peers, [0.25, 0.5, 0.75])
    fence = _FENCE * (high - low)
    beyond = sum(peer >= number for peer in peers) if number > usual else sum(peer <= number for peer in peers)
    far = max(abs(number), abs(usual)) >= _FAR * min(abs(number), abs(usual)) and number != usual
    if far and not low - fence <= number <= high + fence and (1 + beyond) / (len(peers) + 1) <= _RARE:
        yield _rarity(key, f"{number:g} (usually {usual:g})", beyond, len(peers))
