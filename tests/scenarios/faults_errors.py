"""Something said no: inputs, limits, resources, bugs, dependencies, settings."""

from __future__ import annotations

from random import Random

from otel_diag.model import RootCauseType as Type
from tests.scenarios import choose, texts
from tests.scenarios.cases import Made, NotHere, label, scenario
from tests.scenarios.plans import Node, Query, Work
from tests.scenarios.runs import Effect
from tests.scenarios.texts import ErrorText
from tests.scenarios.wire import SPEAKING, status_of
from tests.scenarios.worlds import World

DEEPEST = "the span that carries the decisive evidence (the error)"


def fails(
    world: World,
    random: Random,
    kind: Type,
    errors: tuple[ErrorText, ...],
    family: str,
    things: list[Work | Query | Node],
) -> Made:
    """One of these fails, and everybody above with it."""
    thing = choose.one_of(random, things)
    run = world.run(random, {id(thing): Effect(error=random.choice(errors), family=family)}, patient=True)
    choose.skewed(world, random, run)
    return Made(run.build(), label(kind, [run.spans[id(thing)]], DEEPEST))


def inside(world: World) -> list[Work | Query | Node]:
    """Operations that are called, and spans of their own in them."""
    nodes = choose.called(world)
    return [*nodes, *choose.works(world, nodes)]


def apis(world: World) -> list[Query]:
    """Calls of somebody's API, which may refuse an input or have a quota; a database does not."""
    queries = choose.queries(world, choose.called(world))
    return [query for query in queries if not any(name.startswith("db.") for name in query.attributes)]


@scenario
def validation_error(world: World, random: Random) -> Made:
    return fails(world, random, Type.VALIDATION_ERROR, texts.VALIDATION, "validation", inside(world))


@scenario
def validation_error_of_a_dependency(world: World, random: Random) -> Made:
    places = list[Work | Query | Node](apis(world))
    return fails(world, random, Type.VALIDATION_ERROR, texts.VALIDATION, "validation", places)


@scenario
def rate_limited(world: World, random: Random) -> Made:
    places = [*inside(world), *apis(world)]
    return fails(world, random, Type.RATE_LIMITED, texts.RATE, "rate", places)


@scenario
def out_of_memory(world: World, random: Random) -> Made:
    return fails(world, random, Type.RESOURCE_EXHAUSTED, texts.MEMORY, "resource", inside(world))


@scenario
def out_of_disk_files_connections(world: World, random: Random) -> Made:
    return fails(world, random, Type.RESOURCE_EXHAUSTED, texts.LIMITS, "resource", inside(world))


@scenario
def database_out_of_connections(world: World, random: Random) -> Made:
    """The database is reached and refuses: it has no connection left."""
    databases = [query for query in choose.queries(world, choose.called(world)) if query not in apis(world)]
    places = list[Work | Query | Node](databases)
    return fails(world, random, Type.RESOURCE_EXHAUSTED, texts.CONNECTIONS, "resource", places)


@scenario
def service_error(world: World, random: Random) -> Made:
    return fails(world, random, Type.SERVICE_ERROR, texts.BUG, "bug", inside(world))


@scenario
def dependency_failure(world: World, random: Random) -> Made:
    query = choose.one_of(random, choose.queries(world, choose.called(world)))
    return fails(world, random, Type.DEPENDENCY_FAILURE, dependency_errors(query), "other", [query])


def dependency_errors(query: Query) -> tuple[ErrorText, ...]:
    """What this kind of dependency says when it fails."""
    if not any(name.startswith("db.") for name in query.attributes):
        return texts.THIRD_PARTY
    return texts.CACHE if "redis" in query.attributes.values() else texts.SQL


@scenario
def dependency_times_out(world: World, random: Random) -> Made:
    """A database or somebody's API gives no answer in time: nobody knows what it was doing."""
    query = choose.one_of(random, choose.queries(world, choose.called(world)))
    limit = query.takes.median * random.uniform(8, 30) + random.choice((250, 1_000, 5_000))
    effect = Effect(error=random.choice(texts.CLIENT_TIMEOUT), family="timeout", after_ms=limit)
    run = world.run(random, {id(query): effect}, patient=True)
    why = "the deepest error is on a client span to something that is not instrumented"
    return Made(run.build(), label(Type.DEPENDENCY_FAILURE, [run.spans[id(query)]], why))


@scenario
def rejected_with_codes_only(world: World, random: Random) -> Made:
    """The server answers 4xx, which is no error of its own by the conventions; its client has the code and no word."""
    node, hop = choose.one_of(
        random,
        [(node, hop) for node, hop in choose.hops(world) if hop.client_name and hop.protocol == "http" and told(node)],
    )
    code, kind = random.choice(((400, Type.VALIDATION_ERROR), (422, Type.VALIDATION_ERROR), (429, Type.RATE_LIMITED)))
    family = "rate" if code == 429 else "validation"
    effect = Effect(error=ErrorText(None, "", http=code), family=family)
    run = world.run(random, {id(hop.callee): effect}, patient=True)
    client, server = run.spans[id(hop)], run.spans[id(hop.callee)]
    for span, service in ((client, node.service), (server, hop.callee.service)):
        for name in SPEAKING:
            span.values.pop(name, None)
        span.set(**{"http.status_code" if service.old_names else "http.response.status_code": code})
        status = status_of(span.kind, is_error=False, message=None, exception=None, attributes=span.values)
        span.end_as(status, recorded=False)
    return Made(run.build(), label(kind, [client, server], f"{DEEPEST}: both carry the code"))


