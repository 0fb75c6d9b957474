"""Completed, and slow: cold starts, queues, regressions, too many queries."""

from __future__ import annotations

from random import Random

from otel_diag.model import RootCauseType as Type
from tests.scenarios import choose
from tests.scenarios.cases import Label, Made, NotHere, label, scenario, when_learned
from tests.scenarios.faults_network import attempts
from tests.scenarios.plans import Hop, Node, Query, Together, Work
from tests.scenarios.runs import Effect, Run, is_below
from tests.scenarios.worlds import World

SLOW = "completed, but one operation's self time on the critical path is far above its baseline"


def far_beyond(world: World, random: Random, constant_s: float) -> float:
    """A delay in ms that no ordinary spread explains; without a baseline, beyond the constant."""
    if world.is_learned:
        return world.total * random.uniform(5, 12) + 30
    return constant_s * 1e3 * random.uniform(1.1, 2) + world.total * 2


def within_constants(world: World, run: Run) -> None:
    """Without a baseline, nothing may be so slow that a constant says so."""
    if not world.is_learned and run.trace.drafts[0].ms > 100_000:
        raise NotHere


@scenario
def slow_operation(world: World, random: Random) -> Made:
    nodes = choose.everywhere(world)
    things: list[Work | Query | Node] = [*nodes, *choose.works(world, nodes), *choose.queries(world, nodes)]
    thing = random.choice(things)
    run = world.run(random, {id(thing): Effect(extra_ms=far_beyond(world, random, 120))}, patient=True)
    choose.skewed(world, random, run)
    return Made(run.build(), label(Type.PERFORMANCE_DEGRADATION, [run.spans[id(thing)]], SLOW))


@scenario
def deploy_regression(world: World, random: Random) -> Made:
    """A new version of a service is slow; without a baseline nobody can know."""
    nodes = choose.everywhere(world)
    thing = choose.one_of(random, choose.places(world, nodes))
    extra = world.total * random.uniform(5, 9) + 30
    run = world.run(random, {id(thing): Effect(extra_ms=extra)}, patient=True)
    within_constants(world, run)
    span = run.spans[id(thing)]
    for draft in run.trace.drafts:
        if draft.service == span.service:
            draft.version = "9.0.0-rc1"
    choose.skewed(world, random, run)
    return Made(run.build(), when_learned(world, label(Type.PERFORMANCE_DEGRADATION, [span], SLOW)))


@scenario
def n_plus_one(world: World, random: Random) -> Made:
    query = choose.one_of(random, choose.queries(world, choose.called(world)))
    times = round(world.total * random.uniform(5, 8) / query.takes.median)
    if not 30 <= times <= 700:
        raise NotHere
    run = world.run(random, {id(query): Effect(times=times)}, patient=True)
    within_constants(world, run)
    why = f"{SLOW}: together"
    return Made(run.build(), when_learned(world, label(Type.PERFORMANCE_DEGRADATION, [run.spans[id(query)]], why)))


COLD = "the delay is explained by a cold-start marker or a load span absent in warm peers"


@scenario
def cold_start_before_the_callee(world: World, random: Random) -> Made:
    """The container had to come up first; the span says so."""
    _, hop = choose.one_of(random, choose.hops(world))
    effects = {
        id(hop): Effect(queue_ms=far_beyond(world, random, 60)),
        id(hop.callee): Effect(marks={"faas.coldstart": True}),
    }
    run = world.run(random, effects, patient=True)
    return Made(run.build(), label(Type.COLD_START, [run.spans[id(hop.callee)]], COLD))


@scenario
def cold_start_inside_the_callee(world: World, random: Random) -> Made:
    """It loads something first; with a marker, or with peers that never do."""
    callee = choose.one_of(random, choose.called(world))
    marked = not world.is_learned or random.random() < 0.5
    name = random.choice(
        ("load_model", "load weights", "download weights", "ModelLoader.load", "init container", "warmup")
    )
    effect = Effect(
        load_ms=far_beyond(world, random, 120), load_name=name, marks={"faas.coldstart": True} if marked else {}
    )
    run = world.run(random, {id(callee): effect}, patient=True)
    places = [run.spans[id(callee)], run.loads[0]]
    return Made(run.build(), label(Type.COLD_START, places, f"{COLD}; both carry it"))


