"""The router's helper: which provider was chosen, from what, and how long the request had waited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import create_key, get_value, set_value
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.spans import ActiveSpan, Scope
from otel_diag_instrumentation.vocabulary import (
    ERROR_TYPE,
    HTTP_REQUEST_RESEND_COUNT,
    QUEUE_TIME_MS,
    ROUTER_CANDIDATES,
    ROUTER_PROVIDER,
    ROUTER_PROVIDER_HEALTHY,
)

RETRY_EVENT: Final = "router.retry"

_CURRENT_ROUTE: Final = create_key("otel-diag-route")


@dataclass(slots=True)
class Route:
    """One routing decision, its span, and the provider chosen last."""

    span: Span
    provider: str | None = None

    def choose(self, provider: str, *, healthy: bool | None = None) -> str:
        """Records the chosen provider, and whether it was believed healthy; returns the provider."""
        self.provider = provider
        self.span.set_attribute(ROUTER_PROVIDER, provider)
        if healthy is not None:
            self.span.set_attribute(ROUTER_PROVIDER_HEALTHY, healthy)
        return provider

    def queued(self, milliseconds: float) -> None:
        """Records how long the request waited before it was routed."""
        self.span.set_attribute(QUEUE_TIME_MS, float(milliseconds))

    def retried(self, failed_provider: str | None, error_type: str | None, resend: int) -> None:
        """Tells of the ``resend``-th retry: which provider had failed, and why. ``call(retry_of=...)`` does this."""
        told = {ROUTER_PROVIDER: failed_provider, ERROR_TYPE: error_type, HTTP_REQUEST_RESEND_COUNT: resend}
        self.span.add_event(RETRY_EVENT, {key: value for key, value in told.items() if value is not None})


def route(
    name: str = "router.route", *, candidates: Sequence[str] | None = None, queue_time_ms: float | None = None
) -> Scope[Route]:
    """The span of one routing decision and of the call that follows from it.

    A context manager that yields the :class:`Route`, or a decorator of any kind of function, which finds its
    :class:`Route` with :func:`current_route`.
    """

    attributes: dict[str, AttributeValue] = {}
    if candidates is not None:
        attributes[ROUTER_CANDIDATES] = list(candidates)
    if queue_time_ms is not None:
        attributes[QUEUE_TIME_MS] = queue_time_ms

    def open_scope(_arguments: Mapping[str, Any]) -> tuple[Route, ActiveSpan]:
        opened = ActiveSpan(name, attributes=attributes)
        routing = Route(opened.span)
        opened.context = set_value(_CURRENT_ROUTE, routing, opened.context)
        return routing, opened

    return Scope(open_scope)


def current_route() -> Route | None:
    """The :class:`Route` the running code is in; None outside one."""
    found = get_value(_CURRENT_ROUTE)
    return found if isinstance(found, Route) else None
