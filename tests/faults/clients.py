"""Real OTLP clients that do what the specification asks of them: what is not acknowledged is sent again."""

from __future__ import annotations

import http.client
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from threading import Event, Lock, Thread

import grpc
from google.protobuf.json_format import Parse
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.faults.batches import SIZES, Batch, batches, spans_of

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_TIMEOUT_SECONDS = 30.0
_MAX_PAUSE_SECONDS = 1.0
_RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_RETRYABLE_HTTP = {429, 502, 503, 504}
_CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``outcome`` is ``ok``, ``again`` (retryable) or ``never`` (the specification says drop it).

    ``said`` names the status; ``hint_seconds`` is the pause the server asked for, None without one; ``message`` is the
    refusal's, or that of a partial success, and ``rejected`` its number of spans.
    """

    outcome: str
    said: str
    hint_seconds: float | None = None
    message: str = ""
    rejected: int = 0


@dataclass
class Ledger:
    """What was sent and what was acknowledged. Thread-safe."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)
    """Answers that told a client to drop its data, or that took a part of it only."""
    unhinted: Counter[str] = field(default_factory=Counter)
    """Refusals that did not say when to come back; over gRPC, a server that is gone looks the same."""
    _lock: Lock = field(default_factory=Lock)

    def note(self, batch: Batch, answer: Answer) -> None:
        with self._lock:
            self.answers[answer.said] += 1
            if answer.outcome == "ok":
                self.acknowledged.add(batch.trace_id)
            elif answer.outcome == "never":
                self.dropped.append(f"{answer.said}: {answer.message}")
            elif answer.hint_seconds is None:
                self.unhinted[answer.said] += 1

    @property
    def spans(self) -> int:
        """Acknowledged spans."""
        return sum(map(spans_of, list(self.acknowledged)))


class GrpcClient:
    """One channel; a call at a time."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=_CHANNEL)
        self._export = self._channel.unary_unary(EXPORT)

    def send(self, payload: bytes, *, compression: grpc.Compression | None = None) -> Answer:
        try:
            response = self._export(payload, timeout=_TIMEOUT_SECONDS, compression=compression)
        except grpc.RpcError as error:
            return _grpc_refusal(error)
        return _accepted(response)

    def close(self) -> None:
        self._channel.close()


def _grpc_refusal(error: grpc.RpcError) -> Answer:
    metadata = dict(error.trailing_metadata() or ())
    hint = _hint(metadata.get("grpc-status-details-bin", b""))
    code = error.code()
    again = code in _RETRYABLE or (code == grpc.StatusCode.RESOURCE_EXHAUSTED and hint is not None)
    return Answer("again" if again else "never", f"gRPC {code.name}", hint, error.details() or "")


class HttpClient:
    """One connection, kept alive."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def send(self, payload: bytes, **more_headers: str) -> Answer:
        headers = {"content-type": "application/x-protobuf"}
        headers |= {name.replace("_", "-"): value for name, value in more_headers.items()}
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
            self._connection.request("POST", "/v1/traces", payload, headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer("again", f"no answer ({type(error).__name__})")
        if response.status == 200:
            return _accepted(body, headers["content-type"])
        after = response.getheader("retry-after")
        outcome = "again" if response.status in _RETRYABLE_HTTP else "never"
        return Answer(
            outcome, f"HTTP {response.status}", float(after) if after else None, body.decode(errors="replace")
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _accepted(body: bytes, content_type: str = "application/x-protobuf") -> Answer:
    response = ExportTraceServiceResponse()
    if content_type == "application/x-protobuf":
        response.ParseFromString(body)
    else:
        Parse(body, response)
    partial = response.partial_success
    outcome = "never" if partial.rejected_spans else "ok"
    return Answer(outcome, "OK", message=partial.error_message, rejected=partial.rejected_spans)


def _hint(details: bytes) -> float | None:
    retry = RetryInfo()
    with suppress(ValueError):
        for packed in Status.FromString(details).details:
            if packed.Unpack(retry):
                return float(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    return None


class Load:
    """Senders at work: half of them over gRPC, half over HTTP, each with one request under way."""

    def __init__(
        self, grpc_port: int, http_port: int, senders: int, sizes: tuple[int, ...], days_old: int, most: int | None
    ) -> None:
        self.ledger = Ledger()
        self._last = Event()
        self._abandon = Event()
        self._batches = {number: islice(batches(number, sizes, days_old), most) for number in range(senders)}
        clients = [GrpcClient(grpc_port) if number % 2 else HttpClient(http_port) for number in range(senders)]
        self._threads = [
            Thread(target=self._run, args=(client, number), daemon=True) for number, client in enumerate(clients)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Wait until every sender has sent its ``most`` requests."""
        for thread in self._threads:
            thread.join()

    def drain(self, seconds: float) -> bool:
        """Begin nothing new; whether everything that was begun has been acknowledged in time."""
        self._last.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def abandon(self) -> None:
        """Stop now, acknowledged or not."""
        self._last.set()
        self._abandon.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: GrpcClient | HttpClient, number: int) -> None:
        draw = random.Random(number)
        for batch in self._batches[number]:
            if self._last.is_set():
                break
            self.ledger.sent.add(batch.trace_id)
            pause = 0.05
            while not self._abandon.is_set():
                answer = client.send(batch.payload)
                self.ledger.note(batch, answer)
                if answer.outcome != "again":
                    break
                wait = answer.hint_seconds or pause
                self._abandon.wait(wait * draw.uniform(0.8, 1.2))
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
        client.close()


@contextmanager
def load(
    grpc_port: int,
    http_port: int,
    *,
    senders: int = 8,
    sizes: tuple[int, ...] = SIZES,
    days_old: int = 0,
    most: int | None = None,
) -> Iterator[Load]:
    """Senders 0, 1, ... until the block ends, or until each has sent ``most`` requests."""
    running = Load(grpc_port, http_port, senders, sizes, days_old, most)
    try:
        yield running
    finally:
        running.abandon()
