"""OTLP over HTTP: a plain ASGI application."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from otel_diag.config import Settings
from otel_diag.model import DEFAULT_TENANT
from otel_diag.receive.intake import SIGNALS, Intake, Signal
from otel_diag.receive.limits import TooLarge, gunzip
from otel_diag.receive.status import Refusal, refusal_of

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
        )

    @property
    def answer_type(self) -> str:
        """Answers mirror the request; where that says nothing, protobuf is the protocol's default."""
        return JSON if self.media_type == JSON else PROTOBUF


def http_app(intake: Intake, settings: Settings, signals: Sequence[Signal] = SIGNALS) -> App:
    """The application for the OTLP/HTTP port; its server needs no lifespan."""
    by_path = {signal.path: signal for signal in signals}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this application speaks HTTP only, not {scope['type']}")
        request = _Request.of(scope)
        signal = by_path.get(request.path)
        refusal = _refused_by_head(request, signal, settings.max_request_bytes)
        if refusal is not None or signal is None:
            intake.counters.refuse(refusal or _NOT_FOUND)
            await _refuse(send, request, refusal or _NOT_FOUND)
            return
        try:
            body = await _body(receive, settings.max_request_bytes)
        except _Disconnected:
            return
        except TooLarge as error:
            intake.counters.refuse(refusal_of(error))
            await _refuse(send, request, refusal_of(error))
            return
        unpack = partial(_unpack, signal, request, settings.max_request_bytes)
        answer = await intake.export(signal, body, DEFAULT_TENANT, unpack)
        if isinstance(answer, Refusal):
            await _refuse(send, request, answer)
        else:
            await _respond(send, request, 200, answer)

    return app


_NOT_FOUND: Final = Refusal(grpc.StatusCode.NOT_FOUND, 404, "no such path; traces go to /v1/traces")


def _refused_by_head(request: _Request, signal: Signal | None, limit: int) -> Refusal | None:
    """What is wrong with the request line and headers, if anything."""
    if signal is None:
        return _NOT_FOUND
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


async def _body(receive: Receive, limit: int) -> bytes:
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
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _unpack(signal: Signal, request: _Request, limit: int, body: bytes) -> bytes:
    if request.content_encoding == "gzip":
        body = gunzip(body, limit)
    return signal.from_json(body) if request.media_type == JSON else body


async def _refuse(send: Send, request: _Request, refusal: Refusal) -> None:
    headers = refusal.headers()
    if refusal.http_status == 405:
        headers.append((b"allow", b"POST"))
    await _respond(send, request, refusal.http_status, refusal.status(), headers)


async def _respond(
    send: Send, request: _Request, status: int, message: Message, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    media_type = request.answer_type
    body = json.dumps(MessageToDict(message)).encode() if media_type == JSON else message.SerializeToString()
    own = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
