"""What is not there: containers that died, hops that never happened or were not exported, executions without spans."""

from __future__ import annotations

from random import Random

from otel_diag.model import RootCauseType as Type
from otel_diag.model import Status
from otel_diag.testing import SpanDraft, TraceBuilder
from tests.scenarios import choose, texts
from tests.scenarios.cases import Label, Made, NotHere, Place, label, scenario
from tests.scenarios.faults_network import attempts, telling_span
from tests.scenarios.plans import Hop, Node
from tests.scenarios.runs import Effect, Run, is_below
from tests.scenarios.worlds import World


@scenario
def container_lost(world: World, random: Random) -> Made:
    """The callee was announced, never finished; its caller only saw the connection close."""
    _, hop = choose.one_of(random, choose.hops(world))
    marks = {"modal.function": "generate", "modal.task_id": "ta-01X"} if random.random() < 0.5 else {}
    effects = {id(hop): killed(world, random, hop, texts.DISCONNECTED), id(hop.callee): Effect(marks=marks)}
    run = world.run(random, effects, patient=True)
    why = "killed (announced span never finished): that span is the evidence"
    return Made(run.build(), label(Type.MODAL_EXECUTION_FAILURE, [run.spans[id(hop.callee)]], why))


@scenario
def oom_kill(world: World, random: Random) -> Made:
    """Announced, never finished, and the caller was told of the memory."""
    node, hop = choose.one_of(random, choose.hops(world))
    run = world.run(random, {id(hop): killed(world, random, hop, texts.KILLED)}, patient=True)
    places = [*attempts(run, node, hop), run.spans[id(hop.callee)]]
    return Made(
        run.build(), label(Type.RESOURCE_EXHAUSTED, places, "the error names the memory, the open span who had it")
    )


def killed(world: World, random: Random, hop: Hop, errors: tuple[texts.ErrorText, ...]) -> Effect:
    after = world.usual(hop.callee) * random.uniform(0.1, 0.9)
    heard = min(hop.deadline * 0.2, random.uniform(5, 3_000))
    return Effect(error=random.choice(errors), killed_after_ms=after, heard_ms=heard)


@scenario
def modal_preempted(world: World, random: Random) -> Made:
    callee = choose.one_of(random, choose.called(world))
    effect = Effect(
        error=random.choice(texts.MODAL_PREEMPTED),
        after_ms=world.usual(callee) * random.uniform(0.2, 0.8),
        marks={"modal.preempted": True, "modal.function": "generate"},
    )
    run = world.run(random, {id(callee): effect}, patient=True)
    why = "Modal's own: preempted"
    return Made(run.build(), label(Type.MODAL_EXECUTION_FAILURE, [run.spans[id(callee)]], why))


@scenario
def modal_function_not_loaded(world: World, random: Random) -> Made:
    node, hop = choose.one_of(random, [(node, hop) for node, hop in choose.hops(world) if hop.client_name])
    effect = Effect(error=random.choice(texts.MODAL_LOAD), before_sending=True, after_ms=random.uniform(50, 4_000))
    run = world.run(random, {id(hop): effect}, patient=True)
    telling_span(run, node, hop).set(**{"modal.app": "app", "modal.function": "generate"})
    why = "Modal's own: function could not load"
    return Made(run.build(), label(Type.MODAL_EXECUTION_FAILURE, attempts(run, node, hop), why))


def expected(world: World, random: Random, *, with_client: bool = False) -> tuple[Node, Hop]:
    """A hop that all peers have."""
    if not world.is_learned:
        raise NotHere
    found = [(node, hop) for node, hop in choose.hops(world) if choose.unique(world, hop.callee)]
    return choose.one_of(random, [(node, hop) for node, hop in found if hop.client_name or not with_client])


def place(node: Node) -> tuple[str, str]:
    return node.service.name, node.operation


def subtree(run: Run, top: SpanDraft) -> list[SpanDraft]:
    return [draft for draft in run.trace.drafts if draft is top or is_below(draft, top)]


@scenario
def never_called(world: World, random: Random) -> Made:
    node, hop = expected(world, random)
    if node.is_call:
        raise NotHere
    run = world.run(random, {id(hop): Effect(skipped=True)})
    why = "an expected hop (learned from successful peers) is absent and nothing above explains it"
    return Made(run.build(), label(Type.MISSING_SERVICE, [place(hop.callee)], why))


@scenario
def not_exported(world: World, random: Random) -> Made:
    """The call is there, and nothing of what it caused."""
    _, hop = expected(world, random, with_client=True)
    run = world.run(random)
    for draft in subtree(run, run.spans[id(hop.callee)]):
        draft.drop()
    why = "spans are missing because they were not exported"
    return Made(run.build(), label(Type.INCOMPLETE_TRACE, [place(hop.callee)], why))


