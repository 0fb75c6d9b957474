"""Lines on standard output that tell of spans, for places where the log is the only way out (``printed.py``).

Needs the OpenTelemetry API alone: :func:`validated` costs nothing where nothing is printed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.spans import error_type
from otel_diag_instrumentation.vocabulary import ERROR_TYPE

VALIDATION_PASSED: Final = "validation.passed"
VALIDATION_FAILED: Final = "validation.failed"

MAX_LINE_BYTES: Final = 4096
"""What a pipe takes in one piece (PIPE_BUF): lines of several processes do not mix."""

_MAX_VALUE_BYTES: Final = 200
_MAX_MESSAGE_BYTES: Final = 1000
_STDOUT: Final = 1

_BARE: Final = re.compile(r"[A-Za-z0-9_./:@+-]+")
_SCALAR: Final = re.compile(r"-?[0-9.]+([eE][+-]?[0-9]+)?|true|false|NaN|-?Infinity")

Field = tuple[str, AttributeValue]


@dataclass(slots=True, eq=False)
class OpenSpan:
    """A span that has not ended, the one above it in this process, and the tokens of those below."""

    span: Span
    above: OpenSpan | None
    tokens: int = 0

    @property
    def first(self) -> Span:
        """The one that is printed."""
        found = self
        while found.above is not None:
            found = found.above
        return found.span


OPEN: Final[dict[int, OpenSpan]] = {}
"""By span id; empty where nothing is printed."""


def validated(error: BaseException | None = None) -> None:
    """Marks the point at which the input turned out to be good, or with ``error`` bad: an event of the input's span,
    and a line at once where spans are printed."""
    current = trace.get_current_span()
    known = OPEN.get(current.get_span_context().span_id)
    span = known.first if known else current
    fields: list[Field] = []
    if error is None:
        span.add_event(VALIDATION_PASSED)
    else:
        fields = [("error", error_type(error)), ("message", str(error))]
        span.add_event(VALIDATION_FAILED, {ERROR_TYPE: error_type(error)})
    if known:
        mark, text = ("✅", "Validation passed") if error is None else ("❌", "Validation failed")
        print_line(mark, span.get_span_context(), text, fields)


def print_line(mark: str, span: SpanContext, text: str, fields: Iterable[Field]) -> None:
    """Writes a line in one piece, past the buffer of ``sys.stdout``, whose lock a signal handler might wait for without
    end. What cannot be written is lost: tracing does not fail the work."""
    with suppress(AttributeError, OSError, RuntimeError, ValueError):  # there is none, it is closed, or being written
        sys.stdout.flush()
    with suppress(OSError):
        os.write(_STDOUT, line(mark, span, text, fields).encode())


def line(mark: str, span: SpanContext, text: str, fields: Iterable[Field]) -> str:
    """One line with its end. From the field on that would make it longer than MAX_LINE_BYTES, fields are left out.

    Nothing in a value ends the line or reads as a field: what is not plain is a JSON string.
    """
    found = f"{mark} TRACE[{span.trace_id >> 96:08x}]: {text}"
    size = len(found.encode())
    separator = " - "
    for key, value in fields:
        field = f"{separator}{key}={_written(value, _MAX_MESSAGE_BYTES if key == 'message' else _MAX_VALUE_BYTES)}"
        size += len(field.encode())
        if size >= MAX_LINE_BYTES:
            break
        found += field
        separator = ", "
    return f"{found}\n"


def _written(value: AttributeValue, limit: int) -> str:
    if isinstance(value, str):
        is_plain = len(value) <= limit and _BARE.fullmatch(value) and not _SCALAR.fullmatch(value)
        return value if is_plain else _quoted(value, limit)
    if isinstance(value, list | tuple):
        return f"[{','.join(_item(each, limit) for each in value)}]"
    return _item(value, limit)


def _item(value: AttributeValue, limit: int) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float) else _quoted(str(value), limit)


def _quoted(text: str, limit: int) -> str:
    """A JSON string of some ``limit`` bytes at most, in which what is printable is left as it is."""
    written = ""
    size = 0
    for character in text:
        escaped = f"\\{character}" if character in '"\\' else character
        if not character.isprintable():
            escaped = json.dumps(character)[1:-1]
        size += len(escaped.encode())
        if size > limit:
            return f'"{written}…"'
        written += escaped
    return f'"{written}"'
