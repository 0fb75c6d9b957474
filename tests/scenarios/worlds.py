"""Random systems, and executions of them.

A :class:`World` is what a seed decides about a system: its services and how they call each other, what everything is
called, how long things usually take, what instrumentation is there, how errors are told. A :class:`Run` carries one
execution out: it walks the plan in time, and what :class:`Effect` says about a part of it happens there, with the
consequences it has in a real system (callers wait until their own deadline, nothing further is started after an error,
whoever is above reports it in its own words).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, inf
from random import Random

from otel_diag.analyse.baseline import Baseline
from otel_diag.model import Trace
from otel_diag.testing import SpanDraft, TraceBuilder, baseline_of
from tests.scenarios import names, texts
from tests.scenarios.telling import Problem, tell
from tests.scenarios.texts import ErrorText

P99 = 2.33
DEADLINES = (250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000)
LEARNED_FROM = 20
"""Comparable executions from which on thresholds come from the baseline (spec/2)."""


@dataclass(frozen=True)
class Spread:
    """How long something takes, in ms: lognormal around ``median``, and ``slow_factor`` times that now and then."""

    median: float
    sigma: float
    slow_share: float = 0.0
    slow_factor: float = 1.0

    def draw(self, random: Random) -> float:
        """Never beyond the 99th percentile: more would be no ordinary execution."""
        factor = self.slow_factor if random.random() < self.slow_share else 1.0
        return self.median * factor * exp(self.sigma * max(-P99, min(P99, random.gauss(0, 1))))

    @property
    def ceiling(self) -> float:
        return self.median * self.slow_factor * exp(self.sigma * P99)


@dataclass(frozen=True)
class Service:
    """``client_spans``: it makes a span for each call of another service. ``telling``: how it reports errors."""

    name: str
    host: str
    host_is_told: bool
    version: str | None
    client_spans: bool
    inner_spans: bool
    kinds_are_told: bool
    old_names: bool
    telling: str


@dataclass(eq=False)
class Step:
    """A part of what an operation does. ``only_kind``: only executions of that kind of request do it."""

    only_kind: int | None = None


@dataclass(eq=False)
class Work(Step):
    """A span of the service's own."""

    name: str = ""
    takes: Spread = field(default_factory=lambda: Spread(1, 0))


@dataclass(eq=False)
class Query(Step):
    """A client span to something that makes none."""

    name: str = ""
    takes: Spread = field(default_factory=lambda: Spread(1, 0))
    peer: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Hop(Step):
    """A call of another service. ``client_name`` None: no client span. ``awaited``: False where nobody waits for it."""

    callee: Node = field(default_factory=lambda: NOWHERE)
    protocol: str = "http"
    client_name: str | None = None
    send: Spread = field(default_factory=lambda: Spread(1, 0))
    back: Spread = field(default_factory=lambda: Spread(1, 0))
    deadline: float = inf
    awaited: bool = True
    linked: bool = False


@dataclass(eq=False)
class Together(Step):
    """Steps at the same time."""

    steps: list[Step] = field(default_factory=list)


@dataclass(eq=False)
class Node:
    """One operation as it is called in one place. ``before``, ``after``: its own work without a span, in ms."""

    service: Service
    operation: str
    kind: str
    before: Spread
    after: Spread
    steps: list[Step] = field(default_factory=list)
    detached: bool = False

    @property
    def ceiling(self) -> float:
        return self.before.ceiling + self.after.ceiling + sum(ceiling(step) for step in self.steps)

    def hops(self) -> Iterator[Hop]:
        for step in _flat(self.steps):
            if isinstance(step, Hop):
                yield step


NOWHERE = Node(
    Service("nowhere", "nowhere", False, None, False, False, True, False, "status"),
    "nothing",
    "internal",
    Spread(0, 0),
    Spread(0, 0),
)


def _flat(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Together):
            yield from _flat(step.steps)
        else:
            yield step


