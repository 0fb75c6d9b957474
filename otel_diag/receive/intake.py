"""What every protocol and signal share: payload in, acknowledgement out, after the commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from prometheus_client import Histogram

from otel_diag.config import MIB, Settings
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.requests import Decoded
from otel_diag.decode.traces import TRACES
from otel_diag.errors import BadInput, OtelDiagError, Transient
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.groups import Groups, Rules
from otel_diag.receive.limits import Budget
from otel_diag.receive.status import Refusal, refusal_of
from otel_diag.self_traces import record, trace_ids_of
from otel_diag.store.schema import SPANS, SignalTable

log = logging.getLogger(__name__)

DECODE_BYTES: Final = 4 * MIB
"""Requests decoded in one call, at most: some 10,000 spans."""

BUSY_REQUESTS: Final = 2.0
"""In the house on average: a sender that awaits each answer keeps one there, however large."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of telemetry: where it comes in, how it is decoded and answered."""

    path: str
    grpc_service: str
    table: SignalTable
    decode: Callable[[Sequence[bytes], Sequence[str]], list[Decoded | BadInput]]
    """Protobuf requests and the tenant of each; what became of each."""
    from_json: Callable[[bytes], bytes]
    """OTLP/JSON request to the protobuf one; raises BadInput."""
    response: Callable[[int, str], Message]
    """The export response, given the number of rejected records and a message ('' for none)."""

    @property
    def name(self) -> str:
        """As the end of its path: traces."""
        return self.path.rpartition("/")[2]


def _trace_response(rejected: int, message: str) -> ExportTraceServiceResponse:
    if not rejected and not message:
        return ExportTraceServiceResponse()
    partial_success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial_success)


SIGNALS: Final = (
    Signal(
        path="/v1/traces",
        grpc_service="opentelemetry.proto.collector.trace.v1.TraceService",
        table=SPANS,
        decode=TRACES.decode,
        from_json=json_to_request,
        response=_trace_response,
    ),
)


def _ack_seconds() -> Histogram:
    bounds = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
    text = "From a whole request to the acknowledgement of what it stored."
    return Histogram("otel_diag_ack_seconds", text, buckets=bounds, registry=None)


