"""Who may do what: bearer tokens, known by their hash, each bound to a tenant and to roles."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from typing import Final
from urllib.parse import urlsplit

from otel_diag.config import Role, Settings, Token
from otel_diag.errors import Forbidden, StartupError, Unauthenticated

CHALLENGE: Final = 'Bearer realm="otel-diag"'
"""What a 401 answers in WWW-Authenticate."""

_HINT: Final = "Send the header Authorization: Bearer TOKEN; commands take TOKEN from OTEL_DIAG_TOKEN."


LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")


def known_hosts(settings: Settings) -> frozenset[str]:
    """The names, without port, under which pages and programs may address this server."""
    return frozenset((*LOOPBACK_HOSTS, settings.host, *settings.allowed_hosts))


def hostname(authority: str) -> str | None:
    """The host of ``host[:port]``, lower case and without brackets; None when it is malformed."""
    try:
        return urlsplit(f"//{authority}").hostname
    except ValueError:
        return None


def hash_of(token: str) -> str:
    """SHA-256 in hexadecimal. Tokens are random (:func:`new_token`): nothing slower is needed to protect them."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def new_token() -> str:
    """A token of 256 random bits, safe in headers, URLs and shells. The prefix lets secret scanners find it."""
    return f"otd_{secrets.token_urlsafe(32)}"


class Access:
    """The doorkeeper of every port. Without tokens everybody may do everything, as the tenant of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = settings.tokens
        self._tenant = settings.tenant

    def tenant(self, authorization: str | None, role: Role) -> str:
        """Whose data the bearer of this Authorization header works on. Raises Unauthenticated, Forbidden."""
        if not self._tokens:
            return self._tenant
        scheme, _, presented = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Unauthenticated("a token is needed", hint=_HINT)
        token = self._known(hash_of(presented.strip()))
        if token is None:
            raise Unauthenticated(
                "the token is not known",
                hint="Is it whole, and among this server's tokens? Commands take it from OTEL_DIAG_TOKEN.",
            )
        if role not in token.roles:
            raise Forbidden(
                f"the token {token.name} has not the role {role.value}",
                hint=f"Its roles: {', '.join(token.roles)}. Use another token.",
            )
        return token.tenant

    def _known(self, presented: str) -> Token | None:
        # Every hash is compared, each in constant time: how long it takes says nothing about any of them.
        matching = [token for token in self._tokens if hmac.compare_digest(token.sha256, presented)]
        return matching[0] if matching else None


def check_exposure(settings: Settings) -> None:
    """Raises StartupError when other machines reach the ports, nothing asks who they are, and nobody allowed that."""
    if settings.tokens or settings.tls_client_ca or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise StartupError(
        f"{settings.host} can be reached from other machines, and nobody would have to show who they are",
        hint="Configure tokens (`otel-diag token new`), or say --allow-anonymous: whoever reaches the ports may then "
        "write and read everything.",
    )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False  # whatever it is, it cannot be listened on: binding says why
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
