"""A case: an execution with the diagnosis it must get, and the register of what can go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from otel_diag.analyse.baseline import Baseline
from otel_diag.model import Report, RootCauseType, Status, Trace
from otel_diag.testing import SpanDraft
from tests.scenarios.worlds import World

Place = tuple[str, str]
"""(service, operation)."""


@dataclass(frozen=True)
class Label:
    """What must be diagnosed. ``type`` None: healthy. ``at``: acceptable places, none: any. ``why``: spec/2's words."""

    type: RootCauseType | None
    at: tuple[Place, ...] = ()
    why: str = ""

    def type_fits(self, report: Report) -> bool:
        if self.type is None:
            return report.verdict == "healthy"
        if report.root_cause is None:
            return self.type == RootCauseType.UNKNOWN and report.verdict == "inconclusive"
        return report.root_cause.root_cause_type == self.type

    def fits(self, report: Report) -> bool:
        if not self.type_fits(report):
            return False
        cause = report.root_cause
        return cause is None or not self.at or (cause.affected_service, cause.affected_operation) in self.at


@dataclass(frozen=True)
class Case:
    """``baseline`` and ``still_arriving`` are what the engine is asked with; the former is of so many ``peers``."""

    scenario: str
    seed: int
    trace: Trace
    label: Label
    baseline: Baseline
    peers: int
    still_arriving: bool = False


class NotHere(Exception):
    """The world has nothing that this could happen to."""


@dataclass(frozen=True)
class Made:
    """What a scenario makes in a world."""

    trace: Trace
    label: Label
    still_arriving: bool = False


Build = Callable[[World, Random], Made]
SCENARIOS: dict[str, Build] = {}
HEALTHY: dict[str, Build] = {}


def scenario(build: Build) -> Build:
    SCENARIOS[build.__name__] = build
    return build


def healthy(build: Build) -> Build:
    """A twin: looks like a fault, and is none."""
    HEALTHY[build.__name__] = build
    return build


def label(kind: RootCauseType, spans: Iterable[SpanDraft | Place], why: str = "") -> Label:
    places = [span if isinstance(span, tuple) else (span.service, span.operation) for span in spans]
    return Label(kind, tuple(dict.fromkeys(places)), why)


def when_learned(world: World, made: Label) -> Label:
    """A label that needs a baseline: with fewer than 20 peers the constants hold, and nothing exceeds them."""
    if world.is_learned:
        return made
    return Label(None, why="fewer than 20 comparable executions, and nothing beyond 5 s / 60 s / 120 s")


_WORLDS: dict[str, World] = {}
WORLDS_TRIED = 40
DRAWS = 3
"""How often a scenario looks for a place in one world."""


def world(seed: int, number: int) -> World:
    """The ``number``-th world of a seed; kept, since its baseline is shared by all scenarios."""
    key = f"{seed}.{number}"
    if key not in _WORLDS:
        if len(_WORLDS) > 3 * WORLDS_TRIED:
            _WORLDS.clear()
        _WORLDS[key] = World(key)
    return _WORLDS[key]


def case(name: str, seed: int) -> Case | None:
    """The case of a scenario in the first world of the seed that it can happen in; None: in none of them."""
    build = SCENARIOS.get(name) or HEALTHY[name]
    for number in range(WORLDS_TRIED):
        here = world(seed, number)
        for draw in range(DRAWS):
            random = Random(f"{name}/{seed}/{number}/{draw}")
            try:
                made = build(here, random)
            except NotHere:
                continue
            trace = made.trace
            if here.lost_share and random.random() < 0.3:
                trace = with_a_span_lost(trace, made.label, random)
            return Case(name, seed, trace, made.label, here.baseline, here.peers, made.still_arriving)
    return None


def with_a_span_lost(trace: Trace, made: Label, random: Random) -> Trace:
    """Without one span that has no part in it: completed, without children or links, one of several of its service."""
    parents = {span.parent_span_id for span in trace.spans} | {
        link.span_id for span in trace.spans for link in span.links
    }
    services = Counter(span.service for span in trace.spans)
    dull = [
        span
        for span in trace.spans
        if span.kind == "internal"
        and span.status == Status.COMPLETED
        and span.parent_span_id is not None
        and span.span_id not in parents
        and services[span.service] > 1
        and (span.service, span.operation) not in made.at
    ]
    if not dull:
        return trace
    lost = random.choice(dull)
    return replace(trace, spans=tuple(span for span in trace.spans if span is not lost))
