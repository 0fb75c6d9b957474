"""Something said no: inputs, limits, resources, bugs, dependencies, settings."""

from __future__ import annotations

from random import Random

from otel_diag.model import RootCauseType as Type
from tests.scenarios import choose, texts
from tests.scenarios.cases import Made, label, scenario
from tests.scenarios.texts import ErrorText
from tests.scenarios.worlds import Effect, Node, Query, Work, World

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


@scenario
def validation_error(world: World, random: Random) -> Made:
    return fails(world, random, Type.VALIDATION_ERROR, texts.VALIDATION, "validation", inside(world))


@scenario
def validation_error_of_a_dependency(world: World, random: Random) -> Made:
    places = list[Work | Query | Node](choose.queries(world, choose.called(world)))
    return fails(world, random, Type.VALIDATION_ERROR, texts.VALIDATION, "validation", places)


@scenario
def rate_limited(world: World, random: Random) -> Made:
    places = [*inside(world), *choose.queries(world, choose.called(world))]
    return fails(world, random, Type.RATE_LIMITED, texts.RATE, "rate", places)


@scenario
def out_of_memory(world: World, random: Random) -> Made:
    return fails(world, random, Type.RESOURCE_EXHAUSTED, texts.MEMORY, "resource", inside(world))


@scenario
def out_of_disk_files_connections(world: World, random: Random) -> Made:
    return fails(world, random, Type.RESOURCE_EXHAUSTED, texts.LIMITS, "resource", inside(world))


@scenario
def service_error(world: World, random: Random) -> Made:
    return fails(world, random, Type.SERVICE_ERROR, texts.BUG, "bug", inside(world))


@scenario
def dependency_failure(world: World, random: Random) -> Made:
    query = choose.one_of(random, choose.queries(world, choose.called(world)))
    errors = texts.THIRD_PARTY
    if any(name.startswith("db.") for name in query.attributes):
        errors = texts.CACHE if "redis" in query.attributes.values() else texts.SQL
    return fails(world, random, Type.DEPENDENCY_FAILURE, errors, "other", [query])


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
    after = min(25.0, world.usual(root) * random.uniform(0.002, 0.03))
    run = world.run(random, {id(root): Effect(error=random.choice(errors), after_ms=after)})
    return Made(run.build(), label(kind, [run.spans[id(root)]], "the root failed before any downstream call"))


@scenario
def one_bad_leaf_of_a_fan_out(world: World, random: Random) -> Made:
    """300 to 1,000 spans at once, one of which fails."""
    node = choose.one_of(random, choose.called(world))
    leaves: Work | Query = choose.one_of(random, [*choose.works(world, [node]), *choose.queries(world, [node])])
    count = random.randint(300, 1000)
    errors = texts.BUG if isinstance(leaves, Work) else texts.SQL
    kind = Type.SERVICE_ERROR if isinstance(leaves, Work) else Type.DEPENDENCY_FAILURE
    effect = Effect(times=count, bad=random.randrange(count), error=random.choice(errors), family="bug")
    run = world.run(random, {id(leaves): effect}, patient=True)
    return Made(run.build(), label(kind, [run.spans[id(leaves)]], DEEPEST))
