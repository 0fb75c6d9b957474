"""Where an OTLP request goes that comes in over no socket: to the server that owns the store, or into the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_diag.decode.wires import WIRES
from otel_diag.errors import BadInput, Forbidden, Transient, Unauthenticated
from otel_diag.store.base import Store
from otel_diag.store.schema import LOG_RECORDS, SPANS, SignalTable

PROTOBUF: Final = "application/x-protobuf"

_NOT_ADMITTED: Final = {401: Unauthenticated, 403: Forbidden}
_LATER: Final = (429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one request. ``duplicates`` is None when the receiver does not tell them from stored records.

    ``rejected``: records left out, by reason.
    """

    stored: int
    duplicates: int | None
    rejected: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Signal:
    table: SignalTable
    response: type[Message]
    rejected: str
    """Field of the response that counts what was left out."""


_SIGNALS: Final = {
    "traces": _Signal(SPANS, ExportTraceServiceResponse, "rejected_spans"),
    "logs": _Signal(LOG_RECORDS, ExportLogsServiceResponse, "rejected_log_records"),
}


def append(store: Store, signal: str, request: bytes, tenant: str) -> Taken:
    """Store one export request, in protobuf, of ``traces`` or ``logs``. Raises BadInput, Transient, Permanent."""
    decoded = WIRES[signal].decode_one(request, tenant)
    appended = store.append(decoded.batch, _SIGNALS[signal].table)
    return Taken(appended.stored, appended.duplicates, dict(decoded.reasons))


class Receiver:
    """The OTLP/HTTP endpoint of a running server."""

    def __init__(self, otlp_http: str, http: httpx.Client) -> None:
        """``http``: with the token and the TLS that the server asks for; it is closed with this object."""
        self._url = otlp_http.rstrip("/")
        self._http = http

    def send(self, signal: str, request: bytes, records: int) -> Taken:
        """Deliver one request, as :func:`append` takes it, of so many records; one attempt.

        Raises Transient when it may be taken later, BadInput, Unauthenticated, Forbidden.
        """
        url = f"{self._url}/v1/{signal}"
        try:
            response = self._http.post(url, content=request, headers={"Content-Type": PROTOBUF})
        except httpx.TransportError as error:
            raise Transient(f"{url} does not answer: {error}", hint="Look at the server's log.") from error
        if response.status_code in _LATER:
            raise Transient(f"{url} asks to try later ({response.status_code})", hint="Look at the server's log.")
        return _taken(_SIGNALS[signal], response, records)

    def close(self) -> None:
        self._http.close()


def _taken(signal: _Signal, response: httpx.Response, records: int) -> Taken:
    try:
        if not response.is_success:
            message = RpcStatus.FromString(response.content).message or response.reason_phrase
            if response.status_code in _NOT_ADMITTED:
                raise _NOT_ADMITTED[response.status_code](
                    message, hint="Set OTEL_DIAG_TOKEN to a token of the server that has the role ingest."
                )
            return Taken(0, 0, {f"{response.status_code}: {message}": records})
        partial: Any = signal.response.FromString(response.content)
    except DecodeError:
        raise BadInput(f"{response.url} does not answer as an OTLP receiver does ({response.status_code})") from None
    count = getattr(partial.partial_success, signal.rejected)
    rejected = {partial.partial_success.error_message or "no reason given": count} if count else {}
    return Taken(records - count, None, rejected)