def ceiling(step: Step) -> float:
    """The longest that an ordinary execution of it takes, in ms."""
    match step:
        case Work() | Query():
            return step.takes.ceiling
        case Hop():
            return step.send.ceiling + step.back.ceiling + (step.callee.ceiling if step.awaited else 0)
        case Together():
            return max(map(ceiling, step.steps), default=0)
    raise TypeError(step)


# --------------------------------------------------------------------------------------------------


class World:
    """One system. ``peers``: how many comparable executions its baseline was learned from."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        random = self._random = Random(f"world/{seed}")
        self.peers = random.choice((0, 5, 12, 25, 60, 60))
        self.kinds = 2 if self.peers in (0, 60) and random.random() < 0.4 else 1
        self.scale = 10 ** random.uniform(0.0, 3.6)
        self.sigma = random.choice((0.03, 0.1, 0.2, 0.35, 0.55))
        self.word = random.choice(names.NOUNS)
        self.model = random.choice(("llama3.2-1b", "mistral-7b", None))
        self.job = random.choice(("nightly", "job-7", None))
        self.region = random.choice(("us-east", "eu-west-1", None))
        self.shared_name = random.choice(("handle", "POST /invoke", "process", "call"))
        self.same_names = random.random() < 0.15
        self._protocols = random.choice(
            (
                ("http",),
                ("grpc",),
                ("function",),
                ("http", "grpc"),
                ("http", "queue"),
                ("http", "grpc", "function", "queue"),
            )
        )
        self.hosts = [f"node-{number}" for number in range(random.randint(1, 6))]
        self._client_spans = random.choice((1.0, 1.0, 0.8, 0.0))
        self._kinds_told = random.random() < 0.85
        self._telling = random.choice((None, None, "exception", "status", "type", "code", "quiet"))
        self.services = [
            self._service(name) for name in names.service_names(random, random.choice((2, 3, 3, 4, 5, 6, 8, 10, 12)))
        ]
        self.root = self._topology()
        self.total = self.root.ceiling
        self._executions = 0

    # -- what there is -----------------------------------------------------------------------------

    def _service(self, name: str) -> Service:
        random = self._random
        return Service(
            name=name,
            host=random.choice(self.hosts),
            host_is_told=random.random() < 0.6,
            version=random.choice(("1.4.2", "2025.11.3", "a1b9f0e", None)),
            client_spans=random.random() < self._client_spans,
            inner_spans=random.random() < 0.75,
            kinds_are_told=self._kinds_told,
            old_names=random.random() < 0.35,
            telling=self._telling or random.choice(("exception", "exception", "status", "type", "code", "quiet")),
        )

    def _spread(self, share: float) -> Spread:
        """Around ``share`` of the scale; one in ten has two modes, as with a cache."""
        random = self._random
        median = self.scale * share * random.uniform(0.3, 1.7)
        if random.random() < 0.1:
            return Spread(median, min(self.sigma, 0.2), random.uniform(0.25, 0.5), random.uniform(4, 12))
        return Spread(median, self.sigma)

    def _node(self, service: Service, protocol: str, *, root: bool = False) -> Node:
        random = self._random
        kind = {"http": "server", "grpc": "server", "function": "server", "queue": "consumer"}[protocol]
        if not service.kinds_are_told or (root and random.random() < 0.5):
            kind = "internal"
        name = self.shared_name if self.same_names else names.server_name(random, protocol)
        node = Node(service, name, kind, self._spread(0.08), self._spread(0.06))
        if service.inner_spans:
            node.steps.append(Work(name=names.inner_name(random), takes=self._spread(0.3)))
        else:
            node.before = self._spread(0.3)
        return node

    def _finish(self, node: Node) -> None:
        """Ends of a chain ask a database or somebody's API; others do now and then, and some work after the calls."""
        random = self._random
        if not any(node.hops()) or random.random() < 0.3:
            name, peer, attributes = names.dependency(random)
            node.steps.insert(
                random.randint(0, len(node.steps)),
                Query(name=name, takes=self._spread(0.1), peer=peer, attributes=attributes),
            )
        if node.service.inner_spans and random.random() < 0.4:
            taken = {step.name for step in node.steps if isinstance(step, Work)}
            name = names.inner_name(random)
            if name not in taken:
                node.steps.append(Work(name=name, takes=self._spread(0.15)))

    def _hop(self, caller: Node, callee: Node, protocol: str) -> Hop:
        random = self._random
        client = names.client_name(random, protocol, callee.operation) if caller.service.client_spans else None
        near = min(self.scale * 0.01, 20.0)
        network = Spread(near * random.uniform(0.3, 1.5) + 0.05, min(self.sigma, 0.3))
        hop = Hop(callee=callee, protocol=protocol, client_name=client, send=network, back=network)
        if protocol == "queue":
            hop.awaited = random.random() < 0.7
            hop.linked = client is not None and random.random() < 0.4
        return hop

    def _topology(self) -> Node:
        random = self._random
        shape = random.choice(("chain", "tree", "tree", "fan", "diamond"))
        root = self._node(self.services[0], "function" if random.random() < 0.4 else "http", root=True)
        made = [root]
        for service in self.services[1:]:
            if shape == "chain" or len(made) < 2:
                caller = made[-1]
            elif shape == "fan":
                caller = made[0] if random.random() < 0.8 else random.choice(made)
            else:
                caller = random.choice(made)
            made.append(self._connect(caller, service))
        if shape == "diamond" and len(made) > 2:
            self._connect(random.choice(made[:-1]), made[-1].service, like=made[-1])
        if random.random() < 0.2:  # a gateway: it only wraps what its callee does
            root.steps = [step for step in root.steps if isinstance(step, Hop)]
            root.before = root.after = Spread(self.scale * 0.005, 0.1)
        for node in self.nodes_of(root):
            self._finish(node)
            self._in_parallel(node)
        self._kinds_of_requests(root)
        if random.random() < 0.12:
            root = self._under_a_client(root)
        self._deadlines(root)
        return root

    def _under_a_client(self, entry: Node) -> Node:
        """A script comes before the system, whose only span is its call."""
        script = self._service(f"{self.word}-runner")
        self.services.append(script)
        quick = Spread(self.scale * 0.002, 0.1)
        kinds = ("client", "server") if self._kinds_told else ("internal", "internal")
        root = Node(script, names.client_name(self._random, "http", entry.operation), kinds[0], quick, quick)
        hop = self._hop(root, entry, "http")
        hop.client_name = None
        root.steps.append(hop)
        entry.kind = kinds[1]
        return root

    def _connect(self, caller: Node, service: Service, like: Node | None = None) -> Node:
        protocol = self._random.choice(self._protocols)
        callee = self._node(service, protocol)
        if like is not None:
            callee.operation, callee.kind = like.operation, like.kind
        hop = self._hop(caller, callee, protocol if like is None or protocol != "queue" else "http")
        caller.steps.append(hop)
        return callee

    def _in_parallel(self, node: Node) -> None:
        """Calls that follow each other may as well run together."""
        calls = [step for step in node.steps if isinstance(step, Hop)]
        if len(calls) > 1 and self._random.random() < 0.4:
            rest = [step for step in node.steps if not isinstance(step, Hop)]
            node.steps = [*rest, Together(steps=list[Step](calls))]

    def _kinds_of_requests(self, root: Node) -> None:
        if self.kinds == 1:
            return
        for node in self.nodes_of(root):
            for step in list(_flat(node.steps))[1:]:
                if self._random.random() < 0.35:
                    step.only_kind = self._random.randint(0, 1)

    def _deadlines(self, node: Node) -> None:
        for hop in node.hops():
            self._deadlines(hop.callee)
            fits = [limit for limit in DEADLINES if limit > 4 * (ceiling(hop) + 5)] or [DEADLINES[-1]]
            hop.deadline = self._random.choice(fits[:3]) * self._random.uniform(0.98, 1.0)
            if not hop.awaited:
                hop.deadline = inf
                for below in self.nodes_of(hop.callee):
                    below.detached = True

    @staticmethod
    def nodes_of(root: Node) -> list[Node]:
        found = [root]
        for node in found:
            found.extend(hop.callee for hop in node.hops())
        return found

    # -- what scenarios choose from ------------------------------------------------------------------

    @cached_property
    def callers(self) -> dict[int, tuple[Node, Hop]]:
        """By ``id`` of a node: the one that calls it, and how."""
        return {id(hop.callee): (node, hop) for node in self.nodes_of(self.root) for hop in node.hops()}

    def always(self, node: Node) -> bool:
        """Every kind of request comes here, and somebody waits for it."""
        if node.detached:
            return False
        while id(node) in self.callers:
            caller, hop = self.callers[id(node)]
            if hop.only_kind is not None:
                return False
            node = caller
        return True

    def usual(self, node: Node) -> float:
        """What an operation usually takes, in ms, roughly."""
        own = node.before.median + node.after.median
        for step in _flat(node.steps):
            if isinstance(step, Hop):
                own += self.usual(step.callee) if step.awaited else 0.0
            elif isinstance(step, Work | Query):
                own += step.takes.median
        return own

    @property
    def is_learned(self) -> bool:
        return self.peers >= LEARNED_FROM

    # -- what happens --------------------------------------------------------------------------------

    def run(
        self, random: Random, effects: dict[int, Effect] | None = None, *, patient: bool | Collection[Hop] = False
    ) -> Run:
        """``patient``: nobody has a deadline, or these calls have none."""
        return Run(self, random, effects or {}, patient=patient)

    def healthy(self, random: Random) -> Trace:
        return self.run(random).build()

    @cached_property
    def baseline(self) -> Baseline:
        """Of ``peers`` ordinary executions, and of a few more that were incidents."""
        random = Random(f"peers/{self.seed}")
        traces = [self.healthy(random) for _ in range(self.peers)]
        incidents = round(self.peers * random.choice((0, 0, 0.05, 0.12)))
        traces.extend(self._incident(random) for _ in range(incidents))
        return baseline_of(traces)

    def _incident(self, random: Random) -> Trace:
        node = random.choice(self.nodes_of(self.root))
        if random.random() < 0.6:
            return self.run(random, {id(node): Effect(error=random.choice(texts.BUG), family="bug")}).build()
        slow = Effect(extra_ms=self.total * random.uniform(0.5, 1.5))
        return self.run(random, {id(node): slow}, patient=True).build()


