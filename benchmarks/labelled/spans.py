"""Spans and labels as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from benchmarks.labelled.acts import Act, Place, Record, Value
from benchmarks.labelled.worlds import Service


class Kind(IntEnum):
    """As OTLP numbers them."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass
class Event:
    name: str
    at_ms: float
    attributes: dict[str, Value]


@dataclass(eq=False)
class Span:
    """Times are milliseconds after the execution's start, by the true clock."""

    span_id: bytes
    parent_id: bytes | None
    service: Service
    name: str
    kind: Kind
    start_ms: float
    end_ms: float | None
    """None: its process was lost; only its announcement, if any, was sent."""
    act: Act
    attributes: dict[str, Value] = field(default_factory=dict)
    failed: bool = False
    message: str = ""
    events: list[Event] = field(default_factory=list)
    links: list[tuple[bytes, bytes]] = field(default_factory=list)
    hidden: bool = False
    late: bool = False


@dataclass(frozen=True)
class Trace:
    """What is sent of one trace. ``start_s`` is relative to the run's anchor, in seconds; negative is earlier."""

    trace_id: bytes
    start_s: float
    spans: list[Span]
    versions: dict[str, str]
    clocks_ms: dict[str, float]


@dataclass(frozen=True)
class Declared:
    """An execution for POST /api/v1/executions."""

    execution_id: int
    start_s: float
    record: Record
    labels: dict[str, str]
    trace_id: bytes | None


@dataclass(frozen=True)
class Label:
    """What a right answer says. More than one type or place only where the specification leaves it open."""

    types: frozenset[str] = frozenset()
    places: frozenset[Place] | None = None
    """None: there is no span that could be named."""
    verdicts: frozenset[str] = frozenset({"root_cause"})

    @property
    def healthy(self) -> bool:
        return self.verdicts == {"healthy"}

    def text(self) -> str:
        if not self.types:
            return " or ".join(sorted(self.verdicts))
        where = "anywhere" if self.places is None else " or ".join(sorted(f"{s} | {o}" for s, o in self.places))
        more = "".join(f" or {verdict}" for verdict in sorted(self.verdicts - {"root_cause"}))
        return f"{' or '.join(sorted(self.types))} at {where}{more}"


HEALTHY = Label(verdicts=frozenset({"healthy"}))


def cause(types: str | tuple[str, ...], *places: Place) -> Label:
    return Label(frozenset({types} if isinstance(types, str) else types), frozenset(places))


@dataclass(frozen=True)
class Case:
    """One question with its right answer, and everything that has to be sent for it."""

    scenario: str
    kind: str
    """fault, twin, harmless, or undecidable (too few peers to call it slow)."""
    label: Label
    peers: int
    execution_id: int | None
    trace_id: bytes
    traces: list[Trace]
    declared: list[Declared]
    arriving: bool

    def question(self) -> dict[str, int | str]:
        return {"trace_id": self.trace_id.hex()} if self.execution_id is None else {"execution_id": self.execution_id}
