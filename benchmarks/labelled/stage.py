"""Plays an execution: from the tree of acts to spans with times, statuses and errors, as its services send them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from benchmarks.labelled import semconv
from benchmarks.labelled.acts import Act, Value
from benchmarks.labelled.errors import Cause, Failure, answered, failure, own_fault, passed_on, wrapped
from benchmarks.labelled.spans import Event, Kind, Span
from benchmarks.labelled.worlds import Enter, Service, World

ANNOUNCED_AFTER_MS = 700.0


@dataclass(frozen=True)
class Ended:
    """How a step ended for who waits for it."""

    at_ms: float
    failure: Failure | None = None
    fresh: bool = False
    """The failure was raised in the waiting service itself."""


def quiet(act: Act, raised: Failure) -> bool:
    """The callee's span has no error status: HTTP conventions leave that to the client when the request was bad."""
    node = act.node
    return node.enter is Enter.CALL and node.protocol == "http" and node.client is not None and 400 <= raised.http < 500


class Stage:
    """Where one trace is played."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world, self.rng = world, rng
        self.spans: list[Span] = []

    def play(self, root: Act, start_ms: float = 0.0, parent: Span | None = None) -> Span:
        """Play an execution and return its first span."""
        span, _ = self._body(root, start_ms, parent)
        return span

    def _span(self, act: Act, service: Service, name: str, kind: Kind, start_ms: float, parent: Span | None) -> Span:
        span = Span(
            self.rng.randbytes(8), parent.span_id if parent else None, service, name, kind, start_ms, start_ms, act
        )
        span.late = act.late
        self.spans.append(span)
        return span

    def _perform(self, act: Act, start_ms: float, parent: Span) -> Ended:
        """A child of ``parent``: whatever its caller notices of it."""
        if act.node.enter is Enter.INSIDE:
            return self._body(act, start_ms, parent)[1]
        if act.node.enter is Enter.MESSAGE:
            return self._message(act, start_ms, parent)
        caller = parent.service
        client = None
        if act.node.client or act.node.enter is Enter.OUTSIDE:
            name = act.node.client or act.node.operation
            client = self._span(act, caller, name, Kind.CLIENT, start_ms, parent)
            client.attributes |= semconv.described(act.node, caller, client=True) | act.sent
            client.hidden = act.hide_client
            if act.node.enter is Enter.OUTSIDE:
                client.attributes |= act.own
        if act.unreached is not None:
            waited = self.rng.uniform(0.3, 9.0) + (act.deadline_ms or 0.0)
            return self._unanswered(act, client, start_ms + waited, act.unreached)
        end_ms, seen = start_ms + act.work_ms, act.failure
        if act.node.enter is Enter.CALL:
            end_ms, seen = self._answer(act, start_ms, client or parent)
        if act.deadline_ms is not None and (act.lost or end_ms > start_ms + act.deadline_ms):
            target = act.node.target
            spoken_to = target.system if act.node.protocol == "db" else act.node.protocol
            late = failure(Cause.TIMED_OUT, caller.language, spoken_to, target.about(act.deadline_ms), self.rng)
            return self._unanswered(act, client, start_ms + act.deadline_ms + self.rng.uniform(0.1, 4.0), late)
        if act.kill_ms is not None and act.seen is not None:
            return self._unanswered(act, client, end_ms, act.seen)
        if client is not None:
            client.end_ms = end_ms
            client.attributes |= semconv.ended(act.node, caller, seen)
        if seen is None:
            return Ended(end_ms)
        if act.node.enter is Enter.OUTSIDE:
            assert client is not None
            self._record(client, seen, act.silent)
            return Ended(end_ms, wrapped(seen, caller.language, act.node.operation, self.rng), fresh=True)
        noticed = answered(seen, caller.language, act.node.protocol, act.node.target.about(), self.rng)
        if client is not None:
            self._record_code(client, act, noticed)
        return Ended(end_ms, noticed)

    def _answer(self, act: Act, start_ms: float, parent: Span) -> tuple[float, Failure | None]:
        """Play the callee; when its answer arrives, and the failure in it."""
        arrival = start_ms + act.send_ms
        first = len(self.spans)
        span, ended = self._body(act, arrival, parent)
        given_up = start_ms + (act.deadline_ms or 0.0)
        if act.cancelled is not None and ended.at_ms > given_up:
            self._cut(self.spans[first:], given_up + 0.5, act.cancelled, span.service)
        if act.kill_ms is not None:
            self._kill(first, arrival + act.kill_ms, span.service)
            return arrival + act.kill_ms + act.return_ms, None
        return ended.at_ms + act.return_ms, ended.failure

    def _unanswered(self, act: Act, client: Span | None, end_ms: float, seen: Failure) -> Ended:
        """The caller got no answer: an exception of its own library."""
        if client is None:
            return Ended(end_ms, seen, fresh=True)
        client.end_ms = end_ms
        self._record(client, seen)
        return Ended(end_ms, wrapped(seen, client.service.language, act.node.operation, self.rng), fresh=True)

    def _message(self, act: Act, start_ms: float, parent: Span) -> Ended:
        assert act.node.client is not None
        producer = self._span(act, parent.service, act.node.client, Kind.PRODUCER, start_ms, parent)
        producer.attributes |= semconv.described(act.node, parent.service, client=True)
        producer.end_ms = start_ms + min(act.send_ms * 0.5, self.rng.uniform(0.2, 3.0))
        span, _ = self._body(act, start_ms + act.send_ms, producer)
        if self.rng.random() < 0.5:
            span.links.append((b"", producer.span_id))
        return Ended(producer.end_ms)

    def _kind(self, act: Act) -> Kind:
        node = act.node
        if node.enter is Enter.INSIDE or node.protocol == "none":
            return Kind.INTERNAL
        if node.protocol == "messaging":
            return Kind.CONSUMER
        return Kind.INTERNAL if self.world.internal_only and node.protocol != "modal" else Kind.SERVER

    def _body(self, act: Act, start_ms: float, parent: Span | None) -> tuple[Span, Ended]:
        """The node's own span with all that happens in it; how it ended for who called it."""
        node, service = act.node, act.node.service
        span = self._span(act, service, node.operation, self._kind(act), start_ms, parent)
        span.hidden = act.hide_own
        if node.enter is not Enter.INSIDE:
            span.attributes |= {} if span.kind is Kind.INTERNAL else semconv.described(node, service, client=False)
            span.attributes |= semconv.gpu(service, self.rng.randrange(10**6))
        if node.gpu and service.modal and not service.bare:
            span.attributes |= {"hw.type": "gpu", "gpu.model": "A10G"}
        if node.chooses:
            span.attributes |= {"router.provider": "primary", "router.provider_healthy": True}
        span.attributes |= act.own
        inner = self._inner(act, span, start_ms)
        span.end_ms = inner.at_ms
        if inner.failure is None:
            if span.kind is Kind.SERVER:
                span.attributes |= semconv.ended(node, service, None)
            return span, inner
        seen = inner.failure
        if node.enter is Enter.INSIDE:
            self._record(span, seen, act.silent and act.failure is not None)
            return span, Ended(inner.at_ms, wrapped(seen, service.language, node.operation, self.rng), inner.fresh)
        told = passed_on(seen, self.rng)
        if inner.fresh:
            told = own_fault(seen) if node.enter is Enter.ROOT else seen
        if span.kind is Kind.SERVER:
            span.attributes |= semconv.ended(node, service, told)
        if not (inner.fresh and quiet(act, told)):
            self._record(span, told, act.silent and act.failure is not None)
        return span, Ended(inner.at_ms, told, inner.fresh)

    def _inner(self, act: Act, span: Span, start_ms: float) -> Ended:
        """The node's own work and its children."""
        count = len(act.children) if act.done is None else min(act.done, len(act.children))
        children = act.children[:count] if act.failure is not None else act.children
        if act.parallel:
            return self._abreast(act, children, span, start_ms)
        shares = [self.rng.uniform(0.2, 1.0) for _ in range(len(children) + 1)]
        unit = act.work_ms / sum(shares)
        now = start_ms
        for child, share in zip(children, shares, strict=False):
            now += unit * share + child.pause_ms
            ended = self._perform(child, now, span)
            if child.node.enter is Enter.MESSAGE:
                now = ended.at_ms
            if not child.node.awaited:
                continue
            now = ended.at_ms
            if ended.failure is not None and not child.handled:
                return Ended(now + min(unit * share * 0.1, 2.0), ended.failure, ended.fresh)
        return self._finished(act, now + unit * shares[-1])

    def _abreast(self, act: Act, children: list[Act], span: Span, start_ms: float) -> Ended:
        before = act.work_ms * self.rng.uniform(0.2, 0.6)
        now, worst = start_ms + before, start_ms + before
        failed: Ended | None = None
        for index, child in enumerate(children):
            ended = self._perform(child, now + 0.02 * index, span)
            if child.node.enter is Enter.MESSAGE:
                worst = max(worst, ended.at_ms)
            if not child.node.awaited:
                continue
            worst = max(worst, ended.at_ms)
            if ended.failure is not None and not child.handled and failed is None:
                failed = ended
        if failed is not None:
            return Ended(worst + 0.1, failed.failure, failed.fresh)
        return self._finished(act, worst + act.work_ms - before)

    @staticmethod
    def _finished(act: Act, at_ms: float) -> Ended:
        return Ended(at_ms, act.failure, fresh=act.failure is not None)

    def _record(self, span: Span, seen: Failure, silent: bool = False) -> None:
        """Put an exception on a span, in the way its service does that."""
        span.failed = True
        if silent:
            return
        detail = span.service.detail
        if detail == "type" and not seen.type_tells:
            detail = "status"
        if detail == "event" and not seen.message and not seen.type_tells:
            detail = "full"
        if detail in ("full", "type"):
            span.attributes["error.type"] = seen.type
        if detail in ("full", "status"):
            span.message = (
                f"{seen.type}: {seen.message}" if self.rng.random() < 0.6 or not seen.message else seen.message
            )
        if detail in ("full", "event"):
            event: dict[str, Value] = {"exception.type": seen.type, "exception.message": seen.message}
            if self.rng.random() < 0.3:
                event["exception.stacktrace"] = f"{seen.type}: {seen.message}\n    at {span.name} (frame 0)"
            span.events.append(Event("exception", span.end_ms or span.start_ms, event))

    def _record_code(self, client: Span, act: Act, noticed: Failure) -> None:
        """A client span whose call was answered with an error."""
        client.failed = True
        if client.service.stable:
            client.attributes["error.type"] = semconv.code_type(act.node, noticed)
        if act.node.protocol == "modal" or self.rng.random() < 0.4:
            client.message = noticed.message

    def _cut(self, spans: list[Span], at_ms: float, why: Failure, service: Service) -> None:
        """Who was called notices that nobody waits any more, and stops."""
        running = [span for span in spans if span.end_ms is None or span.end_ms > at_ms]
        for index, span in enumerate(reversed(running)):
            if span.start_ms > at_ms:
                self.spans.remove(span)
                continue
            span.end_ms = at_ms + 0.05 * index
            if span.service is service and not span.failed:
                self._record(span, why)
                if span.attributes.keys() & semconv.ENDINGS:
                    span.attributes |= semconv.ended(span.act.node, service, why)

    def _kill(self, first: int, at_ms: float, service: Service) -> None:
        """The process of a service dies: what it had open never ends, what it had not begun never is."""
        for span in self.spans[first:]:
            if span.start_ms > at_ms:
                self.spans.remove(span)
            elif span.service is service and (span.end_ms or at_ms + 1) > at_ms:
                span.end_ms = None
                span.attributes = semconv.beginning(span.attributes)
                span.hidden = span.hidden or at_ms - span.start_ms < ANNOUNCED_AFTER_MS
