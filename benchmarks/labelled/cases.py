"""How many of what: worlds with their baselines, and in each of them faults, healthy twins and red herrings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from benchmarks.labelled.acts import BASELINE, USUAL, Act, Draft, ordinary
from benchmarks.labelled.losses import one_span_lost
from benchmarks.labelled.names import Names
from benchmarks.labelled.scenarios import FAULTS, HARMLESS, UNDECIDABLE, Scenario
from benchmarks.labelled.spans import HEALTHY, Case, Declared, Kind, Label, Span, Trace
from benchmarks.labelled.stage import ANNOUNCED_AFTER_MS, Stage
from benchmarks.labelled.worlds import FEW, Service, World, world

HOUR_S = 3600.0
BASELINE_S = (-20.0 * HOUR_S, -3.0 * HOUR_S)
CASES_S = (-2.5 * HOUR_S, -0.5 * HOUR_S)
"""When executions begin, seconds before the run."""

KINDS = (("pipeline", 0.35), ("anything", 0.52), ("linked", 0.08), ("wide", 0.05))
PEERS = ((0, 0.3), (5, 0.1), (12, 0.12), (25, 0.24), (40, 0.24))
WIDE_PEERS = ((0, 0.4), (5, 0.3), (25, 0.3))
LONGEST_MS = {True: 120_000.0, False: 50_000.0}
"""Usual duration of a world's executions, with a baseline and with too few peers for one."""

TRIES = 60


@dataclass(frozen=True)
class Settlement:
    """A world's executions of before, and the cases in it."""

    baseline: list[Trace]
    cases: list[Case]


@dataclass
class Ids:
    """Execution ids that no other execution of the run has."""

    rng: Random
    taken: set[int] = field(default_factory=set)

    def next(self) -> int:
        while True:
            number = self.rng.choice((self.rng.randrange(1, 10**6), self.rng.randrange(10**9, 2**62)))
            if number not in self.taken:
                self.taken.add(number)
                return number


def settlements(seed: int, count: int) -> Iterator[Settlement]:
    """Worlds with cases until there are ``count`` of these. The same seed makes the same ones."""
    rng = Random(seed)
    names, ids = Names(Random(rng.getrandbits(64))), Ids(Random(rng.getrandbits(64)))
    planner = _Planner(rng, names, ids)
    made = 0
    while made < count:
        for settlement in planner.settlement():
            cases = settlement.cases[: count - made]
            made += len(cases)
            if cases:
                yield Settlement(settlement.baseline, cases)


def drawn(rng: Random, shares: Sequence[tuple[str | int, float]]) -> str | int:
    return rng.choices([value for value, _ in shares], [share for _, share in shares])[0]


