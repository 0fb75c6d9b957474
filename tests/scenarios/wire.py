"""The status that the receiver gives a span: scenarios do not guess it, they ask the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pyarrow as pa

from otel_diag.decode.attributes import FlatAttributes
from otel_diag.decode.semconv import outcome
from otel_diag.model import Status

SPEAKING = (
    "error.type",
    "http.response.status_code",
    "http.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
)
"""Attributes that have a part in the status of a span."""

_VALUE = pa.struct([("string_value", pa.string()), ("int_value", pa.int64()), ("double_value", pa.float64())])
_ATTRIBUTES = pa.list_(pa.struct([("key", pa.string()), ("value", _VALUE)]))


def status_of(
    kind: str,
    *,
    is_error: bool,
    message: str | None,
    exception: tuple[str, str] | None,
    attributes: Mapping[str, object],
) -> Status:
    """``is_error``: the status code is ERROR, else it was never set. ``exception``: type and message of its event."""
    speaking = tuple((name, attributes[name]) for name in SPEAKING if name in attributes)
    return _status_of(kind, is_error, message, exception, speaking)


@cache
def _status_of(
    kind: str,
    is_error: bool,
    message: str | None,
    exception: tuple[str, str] | None,
    attributes: tuple[tuple[str, object], ...],
) -> Status:
    told = [{"key": name, "value": _value(value)} for name, value in attributes]
    exception_type, exception_message = exception or (None, None)
    derived = outcome(
        kinds=pa.array([kind]),
        status_codes=pa.array([2 if is_error else 0], pa.int32()),
        status_messages=pa.array([message or None], pa.string()),
        attributes=FlatAttributes.of(pa.array([told], _ATTRIBUTES)),
        exceptions=(pa.array([exception_type], pa.string()), pa.array([exception_message or None], pa.string())),
    )
    return Status(derived.status[0].as_py())


def _value(value: object) -> dict[str, object]:
    return {"int_value": value} if isinstance(value, int) else {"string_value": str(value)}