@dataclass(slots=True)
class Counters:
    """Since the start. ``requests``: by signal and protocol; ``records``: committed ones (duplicates too), by signal;
    ``rejected``: records, by reason; ``sanitised``: texts; ``refused``: requests, by gRPC status name; ``body_bytes``:
    as sent. ``decode_seconds``: the decoding thread's time."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    body_bytes: int = 0
    records: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    sanitised: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    decode_seconds: float = 0.0
    ack_seconds: Histogram = field(default_factory=_ack_seconds)

    @property
    def accepted(self) -> int:
        """Records of all signals that were committed."""
        return self.records.total()

    def refuse(self, refusal: Refusal) -> None:
        self.refused[refusal.code.name] += 1


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    signal: Signal
    body: bytes
    tenant: str
    unpack: Callable[[bytes], bytes] | None
    stored: Future[Decoded] = field(default_factory=Future)


Outcome = Decoded | OtelDiagError


class Intake:
    """Decodes off the event loop and acknowledges after the commit. For use on one event loop.

    Two threads in a row: one decodes everything that waits, the other commits everything that is decoded, and while
    they are busy the next requests gather.
    """

    def __init__(self, commits: GroupCommit, settings: Settings) -> None:
        self.counters = Counters()
        self._commits = commits
        self._budget = Budget(settings.max_queued_bytes)
        rules: Rules[_Request] = Rules(
            size=lambda request: len(request.body), limit=DECODE_BYTES, alike=lambda request: request.signal.path
        )
        self._decoding = Groups("decode", self._decode_group, rules)

    async def export(
        self,
        signal: Signal,
        body: bytes,
        tenant: str,
        unpack: Callable[[bytes], bytes] | None = None,
        *,
        protocol: str = "grpc",
    ) -> Message | Refusal:
        """Store one request; the answer comes when it is durable, or refused. Nothing is raised.

        ``unpack`` turns the body into the protobuf request (gzip, JSON), in the decoding thread; it raises BadInput.
        ``protocol``: grpc, http/protobuf or http/json, for the counters.
        """
        started = time.perf_counter()
        self.counters.requests[signal.name, protocol] += 1
        self.counters.body_bytes += len(body)
        store = self._store(_Request(signal, body, tenant, unpack))
        outcome: Message | BaseException = (await asyncio.gather(store, return_exceptions=True))[0]
        if not isinstance(outcome, BaseException):
            self.counters.ack_seconds.observe(time.perf_counter() - started)
            return outcome
        if not isinstance(outcome, OtelDiagError):
            log.error("a request ended in an unexpected error", exc_info=outcome)
        refusal = refusal_of(outcome)
        self.counters.refuse(refusal)
        return refusal

    @property
    def busy(self) -> bool:
        """Whether requests pile up: what else needs the interpreter should wait. Any thread may ask."""
        return self._budget.mean_requests > BUSY_REQUESTS

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that were not answered yet, and their bytes as sent."""
        return self._budget.requests, self._budget.used

    def close(self) -> None:
        """Let go of the decoding thread. The caller has stopped the servers."""
        self._decoding.close()

    async def _store(self, request: _Request) -> Message:
        with self._budget.spend(len(request.body)):
            # Running: a caller that goes away must not take its request out of a group.
            request.stored.set_running_or_notify_cancel()
            self._decoding.put([request])
            decoded = await asyncio.wrap_future(request.stored)
        self.counters.records[request.signal.name] += decoded.batch.num_rows
        self.counters.rejected.update(decoded.reasons)
        self.counters.sanitised += decoded.sanitised
        return request.signal.response(decoded.rejected, decoded.message)

    def _decode_group(self, group: Sequence[_Request]) -> None:
        # An error nobody foresaw leaves nobody waiting: they may retry.
        outcomes: Sequence[Outcome] = [Transient("unexpected error, see the server's log")] * len(group)
        started = time.perf_counter()
        try:
            outcomes = _decoded(group)
        finally:
            self.counters.decode_seconds += time.perf_counter() - started
            self._commit(group, outcomes)

    def _commit(self, group: Sequence[_Request], outcomes: Sequence[Outcome]) -> None:
        waiting: list[tuple[_Request, Decoded]] = []
        for request, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, OtelDiagError):
                request.stored.set_exception(outcome)
            elif not outcome.batch.num_rows:
                request.stored.set_result(outcome)
            else:
                waiting.append((request, outcome))
        commits = self._commits.submit([decoded.batch for _, decoded in waiting], group[0].signal.table)
        for (request, decoded), committed in zip(waiting, commits, strict=True):
            committed.add_done_callback(partial(_acknowledge, request, decoded))


def _decoded(group: Sequence[_Request]) -> list[Outcome]:
    """What became of each request of one signal."""
    outcomes: dict[_Request, Outcome] = {}
    payloads: dict[_Request, bytes] = {}
    for request in group:
        try:
            payloads[request] = request.unpack(request.body) if request.unpack else request.body
        except BadInput as error:
            outcomes[request] = error
    decode = group[0].signal.decode
    began = time.time_ns()
    decoded = decode(list(payloads.values()), [request.tenant for request in payloads])
    _record_decoding(began, group[0].signal, list(payloads.values()), decoded)
    outcomes.update(zip(payloads, decoded, strict=True))
    return [outcomes[request] for request in group]


def _record_decoding(
    began: int, signal: Signal, payloads: Sequence[bytes], decoded: Sequence[Decoded | BadInput]
) -> None:
    batches = [found.batch for found in decoded if isinstance(found, Decoded)]
    attributes = {
        "otel_diag.table": signal.table.table.name,
        "otel_diag.requests": len(payloads),
        "otel_diag.records": sum(batch.num_rows for batch in batches),
        "otel_diag.bytes": sum(map(len, payloads)),
    }
    record("decode", began, attributes, trace_ids=trace_ids_of(batches) if signal.table is SPANS else None)


def _acknowledge(request: _Request, decoded: Decoded, committed: Future[None]) -> None:
    error = committed.exception()
    if error is None:
        request.stored.set_result(decoded)
    else:
        request.stored.set_exception(error)
