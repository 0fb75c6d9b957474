"""Errors as REST writes them and the remote client reads them: one table for both directions."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from otel_diag.errors import (
    BadInput,
    Forbidden,
    NotFound,
    OtelDiagError,
    Permanent,
    Transient,
    Unauthenticated,
    Unsupported,
)


class ErrorBody(BaseModel):
    """``code`` is stable, ``message`` says what happened, ``hint`` what to do next."""

    code: str
    message: str
    hint: str


class ErrorAnswer(BaseModel):
    """Body of every answer with a status of 400 or more."""

    error: ErrorBody


_STATUSES: Final[tuple[tuple[type[OtelDiagError], int, str], ...]] = (
    (Unauthenticated, 401, "unauthenticated"),
    (Forbidden, 403, "forbidden"),
    (NotFound, 404, "not_found"),
    (BadInput, 422, "bad_input"),
    (Transient, 503, "unavailable"),
    (Unsupported, 501, "unsupported"),
    (Permanent, 500, "failed"),
)


def status_of(error: OtelDiagError) -> tuple[int, str]:
    """HTTP status and code of an error."""
    return next(((status, code) for kind, status, code in _STATUSES if isinstance(error, kind)), (500, "failed"))


def error_of(status: int, body: ErrorBody) -> OtelDiagError:
    """The error a server's answer stands for; an unknown status is Permanent below 500, else Transient."""
    unknown = Permanent if status < 500 else Transient
    kind = next((kind for kind, known, _ in _STATUSES if known == status), unknown)
    return kind(body.message, hint=body.hint)
