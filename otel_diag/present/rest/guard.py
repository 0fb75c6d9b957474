"""Refuses browsers that were tricked: an unknown Host (DNS rebinding) or a foreign Origin (cross-site requests)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_diag.present.wire import ErrorAnswer, ErrorBody

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")


def hostname(authority: str) -> str | None:
    """The host of ``host[:port]``, lower case and without brackets; None when it is malformed."""
    try:
        return urlsplit(f"//{authority}").hostname
    except ValueError:
        return None


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
            return _refuse(421, "unknown_host", "this server is not known under the requested host name", hint)
        origin = headers.get("origin")
        if origin is not None and hostname(origin.partition("://")[2]) not in self.hosts:
            hint = "Call it from a page of this server, or from a program instead of a browser."
            return _refuse(403, "foreign_origin", "requests from pages of other sites are refused", hint)
        return None


def _refuse(status: int, code: str, message: str, hint: str) -> JSONResponse:
    answer = ErrorAnswer(error=ErrorBody(code=code, message=message, hint=hint))
    return JSONResponse(answer.model_dump(), status_code=status)