@dataclass
class Effect:
    """What goes wrong in one step or operation.

    ``extra_ms``: it takes longer. ``error``: it fails with these words when it has taken its time (``after_ms``: then).
    ``handled``: who called goes on as if nothing had happened. ``skipped``: it never happens. ``at_p99``: as slow as
    one in a hundred. ``times``: so often, one after the other, and the error is in the last one; with ``bad``, all at
    once, and it is in that one. ``marks``: attributes of its span. ``load_ms``: an operation first loads something.
    ``at_once``: it begins without its usual work before.

    Of a hop: ``before_sending``: the error comes before the callee saw anything. ``request_lost``, ``answer_lost``;
    ``queue_ms``: on the way there; ``killed_after_ms``: the callee dies, and its caller hears ``error`` ``heard_ms``
    later; ``attempts``: so many. ``cancels``: a caller that gives up tells the callee. ``says_gone``: what the callee
    says when it cannot answer. ``deadline``: instead of the usual one.
    """

    extra_ms: float = 0.0
    error: ErrorText | None = None
    after_ms: float | None = None
    family: str = "other"
    handled: bool = False
    skipped: bool = False
    at_p99: bool = False
    times: int = 1
    bad: int | None = None
    at_once: bool = False
    marks: dict[str, object] = field(default_factory=dict)
    load_ms: float | None = None
    load_name: str = "load"
    before_sending: bool = False
    request_lost: bool = False
    answer_lost: bool = False
    queue_ms: float = 0.0
    killed_after_ms: float | None = None
    heard_ms: float = 500.0
    attempts: int = 1
    last_succeeds: bool = False
    cancels: bool = False
    deadline: float | None = None
    says_gone: ErrorText | None = None


