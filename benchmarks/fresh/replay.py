"""Runs one execution of a system, with what goes wrong in it, and records the spans its services would have sent."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import cast

from benchmarks.fresh import sayings
from benchmarks.fresh.sayings import Mishap
from benchmarks.fresh.systems import Ask, Both, Emit, Endpoint, Host, Local, Step, System, Use
from benchmarks.labelled.acts import Act, Value
from benchmarks.labelled.spans import Event, Kind, Span
from benchmarks.labelled.worlds import Service

SPREAD = 0.12
"""Standard deviation of the logarithm of a duration."""
GRPC_CODES = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "RESOURCE_EXHAUSTED": 8,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}
GRPC_CALLERS_FAULT = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
"""Codes that leave the server's span unset, as the conventions say."""
DATABASES = ("postgresql", "mysql", "mongodb", "redis", "elasticsearch")


@dataclass(frozen=True)
class Trouble:
    """What goes wrong at one step or endpoint, by its key."""

    mishap: Mishap | None = None
    """Raised here; for a call: what its client meets without having reached the callee."""
    extra_ms: float = 0.0
    """More time in it."""
    after: bool = False
    """An endpoint's mishap comes after its steps, not before them."""
    caught: bool = False
    """The caller goes on without an answer."""
    tries: int = 1
    failing: int = 99
    """So many attempts fail, from the first on."""
    counts: bool = False
    """The client writes how often it has resent."""
    deadline_ms: float | None = None
    lost: str = ""
    """answer or request: what the path loses."""
    proxied: bool = False
    """A proxy gives up in the caller's stead and answers 504."""
    cancels: bool = False
    """The callee stops when its caller has gone."""
    wait_ms: float = 0.0
    """Between send and start."""
    mark: dict[str, Value] = field(default_factory=dict)
    """More attributes."""
    load: tuple[str, float] | None = None
    """A span before the endpoint's steps, and its milliseconds."""
    times: int = 0
    """So many calls instead of the usual ones."""
    skipped: bool = False
    killed: float = 0.0
    """At this share of its run the callee's container dies."""
    killed_as: Mishap | None = None
    """What Modal tells the caller of it."""


CALM = Trouble()


@dataclass(frozen=True)
class Done:
    end_ms: float
    mishap: Mishap | None = None


@dataclass
class Played:
    """The spans of each trace, and which ones each step left (its caller's where it leaves none)."""

    root: Span
    traces: dict[bytes, list[Span]]
    seen: dict[str, list[Span]]

    @property
    def end_ms(self) -> float:
        return max(span.end_ms or span.start_ms for spans in self.traces.values() for span in spans)

    def drop(self, gone: set[int]) -> None:
        """Take out spans, given by ``id``, as if they had never been exported."""
        for spans in self.traces.values():
            spans[:] = [span for span in spans if id(span) not in gone]


@dataclass(frozen=True)
class Identity:
    """What the spans say of their execution."""

    execution_id: int | None
    as_text: bool
    everywhere: bool
    """On the span of every endpoint, not only on what starts a trace."""


def play(system: System, identity: Identity, troubles: dict[str, Trouble], draw: Random) -> Played:
    return _Run(system, identity, troubles, draw).played()


