"""OTLP over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import Message

from otel_diag.auth import Access
from otel_diag.config import Role, Settings
from otel_diag.errors import BadInput, OtelDiagError, StartupError, Transient
from otel_diag.receive.admission import Slots
from otel_diag.receive.intake import SIGNALS, Intake, Signal
from otel_diag.receive.status import ANSWER_TOO_LARGE, MAX_ANSWER_BYTES, Refusal, refusal_of
from otel_diag.tls import server_context

log = logging.getLogger(__name__)

_DETAILS: Final = "grpc-status-details-bin"
_STREAMS: Final = 256
"""Calls at once on one connection; clients queue the others themselves."""

_IDLE_SECONDS: Final = 300
_GRACE_SECONDS: Final = 30
"""How long calls under way may keep a connection that has reached its age."""


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A listening server. ``port`` is the real one."""

    server: grpc.aio.Server
    port: int

    async def stop(self, grace_seconds: float) -> None:
        """Take no new call, finish those that run, within the grace."""
        await self.server.stop(grace_seconds)


async def serve_grpc(intake: Intake, settings: Settings, signals: Sequence[Signal] = SIGNALS) -> GrpcServer:
    """Listen on ``settings.host`` and ``settings.grpc_port``. Raises StartupError when that cannot be had."""
    server = grpc.aio.server(options=_options(settings))
    exports = _Exports(intake, settings)
    server.add_generic_rpc_handlers([_handler(signal, exports) for signal in signals])
    address = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = _add_port(server, f"{address}:{settings.grpc_port}", settings)
    except RuntimeError as error:
        raise StartupError(
            f"cannot listen on {address}:{settings.grpc_port} for OTLP over gRPC",
            hint="Stop the process that uses the port, or choose another with --grpc-port (0 takes any free one).",
        ) from error
    await server.start()
    return GrpcServer(server, port)


def _options(settings: Settings) -> list[tuple[str, int]]:
    head = _milliseconds(settings.head_seconds)
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        # Two servers on one port would share its connections without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.absolute_max_metadata_size", 64 * 1024),
        ("grpc.server_handshake_timeout_ms", head),
        ("grpc.http2.settings_timeout", head),
        ("grpc.max_connection_idle_ms", _IDLE_SECONDS * 1_000),
        ("grpc.max_connection_age_ms", _milliseconds(settings.grpc_connection_seconds)),
        ("grpc.max_connection_age_grace_ms", _GRACE_SECONDS * 1_000),
    ]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


def _add_port(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    """The port that was bound. Raises RuntimeError, or StartupError for TLS files that cannot be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return int(server.add_insecure_port(address))
    server_context(settings)  # says what is wrong with the files; gRPC only logs it
    client_ca = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    credentials = grpc.ssl_server_credentials(
        [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())], client_ca, client_ca is not None
    )
    return int(server.add_secure_port(address, credentials))


class _Exports:
    """What the calls of all services have in common. For use on one event loop."""

    def __init__(self, intake: Intake, settings: Settings) -> None:
        self._intake = intake
        self._access = Access(settings)
        self._slots = Slots(settings.max_connections)
        self._body_seconds = settings.body_seconds

    async def answer(self, signal: Signal, context: grpc.aio.ServicerContext) -> Message | Refusal:
        try:
            tenant = self._access.tenant(_authorization(context), Role.INGEST)
            with self._slots.one():
                return await self._intake.export(signal, await self._message(context), tenant)
        except OtelDiagError as error:
            refusal = refusal_of(error)
        except Exception as error:
            log.exception("a call ended in an unexpected error")
            refusal = refusal_of(error)
        self._intake.counters.refuse(refusal)
        return refusal

    async def _message(self, context: grpc.aio.ServicerContext) -> bytes:
        try:
            async with asyncio.timeout(self._body_seconds):
                message = await context.read()
        except TimeoutError:
            raise Transient(f"the request did not arrive within {self._body_seconds:g} s") from None
        if not isinstance(message, bytes):
            raise BadInput("the call has no request")
        return message


def _handler(signal: Signal, exports: _Exports) -> grpc.GenericRpcHandler:
    """The Export call of one service.

    Without a deserialiser: grpcio would answer INTERNAL for a request it cannot parse, and clients then drop the batch.
    As a stream of one request, which is the same on the wire: it is read here, after the doorkeeper was asked, and not
    before, whatever its size.
    """

    async def export(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        answer = await exports.answer(signal, context)
        body = b"" if isinstance(answer, Refusal) else answer.SerializeToString()
        if len(body) > MAX_ANSWER_BYTES:
            answer = ANSWER_TOO_LARGE
        if isinstance(answer, Refusal):
            details = ((_DETAILS, answer.status().SerializeToString()),)
            await context.abort(answer.code, answer.message, details)
        return body

    return grpc.method_handlers_generic_handler(
        signal.grpc_service, {"Export": grpc.stream_unary_rpc_method_handler(export)}
    )


def _authorization(context: grpc.aio.ServicerContext) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None
