"""Which execution a span belongs to: carried as W3C baggage, written on every span of every service.

The sampler of our own provider adds it to what a span starts with, which costs a third of what adding it later does;
on a provider of the application, whose sampler stays, a span processor adds it.

Baggage keys are the attribute names. Only the five below are ever copied, and only together with ``execution.id``,
so that somebody else's ``region`` in the baggage is not mistaken for ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from opentelemetry import baggage
from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel_diag_instrumentation.vocabulary import EXECUTION_ATTEMPT, EXECUTION_ID, JOB_ID, MODEL_ID, REGION

_INT64: Final = range(-(2**63), 2**63)


def int64(value: object) -> int | None:
    """The integer that ``value`` is or spells in decimal; None when there is none or it does not fit 64 bits.

    OTLP has no wider integer: one that does not fit would make the encoder drop the whole batch.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if number in _INT64 else None


_READERS: Final[Mapping[str, Callable[[str], int | str | None]]] = MappingProxyType(
    {EXECUTION_ID: int64, JOB_ID: str, MODEL_ID: str, REGION: str, EXECUTION_ATTEMPT: int64}
)


_NOTHING: Final[Mapping[str, int | str]] = MappingProxyType({})


def from_baggage(context: Context | None) -> Mapping[str, int | str]:
    """The execution's attributes as ``context`` (the current one for None) carries them; empty outside an execution."""
    carried = baggage.get_all(context)
    if EXECUTION_ID not in carried:
        return _NOTHING
    return _read(tuple((key, str(carried[key])) for key in _READERS if key in carried))


@lru_cache(maxsize=256)  # the same few executions are asked for by every span of a busy service
def _read(carried: tuple[tuple[str, str], ...]) -> Mapping[str, int | str]:
    read = {key: _READERS[key](value) for key, value in carried}
    return MappingProxyType({key: value for key, value in read.items() if value is not None})


def to_baggage(attributes: Mapping[str, int | str]) -> Context:
    """The current context with these attributes in its baggage, and without those of an enclosing execution."""
    current = get_current()
    context = Context({**current, **_written(tuple(attributes.items()))})
    for key, value in baggage.get_all(current).items():
        if key not in _READERS:
            context = baggage.set_baggage(key, value, context)
    return context


@lru_cache(maxsize=256)
def _written(attributes: tuple[tuple[str, int | str], ...]) -> Context:
    """A context with nothing but this baggage."""
    context = baggage.clear(Context())
    for key, value in attributes:
        context = baggage.set_baggage(key, str(value), context)
    return context


class ExecutionSampler(Sampler):
    """Gives every span the execution the context carries, and leaves the decision to another sampler.

    What the span says itself stays.
    """

    def __init__(self, deciding: Sampler) -> None:
        self._deciding = deciding

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
        carried = from_baggage(parent_context)
        if carried:
            attributes = {**carried, **(attributes or {})}
        return self._deciding.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return self._deciding.get_description()


class ExecutionAttributes(SpanProcessor):
    """Writes the execution the context carries on every span that starts; what the span says itself stays."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        carried = from_baggage(parent_context)
        if carried:
            own = set(span.attributes or ())
            missing = {key: value for key, value in carried.items() if key not in own}
            if missing:
                span.set_attributes(missing)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True  # older SDKs answer None here, and then do not flush the processors that follow
