"""Where in a world something goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from tests.scenarios.cases import NotHere
from tests.scenarios.plans import Hop, Node, Query, Together, Work
from tests.scenarios.runs import Run
from tests.scenarios.worlds import World

T = TypeVar("T")


def one_of(random: Random, things: Sequence[T]) -> T:
    if not things:
        raise NotHere
    return random.choice(things)


def hops(world: World) -> list[tuple[Node, Hop]]:
    """Calls between services that every kind of request makes and waits for: the caller, and the call."""
    return [(node, hop) for node, hop in _all_hops(world) if hop.protocol != "local"]


def _all_hops(world: World) -> list[tuple[Node, Hop]]:
    return [
        (node, hop)
        for node in world.nodes_of(world.root)
        for hop in node.hops()
        if hop.awaited and hop.only_kind is None and world.always(node)
    ]


def called(world: World) -> list[Node]:
    """Operations below the root's service that always happen, functions of a service among them."""
    own = {id(node) for node in within(world.root)}
    return [hop.callee for _, hop in _all_hops(world) if id(hop.callee) not in own and not hop.callee.is_proxy]


def within(node: Node) -> list[Node]:
    """The operation, and the functions of its service that it always calls."""
    inner = [hop.callee for hop in node.hops() if hop.protocol == "local" and hop.only_kind is None]
    return [node, *(one for callee in inner for one in within(callee))]


def works(world: World, nodes: Sequence[Node]) -> list[Work]:
    return [step for node in nodes for step in steps(node) if isinstance(step, Work)]


def queries(world: World, nodes: Sequence[Node]) -> list[Query]:
    return [step for node in nodes for step in steps(node) if isinstance(step, Query)]


def leaves(world: World, nodes: Sequence[Node]) -> list[Work | Query]:
    """Spans without children of these operations."""
    return [*works(world, nodes), *queries(world, nodes)]


def places(world: World, nodes: Sequence[Node]) -> list[Work | Node]:
    """These operations, and spans of their own in them."""
    return [*nodes, *works(world, nodes)]


def steps(node: Node) -> list[Work | Query | Hop]:
    """Those that every kind of request takes."""
    found: list[Work | Query | Hop] = []
    for step in node.steps:
        inner = step.steps if isinstance(step, Together) else [step]
        found.extend(one for one in inner if one.only_kind is None and isinstance(one, Work | Query | Hop))
    return found


def everywhere(world: World) -> list[Node]:
    return [*within(world.root), *called(world)]


def unique(world: World, callee: Node) -> bool:
    """No other place of the plan has this operation."""
    same = [
        node
        for node in world.nodes_of(world.root)
        if (node.service.name, node.operation) == (callee.service.name, callee.operation)
    ]
    return len(same) == 1


def skewed(world: World, random: Random, run: Run, *, share: float = 0.4) -> None:
    """Clocks of some hosts are off by up to seconds."""
    if random.random() >= share:
        return
    off = {host: random.choice((-1, 1)) * random.uniform(50, 6_000) for host in world.hosts if random.random() < 0.6}
    for service in world.services:
        run.trace.skew[service.name] = off.get(service.host, 0.0)


def others(world: World, hop: Hop) -> list[Hop]:
    """Every call but this one."""
    return [one for node in world.nodes_of(world.root) for one in node.hops() if one is not hop]


def above(world: World, hop: Hop) -> list[Hop]:
    """This call and those it is made for, from the lowest to the root's."""
    chain = [hop]
    node, _ = world.callers[id(hop.callee)]
    while id(node) in world.callers:
        node, one = world.callers[id(node)]
        chain.append(one)
    return chain


def depth(world: World, node: Node) -> int:
    """Calls from the root down to it."""
    return 0 if id(node) not in world.callers else 1 + depth(world, world.callers[id(node)][0])