class _Planner:
    def __init__(self, rng: Random, names: Names, ids: Ids) -> None:
        self.rng, self.names, self.ids = rng, names, ids
        self.done: Counter[str] = Counter()

    def settlement(self) -> list[Settlement]:
        kind = str(drawn(self.rng, KINDS))
        peers = int(drawn(self.rng, WIDE_PEERS if kind == "wide" else PEERS))
        if peers == 0:
            return self._strangers(kind)
        place = self._world(self.rng.getrandbits(64), peers, kind)
        baseline = list(self._baseline(place))
        faults, herrings = (2, 0) if kind == "wide" else (5, 2) if peers >= FEW else (3, 1)
        cases: list[Case] = []
        late = 2 if peers >= 2 * FEW else 1
        for _ in range(faults):
            case = self._fault(place, {case.scenario for case in cases}, late)
            late -= case.kind == "undecidable" or any(case.scenario == s.name and s.completes for s in FAULTS)
            cases += [case, self._twin(place, case.scenario)]
        for _ in range(herrings):
            cases.append(self._herring(place))
        return [Settlement(baseline, cases)]

    def _strangers(self, kind: str) -> list[Settlement]:
        """Executions without any peer: a fault in one world, its twin in another of the same shape."""
        seed = self.rng.getrandbits(64)
        fault = self._fault(self._world(seed, 0, kind), set(), 1)
        twin = self._twin(self._world(seed, 0, kind), fault.scenario)
        found = [Settlement([], [fault]), Settlement([], [twin])]
        if kind != "wide" and self.rng.random() < 0.5:
            found.append(Settlement([], [self._herring(self._world(seed, 0, kind))]))
        return found

    def _world(self, seed: int, peers: int, kind: str) -> World:
        rng = Random(seed)
        while True:
            made = world(rng, self.names, peers, kind)
            if Draft(made, rng, ordinary(made, rng, 0.0)).usual_ms <= LONGEST_MS[peers >= FEW]:
                return made

    def _baseline(self, place: World) -> Iterator[Trace]:
        for _ in range(-(-place.peers // place.together)):
            draft = Draft(place, self.rng, ordinary(place, self.rng, BASELINE))
            if place.lossy and self.rng.random() < 0.3:
                one_span_lost(draft)
            trace, _ = self._played(draft, self.rng.uniform(*BASELINE_S), self.ids.next())
            yield trace

    def _fault(self, place: World, used: set[str], late: int) -> Case:
        """The scenario that this world can have and that has been had least.

        No more than ``late`` that complete: they are peers of the others, and one slow one in twenty is a baseline.
        """
        choices = [each for each in FAULTS if each.name not in used and (late > 0 or not each.completes)]
        if place.peers and place.peers < FEW and late > 0 and self.rng.random() < 0.3:
            choices = [UNDECIDABLE]
        self.rng.shuffle(choices)
        choices.sort(key=lambda scenario: self.done[scenario.name])
        for scenario in choices:
            for _ in range(3):
                case = self._case(place, scenario, "undecidable" if scenario is UNDECIDABLE else "fault")
                if case is not None:
                    self.done[scenario.name] += 1
                    return case
        return self._fault(place, set(), 0)

    def _herring(self, place: World) -> Case:
        choices = list(HARMLESS)
        self.rng.shuffle(choices)
        choices.sort(key=lambda scenario: self.done[scenario.name])
        for scenario in choices:
            case = self._case(place, scenario, "harmless")
            if case is not None:
                self.done[scenario.name] += 1
                return case
        raise RuntimeError("no red herring fits")

    def _twin(self, place: World, scenario: str) -> Case:
        case = self._case(place, Scenario(scenario, lambda draft: HEALTHY), "twin")
        assert case is not None
        return case

    def _case(self, place: World, scenario: Scenario, kind: str) -> Case | None:
        rng = self.rng
        draft = Draft(place, rng, ordinary(place, rng, USUAL))
        label = scenario.apply(draft)
        if label is None or (draft.arriving and place.together > 1):
            return None
        execution_id = self.ids.next()
        start_s = rng.uniform(*CASES_S)
        trace, spans = self._played(draft, start_s, execution_id)
        label = narrowed(label, spans)
        if not sound(draft, label, spans):
            return None
        traces = [] if draft.spanless else [trace]
        if draft.arriving:
            partial = begun(trace, rng)
            if partial is None:
                return None
            traces = [partial]
        if draft.earlier is not None:
            before = Draft(place, rng, draft.earlier, attempt=1)
            earlier, _ = self._played(before, start_s - rng.uniform(400.0, 900.0), execution_id)
            traces.insert(0, earlier)
        asked_by_trace = place.identified == "none" or draft.by_trace
        declared = []
        if draft.record is not None:
            told = trace.trace_id if traces and rng.random() < 0.5 else None
            declared.append(Declared(execution_id, start_s, draft.record, place.labels, told))
        traces += self._senders(place, spans[0], start_s) if place.linked else []
        return Case(
            scenario.name,
            kind,
            label,
            place.peers,
            None if asked_by_trace else execution_id,
            trace.trace_id,
            traces,
            declared,
            draft.arriving,
        )

    def _played(self, draft: Draft, start_s: float, execution_id: int) -> tuple[Trace, list[Span]]:
        """A trace with this execution, and its own spans, the root first."""
        place, rng = draft.world, draft.rng
        stage = Stage(place, rng)
        if place.together == 1:
            stage.play(draft.root)
            own = list(stage.spans)
        else:
            own = self._among_others(draft, stage)
        identify(place, own, execution_id, draft.attempt)
        spans = [span for span in stage.spans if not span.hidden]
        return Trace(rng.randbytes(16), start_s, spans, draft.versions, draft.clocks_ms), own

    def _among_others(self, draft: Draft, stage: Stage) -> list[Span]:
        """Several executions one after the other in the trace of their job; the spans of this one."""
        place, rng = draft.world, draft.rng
        root = draft.root.node
        job = Span(rng.randbytes(8), None, root.service, "job", Kind.INTERNAL, 0.0, 0.0, draft.root)
        stage.spans.append(job)
        turn, now, own = rng.randrange(place.together), 1.0, []
        for number in range(place.together):
            first = len(stage.spans)
            act = draft.root if number == turn else ordinary(place, rng, USUAL)
            span = stage.play(act, now, job)
            now = (span.end_ms or now) + rng.uniform(0.5, 5.0)
            if number == turn:
                own = stage.spans[first:]
            else:
                identify(place, stage.spans[first:], self.ids.next(), None)
        job.end_ms = now
        return own

    def _senders(self, place: World, root: Span, start_s: float) -> list[Trace]:
        """The traces whose messages the root consumes; it links to them."""
        rng = self.rng
        service = sender(place)
        found = []
        for _ in range(rng.randint(1, 4)):
            act = Act(place.root, None, 1.0, 0.0, 0.0, False)
            request = Span(rng.randbytes(8), None, service, "POST /events", Kind.SERVER, 0.0, rng.uniform(4, 30), act)
            publish = Span(rng.randbytes(8), request.span_id, service, "publish", Kind.PRODUCER, 1.0, 3.0, act)
            trace = Trace(rng.randbytes(16), start_s - rng.uniform(0.1, 20.0), [request, publish], {}, {})
            root.links.append((trace.trace_id, publish.span_id))
            found.append(trace)
        return found


def sender(place: World) -> Service:
    service = place.root.service
    return Service(
        f"{service.name}-producer", "events", service.language, service.stable, True, "full", None, 0.0, None
    )


def identify(place: World, spans: list[Span], execution_id: int, attempt: int | None) -> None:
    """Put the execution's id and labels on its spans, as this world does it."""
    marked = spans if place.identified == "all" else spans[:1]
    for span in marked:
        if place.identified != "none":
            span.attributes["execution.id"] = str(execution_id) if place.text_ids else execution_id
        span.attributes |= place.labels
        if attempt is not None:
            span.attributes["execution.attempt"] = attempt


def begun(trace: Trace, rng: Random) -> Trace | None:
    """What has been exported of a trace before its root ended, and announced; it starts so that this is now."""
    last = max(span.end_ms or 0.0 for span in trace.spans)
    cut = last * rng.uniform(0.3, 0.85)
    ended = [span for span in trace.spans if span.end_ms is not None and span.end_ms <= cut and span.parent_id]
    still_open = [
        replace(span, end_ms=None)
        for span in trace.spans
        if span.service.announces and span.start_ms + ANNOUNCED_AFTER_MS < cut < (span.end_ms or last)
    ]
    if not ended:
        return None
    return Trace(trace.trace_id, -cut / 1000.0, ended + still_open, trace.versions, trace.clocks_ms)


def narrowed(label: Label, spans: list[Span]) -> Label:
    """Of a process that died only what was open or failed then, not what it had done before."""
    if all(span.end_ms is not None for span in spans):
        return label
    marked = {(span.service.name, span.name) for span in spans if span.end_ms is None or span.failed}
    return replace(label, places=(label.places or frozenset()) & marked)


WITHOUT_SPAN = {"MISSING_SERVICE", "INCOMPLETE_TRACE"}
AT_ONCE = {"PRE_EXECUTION_FAILURE", "CONFIGURATION_ERROR"}
COMPLETED = {"PERFORMANCE_DEGRADATION", "COLD_START", "QUEUE_DELAY", "MISSING_SERVICE"}


def sound(draft: Draft, label: Label, spans: list[Span]) -> bool:
    """The spans show what the label says: nothing hid it, and nothing else ended the execution before."""
    root = spans[0]
    seen = [span for span in spans if not span.hidden]
    if not label.types or draft.record is not None:
        return draft.record is not None or not root.failed
    if draft.arriving:
        return True
    if root.failed == bool(label.types & COMPLETED):
        return False
    if label.types & AT_ONCE:
        return all(span.service is root.service and span.kind is not Kind.CLIENT for span in seen)
    called = any(span.service is not root.service or span.kind in (Kind.CLIENT, Kind.PRODUCER) for span in seen)
    if label.types & WITHOUT_SPAN:
        return called
    places = label.places or frozenset()
    return called and any((span.service.name, span.name) in places for span in seen)
