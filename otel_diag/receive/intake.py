"""What every protocol and signal share: payload in, acknowledgement out, after the commit."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_diag.config import Settings
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.traces import Decoded, decode_traces
from otel_diag.errors import OtelDiagError
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.limits import Budget
from otel_diag.receive.status import Refusal, refusal_of

log = logging.getLogger(__name__)

DECODE_THREADS: Final = 2
"""ptars holds the interpreter's lock, so more would only wait for one another."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of telemetry: where it comes in, how it is decoded and answered."""

    path: str
    grpc_service: str
    decode: Callable[[bytes, str], Decoded]
    """Protobuf request and tenant; raises BadInput."""
    from_json: Callable[[bytes], bytes]
    """OTLP/JSON request to the protobuf one; raises BadInput."""
    response: Callable[[int, str], Message]
    """The export response, given the number of rejected records and a message ('' for none)."""


def _trace_response(rejected: int, message: str) -> ExportTraceServiceResponse:
    if not rejected and not message:
        return ExportTraceServiceResponse()
    partial_success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial_success)


SIGNALS: Final = (
    Signal(
        path="/v1/traces",
        grpc_service="opentelemetry.proto.collector.trace.v1.TraceService",
        decode=decode_traces,
        from_json=json_to_request,
        response=_trace_response,
    ),
)


@dataclass(slots=True)
class Counters:
    """Since the start. ``accepted``: spans committed (duplicates too); ``rejected``: spans, by reason; ``refused``:
    requests, by gRPC status name."""

    requests: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    sanitised: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def refuse(self, refusal: Refusal) -> None:
        self.refused[refusal.code.name] += 1


class Intake:
    """Decodes off the event loop and acknowledges after the commit. For use on one event loop."""

    def __init__(self, commits: GroupCommit, settings: Settings) -> None:
        self.counters = Counters()
        self._commits = commits
        self._budget = Budget(settings.max_queued_bytes)
        self._threads = ThreadPoolExecutor(DECODE_THREADS, "decode")

    async def export(
        self, signal: Signal, body: bytes, tenant: str, unpack: Callable[[bytes], bytes] | None = None
    ) -> Message | Refusal:
        """Store one request; the answer comes when it is durable, or refused. Nothing is raised.

        ``unpack`` turns the body into the protobuf request (gzip, JSON), in the decoding thread; it raises BadInput.
        """
        self.counters.requests += 1
        store = self._store(signal, body, tenant, unpack)
        outcome: Message | BaseException = (await asyncio.gather(store, return_exceptions=True))[0]
        if not isinstance(outcome, BaseException):
            return outcome
        if not isinstance(outcome, OtelDiagError):
            log.error("a request ended in an unexpected error", exc_info=outcome)
        refusal = refusal_of(outcome)
        self.counters.refuse(refusal)
        return refusal

    def close(self) -> None:
        """Let go of the decoding threads. The caller has stopped the servers."""
        self._threads.shutdown()

    async def _store(
        self, signal: Signal, body: bytes, tenant: str, unpack: Callable[[bytes], bytes] | None
    ) -> Message:
        with self._budget.spend(len(body)):
            decode = partial(_decode, signal, body, tenant, unpack)
            decoded = await asyncio.get_running_loop().run_in_executor(self._threads, decode)
            if decoded.batch.num_rows:
                await asyncio.wrap_future(self._commits.submit(decoded.batch))
        self.counters.accepted += decoded.batch.num_rows
        self.counters.rejected.update(decoded.reasons)
        self.counters.sanitised += decoded.sanitised
        return signal.response(decoded.rejected, decoded.message)


def _decode(signal: Signal, body: bytes, tenant: str, unpack: Callable[[bytes], bytes] | None) -> Decoded:
    return signal.decode(unpack(body) if unpack else body, tenant)
