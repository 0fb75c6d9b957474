"""What a system does when it is asked: operations, the steps they take, and how long each usually takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import exp, inf
from random import Random

P99 = 2.33


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
    """A call of another service. ``client_name`` None: no client span. ``awaited``: False where nobody waits for it.

    ``reply_name``: of the span in which the caller waits, where sending is a short span of its own. ``outer_name``: of
    a library's span around the client span. ``protocol`` "local": a function of the same service, with a span.
    """

    callee: Node = field(default_factory=lambda: NOWHERE)
    protocol: str = "http"
    client_name: str | None = None
    send: Spread = field(default_factory=lambda: Spread(1, 0))
    back: Spread = field(default_factory=lambda: Spread(1, 0))
    deadline: float = inf
    awaited: bool = True
    linked: bool = False
    reply_name: str | None = None
    outer_name: str | None = None


@dataclass(eq=False)
class Together(Step):
    """Steps at the same time. ``cancels``: when one fails, the others are stopped."""

    steps: list[Step] = field(default_factory=list)
    cancels: bool = False


@dataclass(eq=False)
class Node:
    """One operation as it is called in one place. ``before``, ``after``: its own work without a span, in ms.

    ``is_call``: its span is the client's side of its only hop. ``is_proxy``: it only passes on. ``detached``: nobody
    waits for it.
    """

    service: Service
    operation: str
    kind: str
    before: Spread
    after: Spread
    steps: list[Step] = field(default_factory=list)
    detached: bool = False
    is_call: bool = False
    is_proxy: bool = False

    @property
    def ceiling(self) -> float:
        return self.before.ceiling + self.after.ceiling + sum(ceiling(step) for step in self.steps)

    def hops(self) -> Iterator[Hop]:
        for step in flat(self.steps):
            if isinstance(step, Hop):
                yield step


NOWHERE: Node = Node(
    Service("nowhere", "nowhere", False, None, False, False, True, False, "status"),
    "nothing",
    "internal",
    Spread(0, 0),
    Spread(0, 0),
)


def flat(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Together):
            yield from flat(step.steps)
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
