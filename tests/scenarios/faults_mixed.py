"""More than one thing went wrong: what follows from what, and where the order of the table decides."""

from __future__ import annotations

from random import Random

from otel_diag.model import RootCauseType as Type
from tests.scenarios import choose, texts
from tests.scenarios.cases import Made, NotHere, label, scenario
from tests.scenarios.faults_absence import killed
from tests.scenarios.faults_network import FINISHED, attempts
from tests.scenarios.faults_time import COLD, SLOW, far_beyond
from tests.scenarios.plans import Hop, Node, Together, Work
from tests.scenarios.runs import Effect
from tests.scenarios.worlds import World

SYMPTOM = "an error that is a symptom of an earlier timeout"


@scenario
def error_that_follows_from_a_lost_answer(world: World, random: Random) -> Made:
    """The caller goes on without the answer that was lost, and stumbles over that."""
    node, hop = last_call(world, random)
    effects = {
        id(hop): Effect(answer_lost=True, handled=True),
        id(node): Effect(error=random.choice(texts.NOTHING_THERE), family="bug"),
    }
    run = world.run(random, effects, patient=choose.others(world, hop))
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, [run.spans[id(hop.callee)]], f"{SYMPTOM}; {FINISHED}"))


@scenario
def error_that_follows_from_a_slow_callee(world: World, random: Random) -> Made:
    node, hop = last_call(world, random)
    effects = {
        id(hop): Effect(handled=True),
        id(hop.callee): Effect(extra_ms=hop.deadline * random.uniform(1.2, 2)),
        id(node): Effect(error=random.choice(texts.NOTHING_THERE), family="bug"),
    }
    run = world.run(random, effects, patient=choose.others(world, hop))
    why = f"{SYMPTOM}; the callee was still working at the caller's deadline"
    return Made(run.build(), label(Type.SERVICE_TIMEOUT, [run.spans[id(hop.callee)]], why))


def last_call(world: World, random: Random) -> tuple[Node, Hop]:
    """A call after which its caller does nothing but end, and that has a span to tell of its timeout."""
    found = [
        (node, hop) for node, hop in choose.hops(world) if hop.client_name and node.steps and node.steps[-1] is hop
    ]
    return choose.one_of(random, found)


@scenario
def retries_against_a_limit(world: World, random: Random) -> Made:
    """Three and more attempts, all of them over the limit: the table has RATE_LIMITED first."""
    node, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].client_name])
    effect = Effect(
        error=random.choice(texts.RATE),
        family="rate",
        before_sending=True,
        after_ms=random.uniform(2, 60),
        attempts=random.randint(3, 6),
    )
    run = world.run(random, {id(hop): effect}, patient=True)
    why = "429, quota: before RETRY_STORM in the table"
    return Made(run.build(), label(Type.RATE_LIMITED, attempts(run, node, hop), why))


@scenario
def retries_of_a_rejected_input(world: World, random: Random) -> Made:
    """Somebody tries again what can never be accepted."""
    _, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].client_name])
    effects = {
        id(hop): Effect(attempts=random.randint(3, 5)),
        id(hop.callee): Effect(error=random.choice(texts.VALIDATION), family="validation"),
    }
    run = world.run(random, effects, patient=True)
    why = "the deepest error is a rejected input: before RETRY_STORM in the table"
    return Made(run.build(), label(Type.VALIDATION_ERROR, [run.spans[id(hop.callee)]], why))


@scenario
def two_branches_fail(world: World, random: Random) -> Made:
    """Of two calls at the same time one is rejected at once; the other breaks later, or is cut off."""
    groups = [
        [one for one in step.steps if one in [hop for _, hop in choose.hops(world)]]
        for node in choose.everywhere(world)
        for step in node.steps
        if isinstance(step, Together)
    ]
    pair = random.sample(choose.one_of(random, [group for group in groups if len(group) > 1]), 2)
    first, second = pair
    effects = {
        id(first.callee): Effect(error=random.choice(texts.VALIDATION), family="validation", after_ms=0.2),
        id(second.callee): Effect(error=random.choice(texts.BUG + texts.CANCELLED), extra_ms=world.total * 0.5),
    }
    run = world.run(random, effects, patient=True)
    why = "a rejected input, earlier than the other error and before it in the table"
    return Made(run.build(), label(Type.VALIDATION_ERROR, [run.spans[id(first.callee)]], why))


@scenario
def killed_for_memory_while_loading(world: World, random: Random) -> Made:
    """A cold container dies of its memory: the delay is not what failed."""
    node, hop = choose.one_of(random, choose.hops(world))
    effects = {
        id(hop): killed(world, random, hop, texts.KILLED),
        id(hop.callee): Effect(marks={"faas.coldstart": True}),
    }
    run = world.run(random, effects, patient=True)
    places = [*attempts(run, node, hop), run.spans[id(hop.callee)]]
    return Made(run.build(), label(Type.RESOURCE_EXHAUSTED, places, "OOM: before COLD_START in the table"))


@scenario
def slow_and_cold_elsewhere(world: World, random: Random) -> Made:
    """One service started cold and lost no time by it; the time was lost in another's work."""
    nodes = choose.called(world)
    cold = choose.one_of(random, nodes)
    thing = choose.one_of(random, [one for one in choose.works(world, nodes) if one not in cold.steps])
    effects = {
        id(cold): Effect(marks={"faas.coldstart": True}),
        id(thing): Effect(extra_ms=far_beyond(world, random, 120)),
    }
    run = world.run(random, effects, patient=True)
    slow, marked = run.spans[id(thing)], run.spans[id(cold)]
    if slow.service == marked.service:
        raise NotHere
    return Made(run.build(), label(Type.PERFORMANCE_DEGRADATION, [slow], f"{SLOW}; the cold start explains nothing"))


@scenario
def cold_start_in_a_queue(world: World, random: Random) -> Made:
    """The message waited for a container to come up, and says how long."""
    _, hop = choose.one_of(random, choose.hops(world))
    ms = far_beyond(world, random, 60)
    marks = {"faas.coldstart": True, "queue.time_ms": round(ms, 1)}
    effects = {id(hop): Effect(queue_ms=ms), id(hop.callee): Effect(marks=marks)}
    run = world.run(random, effects, patient=True)
    why = f"{COLD}: before QUEUE_DELAY, which is for no cold start"
    return Made(run.build(), label(Type.COLD_START, [run.spans[id(hop.callee)]], why))


@scenario
def retry_that_succeeded_then_a_rejected_input(world: World, random: Random) -> Made:
    """An attempt was lost and made good; the execution failed of its input afterwards."""
    node, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].client_name])
    later = (
        [step for step in node.steps[node.steps.index(hop) + 1 :] if isinstance(step, Work)]
        if hop in node.steps
        else []
    )
    work = choose.one_of(random, [step for step in later if step.only_kind is None])
    effects = {
        id(hop): Effect(error=random.choice(texts.UNAVAILABLE), before_sending=True, attempts=2, last_succeeds=True),
        id(work): Effect(error=random.choice(texts.VALIDATION), family="validation"),
    }
    run = world.run(random, effects, patient=True)
    why = "the deepest error on the way to the root is a rejected input; the retry had succeeded"
    return Made(run.build(), label(Type.VALIDATION_ERROR, [run.spans[id(work)]], why))
