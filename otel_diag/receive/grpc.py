"""OTLP over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from otel_diag.config import Settings
from otel_diag.errors import StartupError
from otel_diag.model import DEFAULT_TENANT
from otel_diag.receive.intake import SIGNALS, Intake, Signal
from otel_diag.receive.status import Refusal

_DETAILS: Final = "grpc-status-details-bin"


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
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_request_bytes),
            # Two servers on one port would share its connections without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )
    server.add_generic_rpc_handlers([_handler(signal, intake) for signal in signals])
    address = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = server.add_insecure_port(f"{address}:{settings.grpc_port}")
    except RuntimeError as error:
        raise StartupError(
            f"cannot listen on {address}:{settings.grpc_port} for OTLP over gRPC",
            hint="Stop the process that uses the port, or choose another with --grpc-port (0 takes any free one).",
        ) from error
    await server.start()
    return GrpcServer(server, port)


def _handler(signal: Signal, intake: Intake) -> grpc.GenericRpcHandler:
    """No deserialiser: grpcio would answer INTERNAL for a request it cannot parse, and clients then drop the batch."""

    async def export(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        answer = await intake.export(signal, request, DEFAULT_TENANT)
        if isinstance(answer, Refusal):
            details = ((_DETAILS, answer.status().SerializeToString()),)
            await context.abort(answer.code, answer.message, details)
            raise AssertionError("abort does not return")
        serialised: bytes = answer.SerializeToString()
        return serialised

    return grpc.method_handlers_generic_handler(
        signal.grpc_service, {"Export": grpc.unary_unary_rpc_method_handler(export)}
    )
