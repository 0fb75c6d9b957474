"""Context over HTTP, for any server and any client: two spans a hop, and the W3C headers between them.

Span attributes and status follow OpenTelemetry's HTTP conventions: a client span fails from 400 on, a server span
from 500 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.propagation import inject, joined
from otel_diag_instrumentation.router import current_route
from otel_diag_instrumentation.spans import ActiveSpan, Scope, attributes_of
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


@dataclass(slots=True)
class Exchange:
    """One request and its answer. ``headers`` carry the context of ``span`` (client side), ready to be sent."""

    span: Span
    kind: SpanKind
    headers: Mapping[str, str] = field(default_factory=dict)
    resend: int = 0
    provider: str | None = None

    def status(self, code: int) -> None:
        """Records the answer's status code, and the failure it means for this side of the exchange."""
        self.span.set_attribute(HTTP_RESPONSE_STATUS_CODE, code)
        if code >= (400 if self.kind is SpanKind.CLIENT else 500):
            self.span.set_attribute(ERROR_TYPE, str(code))
            self.span.set_status(Status(StatusCode.ERROR))

    @property
    def error_type(self) -> str | None:
        """Why the exchange failed; None when it did not, or its span is not recorded."""
        failure = attributes_of(self.span).get(ERROR_TYPE)
        return None if failure is None else str(failure)


def continue_trace(
    headers: Mapping[str, str], name: str, *, method: str, path: str, route: str | None = None, scheme: str = "http"
) -> Scope[Exchange]:
    """The server span of one request, in the trace its ``headers`` carry (a new one without them).

    Where a framework has opened the server span already it is a span below that one. ``name`` is the span's, low in
    cardinality: ``POST /jobs/{id}``. ``path`` is the raw one, without the query.
    """
    host = next((value for name, value in headers.items() if name.lower() == "host"), "")
    attributes: dict[str, AttributeValue] = {
        **_method(method),
        URL_PATH: path,
        URL_SCHEME: scheme,
        **_address(host, scheme),
    }
    if route is not None:
        attributes[HTTP_ROUTE] = route

    def open_scope(_arguments: Mapping[str, Any]) -> tuple[Exchange, ActiveSpan]:
        context, kind = joined(headers)
        opened = ActiveSpan(name, context, kind, attributes)
        return Exchange(opened.span, kind), opened

    return Scope(open_scope)


def call(
    service: str,
    method: str,
    url: str,
    *,
    name: str | None = None,
    resend: int = 0,
    retry_of: Exchange | None = None,
) -> Scope[Exchange]:
    """The client span of one HTTP request to ``service``; ``resend`` counts the attempts before this one.

    ::

        with call("router", "POST", url) as exchange:
            response = httpx.post(url, json=job, headers=exchange.headers)
            exchange.status(response.status_code)

    ``retry_of`` is the exchange that this one repeats, None for the first: it is counted and linked to, and the
    :func:`route` around both tells of the retry.
    """
    attributes = _request(service, method, url)
    if retry_of is not None:
        resend = retry_of.resend + 1
    if resend:
        attributes = {**attributes, HTTP_REQUEST_RESEND_COUNT: resend}
    links = () if retry_of is None else (Link(retry_of.span.get_span_context()),)
    span_name = str(attributes[HTTP_REQUEST_METHOD]) if name is None else name

    def open_scope(_arguments: Mapping[str, Any]) -> tuple[Exchange, ActiveSpan]:
        routing = current_route()
        if routing is not None and retry_of is not None:
            routing.retried(retry_of.provider, retry_of.error_type, resend)
        opened = ActiveSpan(span_name, None, SpanKind.CLIENT, attributes, links)
        provider = None if routing is None else routing.provider
        return Exchange(opened.span, SpanKind.CLIENT, inject(context=opened.context), resend, provider), opened

    return Scope(open_scope)


@lru_cache(maxsize=256)
def _request(service: str, method: str, url: str) -> Mapping[str, AttributeValue]:
    parts = urlsplit(url)
    return MappingProxyType(
        {
            **_method(method),
            URL_FULL: _without_credentials(parts),
            **_place(parts, parts.scheme),
            SERVICE_PEER_NAME: service,
        }
    )


@lru_cache(maxsize=64)
def _method(method: str) -> Mapping[str, AttributeValue]:
    known = method.upper()
    if known not in _METHODS:
        return MappingProxyType({HTTP_REQUEST_METHOD: "_OTHER", HTTP_REQUEST_METHOD_ORIGINAL: method})
    if known != method:
        return MappingProxyType({HTTP_REQUEST_METHOD: known, HTTP_REQUEST_METHOD_ORIGINAL: method})
    return MappingProxyType({HTTP_REQUEST_METHOD: known})


@lru_cache(maxsize=64)
def _address(host: str, scheme: str) -> Mapping[str, AttributeValue]:
    """Where the ``Host`` header says the request went; nothing when what the client sent is no host."""
    try:
        return MappingProxyType(_place(urlsplit(f"//{host}"), scheme))
    except ValueError:
        return MappingProxyType({})


def _place(parts: SplitResult, scheme: str) -> dict[str, AttributeValue]:
    """Host, and its port or the scheme's; without a port when that is none, and empty without a host."""
    if not parts.hostname:
        return {}
    try:
        port = parts.port or _DEFAULT_PORTS.get(scheme)
    except ValueError:
        port = None
    return {SERVER_ADDRESS: parts.hostname} | ({} if port is None else {SERVER_PORT: port})


def _without_credentials(url: SplitResult) -> str:
    _, at, host = url.netloc.rpartition("@")
    return url._replace(netloc=f"REDACTED:REDACTED@{host}").geturl() if at else url.geturl()
