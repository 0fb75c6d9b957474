"""One execution before it is played: the tree of what is done, how long each step works, and what goes wrong where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from benchmarks.labelled.errors import Cause, Failure, failure
from benchmarks.labelled.worlds import Enter, Node, Service, World

Value = str | int | float | bool
Place = tuple[str, str]
"""Service and operation."""

USUAL = 1.8
"""Standard deviations within which everything stays that is labelled healthy."""
BASELINE = 2.6


@dataclass(eq=False)
class Act:
    """A node as one execution does it. Scenarios change these; ``stage`` plays them."""

    node: Node
    parent: Act | None
    work_ms: float
    send_ms: float
    return_ms: float
    parallel: bool
    children: list[Act] = field(default_factory=list)

    failure: Failure | None = None
    """Raised in here, after ``done`` children (None: after all)."""
    done: int | None = None
    unreached: Failure | None = None
    """The call fails before its callee sees it."""
    deadline_ms: float | None = None
    """So long the caller waits, from its send."""
    lost: bool = False
    """The answer never arrives."""
    cancelled: Failure | None = None
    """What the callee says when its caller has given up; None: it works on to its end."""
    kill_ms: float | None = None
    """The callee's process dies so long after its start; its caller sees ``seen``."""
    seen: Failure | None = None
    handled: bool = False
    """The caller goes on in spite of a failure."""
    pause_ms: float = 0.0
    """The caller waits before this."""
    own: dict[str, Value] = field(default_factory=dict)
    """More attributes of the node's own span."""
    sent: dict[str, Value] = field(default_factory=dict)
    """More attributes of the caller's span."""
    hide_own: bool = False
    """The own span is never exported."""
    hide_client: bool = False
    late: bool = False
    """Exported long after the rest."""
    silent: bool = False
    """A failure leaves no text on the own span."""

    def walk(self) -> Iterator[Act]:
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def place(self) -> Place:
        return self.node.service.name, self.node.operation

    @property
    def caller_place(self) -> Place:
        """The span that sends: the client's, where there is one."""
        caller = self.caller
        return caller.name, self.node.client or (self.parent.node.operation if self.parent else self.node.operation)

    @property
    def caller(self) -> Service:
        return self.parent.node.service if self.parent else self.node.service

    @property
    def body_ms(self) -> float:
        """From the start of the own span to its end, when nothing fails."""
        waits = [child.pause_ms + child.call_ms for child in self.children if child.node.awaited]
        return self.work_ms + (max(waits, default=0.0) if self.parallel else sum(waits))

    @property
    def call_ms(self) -> float:
        return self.send_ms + self.body_ms + self.return_ms

    @property
    def awaited(self) -> bool:
        """Everything up to the root waits for it."""
        return self.node.awaited and (self.parent is None or self.parent.awaited)


def enact(node: Node, rng: Random, clip: float, load: float = 1.0, parent: Act | None = None) -> Act:
    """A new execution of a node. ``load`` makes all work of it slower or faster alike."""
    act = Act(
        node,
        parent,
        work_ms=node.work.draw(rng, clip) * load,
        send_ms=node.way.draw(rng, clip),
        return_ms=node.way.draw(rng, clip),
        parallel=node.parallel,
    )
    act.children = [
        enact(child, rng, clip, load, act)
        for child in node.children
        if child.chance >= 1.0 or rng.random() < child.chance
    ]
    return act


def ordinary(world: World, rng: Random, clip: float) -> Act:
    """An execution of the world in which nothing happens."""
    return enact(world.root, rng, clip, math.exp(0.06 * max(-clip, min(clip, rng.gauss(0, 1)))))


@dataclass(frozen=True)
class Record:
    """What the runner recorded of an execution over REST."""

    status: str
    duration_ms: float
    error_message: str | None


@dataclass
class Draft:
    """An execution that a scenario works on."""

    world: World
    rng: Random
    root: Act
    versions: dict[str, str] = field(default_factory=dict)
    """By service, where it is not the world's."""
    clocks_ms: dict[str, float] = field(default_factory=dict)
    record: Record | None = None
    spanless: bool = False
    arriving: bool = False
    """Asked for while its spans come in."""
    attempt: int | None = None
    earlier: Act | None = None
    """The attempt before, in a trace of its own."""
    by_trace: bool = False
    """Asked for by its trace, whatever the world's custom."""

    @property
    def peers(self) -> int:
        return self.world.peers

    @property
    def enough(self) -> bool:
        """Baselines hold, not constants."""
        return self.peers >= 20

    @property
    def usual_ms(self) -> float:
        """How long the root of an execution of this world takes, at the median."""
        return enact(self.world.root, Random(0), 0.0).body_ms

    @property
    def usual_wall_ms(self) -> float:
        """At most so long, at the median, until the last span has ended that nobody waits for."""
        root = enact(self.world.root, Random(0), 0.0)
        return root.body_ms + sum(act.call_ms for act in root.walk() if not act.node.awaited)

    def acts(self, *enters: Enter, where: Callable[[Act], bool] = lambda _: True) -> list[Act]:
        """What the root waits for, in random order."""
        found = [act for act in self.root.walk() if act.node.enter in enters and act.awaited and where(act)]
        self.rng.shuffle(found)
        return found

    def hop(self, where: Callable[[Act], bool] = lambda _: True) -> Act | None:
        return next(iter(self.acts(Enter.CALL, where=where)), None)

    def fail(self, cause: Cause, service: Service, act: Act) -> Failure:
        """The cause in the words of the service's language, about the call of ``act``."""
        target = act.node.target
        spoken_to = target.system if act.node.protocol == "db" else act.node.protocol
        return failure(cause, service.language, spoken_to, target.about(act.deadline_ms or 0.0), self.rng)

    def repeated(self, act: Act) -> Act:
        """The same step once more, drawn anew."""
        return enact(act.node, self.rng, USUAL, parent=act.parent)
