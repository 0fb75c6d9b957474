"""What is usual: latency sketches per operation, and the shape of comparable successful executions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from statistics import median
from typing import Final, Literal

from otel_diag.model import RootCauseType, Status

MIN_EXECUTIONS: Final = 20
"""Thresholds are learned from at least this many comparable executions (spec/2); with fewer the constants hold."""

GAP_MS: Final = 5_000.0
NETWORK_GAP_MS: Final = 60_000.0
OPERATION_MS: Final = 120_000.0

BUCKETS_PER_DOUBLING: Final = 16
ZERO_BUCKET: Final = -1000

_MIN_LOG_SPREAD = 0.1
"""Smallest believable standard deviation of ln(latency): two buckets of the sketch are 9 % apart already."""


_UPPER: Final = ((0.9, 1.282), (0.95, 1.645), (0.99, 2.326))
"""Upper quantiles and where they lie in a normal distribution, in standard deviations."""

_BEYOND_SEEN: Final = 5.0
"""Times all but the largest few samples: no limit is higher, however wide their spread."""

_FEW: Final = 3
"""So many of the largest samples may be incidents themselves: they set no limit."""

_DEEPEST = 40


def latency_bucket(ms: float) -> int:
    """The sketch bucket of a latency: b holds (2^((b-1)/16), 2^(b/16)] ms; zero and below fall into -1000."""
    if ms <= 0 or math.isnan(ms):
        return ZERO_BUCKET
    return max(ZERO_BUCKET + 1, math.ceil(BUCKETS_PER_DOUBLING * math.log2(ms) - 1e-9))


def bucket_upper_ms(bucket: int) -> float:
    return 0.0 if bucket <= ZERO_BUCKET else float(2.0 ** (bucket / BUCKETS_PER_DOUBLING))


@dataclass(frozen=True, slots=True)
class OperationStats:
    """A mergeable sketch of latencies: how many samples fell into each bucket, and their sum in ms."""

    buckets: Mapping[int, int]
    sum_ms: float
    count: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", sum(self.buckets.values()))

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> OperationStats:
        values = list(values_ms)
        return cls(Counter(map(latency_bucket, values)), sum(values))

    @property
    def mean_ms(self) -> float | None:
        return self.sum_ms / self.count if self.count else None

    def percentile(self, q: float) -> float:
        """The ``q`` quantile (0..1) in ms, at the geometric middle of its bucket: within 2.2 %. 0 without samples."""
        rank = q * (self.count - 1)
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if self.buckets[bucket] and seen > rank:
                return 0.0 if bucket <= ZERO_BUCKET else bucket_upper_ms(bucket) * 2 ** (-0.5 / BUCKETS_PER_DOUBLING)
        return 0.0

    def minus(self, other: OperationStats) -> OperationStats:
        """These samples without those of ``other``, which must be among them (leaving one execution out)."""
        left = {b: n - other.buckets.get(b, 0) for b, n in self.buckets.items()}
        return OperationStats({b: n for b, n in left.items() if n > 0}, max(0.0, self.sum_ms - other.sum_ms))

    def limit_ms(self, spreads: float = 4.0) -> float:
        """What a sample of the same kind hardly exceeds: :meth:`usual_up_to_ms`, and all but the largest few seen; not
        many times these, where several modes (calls of one name to different services) have no spread in common."""
        seen = self.percentile(1 - _FEW / max(self.count, _FEW))
        return max(min(self.usual_up_to_ms(spreads), _BEYOND_SEEN * seen), 1.1 * seen)

    def usual_up_to_ms(self, spreads: float) -> float:
        """The median times e^(spreads * s).

        Latencies are close to log-normal, so s is a robust standard deviation of their logarithm: the largest that
        the 16th/84th and the upper percentiles suggest, as far as more than a few samples lie beyond them. A heavy or
        second mode thus raises the limit; a past incident or two do not.
        """
        middle = self.percentile(0.5)
        if middle <= 0:
            return max(2 * self.percentile(1.0), 1.0)
        low = max(self.percentile(0.16), middle / 100)
        spread = max(
            _MIN_LOG_SPREAD,
            math.log(self.percentile(0.84) / low) / 2,
            *(math.log(self.percentile(q) / middle) / z for q, z in _UPPER if self.count * (1 - q) >= _FEW - 1),
        )
        return middle * math.exp(spreads * spread)


def encode_element(depth: int, element: str) -> str:
    """An element of :attr:`Peer.elements`: one leading dot per level, then ``<service>.<operation>``.

    It keeps the shape of the tree, and a text search for ``.<operation>"`` or ``<service>.<operation>"`` still
    finds it. Levels past 40 count as 40.
    """
    return "." * min(depth, _DEEPEST) + element


def decode_element(text: str) -> tuple[int, str]:
    """(depth, element): the inverse of :func:`encode_element`."""
    element = text.lstrip(".")
    return len(text) - len(element), element


@dataclass(frozen=True, slots=True)
class Peer:
    """Another execution, as its summary tells it.

    ``elements``: the pre-order sequence of its spans, each as :func:`encode_element` writes it; ``hops``: distinct
    (caller element, callee element) pairs, without depths; ``services``: all that have a span in it.
    """

    execution_id: int | None
    trace_id: str | None
    status: Status
    duration_ms: float | None
    elements: tuple[str, ...]
    hops: tuple[tuple[str, str], ...]
    model_id: str | None = None
    region: str | None = None
    job_id: str | None = None
    root_cause_type: RootCauseType | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    failure_point: str | None = None
    service_version: str | None = None
    verdict: str | None = None
    complete: bool = True
    services: tuple[str, ...] = ()

    @property
    def shape(self) -> frozenset[str]:
        """The distinct elements of its spans."""
        return frozenset(decode_element(text)[1] for text in self.elements)


@dataclass(frozen=True, slots=True)
class HopTemplate:
    """What successful peers look like: the share (0..1) of them that have each element and hop.

    ``usual_counts``: median number of times an element occurs in the peers that have it. ``below``: for each
    element, the elements seen directly under it.
    """

    peers: int
    elements: Mapping[str, float]
    hops: Mapping[tuple[str, str], float]
    usual_counts: Mapping[str, float]
    below: Mapping[str, frozenset[str]]

    @classmethod
    def learn(cls, peers: Sequence[Peer]) -> HopTemplate:
        counts: dict[str, list[int]] = {}
        hops: Counter[tuple[str, str]] = Counter()
        below: dict[str, set[str]] = {}
        for peer in peers:
            decoded = [decode_element(text) for text in peer.elements]
            for element, count in Counter(element for _, element in decoded).items():
                counts.setdefault(element, []).append(count)
            hops.update(list(dict.fromkeys(peer.hops)))
            path: list[str] = []
            for depth, element in decoded:
                del path[depth:]
                if path:
                    below.setdefault(path[-1], set()).add(element)
                path.append(element)
        total = max(1, len(peers))
        return cls(
            peers=len(peers),
            elements={element: len(seen) / total for element, seen in counts.items()},
            hops={hop: count / total for hop, count in hops.items()},
            usual_counts={element: median(seen) for element, seen in counts.items()},
            below={element: frozenset(seen) for element, seen in below.items()},
        )

    def under(self, element: str) -> set[str]:
        """``element`` and everything seen below it."""
        found: set[str] = set()
        pending = [element]
        while pending:
            current = pending.pop()
            if current not in found:
                found.add(current)
                pending.extend(self.below.get(current, ()))
        return found

    def callee_of(self, caller: str) -> tuple[str, float] | None:
        """The element that answers calls of ``caller`` and the share of peers that show it; None if none does."""
        known = [(share, callee) for (sender, callee), share in self.hops.items() if sender == caller]
        if not known:
            return None
        share, callee = max(known)
        return callee, share


Kin = Literal["root", "job", "any"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Where in a store a baseline was read, so that the same figures can be asked for again.

    ``since`` .. ``until``: of the days, both included. ``kin``: what the peers share, the ``root`` (service, operation)
    they begin with, or their ``job_id``, or that they are executions. ``any_model``: operations whose latencies are
    those of all models, too few being of ``model_id``.
    """

    since: datetime
    until: datetime
    kin: Kin
    root: tuple[str, str]
    job_id: str | None = None
    model_id: str | None = None
    any_model: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Baseline:
    """Other executions like the one in question: it must not hold that one itself.

    ``operations`` and ``self_times`` are keyed (service, operation); ``peers`` are successful executions of the
    same kind. An empty baseline is fine: constants hold then. ``scope`` is None unless it was read from a store.
    """

    operations: Mapping[tuple[str, str], OperationStats] = field(default_factory=dict)
    self_times: Mapping[tuple[str, str], OperationStats] = field(default_factory=dict)
    peers: Sequence[Peer] = ()
    scope: Scope | None = None

    @property
    def is_learned(self) -> bool:
        """Whether there are enough comparable executions to take thresholds from them."""
        return len(self.peers) >= MIN_EXECUTIONS

    @cached_property
    def template(self) -> HopTemplate:
        return HopTemplate.learn(self.peers)

    @cached_property
    def services(self) -> frozenset[str]:
        """All services that have a span in any of the peers."""
        return frozenset(service for peer in self.peers for service in peer.services)

    @cached_property
    def durations(self) -> OperationStats:
        """Wall times of the peers."""
        return OperationStats.of(p.duration_ms for p in self.peers if p.duration_ms is not None)

    def durations_like(self, elements: Collection[str]) -> OperationStats:
        """Wall times of the peers that made just these spans, where there are enough of them; else of all peers.

        One root operation may stand for several kinds of work (a gateway's "/*"), each with its own usual time.
        """
        return OperationStats.of(peer.duration_ms for peer in self.peers_like(elements) if peer.duration_ms is not None)

    def peers_like(self, elements: Collection[str]) -> Sequence[Peer]:
        """The peers that :meth:`durations_like` is about."""
        shape = frozenset(elements)
        alike = [peer for peer in self.peers if peer.shape == shape and peer.duration_ms is not None]
        return alike if len(alike) >= MIN_EXECUTIONS else self.peers

    def self_stats(self, service: str, operation: str) -> OperationStats | None:
        """Self times of an operation where enough of them were seen, else None."""
        return self._enough(self.self_times.get((service, operation)))

    def split_element(self, element: str, services: Collection[str]) -> tuple[str, str]:
        """Service and operation of an element known by its text alone; either may hold dots.

        Decided by the operations known, else by the peers' services and ``services`` (the longest that fits), else at
        the first dot.
        """
        for service, operation in self.operations:
            if f"{service}.{operation}" == element:
                return service, operation
        fitting = [service for service in (*services, *self.services) if element.startswith(f"{service}.")]
        if fitting:
            service = max(fitting, key=len)
            return service, element[len(service) + 1 :]
        service, _, operation = element.partition(".")
        return service, operation

    def _enough(self, stats: OperationStats | None) -> OperationStats | None:
        return stats if stats is not None and self.is_learned and stats.count >= MIN_EXECUTIONS else None
