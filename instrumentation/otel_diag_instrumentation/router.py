"""The router's helper: which provider was chosen, from what, and how long the request had waited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.trace import Span

from otel_diag_instrumentation.spans import Scope, open_span
from otel_diag_instrumentation.vocabulary import (
    QUEUE_TIME_MS,
    ROUTER_CANDIDATES,
    ROUTER_PROVIDER,
    ROUTER_PROVIDER_HEALTHY,
)

_CURRENT_ROUTE: Final = create_key("otel-diag-route")


@dataclass(frozen=True, slots=True)
class Route:
    """One routing decision, and its span."""

    span: Span

    def choose(self, provider: str, *, healthy: bool | None = None) -> str:
        """Records the chosen provider, and whether it was believed healthy; returns the provider."""
        self.span.set_attribute(ROUTER_PROVIDER, provider)
        if healthy is not None:
            self.span.set_attribute(ROUTER_PROVIDER_HEALTHY, healthy)
        return provider

    def queued(self, milliseconds: float) -> None:
        """Records how long the request waited before it was routed."""
        self.span.set_attribute(QUEUE_TIME_MS, float(milliseconds))


def route(
    name: str = "router.route", *, candidates: Sequence[str] | None = None, queue_time_ms: float | None = None
) -> Scope[Route]:
    """The span of one routing decision and of the call that follows from it.

    A context manager that yields the :class:`Route`, or a decorator of any kind of function, which finds its
    :class:`Route` with :func:`current_route`.
    """

    @contextmanager
    def open_scope(_arguments: Mapping[str, Any]) -> Iterator[tuple[Route, Context]]:
        attributes = {ROUTER_CANDIDATES: candidates and list(candidates), QUEUE_TIME_MS: queue_time_ms}
        with open_span(name, attributes=attributes) as (span, context):
            opened = Route(span)
            yield opened, set_value(_CURRENT_ROUTE, opened, context)

    return Scope(open_scope)


def current_route() -> Route | None:
    """The :class:`Route` the running code is in; None outside one."""
    found = get_value(_CURRENT_ROUTE)
    return found if isinstance(found, Route) else None