def told(node: Node) -> bool:
    return node.service.kinds_are_told


@scenario
def service_error_at_the_end_of_the_root(world: World, random: Random) -> Made:
    """Everything below was fine; the root fails over it, in its usual time, perhaps without a word."""
    if not any(True for _ in world.root.hops()) or world.root.is_call:
        raise NotHere
    run = world.run(random, {id(world.root): Effect(error=random.choice(texts.BUG), family="bug")}, patient=True)
    if all(draft.service == world.root.service.name for draft in run.trace.drafts):
        raise NotHere  # of this kind of request nothing is called
    return Made(run.build(), label(Type.SERVICE_ERROR, [run.spans[id(world.root)]], DEEPEST))


@scenario
def handled_error_beside_the_real_one(world: World, random: Random) -> Made:
    """Something failed early and was made up for; what counts fails elsewhere, and later."""
    nodes = choose.everywhere(world)
    thing = choose.one_of(random, choose.works(world, choose.called(world)))
    first = choose.one_of(random, [one for one in choose.leaves(world, nodes) if one is not thing])
    errors = texts.REFUSED + (dependency_errors(first) if isinstance(first, Query) else texts.RATE)
    effects = {
        id(first): Effect(error=random.choice(errors), handled=True),
        id(thing): Effect(error=random.choice(texts.BUG), family="bug"),
    }
    run = world.run(random, effects, patient=True)
    early, real = run.spans.get(id(first)), run.spans[id(thing)]
    if early is None or early.end + world.total * 0.2 > real.start:
        raise NotHere
    return Made(run.build(), label(Type.SERVICE_ERROR, [real], f"{DEEPEST}; the other was handled by its parent"))


@scenario
def failure_behind_a_link(world: World, random: Random) -> Made:
    """A consumer that is only linked to the message it works on fails, and who waits for it hears of it."""
    found = [hop for _, hop in choose.hops(world) if hop.linked]
    callee = choose.one_of(random, found).callee
    places = list[Work | Query | Node]([callee, *choose.works(world, [callee])])
    return fails(world, random, Type.SERVICE_ERROR, texts.BUG, "bug", places)


@scenario
def unhealthy_provider(world: World, random: Random) -> Made:
    """The router picks a provider that it knows to be unhealthy, and the provider fails."""
    node = choose.one_of(random, [node for node in choose.called(world) if choose.queries(world, [node])])
    query = choose.one_of(random, choose.queries(world, [node]))
    chosen = {"router.provider": random.choice(("p2", "azure", "fallback")), "router.provider_healthy": False}
    errors = {
        id(node): Effect(marks=chosen),
        id(query): Effect(error=random.choice(texts.THIRD_PARTY)),
    }
    run = world.run(random, errors)
    return Made(run.build(), label(Type.DEPENDENCY_FAILURE, [run.spans[id(query)]], DEEPEST))


@scenario
def pre_execution_failure(world: World, random: Random) -> Made:
    return at_once(world, random, Type.PRE_EXECUTION_FAILURE, texts.BOOT)


@scenario
def configuration_error(world: World, random: Random) -> Made:
    return at_once(world, random, Type.CONFIGURATION_ERROR, texts.SETTING)


def at_once(world: World, random: Random, kind: Type, errors: tuple[ErrorText, ...]) -> Made:
    """The root fails before any downstream call, in a small part of the usual time."""
    root = world.root
    if root.is_call:
        raise NotHere
    after = min(25.0, world.usual(root) * random.uniform(0.002, 0.03))
    effect = Effect(error=random.choice(errors), after_ms=after)
    why = "the root failed before any downstream call"
    first = root.steps[0] if root.steps else None
    if isinstance(first, Work) and first.only_kind is None and random.random() < 0.4:
        run = world.run(random, {id(first): effect, id(root): Effect(at_once=True)})
        return Made(
            run.build(), label(kind, [run.spans[id(root)], run.spans[id(first)]], f"{why}: in a span of its own")
        )
    run = world.run(random, {id(root): effect})
    return Made(run.build(), label(kind, [run.spans[id(root)]], why))


@scenario
def one_bad_leaf_of_a_fan_out(world: World, random: Random) -> Made:
    """300 to 1,000 spans at once, one of which fails."""
    node = choose.one_of(random, choose.called(world))
    leaves = choose.one_of(random, choose.leaves(world, [node]))
    count = random.randint(300, 1000)
    errors = texts.BUG if isinstance(leaves, Work) else dependency_errors(leaves)
    kind = Type.SERVICE_ERROR if isinstance(leaves, Work) else Type.DEPENDENCY_FAILURE
    effect = Effect(times=count, bad=random.randrange(count), error=random.choice(errors), family="bug")
    run = world.run(random, {id(leaves): effect}, patient=True)
    return Made(run.build(), label(kind, [run.spans[id(leaves)]], DEEPEST))