class _Run:
    def __init__(self, system: System, identity: Identity, troubles: dict[str, Trouble], draw: Random) -> None:
        self.system, self.identity, self.troubles, self.draw = system, identity, troubles, draw
        self.trace_id = draw.randbytes(16)
        self.traces: dict[bytes, list[Span]] = {self.trace_id: []}
        self.seen: dict[str, list[Span]] = defaultdict(list)

    def played(self) -> Played:
        self.serve(self.system.root, 0.0, None)
        kept = {id(span) for spans in self.traces.values() for span in spans}
        seen = {key: [span for span in spans if id(span) in kept] for key, spans in self.seen.items()}
        return Played(self.traces[self.trace_id][0], self.traces, seen)

    def trouble(self, key: str) -> Trouble:
        return self.troubles.get(key, CALM)

    def vary(self, ms: float) -> float:
        return ms * math.exp(self.draw.gauss(0, SPREAD))

    # spans

    def open(self, host: Host, name: str, kind: Kind, at_ms: float, parent: Span | None) -> Span:
        span = Span(
            span_id=self.draw.randbytes(8),
            parent_id=parent.span_id if parent else None,
            service=cast(Service, host),  # wire and score read only what Host has too
            name=name,
            kind=kind,
            start_ms=at_ms,
            end_ms=at_ms,
            act=cast(Act, None),  # for the other generator's own use
        )
        self.traces[self.trace_id].append(span)
        return span

    def fail(self, span: Span, mishap: Mishap) -> None:
        host = cast(Host, span.service)
        span.failed = True
        if host.messages:
            told = f"{mishap.type}: {mishap.text}" if host.language == "python" else mishap.text
            span.message = told or mishap.type
        if host.current:
            span.attributes["error.type"] = mishap.type
        if host.events:
            about: dict[str, Value] = {"exception.type": mishap.type, "exception.message": mishap.text}
            if host.language in ("python", "java"):
                about["exception.stacktrace"] = f"Traceback\n  ...\n{mishap.type}: {mishap.text}"
            span.events.append(Event("exception", span.end_ms or span.start_ms, about))

    # endpoints

    def serve(self, endpoint: Endpoint, at_ms: float, parent: Span | None) -> Done:
        host, trouble = endpoint.service, self.trouble(endpoint.key)
        kinds = {"message": Kind.CONSUMER, "script": Kind.INTERNAL}
        kind = kinds.get(endpoint.entry, Kind.SERVER) if host.kinds else Kind.INTERNAL
        span = self.open(host, endpoint.name, kind, at_ms, parent)
        self.seen[endpoint.key].append(span)
        span.attributes.update(server_attributes(endpoint) | trouble.mark)
        if parent is None or self.identity.everywhere:
            span.attributes.update(self.about_execution())
        now = at_ms
        if trouble.load:
            name, ms = trouble.load
            loading = self.open(host, name, Kind.INTERNAL, now, span)
            self.seen[f"{endpoint.key}.load"].append(loading)
            now += self.vary(ms)
            loading.end_ms = now
        mishap = None
        if trouble.mishap and not trouble.after:
            now, mishap = now + self.draw.uniform(1, 8), trouble.mishap
        else:
            for step in endpoint.steps:
                done = self.step(step, now, span)
                now, mishap = done.end_ms, done.mishap
                if mishap:
                    break
            else:
                mishap = trouble.mishap
        now += trouble.extra_ms + self.draw.uniform(0.1, 2)
        if host.asgi and endpoint.entry == "http":
            sending = self.open(host, f"{endpoint.name} http send", Kind.INTERNAL, now - 0.05, span)
            sending.end_ms = now - 0.01
        span.end_ms = now
        self.answer(endpoint, span, mishap, parent is None)
        return Done(now, mishap)

    def about_execution(self) -> dict[str, Value]:
        number = self.identity.execution_id
        ids: dict[str, Value] = {}
        if number is not None:
            ids["execution.id"] = str(number) if self.identity.as_text else number
        return ids | self.system.labels

    def answer(self, endpoint: Endpoint, span: Span, mishap: Mishap | None, root: bool) -> None:
        """The outcome on the server's span."""
        host, entry = endpoint.service, endpoint.entry
        passed = mishap is not None
        if entry == "http":
            status = 200 if mishap is None else max(mishap.status, 500) if root else mishap.status
            span.attributes["http.response.status_code" if host.current else "http.status_code"] = status
            passed = status >= 500 or (status >= 400 and host.strict)
        elif entry == "grpc":
            code = mishap.grpc if mishap else "OK"
            span.attributes["rpc.grpc.status_code"] = GRPC_CODES.get(code, 0)
            passed = mishap is not None and (code not in GRPC_CALLERS_FAULT or host.strict)
        if mishap and passed:
            self.fail(span, mishap)

    # steps

    def step(self, step: Step, at_ms: float, up: Span) -> Done:
        if self.trouble(step.key).skipped:
            return Done(at_ms)
        match step:
            case Local():
                done = self.local(step, at_ms, up)
            case Use():
                done = self.use(step, at_ms, up)
            case Ask():
                done = self.ask(step, at_ms, up)
            case Emit():
                done = self.emit(step, at_ms, up)
            case Both():
                parts = [self.step(inner, at_ms, up) for inner in step.steps]
                failed = min((part for part in parts if part.mishap), key=lambda part: part.end_ms, default=None)
                done = Done(max(part.end_ms for part in parts), failed.mishap if failed else None)
        return Done(done.end_ms) if self.trouble(step.key).caught else done

    def local(self, step: Local, at_ms: float, up: Span) -> Done:
        trouble = self.trouble(step.key)
        end_ms = at_ms + self.vary(step.ms) * (self.draw.uniform(0.2, 0.9) if trouble.mishap else 1) + trouble.extra_ms
        if step.name is None:
            self.seen[step.key].append(up)
            return Done(end_ms, trouble.mishap)
        span = self.open(cast(Host, up.service), step.name, Kind.INTERNAL, at_ms, up)
        self.seen[step.key].append(span)
        span.attributes.update(trouble.mark)
        span.end_ms = end_ms
        if trouble.mishap:
            self.fail(span, trouble.mishap)
        return Done(end_ms, trouble.mishap)

    def use(self, step: Use, at_ms: float, up: Span) -> Done:
        trouble = self.trouble(step.key)
        now, mishap = at_ms, None
        for number in range(trouble.tries if trouble.tries > 1 else trouble.times or step.times):
            mishap = trouble.mishap if number < trouble.failing else None
            span = self.open(cast(Host, up.service), step.name, Kind.CLIENT, now, up)
            self.seen[step.key].append(span)
            span.attributes.update(use_attributes(step, cast(Host, up.service).current))
            if trouble.counts and number:
                span.attributes["http.request.resend_count"] = number
            now += (trouble.deadline_ms or self.vary(step.ms)) + trouble.extra_ms
            span.end_ms = now
            if mishap is None:
                self.use_status(step, span, 200)
                if trouble.tries > 1:
                    break
                continue
            mishap = self.use_failed(step, span, mishap, answered=trouble.deadline_ms is None)
            if trouble.tries == 1:
                break
            now += self.draw.uniform(30, 400)
        return Done(now, mishap)

    def use_failed(self, step: Use, span: Span, mishap: Mishap, answered: bool) -> Mishap:
        """How the client's span shows it, and what the code around it meets. Status 599: there was no answer."""
        plain = step.system == "http"
        if answered and mishap.status != 599:
            self.use_status(step, span, mishap.status)
            if plain:
                span.failed = True
                span.attributes["error.type"] = str(mishap.status)
                host = cast(Host, span.service)
                return sayings.say(self.draw, sayings.ON_STATUS[host.language], step.peer, code=mishap.status)
        self.fail(span, mishap)
        return Mishap(
            mishap.type, mishap.text, 504 if not answered else 500, "INTERNAL" if answered else "DEADLINE_EXCEEDED"
        )

    def use_status(self, step: Use, span: Span, status: int) -> None:
        if step.system in ("http", "genai", "s3"):
            current = cast(Host, span.service).current
            span.attributes["http.response.status_code" if current else "http.status_code"] = status

    def emit(self, step: Emit, at_ms: float, up: Span) -> Done:
        host, trouble = cast(Host, up.service), self.trouble(step.key)
        name = f"{step.topic} publish" if not host.current else f"send {step.topic}"
        producer = self.open(host, name, Kind.PRODUCER, at_ms, up)
        producer.end_ms = at_ms + self.draw.uniform(1, 6)
        producer.attributes.update({"messaging.system": step.system, "messaging.destination.name": step.topic})
        self.seen[step.key].append(producer)
        start = producer.end_ms + self.vary(step.lag_ms) + trouble.wait_ms
        if step.linked and self.identity.execution_id is not None:
            before, self.trace_id = self.trace_id, self.draw.randbytes(16)
            self.traces[self.trace_id] = []
            self.serve(step.to, start, None)
            self.traces[self.trace_id][0].links.append((before, producer.span_id))
            self.trace_id = before
        else:
            self.serve(step.to, start, producer)
        return Done(producer.end_ms)

    def ask(self, step: Ask, at_ms: float, up: Span) -> Done:
        trouble = self.trouble(step.key)
        now, done = at_ms, Done(at_ms)
        for number in range(trouble.tries):
            done = self.attempt(step, now, up, trouble if number < trouble.failing else CALM, number)
            if done.mishap is None:
                break
            now = done.end_ms + self.draw.uniform(50, 300) * 2**number
        return done

    def attempt(self, step: Ask, at_ms: float, up: Span, trouble: Trouble, number: int) -> Done:
        caller, callee = cast(Host, up.service), step.to.service
        client = None
        if caller.clients or step.via == "modal":
            kind = Kind.CLIENT if caller.kinds else Kind.INTERNAL
            client = self.open(caller, client_name(step, caller), kind, at_ms, up)
            client.attributes.update(client_attributes(step, caller))
            if trouble.counts and number:
                client.attributes["http.request.resend_count"] = number
        self.seen[step.key].append(client or up)
        if trouble.mishap:
            return self.gave_up(client, at_ms + self.draw.uniform(1, 40) + trouble.extra_ms, trouble.mishap)
        limit = math.inf if trouble.deadline_ms is None else at_ms + trouble.deadline_ms
        late = sayings.deadline(self.draw, caller.language, callee.name, trouble.deadline_ms or 0.0)
        if trouble.lost == "request":
            return self.gave_up(client, limit + self.draw.uniform(0, 5), late)
        spans = self.traces[self.trace_id]
        first, path_ms = len(spans), self.draw.uniform(0.4, 4)
        done = self.serve(step.to, at_ms + path_ms + trouble.wait_ms, client or up)
        if trouble.killed and trouble.killed_as:
            begun = spans[first].start_ms
            died = begun + trouble.killed * (done.end_ms - begun)
            cut(spans, first, died, unfinished=True)
            if client:
                client.attributes.update(trouble.mark)
            return self.gave_up(client, died + self.draw.uniform(300, 6_000), trouble.killed_as)
        if trouble.lost == "answer" or done.end_ms + path_ms > limit:
            if trouble.cancels:
                cut(spans, first, limit + path_ms, unfinished=False)
            end_ms = limit + self.draw.uniform(0, 5)
            if trouble.proxied and step.via == "http":
                return self.refused(step, client, end_ms, Mishap("", "", 504, "DEADLINE_EXCEEDED"), caller)
            return self.gave_up(client, end_ms, late)
        end_ms = done.end_ms + path_ms
        if done.mishap:
            return self.refused(step, client, end_ms, done.mishap, caller)
        if client:
            client.end_ms = end_ms
            if step.via == "http":
                client.attributes["http.response.status_code" if caller.current else "http.status_code"] = 200
            elif step.via == "grpc":
                client.attributes["rpc.grpc.status_code"] = 0
        return Done(end_ms)

    def gave_up(self, client: Span | None, end_ms: float, mishap: Mishap) -> Done:
        """The client had no answer at all."""
        if client:
            client.end_ms = end_ms
            self.fail(client, mishap)
        return Done(end_ms, mishap)

    def refused(self, step: Ask, client: Span | None, end_ms: float, mishap: Mishap, caller: Host) -> Done:
        """The callee's failure, as its caller meets it."""
        peer = step.to.service.name
        status = 502 if mishap.status == 500 and self.draw.random() < 0.4 else mishap.status
        if client:
            client.end_ms = end_ms
        if step.via == "http":
            if client:
                client.failed = True
                name = "http.response.status_code" if caller.current else "http.status_code"
                client.attributes |= {name: mishap.status, "error.type": str(mishap.status)}
            raised = sayings.say(self.draw, sayings.ON_STATUS[caller.language], peer, code=mishap.status)
            return Done(end_ms, Mishap(raised.type, raised.text, status, mishap.grpc))
        if step.via == "grpc":
            raised = Mishap(sayings.ON_GRPC[caller.language], f"{mishap.grpc}: {mishap.text}", status, mishap.grpc)
            if client:
                client.attributes["rpc.grpc.status_code"] = GRPC_CODES[mishap.grpc]
        else:
            raised = mishap
        if client:
            self.fail(client, raised)
        return Done(end_ms, raised)


