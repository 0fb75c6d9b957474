"""Labelled executions: every scenario of the specification on random topologies, with a healthy twin of each.

A :class:`World` is a chain or small tree of services with random names, operations and usual latencies. A scenario
runs the world once with its fault and says what the right diagnosis is; without the fault it is the twin.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from otel_diag.model import RootCauseType, Status, Trace
from otel_diag.testing import SpanDraft, TraceBuilder

_SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "je",
    "ki",
    "lo",
    "mu",
    "na",
    "pe",
    "qui",
    "ro",
    "su",
    "ta",
    "ve",
    "wi",
    "xo",
    "zu",
]
_VERBS = ["handle", "run", "fetch", "score", "rank", "embed", "render", "compute", "resolve", "answer", "plan", "merge"]
_WORDS = ["green", "quick", "paper", "river", "stone", "amber", "cloud", "maple", "north", "solar"]


@dataclass
class Service:
    name: str
    operation: str
    work_ms: float
    callees: list[Service] = field(default_factory=list)


@dataclass(frozen=True)
class Label:
    """What must be diagnosed; ``type`` None: healthy. ``at``: (service, operation), None: any."""

    type: RootCauseType | None
    at: tuple[str, str] | None = None


class World:
    """Services of one system. ``run`` lets an execution happen, in which ``fault`` may change the drafts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.spread = self.random.choice([0.05, 0.15, 0.3])
        names = self.random.sample([a + b + c for a in _SYLLABLES for b in _SYLLABLES[:7] for c in ("", "-svc")], 12)
        count = self.random.randint(3, 8)
        self.services = [
            Service(
                name,
                f"{self.random.choice(_VERBS)}{self.random.choice(['.', '_', ' '])}{self.random.choice(_WORDS)}",
                self.random.uniform(20, 400),
            )
            for name in names[:count]
        ]
        for position, service in enumerate(self.services[1:], 1):
            caller = self.services[position - 1] if position < 3 else self.random.choice(self.services[:position])
            caller.callees.append(service)
        self.dependency = f"{self.random.choice(_WORDS)}-db"
        self.executions = 0

    @property
    def chain(self) -> list[Service]:
        """From the root to a leaf, at least three long."""
        path = [self.services[0]]
        while path[-1].callees:
            path.append(path[-1].callees[0])
        return path

    def builder(self) -> TraceBuilder:
        self.executions += 1
        return TraceBuilder(
            execution_id=self.executions, trace_id=f"{self.random.getrandbits(128):032x}", model_id="m", region="r"
        )

    def vary(self, ms: float) -> float:
        return ms * self.random.lognormvariate(0, self.spread)

    def run(self) -> Run:
        return Run(self)

    def healthy(self) -> Trace:
        return self.run().build()


