"""How many of what: systems with earlier executions, and the incidents in them, as ``root_cause.py`` sends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from benchmarks.fresh import incidents, systems
from benchmarks.fresh.incidents import Incident, Setting
from benchmarks.fresh.replay import Identity, Played, play
from benchmarks.labelled.acts import Record
from benchmarks.labelled.cases import Settlement
from benchmarks.labelled.spans import HEALTHY, Case, Declared, Trace

PEERS = (0, 6, 15, 22, 45)
FEW_LEAVES = (6, 22)
"""Peers of a system with a thousand spans in each."""
TWINS, DECOYS, LOSSES = 0.35, 0.2, 0.1
TOWNS = (
    "oslo",
    "lima",
    "turin",
    "quito",
    "perth",
    "dakar",
    "hanoi",
    "osaka",
    "riga",
    "malmo",
    "porto",
    "kyoto",
    "cork",
)


@dataclass
class _Book:
    draw: Random
    ids: Iterator[int]
    made: Counter[str] = field(default_factory=Counter)

    def identity(self, has_id: bool, as_text: bool, everywhere: bool) -> Identity:
        return Identity(next(self.ids) if has_id else None, as_text, everywhere)


def settlements(seed: int, count: int) -> Iterator[Settlement]:
    """Systems with their earlier executions and so many cases in all."""
    draw = Random(f"fresh {seed}")
    book = _Book(draw, _numbers(draw))
    names = list(systems.CATALOGUE)
    left, number = count, 0
    while left > 0:
        if number % len(names) == 0:
            draw.shuffle(names)
        tag = f"{draw.choice(TOWNS)}{number}"
        found = settle(book, names[number % len(names)], tag, min(left, draw.randint(3, 7)))
        left -= len(found.cases)
        number += 1
        yield found


def _numbers(draw: Random) -> Iterator[int]:
    return count(draw.randrange(10**6, 10**12))


def settle(book: _Book, name: str, tag: str, cases: int) -> Settlement:
    draw = book.draw
    skewed = draw.random() < 0.2
    system = systems.system(draw, name, tag, skewed)
    peers = draw.choice(FEW_LEAVES if name == "tiles" else PEERS)
    has_id, as_text, everywhere = draw.random() < 0.75, draw.random() < 0.2, draw.random() < 0.4
    setting = Setting(draw, system, peers, has_id, skewed)
    baseline: list[Trace] = []
    for _ in range(peers):
        played = play(system, book.identity(has_id, as_text, everywhere), {}, draw)
        baseline += traces(played, draw.uniform(-20_000, -3_000), {})
    found: list[Case] = []
    for incident in chosen(book, setting, cases):
        identity = book.identity(has_id, as_text, everywhere)
        if draw.random() < DECOYS:
            incident = incidents.decoy(setting, incident)
        found.append(case(setting, identity, incident))
        if len(found) < cases and draw.random() < TWINS:
            found.append(case(setting, book.identity(has_id, as_text, everywhere), twin(incident)))
        if len(found) == cases:
            break
    return Settlement(baseline=baseline, cases=found)


def chosen(book: _Book, setting: Setting, most: int) -> list[Incident]:
    """Incidents that can happen there, those seen least first."""
    order = sorted(incidents.makers(), key=lambda maker: (book.made[maker.__name__], book.draw.random()))
    found: list[Incident] = []
    for maker in order:
        incident = maker(setting)
        if incident is not None:
            found.append(incident)
            book.made[maker.__name__] += 1
        if len(found) == most:
            break
    return found


def twin(incident: Incident) -> Incident:
    return Incident(incident.scenario, lambda _: HEALTHY, kind="twin")


def case(setting: Setting, identity: Identity, incident: Incident) -> Case:
    draw = setting.draw
    played = play(setting.system, identity, incident.troubles, draw)
    label = incident.judge(played)
    if incident.edit:
        incident.edit(played)
    elif draw.random() < LOSSES:
        lose(draw, played, {name for _, name in label.places or ()})
    start_s = -played.end_ms / 1000 - (0.0 if incident.arriving else draw.uniform(60, 1_500))
    sent = [] if incident.spanless else traces(played, start_s, incident.versions)
    declared: list[Declared] = []
    if incident.recorded and identity.execution_id is not None:
        status, ms, message = incident.recorded
        record = Record(status=status, duration_ms=ms, error_message=message)
        trace_id = None if incident.spanless else sent[0].trace_id
        declared.append(Declared(identity.execution_id, start_s, record, setting.system.labels, trace_id))
    return Case(
        scenario=incident.scenario,
        kind=incident.kind,
        label=label,
        peers=setting.peers,
        execution_id=None if incident.by_trace else identity.execution_id,
        trace_id=next(iter(played.traces)),
        traces=sent,
        declared=declared,
        arriving=incident.arriving,
    )


def traces(played: Played, start_s: float, versions: dict[str, str]) -> list[Trace]:
    return [Trace(trace_id, start_s, spans, versions, {}) for trace_id, spans in played.traces.items() if spans]


def lose(draw: Random, played: Played, decisive: set[str]) -> None:
    """One span that tells nothing, without children, is not exported."""
    spans = [span for spans in played.traces.values() for span in spans]
    parents = {span.parent_id for span in spans}
    free = [
        span
        for span in spans
        if span.span_id not in parents
        and span.kind == 1
        and span.parent_id
        and not span.failed
        and span.end_ms is not None
        and span.name not in decisive
    ]
    if free:
        played.drop({id(draw.choice(free))})
