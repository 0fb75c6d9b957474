"""Executions: a plan carried out in time, with what goes wrong in it and what follows from that.

Callers wait until their own deadline, nothing further is started after an error, whoever is above reports it in its own
words, a process that died finishes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import TYPE_CHECKING

from otel_diag.model import Trace
from otel_diag.testing import SpanDraft, TraceBuilder
from tests.scenarios import texts
from tests.scenarios.plans import Hop, Node, Query, Step, Together, Work
from tests.scenarios.telling import Problem, tell
from tests.scenarios.texts import ErrorText

if TYPE_CHECKING:
    from tests.scenarios.worlds import World


@dataclass
class Effect:
    """What goes wrong in one step or operation.

    ``extra_ms``: it takes longer. ``error``: it fails with these words when it has taken its time (``after_ms``: then).
    ``handled``: who called goes on as if nothing had happened. ``skipped``: it never happens. ``at_p99``: as slow as
    one in a hundred. ``times``: so often, one after the other, and the error is in the last one; with ``bad``, all at
    once, and it is in that one. ``marks``: attributes of its span. ``load_ms``: an operation first loads something.
    ``at_once``: it begins without its usual work before, and gives up without any.

    Of a hop: ``before_sending``: the error comes before the callee saw anything. ``request_lost``, ``answer_lost``;
    ``queue_ms``: on the way there; ``killed_after_ms``: the callee dies, and its caller hears ``error`` ``heard_ms``
    later; ``attempts``: so many. ``cancels``: a caller that gives up tells the callee. ``says_gone``: what the callee
    says when it cannot answer. ``deadline``: instead of the usual one.
    """

    extra_ms: float = 0.0
    error: ErrorText | None = None
    after_ms: float | None = None
    family: str = "other"
    handled: bool = False
    skipped: bool = False
    at_p99: bool = False
    times: int = 1
    bad: int | None = None
    at_once: bool = False
    marks: Mapping[str, object] = field(default_factory=dict)
    load_ms: float | None = None
    load_name: str = "load"
    before_sending: bool = False
    request_lost: bool = False
    answer_lost: bool = False
    queue_ms: float = 0.0
    killed_after_ms: float | None = None
    heard_ms: float = 500.0
    attempts: int = 1
    last_succeeds: bool = False
    cancels: bool = False
    deadline: float | None = None
    says_gone: ErrorText | None = None


NOTHING = Effect()


@dataclass
class Outcome:
    """When a step ended, in ms since the start of the trace, and what went wrong."""

    end: float
    problem: Problem | None = None


class Run:
    """One execution. ``spans``: by ``id`` of a step or node, what it left (the last time, if it happened often)."""

    def __init__(
        self, world: World, random: Random, effects: dict[int, Effect], *, patient: bool | Collection[Hop] = False
    ) -> None:
        self.world = world
        self.random = random
        self.effects = effects
        self.patient = patient if isinstance(patient, bool) else {id(hop) for hop in patient}
        self.kind = random.randrange(world.kinds)
        self.spans: dict[int, SpanDraft] = {}
        self.loads: list[SpanDraft] = []
        number = random.getrandbits(31) + 1
        self.trace = TraceBuilder(
            execution_id=number,
            trace_id=hashlib.blake2b(f"{world.seed}/{number}".encode(), digest_size=16).hexdigest(),
            job_id=world.job,
            model_id=world.model,
            region=world.region,
        )
        for service in world.services:
            if service.host_is_told:
                self.trace.resources[service.name] = {"host.name": service.host}
        root = self.span(world.root, world.root.operation, 0.0, world.root.kind, None)
        self.problem = self.operate(world.root, root).problem

    def build(self) -> Trace:
        return self.trace.build()

    def effect(self, thing: Step | Node) -> Effect:
        return self.effects.get(id(thing), NOTHING)

    def is_patient(self, hop: Hop) -> bool:
        return self.patient if isinstance(self.patient, bool) else id(hop) in self.patient

    def filled(self, text: ErrorText, host: str) -> ErrorText:
        return texts.fill(self.random, text, host=host, word=self.world.word)

    def span(self, node: Node, operation: str, start: float, kind: str, parent: SpanDraft | None) -> SpanDraft:
        """A span of the node's service; kinds are only told by services that tell them."""
        told = kind if node.service.kinds_are_told else "internal"
        draft = self.trace.add(node.service.name, operation, start, 0.0, told, parent)
        draft.version = node.service.version
        return draft

    # -- operations and their steps --------------------------------------------------------------------

    def operate(self, node: Node, span: SpanDraft) -> Outcome:
        """All that ``node`` does, from the span's start on; the span gets its end, and the error if there is one."""
        self.spans[id(node)] = span
        effect = self.effect(node)
        at = span.start
        span.set(**effect.marks)
        if effect.load_ms is not None:
            load = self.span(node, effect.load_name, at, "internal", span).lasting(effect.load_ms)
            self.loads.append(load)
            at = load.end
        before = node.before.draw(self.random)
        at += min(before, 0.5) if effect.at_once else before
        if effect.error is not None and effect.after_ms is not None:
            return self.failed(node, span, span.start + effect.after_ms, self.own_problem(node, span, effect))
        for step in node.steps:
            if step.only_kind not in (None, self.kind):
                continue
            outcome = self.take(node, span, step, at)
            at = outcome.end
            if outcome.problem is not None:
                after = 0.1 if effect.at_once else min(node.after.draw(self.random), 50.0)
                return self.failed(node, span, at + after, outcome.problem)
        at += node.after.draw(self.random) + effect.extra_ms
        if effect.error is not None:
            return self.failed(node, span, at, self.own_problem(node, span, effect))
        span.lasting(at - span.start)
        return Outcome(at)

    def own_problem(self, node: Node, span: SpanDraft, effect: Effect) -> Problem:
        assert effect.error is not None
        return Problem(self.filled(effect.error, node.service.name), effect.family, span)

    def failed(self, node: Node, span: SpanDraft, end: float, problem: Problem) -> Outcome:
        span.lasting(end - span.start)
        return Outcome(end, tell(self.random, span, node.service, problem, self.world.word))

    def take(self, node: Node, parent: SpanDraft, step: Step, at: float) -> Outcome:
        effect = self.effect(step)
        if effect.skipped:
            return Outcome(at)
        match step:
            case Work():
                outcome = self.own_span(node, parent, step, at, "internal")
            case Query():
                outcome = self.own_span(node, parent, step, at, "client")
            case Hop():
                outcome = self.repeatedly(node, parent, step, at)
            case Together():
                outcome = self.together(node, parent, step, at)
            case _:
                raise TypeError(step)
        return Outcome(outcome.end) if effect.handled else outcome

    def together(self, node: Node, parent: SpanDraft, group: Together, at: float) -> Outcome:
        """All at once. The first to fail decides, and stops the others or is found out when they are done."""
        outcomes: list[Outcome] = []
        made: list[list[SpanDraft]] = []
        for step in group.steps:
            if step.only_kind in (None, self.kind):
                last = self.trace.drafts[-1].number
                outcomes.append(self.take(node, parent, step, at))
                made.append([draft for draft in self.trace.drafts if draft.number > last])
        end = max((one.end for one in outcomes), default=at)
        failed = [number for number, one in enumerate(outcomes) if one.problem is not None]
        if not failed:
            return Outcome(end)
        first = min(failed, key=lambda number: outcomes[number].end)
        if group.cancels:
            end = outcomes[first].end
            for number, drafts in enumerate(made):
                if number != first:
                    self.stop(drafts, end, node)
        return Outcome(end, outcomes[first].problem)

    def own_span(self, node: Node, parent: SpanDraft, step: Work | Query, at: float, kind: str) -> Outcome:
        effect = self.effect(step)
        problem: Problem | None = None
        end = at
        for time in range(effect.times):
            start = end if effect.bad is None else at + time * 0.01
            span = self.span(node, step.name, start, kind, parent).set(**effect.marks)
            if isinstance(step, Query):
                address = "net.peer.name" if node.service.old_names else "server.address"
                span.set(**step.attributes, **{address: step.peer})
            takes = step.takes.ceiling if effect.at_p99 else step.takes.draw(self.random)
            span.lasting(takes + effect.extra_ms if effect.after_ms is None else effect.after_ms)
            end = max(end, span.end)
            is_bad = time == (effect.times - 1 if effect.bad is None else effect.bad)
            if is_bad:
                self.spans[id(step)] = span
            if effect.error is not None and is_bad:
                host = step.peer if isinstance(step, Query) else node.service.name
                problem = Problem(self.filled(effect.error, host), effect.family, span)
                problem = tell(self.random, span, node.service, problem, self.world.word)
        return Outcome(end, problem)

    # -- hops ------------------------------------------------------------------------------------------

    def repeatedly(self, node: Node, parent: SpanDraft, hop: Hop, at: float) -> Outcome:
        effect = self.effect(hop)
        outcome = self.call(node, parent, hop, at, effect, 0)
        for _ in range(1, effect.times):
            outcome = self.call(node, parent, hop, outcome.end, effect, 0)
        for attempt in range(1, effect.attempts):
            last = attempt == effect.attempts - 1
            patience = 0.005 if effect.last_succeeds else 0.05
            pause = min(self.world.scale * patience * 2**attempt, 2_000) * self.random.uniform(0.8, 1.2)
            outcome = self.call(
                node, parent, hop, outcome.end + pause, NOTHING if last and effect.last_succeeds else effect, attempt
            )
        return outcome

    def call(self, node: Node, parent: SpanDraft, hop: Hop, at: float, effect: Effect, attempt: int) -> Outcome:
        """One attempt, in the span of a library if it makes one."""
        if hop.outer_name is None:
            return self.send(node, parent, hop, at, effect, attempt)
        outer = self.span(node, hop.outer_name, at, "client", parent)
        outcome = self.send(node, outer, hop, at, effect, attempt)
        outer.lasting(outcome.end - at)
        if outcome.problem is None:
            return outcome
        return self.failed(node, outer, outcome.end, outcome.problem)

    def send(self, node: Node, parent: SpanDraft, hop: Hop, at: float, effect: Effect, attempt: int) -> Outcome:
        """Without a client span, what a client span would tell is told by the caller itself."""
        client: SpanDraft | None = None
        if hop.client_name is not None:
            client = self.span(node, hop.client_name, at, "producer" if hop.protocol == "queue" else "client", parent)
            self.describe_client(node, hop, client, attempt)
            self.spans[id(hop)] = client
        sent = client
        if effect.before_sending and effect.error is not None:
            end = at + (effect.after_ms or 1.0)
            return self.heard(node, parent, hop, client, end, effect.error, effect.family)
        arrival, answer = at + hop.send.draw(self.random) + effect.queue_ms, inf
        problem: Problem | None = None
        if not effect.request_lost:
            outcome = self.serve(node, hop, sent, parent, arrival, effect)
            problem = outcome.problem
            answer = outcome.end + hop.back.draw(self.random)
        if not hop.awaited:
            end = at + hop.send.draw(self.random)
            if client is not None:
                client.lasting(end - at)
            return Outcome(end)
        if client is not None and hop.reply_name is not None:
            client.lasting(hop.send.draw(self.random))
            client = self.span(node, hop.reply_name, client.end, "internal", parent)
            self.spans[id(hop)] = client
        if effect.answer_lost:
            answer = inf
        deadline = hop.deadline if effect.deadline is None else effect.deadline
        if answer > at + deadline and (answer == inf or not self.is_patient(hop)):
            end = at + deadline
            if effect.cancels and not effect.request_lost:
                self.cancel(hop, end + hop.send.draw(self.random))
            text = (
                effect.error
                if effect.family == "timeout" and effect.error
                else self.random.choice(texts.CLIENT_TIMEOUT)
            )
            return self.heard(node, parent, hop, client, end, text, "timeout")
        if effect.killed_after_ms is not None and effect.error is not None:
            return self.heard(node, parent, hop, client, answer, effect.error, effect.family)
        if client is None:
            return Outcome(answer, problem)
        client.lasting(answer - client.start)
        if problem is not None:
            problem = tell(self.random, client, node.service, problem, self.world.word, protocol=hop.protocol)
        return Outcome(answer, problem)

    def heard(
        self,
        node: Node,
        parent: SpanDraft,
        hop: Hop,
        client: SpanDraft | None,
        end: float,
        text: ErrorText,
        family: str,
    ) -> Outcome:
        """The caller learns of an error that no span below tells of."""
        problem = Problem(self.filled(text, hop.callee.service.name), family, client or parent)
        if client is None:
            return Outcome(end, problem)
        client.lasting(end - client.start)
        return Outcome(end, tell(self.random, client, node.service, problem, self.world.word, protocol=hop.protocol))

    def serve(
        self, node: Node, hop: Hop, client: SpanDraft | None, parent: SpanDraft, arrival: float, effect: Effect
    ) -> Outcome:
        """What the callee makes of it: its answer is on its way back at the end of this outcome."""
        callee = hop.callee
        linked = hop.linked and client is not None
        server = self.span(callee, callee.operation, arrival, callee.kind, None if linked else client or parent)
        server.caller = client
        if linked and client is not None:
            server.link(client)
        self.describe_server(callee, hop, server)
        outcome = self.operate(callee, server)
        if effect.killed_after_ms is not None:
            moment = server.start + effect.killed_after_ms
            self.kill(server, moment)
            return Outcome(moment + effect.heard_ms)
        if effect.says_gone is not None:
            problem = Problem(self.filled(effect.says_gone, node.service.name), "gone", server)
            tell(self.random, server, callee.service, problem, self.world.word)
        return outcome

    def kill(self, server: SpanDraft, moment: float) -> None:
        """The process of ``server`` dies: what it was doing is never exported, what was to come never happens."""
        below = [draft for draft in self.trace.drafts if is_below(draft, server)]
        self.trace.forget(draft for draft in below if draft.start >= moment)
        for draft in below:
            if draft.end > moment and draft.service == server.service:
                draft.drop()
        server.never_finish()

    def cancel(self, hop: Hop, moment: float) -> None:
        """The callee is told that nobody waits any more: what runs then ends as cancelled."""
        server = self.spans[id(hop.callee)]
        below = [draft for draft in self.trace.drafts if draft is server or is_below(draft, server)]
        self.stop(below, moment, hop.callee)

    def stop(self, drafts: list[SpanDraft], moment: float, node: Node) -> None:
        """What has not begun never happens; what runs ends as cancelled, in the manner of ``node``'s service."""
        self.trace.forget(draft for draft in drafts if draft.start >= moment)
        word = self.random.choice(texts.CANCELLED)
        for draft in drafts:
            if draft.start < moment < draft.end:
                draft.lasting(moment - draft.start)
                tell(self.random, draft, node.service, Problem(word, "cancelled", draft), self.world.word)

    def describe_client(self, node: Node, hop: Hop, client: SpanDraft, attempt: int) -> None:
        if self.world.bare:
            return
        old = node.service.old_names
        client.set(**{"net.peer.name" if old else "server.address": hop.callee.service.name})
        if hop.protocol == "http":
            client.set(**{"http.method" if old else "http.request.method": "POST"})
            if attempt and self.random.random() < 0.7:
                client.set(**{"http.request.resend_count": attempt})
        elif hop.protocol == "grpc":
            client.set(**{"rpc.system": "grpc", "rpc.method": hop.callee.operation.split("/")[-1]})
        elif hop.protocol == "queue":
            client.set(**{"messaging.system": "kafka"})

    def describe_server(self, callee: Node, hop: Hop, server: SpanDraft) -> None:
        if self.world.bare:
            return
        if hop.protocol == "http":
            server.set(**{"http.method" if callee.service.old_names else "http.request.method": "POST"})
        elif hop.protocol == "grpc":
            server.set(**{"rpc.system": "grpc"})


def is_below(draft: SpanDraft, top: SpanDraft) -> bool:
    """Caused by it, over links too: a linked consumer has no parent."""
    above: SpanDraft | None = draft
    while above is not None:
        above = above.parent or (above.linked[0] if above.linked else None)
        if above is top:
            return True
    return False