class Run:
    """One execution: ``servers[name]`` is the server span of a service (the root for the first)."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.trace = world.builder()
        self.servers: dict[str, SpanDraft] = {}
        self.work: dict[str, SpanDraft] = {}
        self.queries: dict[str, SpanDraft] = {}
        first = world.services[0]
        root = self.trace.root(first.name, first.operation)
        self._fill(first, root)

    def _fill(self, service: Service, span: SpanDraft) -> None:
        """Work, then a query to a dependency at leaves, then the calls one after the other; sets the span's length."""
        world = self.world
        self.servers[service.name] = span
        at = world.vary(service.work_ms * 0.3)
        work = span.child(f"prepare {service.operation}", at=at, ms=world.vary(service.work_ms * 0.5))
        self.work[service.name] = work
        at += work.ms + 1
        if not service.callees:
            query = span.client("SELECT things", at=at, ms=world.vary(5), peer=world.dependency).set(
                **{"db.system": "postgresql"}
            )
            self.queries[service.name] = query
            at += query.ms
        for callee in service.callees:
            server = span.call(
                callee.name,
                callee.operation,
                at=at,
                send=world.vary(2),
                back=world.vary(2),
                name=f"POST /{callee.operation}",
            )
            self._fill(callee, server)
            self._close(server)
            assert server.caller is not None
            at = server.caller.end - span.start + 1
        span.lasting(at + world.vary(service.work_ms * 0.2))

    def _close(self, server: SpanDraft) -> None:
        assert server.caller is not None
        server.caller.lasting(server.end - server.caller.start + self.world.vary(2))

    def path_to(self, name: str) -> list[SpanDraft]:
        """The spans from the root down to the server span of a service."""
        span: SpanDraft | None = self.servers[name]
        path: list[SpanDraft] = []
        while span is not None:
            path.append(span)
            span = span.parent
        return path[::-1]

    def cut_after(self, moment: float, keep: list[SpanDraft]) -> None:
        """Nothing starts after ``moment``; what runs then, on the way down to ``keep``, ends there."""
        for draft in list(self.trace.drafts):
            if draft.start >= moment and draft not in keep:
                self.trace.drafts.remove(draft)

    def delay(self, span: SpanDraft, ms: float, *, inside: bool = True) -> None:
        """``span`` takes ``ms`` longer (or, with inside=False, starts that much later); the rest follows."""
        moment = span.end if inside else span.start
        for draft in self.trace.drafts:
            if draft is span:
                continue
            above = draft in _ancestors(span)
            if above:
                draft.ms += ms
            elif draft.start >= moment or (not inside and _is_below(draft, span)):
                draft.start += ms
        if inside:
            span.ms += ms
        else:
            span.start += ms

    def fail_up(self, span: SpanDraft, error: tuple[str, str], *, timeout: bool = False) -> None:
        """``span`` fails at its end; everything above fails with it, and nothing more is started."""
        moment = span.end
        above = _ancestors(span)
        self.cut_after(moment, [span, *above])
        if timeout:
            span.time_out(*error)
        else:
            span.fail(*error)
        end = moment
        for draft in above:
            end += 1
            draft.lasting(end - draft.start)
            status = draft.time_out if timeout else draft.fail
            status("UpstreamError", f"{span.service} failed")

    def build(self) -> Trace:
        return self.trace.build()


def _ancestors(span: SpanDraft) -> list[SpanDraft]:
    found: list[SpanDraft] = []
    while span.parent is not None:
        span = span.parent
        found.append(span)
    return found


def _is_below(draft: SpanDraft, top: SpanDraft) -> bool:
    return top in _ancestors(draft)


