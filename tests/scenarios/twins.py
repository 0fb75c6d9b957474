"""Healthy executions that look as if something were wrong."""

from __future__ import annotations

from random import Random

from tests.scenarios import choose, texts
from tests.scenarios.cases import Label, Made, NotHere, healthy
from tests.scenarios.worlds import Effect, Query, Run, Work, World

FINE = Label(None, why="completed, and within its baseline")


def fine(run: Run) -> Made:
    return Made(run.build(), FINE)


@healthy
def plain(world: World, random: Random) -> Made:
    return fine(world.run(random))


@healthy
def skewed_clocks(world: World, random: Random) -> Made:
    run = world.run(random)
    choose.skewed(world, random, run, share=1.0)
    return fine(run)


@healthy
def handled_error(world: World, random: Random) -> Made:
    """A query, some work or a call fails, and whoever made it goes on."""
    nodes = choose.everywhere(world)
    thing = choose.one_of(random, list[Work | Query]([*choose.works(world, nodes), *choose.queries(world, nodes)]))
    errors = random.choice((texts.BUG, texts.SQL, texts.RATE, texts.VALIDATION, texts.REFUSED, texts.CACHE))
    return fine(world.run(random, {id(thing): Effect(error=random.choice(errors), handled=True)}))


@healthy
def handled_failure_of_a_call(world: World, random: Random) -> Made:
    _, hop = choose.one_of(random, choose.hops(world))
    effects = {
        id(hop): Effect(handled=True),
        id(hop.callee): Effect(error=random.choice(texts.BUG + texts.UNAVAILABLE)),
    }
    return fine(world.run(random, effects))


@healthy
def retry_that_succeeded(world: World, random: Random) -> Made:
    _, hop = choose.one_of(random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name])
    effect = Effect(
        error=random.choice(texts.UNAVAILABLE + texts.REFUSED + texts.RESET),
        before_sending=True,
        after_ms=min(5.0, world.scale * 0.01),
        attempts=2,
        last_succeeds=True,
    )
    return fine(world.run(random, {id(hop): effect}))


@healthy
def slow_off_the_path(world: World, random: Random) -> Made:
    """Something is started and not waited for; it outlives its parent."""
    run = world.run(random)
    node = random.choice(choose.everywhere(world))
    parent = run.spans[id(node)]
    parent.child(
        random.choice(("audit", "flush metrics", "cache.refresh", "send email")), at=parent.ms * 0.3, ms=world.total * 3
    )
    return fine(run)


@healthy
def slow_consumer_nobody_waits_for(world: World, random: Random) -> Made:
    found = [node for node in world.nodes_of(world.root) if node.detached]
    node = choose.one_of(random, found)
    if world.total > 20_000:
        raise NotHere
    return fine(world.run(random, {id(node): Effect(extra_ms=world.total * random.uniform(1, 4))}, patient=True))


@healthy
def ordinary_cold_start(world: World, random: Random) -> Made:
    """Marked as one, and not slow."""
    callee = choose.one_of(random, choose.called(world))
    return fine(world.run(random, {id(callee): Effect(marks={"faas.coldstart": True})}))


@healthy
def one_span_lost(world: World, random: Random) -> Made:
    """A span of a service of which others came."""
    run = world.run(random)
    lost = [
        draft
        for draft in run.trace.drafts[1:]
        if any(other.service == draft.service and other.parent is draft for other in run.trace.drafts)
        or (draft.parent is not None and draft.parent.service == draft.service)
    ]
    choose.one_of(random, lost).drop()
    return fine(run)


@healthy
def one_in_a_hundred(world: World, random: Random) -> Made:
    """One step at its 99th percentile."""
    nodes = choose.everywhere(world)
    thing = choose.one_of(random, list[Work | Query]([*choose.works(world, nodes), *choose.queries(world, nodes)]))
    return fine(world.run(random, {id(thing): Effect(at_p99=True)}))


@healthy
def new_version(world: World, random: Random) -> Made:
    run = world.run(random)
    service = random.choice(world.services).name
    for draft in run.trace.drafts:
        if draft.service == service:
            draft.version = "9.0.0-rc1"
    return fine(run)
