"""What every protocol and signal share: payload in, acknowledgement out, after the commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Final, TypeVar

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client import Histogram

from otel_diag.config import MIB, Settings
from otel_diag.decode.bounds import Limits
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.requests import Decoded
from otel_diag.decode.wires import WIRES
from otel_diag.errors import BadInput, OtelDiagError, Transient
from otel_diag.receive.admission import Quota
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.decoding import Decoder, Undecoded, decoders_of
from otel_diag.receive.groups import Groups, Rules
from otel_diag.receive.limits import Budget
from otel_diag.receive.status import Refusal, refusal_of
from otel_diag.self_traces import record, trace_ids_of
from otel_diag.store.schema import LOG_RECORDS, METRIC_POINTS, PROFILE_SAMPLES, SPANS, SignalTable

log = logging.getLogger(__name__)

DECODE_BYTES: Final = 4 * MIB
"""Requests decoded in one call, at most: some 10,000 spans."""

WORTH_BYTES: Final = 256 * 1024
"""Requests decoded in a call beside another one, at least: small ones cost three times as much a span."""

BUSY_REQUESTS: Final = 2.0
"""In the house on average: a sender that awaits each answer keeps one there, however large."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of telemetry: where it comes in, how it is decoded and answered."""

    path: str
    grpc_service: str
    table: SignalTable
    from_json: Callable[[bytes], bytes]
    """OTLP/JSON request to the protobuf one; raises BadInput."""
    response: Callable[[int, str], Message]
    """The export response, given the number of rejected records and a message ('' for none)."""

    @property
    def name(self) -> str:
        """As the end of its path: traces."""
        return _name(self.path)


def _signal(path: str, table: SignalTable, response: type[Message]) -> Signal:
    """The parts of a signal that follow from its messages."""
    wire = WIRES[_name(path)]
    request = wire.message.DESCRIPTOR
    (service,) = request.file.services_by_name.values()
    rejected_records = f"rejected_{wire.noun.replace(' ', '_')}"

    def answer(rejected: int, message: str) -> Message:
        if not rejected and not message:
            return response()
        return response(partial_success={rejected_records: rejected, "error_message": message})

    return Signal(path, service.full_name, table, partial(json_to_request, descriptor=request), answer)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


SIGNALS: Final = (
    _signal("/v1/traces", SPANS, ExportTraceServiceResponse),
    _signal("/v1/metrics", METRIC_POINTS, ExportMetricsServiceResponse),
    _signal("/v1/logs", LOG_RECORDS, ExportLogsServiceResponse),
    _signal("/v1development/profiles", PROFILE_SAMPLES, ExportProfilesServiceResponse),
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
    truncated: Counter[str] = field(default_factory=Counter)
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
E = TypeVar("E", bound=OtelDiagError)


class Intake:
    """Decodes off the event loop and acknowledges after the commit. For use on one event loop.

    Two stages in a row: one decodes everything that waits, the other commits everything that is decoded, and while
    they are busy the next requests gather.
    """

    def __init__(self, commits: GroupCommit, settings: Settings, decoders: Sequence[Decoder] = ()) -> None:
        """``decoders``: instead of what the settings say."""
        self.counters = Counters()
        self._commits = commits
        self._limits = Limits(settings.max_attributes, settings.max_value_bytes)
        self._budget = Budget(settings.max_queued_bytes)
        self._quota = Quota(settings.max_records_per_second)
        rules: Rules[_Request] = Rules(
            size=lambda request: len(request.body),
            limit=DECODE_BYTES,
            alike=lambda request: request.signal.path,
            enough=WORTH_BYTES,
        )
        self._decoders = decoders or decoders_of(settings)
        self._decoding = [
            Groups("decode", partial(self._decode_group, each), rules, places=each.places) for each in self._decoders
        ]
        self._turns = cycle(self._decoding)

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
        """Let go of the decoders. The caller has stopped the servers."""
        for decoding, decoder in zip(self._decoding, self._decoders, strict=True):
            decoding.close()
            decoder.close()

    async def _store(self, request: _Request) -> Message:
        self._quota.admit(request.tenant)
        with self._budget.spend(len(request.body)):
            # Running: a caller that goes away must not take its request out of a group.
            request.stored.set_running_or_notify_cancel()
            next(self._turns).put([request])
            decoded = await asyncio.wrap_future(request.stored)
        self._quota.charge(request.tenant, decoded.batch.num_rows)
        self.counters.records[request.signal.name] += decoded.batch.num_rows
        if decoded.told is not None:
            self._quota.charge(request.tenant, decoded.told.batch.num_rows)
            self.counters.records["traces"] += decoded.told.batch.num_rows
        self.counters.rejected.update(decoded.reasons)
        self.counters.sanitised += decoded.sanitised
        self.counters.truncated.update(decoded.truncated)
        return request.signal.response(decoded.rejected, decoded.message)

    def _decode_group(self, decoder: Decoder, group: Sequence[_Request]) -> None:
        done = 0
        started = time.perf_counter()
        try:
            for part in _unpacked(group):
                outcomes = _isolated(decoder, part, self._limits)
                self.counters.decode_seconds += time.perf_counter() - started
                self._commit(list(part), outcomes)
                done += len(part)
                started = time.perf_counter()
        finally:
            # An error nobody foresaw leaves nobody waiting: they may retry.
            left = group[done:]
            self._commit(left, [_unexpected()] * len(left))

    def _commit(self, group: Sequence[_Request], outcomes: Sequence[Outcome]) -> None:
        waiting: list[tuple[_Request, Decoded]] = []
        for request, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, OtelDiagError):
                request.stored.set_exception(_untraced(outcome))
            elif not outcome.batch.num_rows:
                request.stored.set_result(outcome)
            else:
                waiting.append((request, outcome))
        if not waiting:
            return
        told = {request: decoded.told for request, decoded in waiting if decoded.told is not None}
        spans = dict(zip(told, self._commits.submit(list(told.values()), SPANS), strict=True)) if told else {}
        commits = self._commits.submit([decoded for _, decoded in waiting], group[0].signal.table)
        for (request, decoded), committed in zip(waiting, commits, strict=True):
            committed.add_done_callback(partial(_acknowledge, request, decoded, spans.get(request)))