Scenario = Callable[[World], tuple[Trace, Label]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(build: Scenario) -> Scenario:
    SCENARIOS[build.__name__] = build
    return build


def _text(world: World, *choices: tuple[str, str]) -> tuple[str, str]:
    return world.random.choice(choices)


def _at(span: SpanDraft) -> tuple[str, str]:
    return span.service, span.operation


def _skewed(world: World, run: Run) -> None:
    if world.random.random() < 0.4:
        victim = world.random.choice(world.services[1:]).name
        run.trace.skew[victim] = world.random.choice([-1, 1]) * world.random.uniform(1_500, 6_000)


@scenario
def lost_response(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[world.random.randint(1, len(world.chain) - 1)].name]
    assert callee.caller is not None
    callee.caller.lasting(callee.ms + world.random.uniform(8_000, 150_000))
    run.fail_up(callee.caller, _text(world, ("ReadTimeout", ""), ("Err", "gave up waiting for a reply")), timeout=True)
    run.trace.skew[callee.service] = world.random.choice([0, 0, -3_000, 2_000])
    return run.build(), Label(RootCauseType.NETWORK_TIMEOUT, _at(callee))


@scenario
def slow_server(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[world.random.randint(1, len(world.chain) - 1)].name]
    work = run.work[callee.service]
    deadline = world.random.uniform(5_000, 60_000)
    assert callee.caller is not None
    run.delay(work, deadline * world.random.uniform(1.2, 2))
    callee.caller.lasting(deadline)
    end = work.end
    run.cut_after(callee.caller.end, [])
    run.fail_up(callee.caller, ("DeadlineExceeded", "deadline"), timeout=True)
    callee.lasting(end - callee.start + 3)
    if world.random.random() < 0.5:
        callee.fail("BrokenPipeError", "client went away")
    return run.build(), Label(RootCauseType.SERVICE_TIMEOUT, _at(work))


@scenario
def connection_refused(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    call = callee.caller
    assert call is not None
    call.lasting(3)
    run.cut_after(call.start + 0.1, [*_ancestors(call), call])
    run.fail_up(
        call,
        _text(
            world, ("ConnectError", "[Errno 111] Connection refused"), ("OSError", "connect ECONNREFUSED 10.0.0.7:80")
        ),
    )
    return run.build(), Label(RootCauseType.CONNECTION_FAILURE, _at(call))


@scenario
def dns_failure(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    call = callee.caller
    assert call is not None
    call.lasting(40)
    run.cut_after(call.start + 0.1, [*_ancestors(call), call])
    run.fail_up(
        call, _text(world, ("gaierror", "Name or service not known"), ("Err", "getaddrinfo ENOTFOUND north.internal"))
    )
    return run.build(), Label(RootCauseType.CONNECTION_FAILURE, _at(call))


@scenario
def retry_storm(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    call = callee.caller
    assert call is not None
    assert call.parent is not None
    run.cut_after(call.start, [*_ancestors(call)])
    at = call.start - call.parent.start
    for _ in range(world.random.randint(3, 6)):
        attempt = call.parent.child(call.operation, at=at, ms=20, kind="client").fail("Err", "503 Service Unavailable")
        at += 20 + world.random.uniform(10, 400)
    run.fail_up(attempt, ("Err", "503 Service Unavailable"))
    return run.build(), Label(RootCauseType.RETRY_STORM, _at(call))


@scenario
def n_plus_one(world: World) -> tuple[Trace, Label]:
    run = world.run()
    query = run.queries[world.chain[-1].name]
    assert query.parent is not None
    for _ in range(400):
        ms = world.vary(5)
        run.delay(query, ms)
        query.ms -= ms
        query.parent.client(query.operation, at=query.end - query.parent.start, ms=ms, peer=world.dependency).set(
            **query.values
        )
    return run.build(), Label(RootCauseType.PERFORMANCE_DEGRADATION, _at(query))


@scenario
def cold_start(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    ms = world.random.uniform(8_000, 40_000)
    callee.set(**{"faas.coldstart": True})
    if world.random.random() < 0.5:
        run.delay(callee, ms, inside=False)
    else:
        run.delay(callee, ms)
        for child in [d for d in run.trace.drafts if d.parent is callee]:
            for draft in run.trace.drafts:
                if draft is child or _is_below(draft, child):
                    draft.start += ms
        callee.child("load_weights", at=0, ms=ms)
    return run.build(), Label(RootCauseType.COLD_START, _at(callee))


@scenario
def gpu_queue(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[world.random.randint(1, len(world.chain) - 1)].name]
    ms = world.random.uniform(8_000, 60_000)
    run.delay(callee, ms, inside=False)
    if world.random.random() < 0.5:
        callee.set(**{"queue.time_ms": ms})
    return run.build(), Label(RootCauseType.QUEUE_DELAY, _at(callee))


@scenario
def oom_kill(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    call = callee.caller
    assert call is not None
    run.cut_after(run.work[callee.service].start + 1, [])
    callee.never_finish()
    call.lasting(2_000)
    run.work[callee.service].drop()
    run.fail_up(call, _text(world, ("Err", "worker was OOMKilled"), ("RemoteError", "exit code 137: out of memory")))
    return run.build(), Label(RootCauseType.RESOURCE_EXHAUSTED)


@scenario
def container_preempted(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    call = callee.caller
    assert call is not None
    run.cut_after(run.work[callee.service].start + 1, [])
    callee.never_finish()
    call.lasting(2_000)
    run.fail_up(
        call,
        _text(world, ("RemoteProtocolError", "Server disconnected without sending a response."), ("Err", "HTTP 503")),
    )
    return run.build(), Label(RootCauseType.MODAL_EXECUTION_FAILURE, _at(callee))


@scenario
def container_lost_orphans(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    call = callee.caller
    assert call is not None
    run.cut_after(run.work[callee.service].end, [])
    callee.drop()
    call.lasting(2_000)
    run.fail_up(call, ("Err", "connection reset by peer"))
    return run.build(), Label(RootCauseType.MODAL_EXECUTION_FAILURE)


@scenario
def unhealthy_provider(world: World) -> tuple[Trace, Label]:
    run = world.run()
    query = run.queries[world.chain[-1].name]
    assert query.parent is not None
    query.parent.set(**{"router.provider": "p2", "router.provider_healthy": False})
    run.fail_up(query, ("Err", "it broke"))
    return run.build(), Label(RootCauseType.DEPENDENCY_FAILURE, _at(query))


@scenario
def pre_execution(world: World) -> tuple[Trace, Label]:
    run = world.run()
    root = run.servers[world.services[0].name]
    run.cut_after(root.start + 0.01, [root])
    root.lasting(world.random.uniform(1, 20))
    root.fail(*_text(world, ("RuntimeError", "worker pool is gone"), ("TypeError", "unhashable"), ("", "boom")))
    return run.build(), Label(RootCauseType.PRE_EXECUTION_FAILURE, _at(root))


@scenario
def missing_setting(world: World) -> tuple[Trace, Label]:
    run = world.run()
    root = run.servers[world.services[0].name]
    run.cut_after(root.start + 0.01, [root])
    root.lasting(world.random.uniform(1, 20))
    root.fail(
        *_text(
            world,
            ("KeyError", "'GREEN_ENDPOINT'"),
            ("Err", "environment variable X is not set"),
            ("AttributeError", "'NoneType' object has no attribute 'remote'"),
        )
    )
    return run.build(), Label(RootCauseType.CONFIGURATION_ERROR, _at(root))


@scenario
def died_without_span(world: World) -> tuple[Trace, Label]:
    trace = world.builder().declare(Status.FAILED, ms=13, message="bang").build()
    return trace, Label(RootCauseType.PRE_EXECUTION_FAILURE)


@scenario
def never_called(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[1].name]
    for draft in list(run.trace.drafts):
        if draft is callee.caller or _is_below(draft, callee.caller):
            run.trace.drafts.remove(draft)
    return run.build(), Label(RootCauseType.MISSING_SERVICE, _at(callee))


@scenario
def not_exported(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[1].name]
    assert callee.caller is not None
    for draft in run.trace.drafts:
        if _is_below(draft, callee.caller):
            draft.drop()
    return run.build(), Label(RootCauseType.INCOMPLETE_TRACE, _at(callee))


@scenario
def validation_error(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[-1].name]
    run.fail_up(
        run.work[callee.service],
        _text(world, ("ValidationError", "1 problem"), ("BadRequest", "nope"), ("Err", "prompt too long")),
    )
    return run.build(), Label(RootCauseType.VALIDATION_ERROR, _at(run.work[callee.service]))


@scenario
def rate_limit(world: World) -> tuple[Trace, Label]:
    run = world.run()
    query = run.queries[world.chain[-1].name]
    error = _text(world, ("429", ""), ("QuotaExceeded", "later"), ("Err", "Too Many Requests"))
    run.fail_up(query, error)
    return run.build(), Label(RootCauseType.RATE_LIMITED, _at(query))


@scenario
def gpu_memory(world: World) -> tuple[Trace, Label]:
    run = world.run()
    work = run.work[world.chain[-1].name]
    run.fail_up(
        work,
        _text(
            world, ("OutOfMemoryError", "CUDA"), ("OSError", "No space left on device"), ("Err", "too many open files")
        ),
    )
    return run.build(), Label(RootCauseType.RESOURCE_EXHAUSTED, _at(work))


@scenario
def service_error(world: World) -> tuple[Trace, Label]:
    run = world.run()
    work = run.work[world.random.choice(world.chain[1:]).name]
    run.fail_up(
        work, _text(world, ("ZeroDivisionError", "division by zero"), ("Oops", "it broke"), ("KeyError", "'result'"))
    )
    _skewed(world, run)
    return run.build(), Label(RootCauseType.SERVICE_ERROR, _at(work))


@scenario
def deploy_regression(world: World) -> tuple[Trace, Label]:
    run = world.run()
    work = run.work[world.random.choice(world.chain).name]
    work.version = "2.0.1"
    root = run.servers[world.services[0].name]
    run.delay(work, root.ms * world.random.uniform(3, 8))
    _skewed(world, run)
    return run.build(), Label(RootCauseType.PERFORMANCE_DEGRADATION, _at(work))


@scenario
def fan_out_bad_leaf(world: World) -> tuple[Trace, Label]:
    run = world.run()
    parent = run.servers[world.chain[-1].name]
    bad = world.random.randrange(300)
    leaves = [parent.child("leaf", at=5, ms=world.vary(5)) for _ in range(300)]
    run.fail_up(leaves[bad], ("Oops", "leaf broke"))
    return run.build(), Label(RootCauseType.SERVICE_ERROR, _at(leaves[bad]))


@scenario
def handled_then_real(world: World) -> tuple[Trace, Label]:
    """An error its parent handled, beside the one that counts."""
    run = world.run()
    parent = run.servers[world.chain[0].name]
    parent.child("cache.get", at=0, ms=1, kind="client").fail("ConnectionError", "refused")
    work = run.work[world.chain[-1].name]
    run.fail_up(work, ("Oops", "it broke"))
    return run.build(), Label(RootCauseType.SERVICE_ERROR, _at(work))


@scenario
def symptom_of_timeout(world: World) -> tuple[Trace, Label]:
    run = world.run()
    callee = run.servers[world.chain[1].name]
    call = callee.caller
    assert call is not None
    call.lasting(callee.ms + 20_000)
    run.cut_after(call.end, [])
    call.time_out()
    root = run.servers[world.chain[0].name]
    root.child("use answer", at=call.end - root.start + 1, ms=2).fail(
        "TypeError", "'NoneType' object is not subscriptable"
    )
    root.lasting(call.end - root.start + 5).fail("TypeError", "'NoneType' object is not subscriptable")
    return run.build(), Label(RootCauseType.NETWORK_TIMEOUT, _at(callee))


HEALTHY: dict[str, Callable[[World], Trace]] = {}


def healthy(build: Callable[[World], Trace]) -> Callable[[World], Trace]:
    HEALTHY[build.__name__] = build
    return build


@healthy
def plain(world: World) -> Trace:
    return world.healthy()


@healthy
def skewed_clocks(world: World) -> Trace:
    run = world.run()
    for service in world.services[1:]:
        run.trace.skew[service.name] = world.random.uniform(-5_000, 5_000)
    return run.build()


@healthy
def handled_error(world: World) -> Trace:
    run = world.run()
    run.work[world.chain[-1].name].fail("Oops", "handled")
    return run.build()


@healthy
def retried_once(world: World) -> Trace:
    run = world.run()
    call = run.servers[world.chain[1].name].caller
    assert call is not None
    assert call.parent is not None
    call.parent.child(call.operation, at=call.start - call.parent.start - 2, ms=1, kind="client").fail("Err", "refused")
    return run.build()


@healthy
def slow_off_the_path(world: World) -> Trace:
    run = world.run()
    root = run.servers[world.chain[0].name]
    root.child("audit", at=0, ms=root.ms * 5)
    return run.build()


@healthy
def short_cold_start(world: World) -> Trace:
    run = world.run()
    run.servers[world.chain[-1].name].set(**{"faas.coldstart": True})
    return run.build()


@healthy
def one_span_lost(world: World) -> Trace:
    run = world.run()
    world.random.choice(run.trace.drafts[1:]).drop()
    return run.build()
