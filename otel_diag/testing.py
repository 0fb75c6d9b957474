"""Build traces for tests: services, calls, errors, clock skew and lost spans in a few lines.

>>> trace = TraceBuilder(execution_id=7)
>>> root = trace.root("runner", "execute", ms=1000)
>>> router = root.call("router", "route", at=5, ms=900)
>>> _ = router.fail("ValueError", "no such model")
>>> _ = router.caller.fail("HTTPError", "500 from router")
>>> _ = root.fail("HTTPError", "500 from router")
>>> len(trace.build().spans)
3
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from otel_diag.analyse.baseline import Baseline, OperationStats
from otel_diag.analyse.summary import rollup_rows, summarise
from otel_diag.model import NANOS_PER_MS, Declared, Event, Link, Span, Status, Trace

START: datetime = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@dataclass(eq=False)
class SpanDraft:
    """A span under construction. ``start`` in ms since the start of the trace, on the true clock; methods chain.

    ``caller``: for the far end of a :meth:`call`, the client span that made it; None otherwise.
    ``recorded``: the error, if it has a type, is told by an exception event too.
    """

    trace: TraceBuilder
    service: str
    operation: str
    start: float
    ms: float
    kind: str
    parent: SpanDraft | None
    number: int
    caller: SpanDraft | None = None
    status: Status = Status.COMPLETED
    error_type: str | None = None
    error_message: str | None = None
    version: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    linked: list[SpanDraft] = field(default_factory=list)
    recorded: bool = True
    exported: bool = True
    finished: bool = True

    @property
    def span_id(self) -> str:
        return f"{self.trace.trace_id[:8]}{self.number:08x}"

    @property
    def end(self) -> float:
        return self.start + self.ms

    def child(self, operation: str, *, at: float = 0.0, ms: float = 1.0, kind: str = "internal") -> SpanDraft:
        """A span of the same service, ``at`` ms after this one's start."""
        return self.trace.add(self.service, operation, self.start + at, ms, kind, self)

    def client(self, operation: str, *, at: float = 0.0, ms: float = 1.0, peer: str | None = None) -> SpanDraft:
        """A call to something that makes no spans of its own."""
        draft = self.child(operation, at=at, ms=ms, kind="client")
        return draft.set(**{"server.address": peer}) if peer else draft

    def call(
        self,
        service: str,
        operation: str,
        *,
        at: float = 0.0,
        ms: float = 1.0,
        send: float = 1.0,
        back: float = 1.0,
        name: str | None = None,
    ) -> SpanDraft:
        """A hop: a client span here and the server span it causes, which works for ``ms``; returns the latter.

        ``send`` and ``back``: ms on the way there and back. ``name``: operation of the client span.
        """
        client = self.child(name or f"call {operation}", at=at, ms=send + ms + back, kind="client")
        server = self.trace.add(service, operation, client.start + send, ms, "server", client)
        server.caller = client
        return server

    def fail(self, error_type: str | None = None, message: str | None = None, **attributes: Any) -> Self:
        return self.end_as(Status.FAILED, error_type, message).set(**attributes)

    def time_out(self, error_type: str | None = "TimeoutError", message: str | None = "timed out") -> Self:
        return self.end_as(Status.TIMEOUT, error_type, message)

    def end_as(
        self, status: Status, error_type: str | None = None, message: str | None = None, *, recorded: bool = True
    ) -> Self:
        """``status`` with what the span says about it; a completed span may tell of a handled error."""
        self.status, self.error_type, self.error_message, self.recorded = status, error_type, message, recorded
        return self

    def set(self, **attributes: Any) -> Self:
        self.values.update(attributes)
        return self

    def lasting(self, ms: float) -> Self:
        self.ms = ms
        return self

    def link(self, other: SpanDraft) -> Self:
        self.linked.append(other)
        return self

    def drop(self) -> Self:
        """The span is never exported; its children keep its id as their parent."""
        self.exported = False
        return self

    def never_finish(self) -> Self:
        """Only announced: the span runs until somebody kills it."""
        self.finished = False
        return self


