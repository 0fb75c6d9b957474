"""What callers type, checked once for every way in: keys, times, filters. Wrong input is BadInput, never a default."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from otel_diag.errors import BadInput
from otel_diag.model import RootCauseType, Status
from otel_diag.moments import moment
from otel_diag.query import Filters, Key

_INT64: Final = range(-(2**63), 2**63)
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{32}")
_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?)(I?)B?")


def make_key(execution_id: int | None = None, trace_id: str | None = None) -> Key:
    """The key of exactly one execution or trace. Raises BadInput."""
    if (execution_id is None) == (trace_id is None):
        raise BadInput(
            "give exactly one of execution_id and trace_id",
            hint="execution_id is an integer such as 2193, trace_id is 32 hexadecimal digits.",
        )
    if execution_id is not None and execution_id not in _INT64:
        raise BadInput(f"execution_id {execution_id} does not fit 64 bits", hint="Use the number of the execution.")
    return Key(execution_id=execution_id, trace_id=None if trace_id is None else check_trace_id(trace_id))


def check_trace_id(trace_id: str) -> str:
    """The id in lower case. Raises BadInput unless it is 32 hexadecimal digits."""
    if not _TRACE_ID.fullmatch(trace_id):
        raise BadInput(f"trace_id {trace_id!r:.80} is not 32 hexadecimal digits", hint="Copy the whole trace id.")
    return trace_id.lower()


def parse_key(text: str) -> Key:
    """A key as typed on a command line: 32 hexadecimal digits are a trace, any other integer an execution."""
    if _TRACE_ID.fullmatch(text):
        return make_key(trace_id=text)
    try:
        return make_key(execution_id=int(text))
    except ValueError:
        raise BadInput(
            f"{text!r:.80} is neither an execution nor a trace",
            hint="Give an execution id (an integer) or a trace id (32 hexadecimal digits).",
        ) from None


def parse_moment(text: str | None, name: str = "since") -> datetime | None:
    """``2h`` (so long ago; units s m h d w) or ISO 8601, in UTC unless it has an offset. Raises BadInput."""
    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC))
    except ValueError:
        raise BadInput(
            f"{name} {text!r:.80} is not a time",
            hint="Use an age such as 30m, 24h or 7d, or ISO 8601 such as 2026-01-31T08:00:00Z.",
        ) from None


def parse_object(text: str | None, name: str) -> dict[str, Any] | None:
    """A JSON object as typed on a command line. Raises BadInput."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{name} {text!r:.80} is not a JSON object", hint='Write it as {"field": "value"}, in quotes.')
    return found


def parse_size(text: str, name: str) -> int:
    """Bytes: ``20GB`` (decimal), ``500MiB`` (binary), ``1000000``. Raises BadInput."""
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise BadInput(f"{name} {text!r:.80} is not a size", hint="Write it as 20GB, 500MiB or 1000000.")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix or " "))


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise BadInput(f"{name} {value!r:.80} is not known", hint=f"One of: {', '.join(allowed)}.")
    return value


def make_filters(
    *,
    status: str | None = None,
    job_id: str | None = None,
    model_id: str | None = None,
    region: str | None = None,
    service: str | None = None,
    operation: str | None = None,
    root_cause_type: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Filters:
    """Filters as typed. Raises BadInput for a status, root cause type or time that does not exist."""
    filters = Filters(
        status=_one_of("status", status, tuple(Status)),
        job_id=job_id,
        model_id=model_id,
        region=region,
        service=service,
        operation=operation,
        root_cause_type=_one_of("root_cause_type", root_cause_type, tuple(RootCauseType)),
        since=parse_moment(since),
        until=parse_moment(until, "until"),
    )
    if filters.since and filters.until and filters.since >= filters.until:
        raise BadInput("since lies after until", hint="Swap the two, or leave until out to mean now.")
    return filters
