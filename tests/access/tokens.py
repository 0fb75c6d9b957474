"""Tokens that tests show, and the settings of a server that knows them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from otel_diag.auth import hash_of
from otel_diag.config import Role, Settings, Token

INGEST, READ = (Role.INGEST,), (Role.READ,)
BOTH = (Role.INGEST, Role.READ)


def known(name: str, tenant: str = "default", roles: tuple[Role, ...] = BOTH) -> Token:
    """The entry of a token whose secret is :func:`secret_of` its name."""
    return Token(name=name, tenant=tenant, roles=roles, sha256=hash_of(secret_of(name)))


def secret_of(name: str) -> str:
    return f"otd_secret-of-{name}-5b8efff798038103d269b633813fc60c"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret_of(name)}"}


def settings_with(*tokens: Token, **changes: Any) -> Settings:
    return Settings(grpc_port=0, http_port=0, port=0, tokens=tokens, **changes)


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Method and path of everything the application serves, hidden routes too; without method: any."""
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        inner = route.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [route]
        for one in inner:
            found |= {(method, one.path) for method in one.methods or ("POST",)}
    return found
