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

from otel_diag.errors import BadInput, OtelDiagError, Permanent
from otel_diag.receive.limits import TooLarge

RETRY_SECONDS: Final = 1.0


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
        if self.retry_seconds is None:
            return []
        return [(b"retry-after", str(math.ceil(self.retry_seconds)).encode())]


def refusal_of(error: BaseException) -> Refusal:
    """What to answer for an error. One nobody raised on purpose is a bug here, not the client's: it may retry."""
    if not isinstance(error, OtelDiagError):
        return Refusal(grpc.StatusCode.UNAVAILABLE, 503, "unexpected error, see the server's log", RETRY_SECONDS)
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    if isinstance(error, TooLarge):
        return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, message)
    if isinstance(error, (BadInput, Permanent)):
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, 400, message)
    return Refusal(grpc.StatusCode.UNAVAILABLE, 503, message, RETRY_SECONDS)
