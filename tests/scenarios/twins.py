"""Healthy executions that look as if something were wrong."""

from __future__ import annotations

from random import Random

from otel_diag.model import Status
from tests.scenarios import choose, texts
from tests.scenarios.cases import Label, Made, NotHere, healthy
from tests.scenarios.faults_errors import dependency_errors
from tests.scenarios.plans import Hop, Query, Together, ceiling, flat
from tests.scenarios.runs import Effect, Run
from tests.scenarios.wire import status_of
from tests.scenarios.worlds import World

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
    thing = choose.one_of(random, choose.leaves(world, nodes))
    errors = random.choice((texts.BUG, texts.RATE, texts.VALIDATION, texts.REFUSED))
    if isinstance(thing, Query):
        errors = random.choice((dependency_errors(thing), texts.REFUSED, texts.CLIENT_TIMEOUT))
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
def third_attempt_that_succeeded(world: World, random: Random) -> Made:
    """Two failed attempts are no storm, and nobody gave up."""
    _, hop = choose.one_of(random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name])
    effect = Effect(
        error=random.choice(texts.UNAVAILABLE + texts.REFUSED + texts.RATE),
        before_sending=True,
        after_ms=min(5.0, world.scale * 0.01),
        attempts=3,
        last_succeeds=True,
    )
    return fine(world.run(random, {id(hop): effect}))


@healthy
def the_other_kind_of_request(world: World, random: Random) -> Made:
    """Half of the requests never take a step that the others always take."""
    optional = [step for node in world.nodes_of(world.root) for step in flat(node.steps) if step.only_kind is not None]
    if not any(isinstance(step, Hop) for step in optional):
        raise NotHere
    return fine(world.run(random))


@healthy
def server_outlives_its_client(world: World, random: Random) -> Made:
    """The answer is sent, then the server tidies up: nobody timed out, nobody waits."""
    _, hop = choose.one_of(random, choose.hops(world))
    run = world.run(random)
    server = run.spans[id(hop.callee)]
    server.lasting(server.ms + world.total * random.uniform(0.5, 3))
    if random.random() < 0.5:
        server.child("background task", at=server.ms * 0.6, ms=server.ms * 0.39)
    return fine(run)


@healthy
def hedged_request(world: World, random: Random) -> Made:
    """A second request was sent to be sure, and cancelled when the first was answered."""
    _, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].client_name])
    run = world.run(random)
    client = run.spans[id(hop)]
    if client.parent is None or client.ms < 0.2:
        raise NotHere
    start, ms = client.start - client.parent.start + client.ms * 0.5, client.ms * 0.5
    second = client.parent.child(client.operation, at=start, ms=ms, kind=client.kind).set(**client.values)
    text = random.choice(texts.CANCELLED)
    second.fail(text.type or "*errors.errorString", text.message)
    return fine(run)


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
    thing = choose.one_of(random, choose.leaves(world, nodes))
    return fine(world.run(random, {id(thing): Effect(at_p99=True)}))


@healthy
def new_version(world: World, random: Random) -> Made:
    run = world.run(random)
    service = random.choice(world.services).name
    for draft in run.trace.drafts:
        if draft.service == service:
            draft.version = "9.0.0-rc1"
    return fine(run)


@healthy
def ordinary_queue_wait(world: World, random: Random) -> Made:
    _, hop = choose.one_of(random, choose.hops(world))
    wait = hop.send.median
    return fine(world.run(random, {id(hop.callee): Effect(marks={"queue.time_ms": round(wait, 2)})}))


@healthy
def exception_on_a_completed_span(world: World, random: Random) -> Made:
    """Recorded and handled in the span itself."""
    run = world.run(random)
    text = run.filled(random.choice(texts.BUG + texts.CACHE + texts.RESET), "cache")
    random.choice(run.trace.drafts).end_as(Status.COMPLETED, text.type or "Error", text.message)
    return fine(run)


@healthy
def not_found_is_an_answer(world: World, random: Random) -> Made:
    """A 404 that its caller expected: the client span has failed by the conventions, nothing else has."""
    found = [pair for pair in choose.hops(world) if pair[1].client_name and pair[1].protocol == "http"]
    node, hop = choose.one_of(random, found)
    run = world.run(random)
    for span, service in ((run.spans[id(hop)], node.service), (run.spans[id(hop.callee)], hop.callee.service)):
        span.set(**{"http.status_code" if service.old_names else "http.response.status_code": 404})
        status = status_of(span.kind, is_error=False, message=None, exception=None, attributes=span.values)
        span.end_as(status, recorded=False)
    return fine(run)


@healthy
def declared_completed(world: World, random: Random) -> Made:
    run = world.run(random)
    run.trace.declare(Status.COMPLETED, ms=run.trace.drafts[0].ms)
    return fine(run)


@healthy
def slow_branch_that_was_not_awaited_longer(world: World, random: Random) -> Made:
    """Of two parallel branches the shorter one takes longer than usual, and still ends before the other."""
    groups = [step for node in choose.everywhere(world) for step in node.steps if isinstance(step, Together)]
    group = choose.one_of(random, groups)
    always = [hop for _, hop in choose.hops(world)]
    hops = sorted((one for one in group.steps if isinstance(one, Hop) and one in always), key=ceiling)
    if len(hops) < 2:
        raise NotHere
    room = world.usual(hops[-1].callee) * 0.6 - ceiling(hops[0])
    if room < world.usual(hops[0].callee):
        raise NotHere
    return fine(world.run(random, {id(hops[0].callee): Effect(extra_ms=room)}, patient=True))
