"""Who may come in. Browsers that were tricked may not: an unknown Host (DNS rebinding) or a foreign Origin (cross-site
requests). Nor may who has no token for what is asked, where tokens are configured."""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_diag.auth import CHALLENGE, Access, hostname
from otel_diag.config import Role
from otel_diag.errors import Forbidden, Unauthenticated
from otel_diag.present.text import hint_of
from otel_diag.present.wire import ErrorAnswer, ErrorBody, status_of

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""For everybody: whether the server works, and what its API looks like everywhere. Every other path needs a token."""

_WRITES: Final = frozenset({("POST", "/api/v1/executions"), ("POST", "/api/v1/trace/diagnose/confirm")})
"""What adds to the store, and so needs the role that sending spans does. Everything else is a question."""

CALLER: ContextVar[str] = ContextVar("tenant of the request that is being answered")


class HostGuard:
    """ASGI middleware. ``hosts``: the host names, without port, under which this server may be addressed."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))) is not None:
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if hostname(headers.get("host", "")) not in self.hosts:
            hint = "Use 127.0.0.1 or localhost, or allow this host name when the server is started."
            return _refusal(421, "unknown_host", "this server is not known under the requested host name", hint)
        origin = headers.get("origin")
        if origin is not None and hostname(origin.partition("://")[2]) not in self.hosts:
            hint = "Call it from a page of this server, or from a program instead of a browser."
            return _refusal(403, "foreign_origin", "requests from pages of other sites are refused", hint)
        return None


class TokenGuard:
    """ASGI middleware. Lets in who may, and says in :data:`CALLER` whose data the request is about."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        try:
            tenant = self.access.tenant(Headers(scope=scope).get("authorization"), _role(scope))
        except (Unauthenticated, Forbidden) as error:
            status, code = status_of(error)
            headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else None
            refusal = _refusal(status, code, error.message, hint_of(error), headers)
            await refusal(scope, receive, send)
            return
        before = CALLER.set(tenant)
        try:
            await self.app(scope, receive, send)
        finally:
            CALLER.reset(before)


def _role(scope: Scope) -> Role:
    return Role.INGEST if (scope["method"], scope["path"]) in _WRITES else Role.READ


def _refusal(status: int, code: str, message: str, hint: str, headers: dict[str, str] | None = None) -> JSONResponse:
    answer = ErrorAnswer(error=ErrorBody(code=code, message=message, hint=hint))
    return JSONResponse(answer.model_dump(), status_code=status, headers=headers)