@scenario
def short_cold_start(world: World, random: Random) -> Made:
    """Seconds at most: known as unusual only with a baseline."""
    _, hop = choose.one_of(random, choose.hops(world))
    if not world.is_learned and world.total > 1_000:
        raise NotHere
    ms = world.total * random.uniform(5, 9) + 30 if world.is_learned else random.uniform(500, 3_500)
    effects = {id(hop): Effect(queue_ms=ms), id(hop.callee): Effect(marks={"faas.coldstart": True})}
    run = world.run(random, effects, patient=True)
    made = label(Type.COLD_START, [run.spans[id(hop.callee)]], COLD)
    return Made(run.build(), made if world.is_learned else Label(None, why="less than 5 s, and no baseline"))


QUEUED = "the delay lies between the caller's send and the callee's start, the answer did come, no cold start"


@scenario
def queue_delay(world: World, random: Random) -> Made:
    _, hop = choose.one_of(random, choose.hops(world))
    ms = far_beyond(world, random, 60)
    effects = {id(hop): Effect(queue_ms=ms)}
    if random.random() < 0.4:
        effects[id(hop.callee)] = Effect(marks={"queue.time_ms": round(ms, 1)})
    run = world.run(random, effects, patient=True)
    return Made(run.build(), label(Type.QUEUE_DELAY, [run.spans[id(hop.callee)]], QUEUED))


@scenario
def short_queue_delay(world: World, random: Random) -> Made:
    """Seconds in a queue: known as unusual only with a baseline."""
    _, hop = choose.one_of(random, choose.hops(world))
    if not world.is_learned and world.total > 1_000:
        raise NotHere
    ms = world.total * random.uniform(5, 9) + 30 if world.is_learned else random.uniform(500, 3_500)
    run = world.run(random, {id(hop): Effect(queue_ms=ms)}, patient=True)
    made = label(Type.QUEUE_DELAY, [run.spans[id(hop.callee)]], QUEUED)
    return Made(run.build(), made if world.is_learned else Label(None, why="less than 5 s, and no baseline"))


@scenario
def n_plus_one_calls(world: World, random: Random) -> Made:
    """A service is asked once for each of many things."""
    node, hop = choose.one_of(random, [pair for pair in choose.hops(world) if not pair[0].is_call])
    times = round(world.total * random.uniform(5, 7) / max(world.usual(hop.callee), 1e-3))
    if not 20 <= times <= 150:
        raise NotHere
    run = world.run(random, {id(hop): Effect(times=times)}, patient=True)
    within_constants(world, run)
    callee = run.spans[id(hop.callee)]
    below = [draft for draft in run.trace.drafts if is_below(draft, callee)]
    calls = [callee.caller, *attempts(run, node, hop)] if callee.caller else []
    places = [callee, *calls, *below]
    why = f"{SLOW}: that of the call that is repeated, or of anything in it"
    return Made(run.build(), when_learned(world, label(Type.PERFORMANCE_DEGRADATION, places, why)))


@scenario
def slow_in_one_of_two_parallel_branches(world: World, random: Random) -> Made:
    """Parallel children: the longer branch is the critical path, and it is the slow one."""
    groups = [step for node in choose.everywhere(world) for step in node.steps if isinstance(step, Together)]
    group = choose.one_of(random, groups)
    always = [hop for _, hop in choose.hops(world)]
    hop = choose.one_of(random, [one for one in group.steps if isinstance(one, Hop) and one in always])
    run = world.run(random, {id(hop.callee): Effect(extra_ms=far_beyond(world, random, 120))}, patient=True)
    return Made(run.build(), label(Type.PERFORMANCE_DEGRADATION, [run.spans[id(hop.callee)]], SLOW))