def cut(spans: list[Span], first: int, at_ms: float, unfinished: bool) -> None:
    """End at a moment what ran then, from a place in the list on; what began later never was."""
    spans[first:] = [span for span in spans[first:] if span.start_ms < at_ms]
    for span in spans[first:]:
        if span.end_ms is not None and span.end_ms > at_ms:
            span.end_ms = None if unfinished else at_ms
            span.failed, span.message, span.events = False, "", []


def server_attributes(endpoint: Endpoint) -> dict[str, Value]:
    host, name = endpoint.service, endpoint.name
    match endpoint.entry:
        case "http":
            method, _, route = name.partition(" ")
            if host.current:
                return {"http.request.method": method, "http.route": route, "url.path": route, "url.scheme": "http"}
            return {"http.method": method, "http.route": route, "http.target": route, "http.scheme": "http"}
        case "grpc":
            service, _, method = name.partition("/")
            return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        case "modal":
            return {"modal.app": host.name, "modal.function": name, "hw.type": "gpu"}
        case "message":
            return {"messaging.operation.type" if host.current else "messaging.operation": "process"}
        case _:
            return {}


def client_name(step: Ask, caller: Host) -> str:
    method = step.to.name.partition(" ")[0]
    if step.via == "grpc":
        return step.to.name
    if step.via == "modal":
        return f"{step.to.name}.remote" if caller.current else "modal.remote"
    return f"HTTP {method}" if caller.language == "go" or not caller.current else method


