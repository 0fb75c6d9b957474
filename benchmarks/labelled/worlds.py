"""Invented systems: services, what each does for one execution, how long that takes, and what their spans look like.

A world is a tree of nodes. Every execution of it is drawn from that tree (``acts``); its baseline are executions in
which nothing goes wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random

from benchmarks.labelled.errors import LANGUAGES, Particulars
from benchmarks.labelled.names import (
    DOMAINS,
    Domain,
    Names,
    function,
    remote_procedure,
    request,
    route,
    statement,
    topic,
)


class Enter(Enum):
    """How control comes to a node."""

    ROOT = auto()
    INSIDE = auto()
    """A function of the same service."""
    CALL = auto()
    """Another service that is instrumented: a client span, if the caller has such, and the callee's."""
    OUTSIDE = auto()
    """A database or a third party: a client span of the caller and nothing else."""
    MESSAGE = auto()
    """A producer span and, later, a consumer span; nobody waits for it."""


@dataclass(frozen=True)
class Spread:
    """Log-normal: a median in milliseconds and the standard deviation of its logarithm."""

    median_ms: float
    sigma: float

    def draw(self, rng: Random, clip: float) -> float:
        z = max(-clip, min(clip, rng.gauss(0.0, 1.0)))
        return self.median_ms * math.exp(self.sigma * z)


@dataclass(frozen=True, eq=False)
class Service:
    name: str
    noun: str
    """What it is about, for the names of its operations."""
    language: str
    stable: bool
    """Today's semantic conventions; else their deprecated predecessors."""
    bare: bool
    """Spans without attributes beyond those that say how it ended."""
    detail: str
    """How an error is recorded: ``full``, ``status`` (description only), ``event`` (exception only), ``type``."""
    host: str | None
    clock_ms: float
    """What its host's clock shows too much."""
    version: str | None
    modal: str | None = None
    """The Modal app, where the service is one."""
    announces: bool = False


@dataclass(frozen=True)
class Target:
    """Where a call goes, for the attributes of its spans and the texts of its errors."""

    host: str
    port: int = 8080
    method: str = "POST"
    path: str = "/"
    procedure: str = ""
    system: str = ""
    query: str = ""
    table: str = "orders"

    def about(self, deadline_ms: float = 0.0) -> Particulars:
        return Particulars(self.host, self.port, self.path.replace("{id}", "7431"), self.table, deadline_ms)


@dataclass(frozen=True, eq=False)
class Node:
    """One step of an execution. ``service`` and ``operation`` are those of its own span."""

    enter: Enter
    service: Service
    operation: str
    protocol: str
    """http, grpc, modal, db, messaging or none."""
    work: Spread
    way: Spread
    """From the caller's send to the callee's start, and as long again back."""
    target: Target
    client: str | None = None
    """The caller's span of a call or message."""
    children: tuple[Node, ...] = ()
    parallel: bool = False
    awaited: bool = True
    chance: float = 1.0
    """How often an execution does this at all."""
    gpu: bool = False
    chooses: bool = False
    """The router's choice of a provider."""

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, eq=False)
class World:
    """A system, and how its executions are told apart."""

    root: Node
    peers: int
    """Successful executions before the cases."""
    identified: str
    """Where ``execution.id`` is: on the ``root``, on ``all`` spans, or ``none``: then one asks by trace."""
    text_ids: bool
    together: int
    """Executions in one trace."""
    labels: dict[str, str]
    """``job.id``, model and region, under the names this world uses."""
    lossy: bool
    """Now and then a span is lost, in good times as well."""
    linked: bool
    """The root consumes messages and links to the spans that sent them."""
    clients: bool
    internal_only: bool
    """Calls between services are internal spans on both sides."""
    fan_out: bool

    @property
    def services(self) -> list[Service]:
        seen: dict[str, Service] = {}
        for node in self.root.walk():
            seen.setdefault(node.service.name, node.service)
        return list(seen.values())

    @property
    def clock_spread_ms(self) -> float:
        clocks = [service.clock_ms for service in self.services]
        return max(clocks) - min(clocks)


SCALES_MS = {"fast": 0.25, "web": 5.0, "steady": 30.0, "heavy": 250.0}
FEW = 20
"""Below so many peers the constants of the specification hold instead of baselines."""

NOBODY_WAITS_MS = 1_500.0
"""Longest own work, at the median, of a step that also waits for others."""
LONGEST_LEAF_MS = 25_000.0


