"""Between two services: what was lost on the way, what never got there, and who was too slow for whom."""

from __future__ import annotations

from random import Random

from otel_diag.model import RootCauseType as Type
from otel_diag.testing import SpanDraft
from tests.scenarios import choose, texts
from tests.scenarios.cases import Made, NotHere, label, scenario
from tests.scenarios.plans import Hop, Node, Together
from tests.scenarios.runs import Effect, Run
from tests.scenarios.texts import ErrorText
from tests.scenarios.worlds import World

LOST = "the callee finished (or never saw the request) while the caller timed out"
FINISHED = "the answer that was finished but not heard"


def telling_span(run: Run, node: Node, hop: Hop) -> SpanDraft:
    """The span that tells of a failed call: the client's, or the caller itself where it makes none."""
    return run.spans[id(hop)] if hop.client_name is not None else run.spans[id(node)]


def attempts(run: Run, node: Node, hop: Hop) -> list[SpanDraft]:
    """The span that tells of a failed call, and that of a library around it, which has the same exception."""
    span = telling_span(run, node, hop)
    return [span, span.parent] if hop.outer_name is not None and span.parent is not None else [span]


def unheard(run: Run, node: Node, hop: Hop) -> list[SpanDraft]:
    """The callee whose answer was lost. Of parallel calls without client spans nobody can tell which one it was."""
    beside = [
        one
        for step in node.steps
        if isinstance(step, Together) and hop in step.steps and hop.client_name is None
        for one in step.steps
        if isinstance(one, Hop) and one.client_name is None and id(one.callee) in run.spans
    ]
    return [run.spans[id(one.callee)] for one in [hop, *beside]]


@scenario
def lost_response(world: World, random: Random) -> Made:
    node, hop = choose.one_of(random, choose.hops(world))
    run = world.run(random, {id(hop): Effect(answer_lost=True)})
    choose.skewed(world, random, run)
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, unheard(run, node, hop), FINISHED))


@scenario
def lost_response_to_the_root(world: World, random: Random) -> Made:
    """The root, a script or the first server, waits for an answer that was given."""
    hop = choose.one_of(random, [hop for node, hop in choose.hops(world) if node is world.root])
    run = world.run(random, {id(hop): Effect(answer_lost=True)})
    choose.skewed(world, random, run)
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, unheard(run, world.root, hop), FINISHED))


@scenario
def lost_response_that_was_made_up_for(world: World, random: Random) -> Made:
    """The caller goes on without the answer, late: completed, and far from its baseline."""
    if not world.is_learned:
        raise NotHere
    _, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].client_name])
    deadline = world.total * random.uniform(6, 12) + 50
    run = world.run(random, {id(hop): Effect(answer_lost=True, handled=True, deadline=deadline)}, patient=True)
    if run.trace.drafts[0].status.is_failure:
        raise NotHere
    why = f"{FINISHED}: what explains the delay, before PERFORMANCE_DEGRADATION in the table"
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, [run.spans[id(hop.callee)]], why))


@scenario
def lost_response_and_the_callee_noticed(world: World, random: Random) -> Made:
    """The callee finished its work in time and could not send the answer."""
    _, hop = choose.one_of(random, choose.hops(world))
    run = world.run(random, {id(hop): Effect(answer_lost=True, says_gone=random.choice(texts.CALLED_BACK[:4]))})
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, [run.spans[id(hop.callee)]], FINISHED))


@scenario
def lost_response_from_a_queue(world: World, random: Random) -> Made:
    node, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].protocol == "queue"])
    run = world.run(random, {id(hop): Effect(answer_lost=True)})
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, unheard(run, node, hop), FINISHED))


@scenario
def lost_request(world: World, random: Random) -> Made:
    """The callee never saw the request: only peers show that it makes spans, and is no mere dependency.

    Without a span of the call it may as well be the answer to the call before that was lost.
    """
    if not world.is_learned:
        raise NotHere
    node, hop = choose.one_of(random, [pair for pair in choose.hops(world) if pair[1].client_name or pair[0].is_call])
    run = world.run(random, {id(hop): Effect(request_lost=True)})
    return Made(run.build(), label(Type.NETWORK_TIMEOUT, attempts(run, node, hop), LOST))


@scenario
def slow_server(world: World, random: Random) -> Made:
    """Somewhere in the callee one thing takes longer than the caller waits."""
    _, hop = choose.one_of(random, choose.hops(world))
    nodes = choose.within(hop.callee)
    thing = random.choice([*nodes, *choose.leaves(world, nodes)])
    effects = {id(thing): Effect(extra_ms=hop.deadline * random.uniform(1.2, 2.5))}
    how = random.random()
    if how < 0.3:
        effects[id(hop)] = Effect(says_gone=random.choice(texts.CALLED_BACK))
    elif how < 0.5:
        effects[id(hop)] = Effect(cancels=True)
    run = world.run(random, effects)
    choose.skewed(world, random, run)
    why = "the callee was still working at the caller's deadline; the slow self time"
    return Made(run.build(), label(Type.SERVICE_TIMEOUT, [run.spans[id(thing)]], why))


def never_reached(world: World, random: Random, errors: tuple[ErrorText, ...]) -> Made:
    """A call fails on its way out; to a service, or to a database."""
    effect = Effect(error=random.choice(errors), before_sending=True, after_ms=random.uniform(0.3, 60))
    asked = choose.queries(world, choose.called(world))
    if asked and random.random() < 0.3:
        query = random.choice(asked)
        run = world.run(random, {id(query): effect}, patient=True)
        spans = [run.spans[id(query)]]
    else:
        node, hop = choose.one_of(random, choose.hops(world))
        run = world.run(random, {id(hop): effect}, patient=True)
        spans = attempts(run, node, hop)
    choose.skewed(world, random, run)
    return Made(run.build(), label(Type.CONNECTION_FAILURE, spans, "the call never reached the callee"))


