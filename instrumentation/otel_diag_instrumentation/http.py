"""Context over HTTP, for any server and any client: two spans a hop, and the W3C headers between them.

Span attributes and status follow OpenTelemetry's HTTP conventions: a client span fails from 400 on, a server span
from 500 on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.spans import Scope, open_span
from otel_diag_instrumentation.vocabulary import (
    ERROR_TYPE,
    HTTP_REQUEST_METHOD,
    HTTP_REQUEST_METHOD_ORIGINAL,
    HTTP_REQUEST_RESEND_COUNT,
    HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE,
    SERVER_ADDRESS,
    SERVER_PORT,
    SERVICE_PEER_NAME,
    URL_FULL,
    URL_PATH,
    URL_SCHEME,
)

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def inject(carrier: MutableMapping[str, str] | None = None, context: Context | None = None) -> dict[str, str]:
    """The current context as headers (``traceparent``, ``tracestate``, ``baggage``), written into ``carrier`` too."""
    headers: dict[str, str] = {}
    propagate.inject(headers, context=context)
    if carrier is not None:
        carrier.update(headers)
    return headers


def extract(carrier: Mapping[str, str]) -> Context:
    """The context a request's headers carry, on top of the current one; header names in any case."""
    return propagate.extract({name.lower(): value for name, value in carrier.items()})


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer. ``headers`` carry the context of ``span`` (client side), ready to be sent."""

    span: Span
    kind: SpanKind
    headers: Mapping[str, str] = field(default_factory=dict)

    def status(self, code: int) -> None:
        """Records the answer's status code, and the failure it means for this side of the exchange."""
        self.span.set_attribute(HTTP_RESPONSE_STATUS_CODE, code)
        if code >= (400 if self.kind is SpanKind.CLIENT else 500):
            self.span.set_attribute(ERROR_TYPE, str(code))
            self.span.set_status(Status(StatusCode.ERROR))


def continue_trace(
    headers: Mapping[str, str], name: str, *, method: str, path: str, route: str | None = None, scheme: str = "http"
) -> Scope[Exchange]:
    """The server span of one request, in the trace its ``headers`` carry (a new one without them).

    ``name`` is the span's, low in cardinality: ``POST /jobs/{id}``. ``path`` is the raw one, without the query.
    """
    address = _host(headers)
    attributes = {
        **_method(method),
        URL_PATH: path,
        URL_SCHEME: scheme,
        HTTP_ROUTE: route,
        SERVER_ADDRESS: address.hostname,
        SERVER_PORT: _port(address, scheme),
    }

    @contextmanager
    def open_scope(_arguments: Mapping[str, Any]) -> Iterator[tuple[Exchange, Context]]:
        with open_span(name, context=extract(headers), kind=SpanKind.SERVER, attributes=attributes) as (span, context):
            yield Exchange(span, SpanKind.SERVER), context

    return Scope(open_scope)


def call(service: str, method: str, url: str, *, name: str | None = None, resend: int = 0) -> Scope[Exchange]:
    """The client span of one HTTP request to ``service``; ``resend`` counts the attempts before this one.

    ::

        with call("router", "POST", url) as exchange:
            response = httpx.post(url, json=job, headers=exchange.headers)
            exchange.status(response.status_code)
    """
    parts = urlsplit(url)
    attributes = {
        **_method(method),
        URL_FULL: _without_credentials(parts),
        SERVER_ADDRESS: parts.hostname,
        SERVER_PORT: _port(parts, parts.scheme),
        SERVICE_PEER_NAME: service,
        HTTP_REQUEST_RESEND_COUNT: resend or None,
    }

    @contextmanager
    def open_scope(_arguments: Mapping[str, Any]) -> Iterator[tuple[Exchange, Context]]:
        span_name = name or str(attributes[HTTP_REQUEST_METHOD])
        with open_span(span_name, kind=SpanKind.CLIENT, attributes=attributes) as (span, context):
            yield Exchange(span, SpanKind.CLIENT, inject(context=context)), context

    return Scope(open_scope)


def _method(method: str) -> dict[str, AttributeValue | None]:
    known = method.upper()
    if known in _METHODS:
        return {HTTP_REQUEST_METHOD: known, HTTP_REQUEST_METHOD_ORIGINAL: method if method != known else None}
    return {HTTP_REQUEST_METHOD: "_OTHER", HTTP_REQUEST_METHOD_ORIGINAL: method}


def _host(headers: Mapping[str, str]) -> SplitResult:
    """The ``Host`` header; empty when there is none, or when what the client sent is no host."""
    host = next((value for name, value in headers.items() if name.lower() == "host"), "")
    try:
        return urlsplit(f"//{host}")
    except ValueError:
        return urlsplit("")


def _port(address: SplitResult, scheme: str) -> int | None:
    """The port of ``address``, or its scheme's; None when there is no host, or the port is no port."""
    if not address.hostname:
        return None
    try:
        return address.port or _DEFAULT_PORTS.get(scheme)
    except ValueError:
        return None


def _without_credentials(url: SplitResult) -> str:
    _, at, host = url.netloc.rpartition("@")
    return url._replace(netloc=f"REDACTED:REDACTED@{host}").geturl() if at else url.geturl()
