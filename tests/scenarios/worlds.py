"""Random systems: what a seed decides about services, calls, names, usual durations, instrumentation and errors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from math import inf
from random import Random

from otel_diag.analyse.baseline import Baseline
from otel_diag.model import Trace
from otel_diag.testing import baseline_of
from tests.scenarios import names, texts
from tests.scenarios.plans import Hop, Node, Query, Service, Spread, Step, Together, Work, ceiling, flat
from tests.scenarios.runs import Effect, Run

DEADLINES = (250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000)
LEARNED_FROM = 20
"""Comparable executions from which on thresholds come from the baseline (spec/2)."""


class World:
    """One system. ``peers``: how many comparable executions its baseline was learned from.

    ``bare``: calls have no attributes. ``layered``: services have spans within spans. ``mesh``: calls go through
    proxies. ``lost_share``: of the spans of peers, so many are never exported.
    """

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        random = self._random = Random(f"world/{seed}")
        self.peers = random.choice((0, 5, 12, 25, 60, 60))
        self.kinds = 2 if self.peers in (0, 60) and random.random() < 0.4 else 1
        # Without a baseline five seconds count as a gap: there, nothing usual may take so long.
        self.scale = 10 ** random.uniform(0.0, 3.6 if self.is_learned else 2.6)
        self.sigma = random.choice((0.03, 0.1, 0.2, 0.35, 0.55))
        self.word = random.choice(names.NOUNS)
        self.model = random.choice(("llama3.2-1b", "mistral-7b", None))
        self.job = random.choice(("nightly", "job-7", None))
        self.region = random.choice(("us-east", "eu-west-1", None))
        self.shared_name = random.choice(("handle", "POST /invoke", "process", "call"))
        self.same_names = random.random() < 0.15
        self.cancels = random.random() < 0.5
        self.bare = random.random() < 0.15
        self.layered = random.random() < 0.35
        self.mesh = random.random() < 0.1
        self.lost_share = random.choice((0.0, 0.0, 0.01, 0.02))
        self._protocols = random.choice(
            (
                ("http",),
                ("grpc",),
                ("function",),
                ("http", "grpc"),
                ("http", "queue"),
                ("http", "grpc", "function", "queue"),
            )
        )
        self.hosts = [f"node-{number}" for number in range(random.randint(1, 6))]
        self._client_spans = random.choice((1.0, 1.0, 0.8, 0.0))
        self._kinds_told = random.random() < 0.85
        self._telling = random.choice((None, None, "exception", "status", "type", "code", "quiet"))
        self.services = [
            self._service(name) for name in names.service_names(random, random.choice((2, 3, 3, 4, 5, 6, 8, 10, 12)))
        ]
        self.root = self._topology()
        self.total = self.root.ceiling
        self._executions = 0

    # -- what there is -----------------------------------------------------------------------------

    def _service(self, name: str) -> Service:
        random = self._random
        return Service(
            name=name,
            host=random.choice(self.hosts),
            host_is_told=random.random() < 0.6,
            version=random.choice(("1.4.2", "2025.11.3", "a1b9f0e", None)),
            client_spans=random.random() < self._client_spans,
            inner_spans=random.random() < 0.75,
            kinds_are_told=self._kinds_told,
            old_names=random.random() < 0.35,
            telling=self._telling or random.choice(("exception", "exception", "status", "type", "code", "quiet")),
        )

    def _spread(self, share: float) -> Spread:
        """Around ``share`` of the scale; one in ten has two modes, as with a cache."""
        random = self._random
        median = self.scale * share * random.uniform(0.3, 1.7)
        if random.random() < 0.1:
            return Spread(median, min(self.sigma, 0.2), random.uniform(0.25, 0.5), random.uniform(4, 12))
        return Spread(median, self.sigma)

    def _node(self, service: Service, protocol: str, *, root: bool = False) -> Node:
        random = self._random
        kind = {"http": "server", "grpc": "server", "function": "server", "queue": "consumer"}[protocol]
        if not service.kinds_are_told or (root and random.random() < 0.5):
            kind = "internal"
        elif root and random.random() < 0.15:
            kind = "consumer"
        name = self.shared_name if self.same_names else names.server_name(random, protocol)
        node = Node(service, name, kind, self._spread(0.08), self._spread(0.06))
        if service.inner_spans:
            node.steps.append(Work(name=names.inner_name(random), takes=self._spread(0.3)))
        else:
            node.before = self._spread(0.3)
        return node

    def _finish(self, node: Node) -> None:
        """Ends of a chain ask a database or somebody's API; others do now and then, and some work after the calls."""
        random = self._random
        if node.is_proxy:
            return
        if not any(node.hops()) or random.random() < 0.3:
            name, peer, attributes = names.dependency(random)
            node.steps.insert(
                random.randint(0, len(node.steps)),
                Query(name=name, takes=self._spread(0.1), peer=peer, attributes=attributes),
            )
        if node.service.inner_spans and random.random() < 0.4:
            taken = {step.name for step in node.steps if isinstance(step, Work)}
            name = names.inner_name(random)
            if name not in taken:
                node.steps.append(Work(name=name, takes=self._spread(0.15)))

    def _hop(self, caller: Node, callee: Node, protocol: str) -> Hop:
        random = self._random
        client = names.client_name(random, protocol, callee.operation) if caller.service.client_spans else None
        near = min(self.scale * 0.01, 20.0)
        network = Spread(near * random.uniform(0.3, 1.5) + 0.05, min(self.sigma, 0.3))
        hop = Hop(callee=callee, protocol=protocol, client_name=client, send=network, back=network)
        if client is not None and protocol in ("http", "function") and random.random() < 0.12:
            hop.outer_name = random.choice(("chat gpt-4o", "S3Client.send", "WebClient.exchange", "sdk.request"))
        if protocol == "queue":
            hop.awaited = random.random() < 0.7
            hop.linked = client is not None and random.random() < 0.4
            if client is not None and hop.awaited and random.random() < 0.4:
                hop.reply_name = random.choice(("await reply", "wait for result", "future.get", "poll"))
        return hop

    def _topology(self) -> Node:
        random = self._random
        shape = random.choice(("chain", "tree", "tree", "fan", "diamond"))
        root = self._node(self.services[0], "function" if random.random() < 0.4 else "http", root=True)
        made = [root]
        for service in self.services[1:]:
            if shape == "chain" or len(made) < 2:
                caller = made[-1]
            elif shape == "fan":
                caller = made[0] if random.random() < 0.8 else random.choice(made)
            else:
                caller = random.choice(made)
            made.append(self._connect(caller, service))
        if shape == "diamond" and len(made) > 2:
            self._connect(random.choice(made[:-1]), made[-1].service, like=made[-1])
        if random.random() < 0.2:  # a gateway: it only wraps what its callee does
            root.steps = [step for step in root.steps if isinstance(step, Hop)]
            root.before = root.after = Spread(self.scale * 0.005, 0.1)
        for node in self.nodes_of(root):
            self._finish(node)
            self._in_parallel(node)
        for node in self.nodes_of(root):
            self._layers(node)
        self._kinds_of_requests(root)
        if random.random() < 0.12:
            root = self._under_a_client(root)
        self._deadlines(root)
        return root

    def _under_a_client(self, entry: Node) -> Node:
        """A script comes before the system, whose only span is its call."""
        script = self._service(f"{self.word}-runner")
        self.services.append(script)
        quick = Spread(self.scale * 0.002, 0.1)
        kinds = ("client", "server") if self._kinds_told else ("internal", "internal")
        name = names.client_name(self._random, "http", entry.operation)
        root = Node(script, name, kinds[0], quick, quick, is_call=True)
        hop = self._hop(root, entry, "http")
        hop.client_name = hop.outer_name = None
        root.steps.append(hop)
        entry.kind = kinds[1]
        return root

    def _layers(self, node: Node) -> None:
        """Of a service with a span for each of its layers: what an operation does, it does in a function below."""
        if not self.layered or not node.service.inner_spans or self._random.random() < 0.4:
            return
        none = Spread(0, 0)
        inner = Node(node.service, names.inner_name(self._random), "internal", self._spread(0.02), self._spread(0.02))
        inner.steps = node.steps
        node.steps = [Hop(callee=inner, protocol="local", send=none, back=none)]

    def _connect(self, caller: Node, service: Service, like: Node | None = None) -> Node:
        protocol = self._random.choice(self._protocols)
        callee = self._node(service, protocol)
        if like is not None:
            callee.operation, callee.kind = like.operation, like.kind
        used = protocol if like is None or protocol != "queue" else "http"
        if self.mesh and used != "queue":
            caller = self._proxied(caller, callee, used)
        caller.steps.append(self._hop(caller, callee, used))
        return callee

    def _proxied(self, caller: Node, callee: Node, protocol: str) -> Node:
        """The proxy of a service mesh, that stands before a service and passes on what it gets."""
        told = callee.service
        service = replace(told, name=f"{told.name}-envoy", version=None, client_spans=True, inner_spans=False)
        quick = Spread(self.scale * 0.001, 0.1)
        proxy = Node(service, f"{told.name}.svc.cluster.local:80/*", "server", quick, quick, is_proxy=True)
        if not service.kinds_are_told:
            proxy.kind = "internal"
        caller.steps.append(self._hop(caller, proxy, protocol))
        return proxy

    def _in_parallel(self, node: Node) -> None:
        """Calls that follow each other may as well run together."""
        calls = [step for step in node.steps if isinstance(step, Hop)]
        if len(calls) > 1 and self._random.random() < 0.4:
            rest = [step for step in node.steps if not isinstance(step, Hop)]
            node.steps = [*rest, Together(steps=list[Step](calls), cancels=self.cancels)]

    def _kinds_of_requests(self, root: Node) -> None:
        if self.kinds == 1:
            return
        for node in self.nodes_of(root):
            for step in list(flat(node.steps))[1:]:
                if self._random.random() < 0.35:
                    step.only_kind = self._random.randint(0, 1)

    def _deadlines(self, node: Node) -> None:
        for hop in node.hops():
            self._deadlines(hop.callee)
            fits = [limit for limit in DEADLINES if limit > 4 * (ceiling(hop) + 5)] or [DEADLINES[-1]]
            hop.deadline = self._random.choice(fits[:3]) * self._random.uniform(0.98, 1.0)
            if hop.protocol == "local":
                hop.deadline = inf
            if not hop.awaited:
                hop.deadline = inf
                for below in self.nodes_of(hop.callee):
                    below.detached = True

    @staticmethod
    def nodes_of(root: Node) -> list[Node]:
        found = [root]
        for node in found:
            found.extend(hop.callee for hop in node.hops())
        return found

    # -- what scenarios choose from ------------------------------------------------------------------

    @cached_property
    def callers(self) -> dict[int, tuple[Node, Hop]]:
        """By ``id`` of a node: the one that calls it, and how."""
        return {id(hop.callee): (node, hop) for node in self.nodes_of(self.root) for hop in node.hops()}

    def always(self, node: Node) -> bool:
        """Every kind of request comes here, and somebody waits for it."""
        if node.detached:
            return False
        while id(node) in self.callers:
            caller, hop = self.callers[id(node)]
            if hop.only_kind is not None:
                return False
            node = caller
        return True

    def usual(self, node: Node) -> float:
        """What an operation usually takes, in ms, roughly."""
        own = node.before.median + node.after.median
        for step in flat(node.steps):
            if isinstance(step, Hop):
                own += self.usual(step.callee) if step.awaited else 0.0
            elif isinstance(step, Work | Query):
                own += step.takes.median
        return own

    @property
    def is_learned(self) -> bool:
        return self.peers >= LEARNED_FROM

    # -- what happens --------------------------------------------------------------------------------

    def run(
        self, random: Random, effects: dict[int, Effect] | None = None, *, patient: bool | Collection[Hop] = False
    ) -> Run:
        """``patient``: nobody has a deadline, or these calls have none."""
        return Run(self, random, effects or {}, patient=patient)

    def healthy(self, random: Random) -> Trace:
        run = self.run(random)
        for draft in run.trace.drafts[1:]:
            if random.random() < self.lost_share:
                draft.drop()
        return run.build()

    @cached_property
    def baseline(self) -> Baseline:
        """Of ``peers`` ordinary executions, and of a few more that were incidents."""
        random = Random(f"peers/{self.seed}")
        traces = [self.healthy(random) for _ in range(self.peers)]
        incidents = round(self.peers * random.choice((0, 0, 0.05, 0.12)))
        traces.extend(self._incident(random) for _ in range(incidents))
        return baseline_of(traces)

    def _incident(self, random: Random) -> Trace:
        node = random.choice(self.nodes_of(self.root))
        if random.random() < 0.6:
            return self.run(random, {id(node): Effect(error=random.choice(texts.BUG), family="bug")}).build()
        slow = Effect(extra_ms=self.total * random.uniform(0.5, 1.5))
        return self.run(random, {id(node): slow}, patient=True).build()