def client_attributes(step: Ask, caller: Host) -> dict[str, Value]:
    peer, (method, _, route) = step.to.service.name, step.to.name.partition(" ")
    if step.via == "grpc":
        service, _, called = step.to.name.partition("/")
        where: dict[str, Value] = {"server.address": peer} if caller.current else {"net.peer.name": peer}
        return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": called} | where
    if step.via == "modal":
        return {"modal.app": peer, "modal.function": step.to.name}
    url = f"http://{peer}:8080{route}"
    if caller.current:
        return {"http.request.method": method, "url.full": url, "server.address": peer, "server.port": 8080}
    return {"http.method": method, "http.url": url, "net.peer.name": peer, "net.peer.port": 8080}


def use_attributes(step: Use, current: bool) -> dict[str, Value]:
    where: dict[str, Value] = {"server.address" if current else "net.peer.name": step.peer}
    verb, _, thing = step.name.partition(" ")
    if step.system in DATABASES:
        if current:
            return where | {"db.system.name": step.system, "db.operation.name": verb, "db.collection.name": thing}
        return where | {"db.system": step.system, "db.operation": verb, "db.statement": f"{verb} {thing} ..."}
    if step.system == "genai":
        provider = step.peer.split(".")[1]
        return where | {
            "gen_ai.operation.name": verb,
            "gen_ai.provider.name" if current else "gen_ai.system": provider,
            "gen_ai.request.model": thing,
        }
    if step.system == "s3":
        return where | {"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": step.name.partition(".")[2]}
    if current:
        return where | {"http.request.method": verb, "url.full": f"https://{step.peer}/v1/"}
    return where | {"http.method": verb, "http.url": f"https://{step.peer}/v1/"}
