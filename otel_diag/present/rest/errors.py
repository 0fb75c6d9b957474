"""Every error of the REST API in one form: ``{"error": {"code", "message", "hint"}}``."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from otel_diag.errors import OtelDiagError
from otel_diag.present.text import hint_of
from otel_diag.present.wire import ErrorAnswer, ErrorBody, status_of

_HINTS = {404: "GET /docs lists every path.", 405: "GET /docs lists the methods of every path."}


def install(app: FastAPI) -> None:
    app.exception_handler(OtelDiagError)(_own)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_framework)
    app.exception_handler(Exception)(_bug)


def answer(status: int, code: str, message: str, hint: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = ErrorAnswer(error=ErrorBody(code=code, message=message, hint=hint))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def fault(status: HTTPStatus, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body, in the same form, for what goes wrong on this port before there is a request."""
    retry = [(b"retry-after", b"1")] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
    body = ErrorAnswer(error=ErrorBody(code=status.name.lower(), message=message, hint=_FAULT_HINTS.get(status, "")))
    return [(b"content-type", b"application/json"), *retry], body.model_dump_json().encode()


_FAULT_HINTS = {
    HTTPStatus.BAD_REQUEST: "This port speaks HTTP/1.1; is TLS on one side only?",
    HTTPStatus.SERVICE_UNAVAILABLE: "Try again in a moment.",
}


async def _own(_: Request, error: OtelDiagError) -> JSONResponse:
    status, code = status_of(error)
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return answer(status, code, error.message, hint_of(error), headers)


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    problems = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
    unparsable = any(e["type"] == "json_invalid" for e in error.errors())
    hint = "GET /docs describes every field."
    if unparsable:
        return answer(400, "bad_json", "; ".join(problems), hint)
    return answer(422, "bad_input", "; ".join(problems), hint)


async def _framework(_: Request, error: HTTPException) -> JSONResponse:
    code = HTTPStatus(error.status_code).name.lower()
    headers = dict(error.headers) if error.headers else None
    return answer(error.status_code, code, error.detail, _HINTS.get(error.status_code, ""), headers)


async def _bug(_: Request, __: Exception) -> JSONResponse:
    # Starlette raises the exception again after this answer, so the server logs it.
    return answer(500, "internal", "unexpected error", "The server's log has the details; please report it.")
