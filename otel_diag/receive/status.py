"""The one place where errors become protocol statuses.

Clients drop data on most codes and retry on a few (gRPC: UNAVAILABLE; HTTP: 429, 502, 503, 504), so whatever may
succeed later, a bug of ours included, must be one of the few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from otel_diag.auth import CHALLENGE
from otel_diag.errors import BadInput, Forbidden, OtelDiagError, Permanent, Unauthenticated
from otel_diag.receive.admission import QuotaExceeded
from otel_diag.receive.limits import TooLarge

RETRY_SECONDS: Final = 1.0


MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Clients read no longer answer: the default of gRPC, and OTLP's limit over HTTP."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not accepted, in the words of both protocols. ``retry_seconds``: None when a retry is vain."""

    code: grpc.StatusCode
    http_status: int
    message: str
    retry_seconds: float | None = None

    def status(self) -> Status:
        """As google.rpc.Status, the body of every refusal."""
        name, number = self.code.name, self.code.value[0]
        status = Status(code=number, message=self.message or name)
        if number == Code.INVALID_ARGUMENT:
            violation = BadRequest.FieldViolation(field="body", description=self.message)
            status.details.add().Pack(BadRequest(field_violations=[violation]))
        if self.retry_seconds is not None:
            delay = Duration(nanos=int(self.retry_seconds % 1 * 1e9), seconds=int(self.retry_seconds))
            status.details.add().Pack(RetryInfo(retry_delay=delay))
        return status

    def headers(self) -> list[tuple[bytes, bytes]]:
        if self.http_status == 401:
            return [(b"www-authenticate", CHALLENGE.encode())]
        if self.http_status == 405:
            return [(b"allow", b"POST")]
        if self.retry_seconds is not None:
            return [(b"retry-after", str(math.ceil(self.retry_seconds)).encode())]
        return []


ANSWER_TOO_LARGE: Final = Refusal(
    grpc.StatusCode.INTERNAL, 500, f"the request was stored, but its answer is larger than {MAX_ANSWER_BYTES} bytes"
)


def refusal_of(error: BaseException) -> Refusal:
    """What to answer for an error. One nobody raised on purpose is a bug here, not the client's: it may retry."""
    if not isinstance(error, OtelDiagError):
        return Refusal(grpc.StatusCode.UNAVAILABLE, 503, "unexpected error, see the server's log", RETRY_SECONDS)
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    if isinstance(error, Unauthenticated):
        return Refusal(grpc.StatusCode.UNAUTHENTICATED, 401, message)
    if isinstance(error, Forbidden):
        return Refusal(grpc.StatusCode.PERMISSION_DENIED, 403, message)
    if isinstance(error, QuotaExceeded):
        return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, message, error.retry_seconds)
    if isinstance(error, TooLarge):
        return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, message)
    if isinstance(error, (BadInput, Permanent)):
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, 400, message)
    return Refusal(grpc.StatusCode.UNAVAILABLE, 503, message, RETRY_SECONDS)