class TraceBuilder:
    """Collects span drafts and builds a :class:`~otel_diag.model.Trace`. Same calls, same trace.

    ``skew``: ms by which a service's clock is ahead of the true one. ``resources``: resource attributes of a service,
    such as ``host.name``.
    """

    def __init__(
        self,
        *,
        execution_id: int | None = 1,
        trace_id: str | None = None,
        job_id: str | None = None,
        model_id: str | None = None,
        region: str | None = None,
        started_at: datetime = START,
    ) -> None:
        self.execution_id = execution_id
        self.trace_id = trace_id or hashlib.blake2b(f"{execution_id}".encode(), digest_size=16).hexdigest()
        self.job_id = job_id
        self.model_id = model_id
        self.region = region
        self.started_at = started_at
        self.skew: dict[str, float] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self.drafts: list[SpanDraft] = []
        self._declared: Declared | None = None

    def root(self, service: str, operation: str, *, ms: float = 1.0, kind: str = "internal") -> SpanDraft:
        return self.add(service, operation, 0.0, ms, kind, None)

    def add(
        self, service: str, operation: str, start: float, ms: float, kind: str, parent: SpanDraft | None
    ) -> SpanDraft:
        draft = SpanDraft(self, service, operation, start, ms, kind, parent, next(self._numbers))
        self.drafts.append(draft)
        return draft

    def forget(self, drafts: Iterable[SpanDraft]) -> None:
        """These never happened (a span that happened and was lost: :meth:`SpanDraft.drop`)."""
        gone = {draft.number for draft in drafts}
        self.drafts = [draft for draft in self.drafts if draft.number not in gone]

    def declare(self, status: Status, *, ms: float | None = None, message: str | None = None) -> Self:
        """What the runner records about the execution, beside or instead of spans."""
        if self.execution_id is None:
            raise ValueError("only an execution can be declared")
        ended = None if ms is None else datetime.fromtimestamp(self.started_at.timestamp() + ms / 1e3, UTC)
        self._declared = Declared(
            self.execution_id, status, self.started_at, ended, self.job_id, self.model_id, self.region, message
        )
        return self

    def build(self) -> Trace:
        spans = tuple(self._span(draft) for draft in self.drafts if draft.exported)
        return Trace(spans, self.execution_id, self.trace_id if spans else None, self._declared)

    def _span(self, draft: SpanDraft) -> Span:
        epoch = int(self.started_at.timestamp() * 1e9)
        shift = self.skew.get(draft.service, 0.0)
        start = epoch + round((draft.start + shift) * NANOS_PER_MS)
        end = epoch + round((draft.end + shift) * NANOS_PER_MS) if draft.finished else None
        status = draft.status if draft.finished else Status.RUNNING
        events: tuple[Event, ...] = ()
        if draft.error_type is not None and draft.recorded and draft.finished:
            told = {"exception.type": draft.error_type, "exception.message": draft.error_message or ""}
            events = (Event("exception", end or start, told),)
        content = f"{draft.span_id}/{start}/{end}/{status}/{draft.error_message}/{sorted(draft.values.items())}"
        return Span(
            trace_id=self.trace_id,
            span_id=draft.span_id,
            service=draft.service,
            operation=draft.operation,
            start_unix_nano=start,
            end_unix_nano=end,
            parent_span_id=draft.parent.span_id if draft.parent else None,
            kind=draft.kind,
            status=status,
            error_type=draft.error_type,
            error_message=draft.error_message,
            execution_id=self.execution_id if draft.parent is None else None,
            job_id=self.job_id if draft.parent is None else None,
            model_id=self.model_id if draft.parent is None else None,
            region=self.region if draft.parent is None else None,
            service_version=draft.version,
            attributes=dict(draft.values),
            resource=self.resources.get(draft.service, {}),
            events=events,
            links=tuple(Link(self.trace_id, other.span_id) for other in draft.linked),
            content_hash=int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big", signed=True),
        )


def baseline_of(traces: Iterable[Trace]) -> Baseline:
    """What a store would have learned from these executions: latency sketches, and the completed ones as peers."""
    buckets: dict[tuple[str, str, str], dict[int, int]] = {}
    sums: dict[tuple[str, str, str], float] = {}
    peers = []
    for trace in traces:
        summary = summarise(trace)
        if summary.status == Status.COMPLETED:
            peers.append(summary.as_peer())
        for key, (count, total) in rollup_rows(trace, lambda span: True).items():
            if key[5] != Status.COMPLETED:
                continue
            name = (key[1], key[2], key[6])
            counts = buckets.setdefault(name, {})
            counts[key[7]] = counts.get(key[7], 0) + count
            sums[name] = sums.get(name, 0.0) + total
    stats = {name: OperationStats(counts, sums[name]) for name, counts in buckets.items()}
    return Baseline(
        operations={name[:2]: found for name, found in stats.items() if name[2] == "duration"},
        self_times={name[:2]: found for name, found in stats.items() if name[2] == "self"},
        peers=tuple(peers),
    )