@scenario
def one_service_does_not_export(world: World, random: Random) -> Made:
    """The call is there and so is what the callee called, but not the callee."""
    _, hop = expected(world, random, with_client=True)
    if not any(True for _ in hop.callee.hops()):
        raise NotHere
    run = world.run(random)
    for draft in subtree(run, run.spans[id(hop.callee)]):
        if draft.service == hop.callee.service.name:
            draft.drop()
    why = "spans are missing because they were not exported"
    return Made(run.build(), label(Type.INCOMPLETE_TRACE, [place(hop.callee)], why))


@scenario
def still_arriving(world: World, random: Random) -> Made:
    _, hop = expected(world, random)
    run = world.run(random)
    for draft in subtree(run, run.spans[id(hop.callee)]):
        draft.drop()
    made = label(Type.INCOMPLETE_TRACE, [place(hop.callee)], "spans are missing because they are still arriving")
    return Made(run.build(), made, still_arriving=True)


def declared(world: World, random: Random, message: str, ms: float) -> TraceBuilder:
    builder = TraceBuilder(
        execution_id=random.getrandbits(31), job_id=world.job, model_id=world.model, region=world.region
    )
    return builder.declare(Status.FAILED, ms=ms, message=message)


@scenario
def died_without_span(world: World, random: Random) -> Made:
    text = texts.fill(random, random.choice(texts.BOOT), host="runner", word=world.word)
    told = text.message or str(text.type)
    made = declared(world, random, told, min(25.0, world.usual(world.root) * 0.05)).build()
    return Made(made, Label(Type.PRE_EXECUTION_FAILURE, (), "the root failed before any downstream call"))


@scenario
def setting_missing_without_span(world: World, random: Random) -> Made:
    text = texts.fill(random, random.choice(texts.SETTING), host="runner", word=world.word)
    told = f"{text.type}: {text.message}" if text.type else text.message
    made = declared(world, random, told, min(25.0, world.usual(world.root) * 0.05)).build()
    return Made(made, Label(Type.CONFIGURATION_ERROR, (), "as above, with text that names a setting"))


@scenario
def timeout_whose_far_end_still_arrives(world: World, random: Random) -> Made:
    """Whether the callee finished cannot be known yet."""
    node, hop = expected(world, random, with_client=True)
    run = world.run(random, {id(hop): Effect(answer_lost=True)})
    for draft in subtree(run, run.spans[id(hop.callee)]):
        draft.drop()
    places: list[Place | SpanDraft] = [place(hop.callee), telling_span(run, node, hop)]
    why = "spans are still arriving: the hop's callee is missing, its client span is what there is of it"
    return Made(run.build(), label(Type.INCOMPLETE_TRACE, places, why), still_arriving=True)


@scenario
def container_lost_without_announcement(world: World, random: Random) -> Made:
    """The callee's span never came, what it had caused did: it was there when the connection closed."""
    _, hop = choose.one_of(random, choose.hops(world))
    effect = killed(world, random, hop, texts.DISCONNECTED)
    effect.killed_after_ms = hop.callee.ceiling * 2
    run = world.run(random, {id(hop): effect}, patient=True)
    server = run.spans[id(hop.callee)]
    if not any(draft.exported and is_below(draft, server) for draft in run.trace.drafts):
        raise NotHere
    server.drop()
    why = "container lost: its children came and it never did; it has no span to name"
    return Made(run.build(), label(Type.MODAL_EXECUTION_FAILURE, [], why))


@scenario
def error_in_a_trace_without_its_root(world: World, random: Random) -> Made:
    """The root was never exported; the runner told that the execution failed."""
    callee = choose.one_of(random, choose.called(world))
    thing = choose.one_of(random, choose.places(world, [callee]))
    run = world.run(random, {id(thing): Effect(error=random.choice(texts.BUG), family="bug")}, patient=True)
    root = run.trace.drafts[0].drop()
    run.trace.declare(Status.FAILED, ms=root.ms, message=random.choice((None, "failed", root.error_message)))
    why = "the span that carries the decisive evidence (the error)"
    return Made(run.build(), label(Type.SERVICE_ERROR, [run.spans[id(thing)]], why))


@scenario
def failed_and_nothing_says_why(world: World, random: Random) -> Made:
    """The runner calls it a failure, all spans are fine."""
    if not choose.hops(world):
        raise NotHere
    run = world.run(random)
    message = random.choice((None, "failed", "status: error"))
    run.trace.declare(Status.FAILED, ms=run.trace.drafts[0].ms * 1.02, message=message)
    return Made(run.build(), Label(Type.UNKNOWN, (), "failed, and the evidence fits nothing (or inconclusive)"))