def _unpacked(group: Sequence[_Request]) -> Iterator[dict[_Request, bytes | BadInput]]:
    """The requests in order, as protobuf, some at a time: small as they came, together they may unpack to anything."""
    part: dict[_Request, bytes | BadInput] = {}
    size = 0
    for request in group:
        try:
            payload = request.unpack(request.body) if request.unpack else request.body
        except BadInput as error:
            part[request] = _untraced(error)
            continue
        if size and size + len(payload) > DECODE_BYTES:
            yield part
            part, size = {}, 0
        part[request] = payload
        size += len(payload)
    yield part


def _untraced(error: E) -> E:
    """The error alone: until it is answered, its frames would hold the request, unpacked and parsed."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error


def _unexpected() -> Transient:
    return Transient("unexpected error, see the server's log")


def _isolated(decoder: Decoder, part: dict[_Request, bytes | BadInput], limits: Limits) -> list[Outcome]:
    """What became of each request; where an error nobody foresaw is met, only the one that caused it is kept out."""
    try:
        return _decoded(decoder, part, limits)
    except BaseException:  # a panic of ptars is no Exception
        log.exception("could not decode %d requests", len(part))
        if len(part) == 1:
            return [_unexpected()]
        alone = [_isolated(decoder, {request: payload}, limits) for request, payload in part.items()]
        return [outcome for outcomes in alone for outcome in outcomes]


def _decoded(decoder: Decoder, part: dict[_Request, bytes | BadInput], limits: Limits) -> list[Outcome]:
    """What became of each request of one signal."""
    outcomes: dict[_Request, Outcome] = {}
    payloads: dict[_Request, bytes] = {}
    for request, payload in part.items():
        if isinstance(payload, BadInput):
            outcomes[request] = payload
        else:
            payloads[request] = payload
    if payloads:
        signal = next(iter(payloads)).signal
        began = time.time_ns()
        tenants = [request.tenant for request in payloads]
        decoded = decoder.decode(Undecoded(signal.name, list(payloads.values()), tenants, limits))
        _record_decoding(began, signal, list(payloads.values()), decoded)
        outcomes.update(zip(payloads, decoded, strict=True))
    return [outcomes[request] for request in part]


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


def _acknowledge(request: _Request, decoded: Decoded, further: Future[None] | None, committed: Future[None]) -> None:
    """``further``: what else has to be durable first."""
    error = committed.exception()
    if error is not None:
        request.stored.set_exception(error)
    elif further is not None:
        further.add_done_callback(partial(_acknowledge, request, decoded, None))
    else:
        request.stored.set_result(decoded)