@scenario
def connection_refused(world: World, random: Random) -> Made:
    return never_reached(world, random, texts.REFUSED)


@scenario
def dns_failure(world: World, random: Random) -> Made:
    return never_reached(world, random, texts.DNS)


@scenario
def tls_failure(world: World, random: Random) -> Made:
    return never_reached(world, random, texts.TLS)


@scenario
def unreachable_or_reset(world: World, random: Random) -> Made:
    return never_reached(world, random, texts.UNREACHABLE + texts.RESET)


STORM = "three or more failed attempts of one call, then giving up"


@scenario
def retry_storm(world: World, random: Random) -> Made:
    """The attempts are refused on their way out, or answered with 503."""
    node, hop = choose.one_of(random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name])
    errors = random.choice((texts.UNAVAILABLE, texts.REFUSED, texts.UNAVAILABLE))
    effect = Effect(
        error=random.choice(errors), before_sending=True, after_ms=random.uniform(1, 80), attempts=random.randint(3, 7)
    )
    run = world.run(random, {id(hop): effect}, patient=True)
    return Made(run.build(), label(Type.RETRY_STORM, attempts(run, node, hop), STORM))


@scenario
def retry_storm_against_a_failing_callee(world: World, random: Random) -> Made:
    """Every attempt reaches the callee, which fails every time."""
    node, hop = choose.one_of(random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name])
    effects = {
        id(hop): Effect(attempts=random.randint(3, 6)),
        id(hop.callee): Effect(error=random.choice(texts.BUG + texts.UNAVAILABLE), family="bug"),
    }
    run = world.run(random, effects, patient=True)
    places = [*attempts(run, node, hop), run.spans[id(hop.callee)]]
    return Made(run.build(), label(Type.RETRY_STORM, places, f"{STORM}: the attempts, or the error they all met"))


@scenario
def retry_storm_of_timeouts(world: World, random: Random) -> Made:
    """Precedence: every attempt times out on a callee that is too slow."""
    node, hop = choose.one_of(random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name])
    effects = {
        id(hop): Effect(attempts=random.randint(3, 5)),
        id(hop.callee): Effect(extra_ms=hop.deadline * random.uniform(1.2, 2)),
    }
    run = world.run(random, effects, patient=choose.others(world, hop))
    places = [*attempts(run, node, hop), run.spans[id(hop.callee)]]
    return Made(run.build(), label(Type.RETRY_STORM, places, f"{STORM}; before SERVICE_TIMEOUT in the table"))


@scenario
def one_attempt_that_counted_its_resends(world: World, random: Random) -> Made:
    """A client that makes one span of all attempts, and says how often it sent again."""
    node, hop = choose.one_of(
        random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name and hop.protocol == "http"]
    )
    effect = Effect(error=random.choice(texts.UNAVAILABLE), before_sending=True, after_ms=random.uniform(20, 900))
    run = world.run(random, {id(hop): effect}, patient=True)
    span = telling_span(run, node, hop).set(**{"http.request.resend_count": random.randint(3, 5)})
    return Made(run.build(), label(Type.RETRY_STORM, [span], STORM))


@scenario
def a_deadline_on_every_level(world: World, random: Random) -> Made:
    """Each caller above the slow one has a deadline of its own, shorter or longer than the one below."""
    node, hop = choose.one_of(random, [pair for pair in choose.hops(world) if choose.depth(world, pair[1].callee) >= 2])
    chain = choose.above(world, hop)
    first = max(4 * world.total, 200.0)
    steps = random.choice((1.0, 1.3, 0.8))
    effects = {id(one): Effect(deadline=first * steps**number) for number, one in enumerate(chain)}
    lost = random.random() < 0.4
    if lost:
        effects[id(hop)].answer_lost = True
        run = world.run(random, effects)
        return Made(run.build(), label(Type.NETWORK_TIMEOUT, unheard(run, node, hop), FINISHED))
    thing = random.choice(choose.places(world, choose.within(hop.callee)))
    effects[id(thing)] = Effect(extra_ms=max(one.deadline or 0 for one in effects.values()) * random.uniform(1.5, 3))
    run = world.run(random, effects)
    why = "the callee was still working at the caller's deadline; the slow self time"
    return Made(run.build(), label(Type.SERVICE_TIMEOUT, [run.spans[id(thing)]], why))


@scenario
def slow_dependency_behind_a_deadline(world: World, random: Random) -> Made:
    """The callee waits for its database, which answers in the end, and the caller does not wait so long."""
    _, hop = choose.one_of(random, choose.hops(world))
    query = choose.one_of(random, choose.queries(world, choose.within(hop.callee)))
    run = world.run(random, {id(query): Effect(extra_ms=hop.deadline * random.uniform(1.2, 3))})
    why = "the callee was still working at the caller's deadline; the slow self time"
    return Made(run.build(), label(Type.SERVICE_TIMEOUT, [run.spans[id(query)]], why))


@scenario
def error_after_the_deadline(world: World, random: Random) -> Made:
    """The callee fails long after its caller has gone: the error is a consequence, or does not matter any more."""
    _, hop = choose.one_of(random, choose.hops(world))
    effect = Effect(extra_ms=hop.deadline * random.uniform(1.2, 2.5), error=random.choice(texts.BUG + texts.SQL))
    run = world.run(random, {id(hop.callee): effect})
    why = "the callee was still working at the caller's deadline; the error came after it"
    return Made(run.build(), label(Type.SERVICE_TIMEOUT, [run.spans[id(hop.callee)]], why))