class _Builder:
    def __init__(self, rng: Random, names: Names, peers: int) -> None:
        self.rng, self.names, self.peers = rng, names, peers
        self.domain_name = rng.choice(list(DOMAINS))
        self.domain: Domain = DOMAINS[self.domain_name]
        self.scale = SCALES_MS[rng.choice(list(SCALES_MS))]
        self.sigma = rng.choice((0.08, 0.15, 0.25, 0.4))
        self.style = rng.randrange(10)
        self.topic_style = rng.randrange(6)
        self.clients = rng.random() < 0.78
        self.internal_only = not self.clients and rng.random() < 0.4
        self.languages = rng.sample(LANGUAGES, k=rng.choice((1, 1, 2, 3)))
        self.skew_ms = rng.choice((0.0, 0.0, 3.0, 40.0, 800.0, 3_000.0))
        self.hosts = rng.random() < 0.7
        self.versions = rng.random() < 0.6
        self.announces = rng.random() < 0.35
        self.bare = rng.random() < 0.15
        self.nouns = list(self.domain.nouns)
        rng.shuffle(self.nouns)

    def service(self, noun: str | None = None, modal: bool = False, language: str | None = None) -> Service:
        rng = self.rng
        noun = noun or (self.nouns.pop() if self.nouns else rng.choice(self.domain.nouns))
        name = self.names.service(noun, self.style)
        number = rng.randrange(10_000, 99_999)
        return Service(
            name=name,
            noun=noun.partition("-")[0],
            language=language or ("python" if modal else rng.choice(self.languages)),
            stable=rng.random() < 0.6,
            bare=self.bare,
            detail=rng.choice(("full", "full", "status", "event", "type")),
            host=f"{'ip-10-0' if number % 2 else 'node'}-{number}" if self.hosts else None,
            clock_ms=rng.uniform(-self.skew_ms, self.skew_ms),
            version=f"{rng.randrange(1, 9)}.{rng.randrange(30)}.{rng.randrange(9)}" if self.versions else None,
            modal=f"{noun}-app" if modal else None,
            announces=self.announces,
        )

    def spread(self, leaf: bool, heavy: bool = False) -> Spread:
        median = self.scale * math.exp(self.rng.gauss(0.0, 0.8)) * (self.rng.uniform(8, 40) if heavy else 1.0)
        return Spread(
            min(max(median, 0.05), LONGEST_LEAF_MS if leaf else NOBODY_WAITS_MS),
            self.sigma * self.rng.uniform(0.7, 1.2),
        )

    def way(self, protocol: str) -> Spread:
        low, high = {"modal": (15.0, 150.0), "messaging": (2.0, 60.0)}.get(protocol, (0.15, 4.0))
        return Spread(math.exp(self.rng.uniform(math.log(low), math.log(high))), 0.25)

    NO_WAY = Spread(0.0, 0.0)

    def inside(self, service: Service, depth: int, heavy: bool = False, children: tuple[Node, ...] = ()) -> Node:
        rng = self.rng
        if not children and depth > 0 and rng.random() < 0.3:
            children = (self.inside(service, depth - 1),)
        noun = service.noun
        return Node(
            Enter.INSIDE,
            service,
            function(rng.choice(self.domain.verbs), service.language, noun, rng),
            "none",
            self.spread(not children, heavy),
            self.NO_WAY,
            Target(noun),
            children=children,
        )

    def outside(self, service: Service) -> Node:
        """A database or a third party, seen by its client only."""
        rng = self.rng
        table = rng.choice(self.domain.tables)
        if rng.random() < 0.65:
            name, query, system = statement(table, rng)
            target = Target(f"{system}-{rng.randrange(9)}.db.internal", 5432, system=system, query=query, table=table)
            protocol, client = "db", name
        else:
            host = rng.choice(self.domain.partners)
            target = Target(host, 443, path=f"/v1/{table}", table=table)
            protocol = "http"
            client = rng.choice(("POST", "HTTP POST", f"POST /v1/{table}") if service.stable else ("HTTP POST", "POST"))
        return Node(
            Enter.OUTSIDE,
            service,
            client,
            protocol,
            self.spread(True, heavy=protocol == "http" and self.scale < 10),
            self.NO_WAY,
            target,
            chance=rng.choice((1.0, 1.0, 1.0, 0.75)),
        )

    def call(self, caller: Service, callee: Service, children: tuple[Node, ...], protocol: str = "") -> Node:
        rng = self.rng
        protocol = protocol or ("modal" if callee.modal else rng.choice(("http", "http", "grpc")))
        noun = callee.noun
        verb = rng.choice(self.domain.verbs)
        path, method = route(noun, rng), rng.choice(("POST", "POST", "GET", "PUT"))
        procedure = remote_procedure(noun, verb, rng)
        operation, client = {
            "http": (
                request(method, path, callee.stable, callee.language, rng),
                rng.choice((method, method, f"{method} {path}" if rng.random() < 0.3 else f"HTTP {method}")),
            ),
            "grpc": (procedure, procedure if rng.random() < 0.7 else "/" + procedure),
            "modal": (
                rng.choice((f"modal.{verb}", f"{verb}.__call__", f"modal.function {verb}", "modal.inference")),
                rng.choice((f"{verb}.remote", "modal.call", "POST", f"modal.remote {verb}")),
            ),
        }[protocol]
        if self.internal_only and protocol != "modal":
            operation = function(verb, callee.language, noun, rng)
        target = Target(
            f"{noun}.{rng.choice(('svc.cluster.local', 'internal', 'example.net'))}",
            rng.choice((80, 8080, 50051, 8443)),
            method,
            path,
            procedure,
        )
        return Node(
            Enter.CALL,
            callee,
            operation,
            protocol,
            self.spread(not children, heavy=rng.random() < 0.15),
            self.way(protocol),
            target,
            client=client if self.clients else None,
            children=children,
            parallel=self.parallel(children),
        )

    def parallel(self, children: tuple[Node, ...]) -> bool:
        return sum(child.enter is Enter.CALL for child in children) >= 2 and self.rng.random() < 0.4

    def message(self, callee: Service, children: tuple[Node, ...]) -> Node:
        table = self.rng.choice(self.domain.tables)
        return Node(
            Enter.MESSAGE,
            callee,
            topic(table, False, self.topic_style),
            "messaging",
            self.spread(not children),
            self.way("messaging"),
            Target("kafka.internal", 9092, system="kafka", table=table),
            client=topic(table, True, self.topic_style),
            children=children,
            awaited=False,
        )

    def furnished(self, service: Service, below: tuple[Node, ...]) -> tuple[Node, ...]:
        """What a service does for a request: functions, databases, calls, some of them within functions."""
        rng = self.rng
        nodes = list(below)
        nodes += [self.inside(service, 2, heavy=rng.random() < 0.2) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        nodes += [self.outside(service) for _ in range(rng.choice((0, 0, 1, 2)))]
        if rng.random() < 0.06:
            nodes.append(replace(self.inside(service, 0), awaited=False, operation="flush_audit"))
        rng.shuffle(nodes)
        if len(nodes) >= 2 and rng.random() < 0.35:
            cut = rng.randrange(1, len(nodes))
            held = tuple(nodes[:cut])
            nodes = [replace(self.inside(service, 0, children=held), parallel=self.parallel(held)), *nodes[cut:]]
        return tuple(nodes)

    def subtree(self, caller: Service, budget: int, depth: int) -> tuple[Node, int]:
        """A call to a new service with at most ``budget`` services in all; and how many it took."""
        rng = self.rng
        callee = self.service(modal=self.domain_name in ("inference", "ml") and rng.random() < 0.2)
        used = 1
        below: list[Node] = []
        shape = rng.choice(("chain", "fan", "tree"))
        wanted = {"chain": 1, "fan": 3, "tree": 2}[shape] if depth < 7 else 0
        for _ in range(wanted):
            if used < budget and rng.random() < (0.95 if shape == "chain" else 0.75):
                node, took = self.subtree(
                    callee, budget - used if shape == "chain" else max(1, (budget - used) // 2), depth + 1
                )
                below.append(node)
                used += took
        children = self.furnished(callee, tuple(below))
        if not callee.modal and rng.random() < 0.12:
            return self.message(callee, children), used
        node = self.call(caller, callee, children)
        return (replace(node, chance=0.7) if rng.random() < 0.08 else node), used

    def root(self, children: tuple[Node, ...], service: Service, linked: bool) -> Node:
        rng = self.rng
        noun = service.noun
        path = route(noun, rng)
        protocol = "messaging" if linked else rng.choice(("none", "none", "http", "http", "grpc"))
        if self.internal_only:
            protocol = "none"
        table = rng.choice(self.domain.tables)
        operation = {
            "none": rng.choice(self.domain.starts),
            "http": request("POST", path, service.stable, service.language, rng),
            "grpc": remote_procedure(noun, rng.choice(self.domain.verbs), rng),
            "messaging": topic(table, False, self.topic_style),
        }[protocol]
        return Node(
            Enter.ROOT,
            service,
            operation,
            protocol,
            self.spread(False),
            self.NO_WAY,
            Target(noun, path=path, procedure=operation, system="kafka", table=table),
            children=children,
            parallel=self.parallel(children),
        )

    def anything(self, linked: bool) -> Node:
        """A tree of 2 to 12 services."""
        root = self.service()
        total, used = self.rng.choice((2, 2, 3, 3, 4, 5, 6, 8, 12)), 1
        below: list[Node] = []
        while used < total and len(below) < 4:
            node, took = self.subtree(root, total - used, 1)
            below.append(node)
            used += took
        if all(node.enter is not Enter.CALL for node in below):
            callee = self.service()
            below.append(self.call(root, callee, self.furnished(callee, ())))
        below = [replace(node, chance=1.0) if i == 0 else node for i, node in enumerate(below)]
        return self.root(self.furnished(root, tuple(below)), root, linked)

    def pipeline(self) -> Node:
        """Runner, router, GPU function: what the product was made for."""
        rng = self.rng
        self.scale = max(self.scale, 3.0)
        runner = self.service(rng.choice(("runner", "evalrunner", "batch-runner", "client")), language="python")
        router = self.service(rng.choice(("router", "hybrid-router", "llm-gateway", "dispatcher")))
        function_app = self.service(rng.choice(("modal", "gpu", "inference", "llama", "sdxl")), modal=True)
        steps = [self.inside(function_app, 0) for _ in range(rng.choice((0, 1, 2)))]
        model = replace(
            self.inside(function_app, 0, heavy=True),
            operation=rng.choice(("modal.inference", "generate", "chat llama-3-8b", "vllm.generate", "pipe.__call__")),
            gpu=True,
        )
        called = replace(self.call(router, function_app, (*steps, model), "modal"), gpu=True)
        called = replace(called, work=self.spread(True), parallel=False)
        choice = replace(
            self.inside(router, 0),
            operation=rng.choice(("choose_provider", "router.select", "pick_backend", "rank-providers")),
            chooses=True,
            children=(),
        )
        extra = [self.outside(router)] if rng.random() < 0.5 else []
        if rng.random() < 0.4:
            helper = self.service()
            extra.append(self.call(router, helper, self.furnished(helper, ())))
        held: tuple[Node, ...] = (*extra, choice, called)
        if rng.random() < 0.4:
            held = (replace(self.inside(router, 0, children=held), operation="hybrid_router_call"),)
        routed = replace(self.call(runner, router, held, "http"), parallel=False)
        around = [self.inside(runner, 0) for _ in range(rng.choice((0, 1, 2)))]
        after = [self.outside(runner)] if rng.random() < 0.4 else []
        return replace(self.root((*around, routed, *after), runner, False), parallel=False)

    def wide(self) -> Node:
        """One caller and 300 to 1,000 calls of the same operation."""
        rng = self.rng
        self.scale = min(self.scale, 5.0)
        root, leaf = self.service(), self.service()
        one = self.call(root, leaf, (), rng.choice(("http", "grpc")))
        one = replace(one, chance=1.0, work=self.spread(True), client=one.client if rng.random() < 0.3 else None)
        leaves = (one,) * rng.randrange(300, 1000 if one.client is None else 500)
        return replace(self.root(leaves, root, False), parallel=rng.random() < 0.6)


def world(rng: Random, names: Names, peers: int, kind: str) -> World:
    """A new world. ``kind``: anything, pipeline, wide, linked."""
    builder = _Builder(rng, names, peers)
    if kind == "pipeline":
        builder.domain_name, builder.domain = "inference", DOMAINS["inference"]
        builder.nouns = list(builder.domain.nouns)
        rng.shuffle(builder.nouns)
        root = builder.pipeline()
    elif kind == "wide":
        root = builder.wide()
    else:
        root = builder.anything(kind == "linked")
    keys = rng.choice((("model.id", "region"), ("gen_ai.request.model", "cloud.region"), ("llm.model_name", "region")))
    labels: dict[str, str] = {}
    if rng.random() < 0.6:
        labels["job.id"] = f"job-{rng.randrange(10_000)}"
    if kind == "pipeline" or rng.random() < 0.2:
        labels[keys[0]] = rng.choice(("llama3.2-1b", "qwen2.5-72b", "mistral-7b", "gpt-4o", "sdxl-turbo", "whisper-v3"))
    if rng.random() < 0.5:
        labels[keys[1]] = rng.choice(("us-east", "eu-west-1", "ap-south", "us-central1", "westeurope"))
    alone = kind in ("wide", "linked") or peers == 0
    identified = rng.choice(("root", "root", "all", "none"))
    together = 1 if alone or identified == "none" or rng.random() < 0.85 else rng.choice((2, 3, 4))
    return World(
        root=root,
        peers=peers,
        identified=identified,
        text_ids=rng.random() < 0.15,
        together=together,
        labels=labels,
        lossy=kind != "wide" and rng.random() < 0.08,
        linked=kind == "linked",
        clients=builder.clients,
        internal_only=builder.internal_only,
        fan_out=kind == "wide",
    )
