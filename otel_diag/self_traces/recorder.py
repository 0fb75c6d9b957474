"""Keeps the server's own spans: in its own store, or wherever the OpenTelemetry SDK's settings send them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

import otel_diag
from otel_diag.config import Settings
from otel_diag.delivery import Taken, append
from otel_diag.exporter.spans import StoreSpanExporter
from otel_diag.self_traces import OWN_PREFIX
from otel_diag.store.base import Store

TRACES_PER_SECOND: Final = 1.0
"""Of each kind of work; after a pause ten at once."""

BURST: Final = 10.0


@contextmanager
def recording(settings: Settings, store: Store) -> Iterator[None]:
    """Record the process's own spans for the length of the block; once in a process. The rest is written at its end."""
    exporter = _into(store, settings.tenant) if settings.self_traces == "store" else OTLPSpanExporter()
    provider = TracerProvider(
        sampler=Bounded(),
        resource=Resource.create({"service.name": "otel-diag", "service.version": otel_diag.__version__}),
        id_generator=_OwnIds(),
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


class _OwnIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return int(OWN_PREFIX, 16) << 96 | super().generate_trace_id() & (1 << 96) - 1


class Bounded(Sampler):
    """A bounded number of traces a second of each kind of work: our own by their names, what clients ask together, as
    the names of their spans are the clients'."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        """By kind of work: how many are left, and when that was so."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid and not parent.is_remote:
            sampled = parent.trace_flags.sampled
        else:
            sampled = self._take(name if kind is SpanKind.INTERNAL else "asked")
        return SamplingResult(Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP, attributes if sampled else None)

    def get_description(self) -> str:
        return f"{TRACES_PER_SECOND:g} a second"

    def _take(self, kind: str) -> bool:
        now = self._clock()
        left, since = self._left.get(kind, (BURST, now))
        left = min(BURST, left + (now - since) * TRACES_PER_SECOND)
        self._left[kind] = (left - 1 if left >= 1 else left, now)
        return left >= 1


def _into(store: Store, tenant: str) -> SpanExporter:
    """Not by way of the receiver: these spans must not take part in its counts, nor wait in its queue."""

    def write(signal: str, request: bytes, records: int) -> Taken:
        return append(store, signal, request, tenant)

    return StoreSpanExporter(write)
