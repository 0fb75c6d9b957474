"""OTLP over HTTP: a plain ASGI application."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from otel_diag.auth import Access, hostname, known_hosts
from otel_diag.config import Role, Settings
from otel_diag.errors import Forbidden, OtelDiagError
from otel_diag.receive.admission import Room
from otel_diag.receive.intake import SIGNALS, Counters, Intake, Signal
from otel_diag.receive.limits import TooLarge, gunzip
from otel_diag.receive.status import ANSWER_TOO_LARGE, MAX_ANSWER_BYTES, RETRY_SECONDS, Refusal, refusal_of

log = logging.getLogger(__name__)

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Disconnected(Exception):
    """The client went away before its request was whole: nobody is left to answer."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    media_type: str
    content_encoding: str
    content_length: int
    authorization: str | None
    origin: str | None

    @classmethod
    def of(cls, scope: Scope) -> _Request:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get(b"content-length", "")
        return cls(
            method=scope["method"],
            path=scope["path"],
            media_type=headers.get(b"content-type", "").partition(";")[0].strip().lower(),
            content_encoding=headers.get(b"content-encoding", "identity").strip().lower(),
            content_length=int(length) if length.isascii() and length.isdigit() else 0,
            authorization=headers.get(b"authorization"),
            origin=headers.get(b"origin"),
        )

    @property
    def answer_type(self) -> str:
        """Answers mirror the request; where that says nothing, protobuf is the protocol's default."""
        return JSON if self.media_type == JSON else PROTOBUF


def http_app(intake: Intake, settings: Settings, signals: Sequence[Signal] = SIGNALS) -> App:
    """The application for the OTLP/HTTP port; its server needs no lifespan."""
    by_path = {signal.path: signal for signal in signals}
    access = Access(settings)
    hosts = known_hosts(settings)
    room = Room(settings.max_queued_bytes)

    async def answer(request: _Request, receive: Receive) -> Message | Refusal:
        # Programs send no Origin. A page that was made to look like this server's (DNS rebinding) does.
        if request.origin is not None and hostname(request.origin.partition("://")[2]) not in hosts:
            raise Forbidden("requests from pages of other sites are refused")
        tenant = access.tenant(request.authorization, Role.INGEST)
        signal = by_path.get(request.path)
        refusal = _refused_by_head(request, signal, by_path, settings.max_request_bytes)
        if refusal is not None:
            intake.counters.refuse(refusal)
            return refusal
        assert signal is not None  # noqa: S101 - refused above
        with room.hold() as take:
            body = await _body(receive, settings.max_request_bytes, take)
        unpack = partial(_unpack, signal, request, settings.max_request_bytes)
        protocol = "http/json" if request.media_type == JSON else "http/protobuf"
        return await intake.export(signal, body, tenant, unpack, protocol=protocol)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this application speaks HTTP only, not {scope['type']}")
        request = _Request.of(scope)
        try:
            answered = await answer(request, receive)
        except _Disconnected:
            return
        except OtelDiagError as error:
            answered = refusal_of(error)
            intake.counters.refuse(answered)
        except Exception as error:
            log.exception("a request ended in an unexpected error")
            answered = refusal_of(error)
            intake.counters.refuse(answered)
        await _respond(send, request, answered)

    return app


def faults(counters: Counters) -> Callable[[HTTPStatus, str], tuple[list[tuple[bytes, bytes]], bytes]]:
    """Headers and body for what goes wrong on this port before there is a request: google.rpc.Status too."""

    def fault(status: HTTPStatus, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        code = _FAULT_CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT)
        retry = RETRY_SECONDS if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        refusal = Refusal(code, status.value, message, retry)
        counters.refuse(refusal)
        return [(b"content-type", PROTOBUF.encode()), *refusal.headers()], refusal.status().SerializeToString()

    return fault


_FAULT_CODES: Final = {
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.NOT_IMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


def _refused_by_head(request: _Request, signal: Signal | None, paths: Collection[str], limit: int) -> Refusal | None:
    """What is wrong with the request line and headers, if anything."""
    if signal is None:
        message = f"no such path; telemetry goes to {' '.join(paths)}"
        return Refusal(grpc.StatusCode.NOT_FOUND, 404, message)
    if request.method != "POST":
        return Refusal(grpc.StatusCode.UNIMPLEMENTED, 405, f"{request.method} is not supported; use POST")
    if request.media_type not in (PROTOBUF, JSON):
        got = request.media_type or "none"
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, 415, f"content type is {got}; use {PROTOBUF} or {JSON}")
    if request.content_encoding not in ("identity", "gzip", ""):
        return Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            415,
            f"content encoding {request.content_encoding} is not supported; use gzip or none",
        )
    if request.content_length > limit:
        return refusal_of(TooLarge(limit))
    return None


async def _body(receive: Receive, limit: int, take: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(limit)
        take(len(part))
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _unpack(signal: Signal, request: _Request, limit: int, body: bytes) -> bytes:
    if request.content_encoding == "gzip":
        body = gunzip(body, limit)
    return signal.from_json(body) if request.media_type == JSON else body


async def _respond(send: Send, request: _Request, answer: Message | Refusal) -> None:
    if isinstance(answer, Refusal):
        status, headers, message = answer.http_status, answer.headers(), answer.status()
    else:
        status, headers, message = 200, [], answer
    media_type = request.answer_type
    body = json.dumps(MessageToDict(message)).encode() if media_type == JSON else message.SerializeToString()
    if len(body) > MAX_ANSWER_BYTES:
        await _respond(send, request, ANSWER_TOO_LARGE)
        return
    own = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
