"""The current context as headers, and headers as a context.

The W3C propagators spend more on five baggage entries than the SDK on a whole span, and a service meets the same
entries again and again: what the propagator makes of them is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Final

from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PROPAGATORS
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SENT_HEADER: Final = "otel-diag-sent-unix-nano"
"""When the carrier was made, by the clock of the machine that made it."""

_BAGGAGE_HEADER: Final = "baggage"
_W3C: Final = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
_SPAN_HEADERS: Final = _W3C.fields - {_BAGGAGE_HEADER}


def inject(
    carrier: MutableMapping[str, str] | None = None, context: Context | None = None, *, timed: bool = False
) -> dict[str, str]:
    """The current context as headers (``traceparent``, ``tracestate``, ``baggage``), written into ``carrier`` too.

    ``timed`` adds the time, from which :func:`traced` computes ``queue.time_ms`` at the other end. A global propagator
    of another format (Sentry's) adds its headers to these; one that ``OTEL_PROPAGATORS`` names replaces them.
    """
    chosen = propagate.get_global_textmap()
    if _is_w3c(chosen):
        headers = _w3c_headers(chosen, context)
    else:
        headers = {}
        chosen.inject(headers, context=context)
        if OTEL_PROPAGATORS not in os.environ:
            headers = _merged(headers, _w3c_headers(_W3C, context))
    if timed:
        headers[SENT_HEADER] = str(time.time_ns())
    if carrier is not None:
        carrier.update(headers)
    return headers


def extract(carrier: Mapping[str, str]) -> Context:
    """The context a request's headers carry, and nothing of the current one; header names in any case."""
    headers = {name.lower(): value for name, value in carrier.items()}
    chosen = propagate.get_global_textmap()
    if _is_w3c(chosen):
        return _w3c_context(chosen, headers, Context())
    context = chosen.extract(headers, context=Context())
    return context if OTEL_PROPAGATORS in os.environ else _w3c_context(_W3C, headers, context)


def joined(carrier: Mapping[str, str]) -> tuple[Context | None, SpanKind]:
    """The context in which to serve a request with these headers (None for the current one), and its span's kind.

    That is a SERVER span of the caller's trace, or of a new one. Where a framework (FastAPI 0.142 and later) has made
    that span already, a second one beside it would take its children: it is then an INTERNAL span below.
    """
    remote = extract(carrier)
    caller = trace.get_current_span(remote).get_span_context()
    here = trace.get_current_span()
    if here.is_recording():
        own = here.get_span_context()
        served = caller.trace_id == own.trace_id and caller.span_id != own.span_id
        if served or not caller.is_valid:
            return None, SpanKind.INTERNAL
    return remote, SpanKind.SERVER


@lru_cache(maxsize=8)
def _is_w3c(propagator: TextMapPropagator) -> bool:
    return propagator.fields == _W3C.fields


def _w3c_headers(propagator: TextMapPropagator, context: Context | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    span = trace.get_current_span(context)
    propagator.inject(headers, context=trace.set_span_in_context(span, Context()))
    entries = baggage.get_all(context)
    if entries:
        headers |= _baggage_headers(propagator, tuple([(key, str(value)) for key, value in entries.items()]))
    return headers


@lru_cache(maxsize=256)
def _baggage_headers(propagator: TextMapPropagator, entries: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    context = Context()
    for key, value in entries:
        context = baggage.set_baggage(key, value, context)
    headers: dict[str, str] = {}
    propagator.inject(headers, context=context)
    return headers


def _w3c_context(propagator: TextMapPropagator, headers: Mapping[str, str], context: Context) -> Context:
    if entries := headers.get(_BAGGAGE_HEADER):
        context = Context({**context, **_baggage_context(propagator, entries)})
    return propagator.extract({name: headers[name] for name in headers.keys() & _SPAN_HEADERS}, context=context)


@lru_cache(maxsize=256)
def _baggage_context(propagator: TextMapPropagator, header: str) -> Context:
    return propagator.extract({_BAGGAGE_HEADER: header}, context=Context())


def _merged(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    merged = {**theirs, **ours}
    entries, others = ours.get(_BAGGAGE_HEADER), theirs.get(_BAGGAGE_HEADER)
    if entries and others:
        merged[_BAGGAGE_HEADER] = others if entries in others else f"{others},{entries}"
    return merged