NOTHING = Effect()


@dataclass
class Outcome:
    """When a step ended, in ms since the start of the trace, and what went wrong."""

    end: float
    problem: Problem | None = None


class Run:
    """One execution. ``spans``: by ``id`` of a step or node, what it left (the last time, if it happened often)."""

    def __init__(
        self, world: World, random: Random, effects: dict[int, Effect], *, patient: bool | Collection[Hop] = False
    ) -> None:
        self.world = world
        self.random = random
        self.effects = effects
        self.patient = patient if isinstance(patient, bool) else {id(hop) for hop in patient}
        self.kind = random.randrange(world.kinds)
        self.spans: dict[int, SpanDraft] = {}
        self.loads: list[SpanDraft] = []
        number = random.getrandbits(31) + 1
        self.trace = TraceBuilder(
            execution_id=number,
            trace_id=hashlib.blake2b(f"{world.seed}/{number}".encode(), digest_size=16).hexdigest(),
            job_id=world.job,
            model_id=world.model,
            region=world.region,
        )
        for service in world.services:
            if service.host_is_told:
                self.trace.resources[service.name] = {"host.name": service.host}
        root = self.span(world.root, world.root.operation, 0.0, world.root.kind, None)
        self.problem = self.operate(world.root, root).problem

    def build(self) -> Trace:
        return self.trace.build()

    def effect(self, thing: Step | Node) -> Effect:
        return self.effects.get(id(thing), NOTHING)

    def is_patient(self, hop: Hop) -> bool:
        return self.patient if isinstance(self.patient, bool) else id(hop) in self.patient

    def filled(self, text: ErrorText, host: str) -> ErrorText:
        return texts.fill(self.random, text, host=host, word=self.world.word)

    def span(self, node: Node, operation: str, start: float, kind: str, parent: SpanDraft | None) -> SpanDraft:
        """A span of the node's service; kinds are only told by services that tell them."""
        told = kind if node.service.kinds_are_told else "internal"
        draft = self.trace.add(node.service.name, operation, start, 0.0, told, parent)
        draft.version = node.service.version
        return draft

    # -- operations and their steps --------------------------------------------------------------------

    def operate(self, node: Node, span: SpanDraft) -> Outcome:
        """All that ``node`` does, from the span's start on; the span gets its end, and the error if there is one."""
        self.spans[id(node)] = span
        effect = self.effect(node)
        at = span.start
        span.set(**effect.marks)
        if effect.load_ms is not None:
            load = self.span(node, effect.load_name, at, "internal", span).lasting(effect.load_ms)
            self.loads.append(load)
            at = load.end
        before = node.before.draw(self.random)
        at += min(before, 0.5) if effect.at_once else before
        if effect.error is not None and effect.after_ms is not None:
            return self.failed(node, span, span.start + effect.after_ms, self.own_problem(node, span, effect))
        for step in node.steps:
            if step.only_kind not in (None, self.kind):
                continue
            outcome = self.take(node, span, step, at)
            at = outcome.end
            if outcome.problem is not None:
                after = min(node.after.draw(self.random), 50.0)
                return self.failed(node, span, at + after, outcome.problem)
        at += node.after.draw(self.random) + effect.extra_ms
        if effect.error is not None:
            return self.failed(node, span, at, self.own_problem(node, span, effect))
        span.lasting(at - span.start)
        return Outcome(at)

    def own_problem(self, node: Node, span: SpanDraft, effect: Effect) -> Problem:
        assert effect.error is not None
        return Problem(self.filled(effect.error, node.service.name), effect.family, span)

    def failed(self, node: Node, span: SpanDraft, end: float, problem: Problem) -> Outcome:
        span.lasting(end - span.start)
        return Outcome(end, tell(self.random, span, node.service, problem, self.world.word))

    def take(self, node: Node, parent: SpanDraft, step: Step, at: float) -> Outcome:
        effect = self.effect(step)
        if effect.skipped:
            return Outcome(at)
        match step:
            case Work():
                outcome = self.own_span(node, parent, step, at, "internal")
            case Query():
                outcome = self.own_span(node, parent, step, at, "client")
            case Hop():
                outcome = self.repeatedly(node, parent, step, at)
            case Together():
                outcomes = [
                    self.take(node, parent, one, at) for one in step.steps if one.only_kind in (None, self.kind)
                ]
                failed = [one for one in outcomes if one.problem is not None]
                end = max((one.end for one in outcomes), default=at)
                outcome = Outcome(end, min(failed, key=lambda one: one.end).problem if failed else None)
            case _:
                raise TypeError(step)
        return Outcome(outcome.end) if effect.handled else outcome

    def own_span(self, node: Node, parent: SpanDraft, step: Work | Query, at: float, kind: str) -> Outcome:
        effect = self.effect(step)
        problem: Problem | None = None
        end = at
        for time in range(effect.times):
            start = end if effect.bad is None else at + time * 0.01
            span = self.span(node, step.name, start, kind, parent).set(**effect.marks)
            if isinstance(step, Query):
                address = "net.peer.name" if node.service.old_names else "server.address"
                span.set(**step.attributes, **{address: step.peer})
            takes = step.takes.ceiling if effect.at_p99 else step.takes.draw(self.random)
            span.lasting(takes + effect.extra_ms if effect.after_ms is None else effect.after_ms)
            end = max(end, span.end)
            is_bad = time == (effect.times - 1 if effect.bad is None else effect.bad)
            if is_bad:
                self.spans[id(step)] = span
            if effect.error is not None and is_bad:
                host = step.peer if isinstance(step, Query) else node.service.name
                problem = Problem(self.filled(effect.error, host), effect.family, span)
                problem = tell(self.random, span, node.service, problem, self.world.word)
        return Outcome(end, problem)

    # -- hops ------------------------------------------------------------------------------------------

    def repeatedly(self, node: Node, parent: SpanDraft, hop: Hop, at: float) -> Outcome:
        effect = self.effect(hop)
        outcome = self.call(node, parent, hop, at, effect, 0)
        for _ in range(1, effect.times):
            outcome = self.call(node, parent, hop, outcome.end, effect, 0)
        for attempt in range(1, effect.attempts):
            last = attempt == effect.attempts - 1
            pause = min(self.world.scale * 0.05 * 2**attempt, 2_000) * self.random.uniform(0.8, 1.2)
            outcome = self.call(
                node, parent, hop, outcome.end + pause, NOTHING if last and effect.last_succeeds else effect, attempt
            )
        return outcome

    def call(self, node: Node, parent: SpanDraft, hop: Hop, at: float, effect: Effect, attempt: int) -> Outcome:
        """One attempt. Without a client span, what a client span would tell is told by the caller itself."""
        client: SpanDraft | None = None
        if hop.client_name is not None:
            client = self.span(node, hop.client_name, at, "producer" if hop.protocol == "queue" else "client", parent)
            self.describe_client(node, hop, client, attempt)
            self.spans[id(hop)] = client
        if effect.before_sending and effect.error is not None:
            end = at + (effect.after_ms or 1.0)
            return self.heard(node, parent, hop, client, end, effect.error, effect.family)
        arrival, answer = at + hop.send.draw(self.random) + effect.queue_ms, inf
        problem: Problem | None = None
        if not effect.request_lost:
            outcome = self.serve(node, hop, client, parent, arrival, effect)
            problem = outcome.problem
            answer = outcome.end + hop.back.draw(self.random)
        if not hop.awaited:
            end = at + hop.send.draw(self.random)
            if client is not None:
                client.lasting(end - at)
            return Outcome(end)
        if effect.answer_lost:
            answer = inf
        deadline = hop.deadline if effect.deadline is None else effect.deadline
        if answer > at + deadline and (answer == inf or not self.is_patient(hop)):
            end = at + deadline
            if effect.cancels and not effect.request_lost:
                self.cancel(hop, end + hop.send.draw(self.random))
            text = (
                effect.error
                if effect.family == "timeout" and effect.error
                else self.random.choice(texts.CLIENT_TIMEOUT)
            )
            return self.heard(node, parent, hop, client, end, text, "timeout")
        if effect.killed_after_ms is not None and effect.error is not None:
            return self.heard(node, parent, hop, client, answer, effect.error, effect.family)
        if client is None:
            return Outcome(answer, problem)
        client.lasting(answer - at)
        if problem is not None:
            problem = tell(self.random, client, node.service, problem, self.world.word, protocol=hop.protocol)
        return Outcome(answer, problem)

    def heard(
        self,
        node: Node,
        parent: SpanDraft,
        hop: Hop,
        client: SpanDraft | None,
        end: float,
        text: ErrorText,
        family: str,
    ) -> Outcome:
        """The caller learns of an error that no span below tells of."""
        problem = Problem(self.filled(text, hop.callee.service.name), family, client or parent)
        if client is None:
            return Outcome(end, problem)
        client.lasting(end - client.start)
        return Outcome(end, tell(self.random, client, node.service, problem, self.world.word, protocol=hop.protocol))

    def serve(
        self, node: Node, hop: Hop, client: SpanDraft | None, parent: SpanDraft, arrival: float, effect: Effect
    ) -> Outcome:
        """What the callee makes of it: its answer is on its way back at the end of this outcome."""
        callee = hop.callee
        linked = hop.linked and client is not None
        server = self.span(callee, callee.operation, arrival, callee.kind, None if linked else client or parent)
        server.caller = client
        if linked and client is not None:
            server.link(client)
        self.describe_server(callee, hop, server)
        outcome = self.operate(callee, server)
        if effect.killed_after_ms is not None:
            moment = server.start + effect.killed_after_ms
            self.kill(server, moment)
            return Outcome(moment + effect.heard_ms)
        if effect.says_gone is not None:
            problem = Problem(self.filled(effect.says_gone, node.service.name), "gone", server)
            tell(self.random, server, callee.service, problem, self.world.word)
        return outcome

    def kill(self, server: SpanDraft, moment: float) -> None:
        """The process of ``server`` dies: what it was doing is never exported, what was to come never happens."""
        below = [draft for draft in self.trace.drafts if is_below(draft, server)]
        self.trace.forget(draft for draft in below if draft.start >= moment)
        for draft in below:
            if draft.end > moment and draft.service == server.service:
                draft.drop()
        server.never_finish()

    def cancel(self, hop: Hop, moment: float) -> None:
        """The callee is told that nobody waits any more: what runs then ends as cancelled."""
        server = self.spans[id(hop.callee)]
        below = [draft for draft in self.trace.drafts if draft is server or is_below(draft, server)]
        self.trace.forget(draft for draft in below if draft.start >= moment)
        word = self.random.choice(texts.CANCELLED)
        for draft in below:
            if draft.start < moment < draft.end:
                draft.lasting(moment - draft.start)
                tell(self.random, draft, hop.callee.service, Problem(word, "cancelled", draft), self.world.word)

    def describe_client(self, node: Node, hop: Hop, client: SpanDraft, attempt: int) -> None:
        old = node.service.old_names
        client.set(**{"net.peer.name" if old else "server.address": hop.callee.service.name})
        if hop.protocol == "http":
            client.set(**{"http.method" if old else "http.request.method": "POST"})
            if attempt and self.random.random() < 0.7:
                client.set(**{"http.request.resend_count": attempt})
        elif hop.protocol == "grpc":
            client.set(**{"rpc.system": "grpc", "rpc.method": hop.callee.operation.split("/")[-1]})
        elif hop.protocol == "queue":
            client.set(**{"messaging.system": "kafka"})

    def describe_server(self, callee: Node, hop: Hop, server: SpanDraft) -> None:
        if hop.protocol == "http":
            server.set(**{"http.method" if callee.service.old_names else "http.request.method": "POST"})
        elif hop.protocol == "grpc":
            server.set(**{"rpc.system": "grpc"})


def is_below(draft: SpanDraft, top: SpanDraft) -> bool:
    """Caused by it, over links too: a linked consumer has no parent."""
    above: SpanDraft | None = draft
    while above is not None:
        above = above.parent or (above.linked[0] if above.linked else None)
        if above is top:
            return True
    return False
