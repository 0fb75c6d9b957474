"""Tracing where the log is the only way out: lines on standard output instead of spans over the network.

``OTEL_TRACES_EXPORTER=otel_diag_print`` switches it on. A span that begins in this process (a Modal input's, not each
one below it) has a line when it starts and one when it ends; ``otel-diag import --format modal-logs``, or a server that
gets the log from a Collector, makes the span of them again::

    🔍 TRACE[1a2b3c4d]: Modal inference started - model=llama-3-8b, region=us-east, execution=2193, ...
    ✅ TRACE[1a2b3c4d]: Validation passed
    ✅ TRACE[1a2b3c4d]: SUCCESS - duration=1.52s, tokens=128, ...
    ❌ TRACE[1a2b3c4d]: FAILED - error=OutOfMemoryError, message="CUDA out of memory", duration=0.31s, ...

The last line of a span says all that the first does, so that one of them is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.lines import OPEN, VALIDATION_FAILED, VALIDATION_PASSED, Field, OpenSpan, print_line
from otel_diag_instrumentation.vocabulary import (
    ERROR_TYPE,
    EXECUTION_ATTEMPT,
    EXECUTION_ID,
    GEN_AI_USAGE_OUTPUT_TOKENS,
    JOB_ID,
    MODEL_ID,
    REGION,
)

_SHORT: Final = {
    MODEL_ID: "model",
    REGION: "region",
    EXECUTION_ID: "execution",
    EXECUTION_ATTEMPT: "attempt",
    JOB_ID: "job",
}
_SAID: Final = frozenset({*_SHORT, ERROR_TYPE, GEN_AI_USAGE_OUTPUT_TOKENS})
_VALIDATION: Final = {VALIDATION_PASSED: "validated", VALIDATION_FAILED: "invalid"}

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+")
_TIMEOUT: Final = re.compile(r"time_?d?_?out|deadline_?exceeded", re.IGNORECASE)


class PrintedSpans(SpanProcessor, SpanExporter):
    """Prints the spans that have no parent in this process.

    :func:`configure` adds it as a processor. An SDK that somebody else set up takes it for an exporter; then only the
    last line of each span is printed.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        above = None if span.parent is None or span.parent.is_remote else OPEN.get(span.parent.span_id)
        OPEN[_ids(span).span_id] = OpenSpan(span, above)
        if _is_first(span):
            fields = [*_execution(span), *_identity(span), *_others(span)]
            print_line("🔍", _ids(span), "Modal inference started", fields)

    def on_end(self, span: ReadableSpan) -> None:
        ended = OPEN.pop(_ids(span).span_id, None)
        own = (span.attributes or {}).get(GEN_AI_USAGE_OUTPUT_TOKENS)
        tokens = own if isinstance(own, int) else ended.tokens if ended else 0
        if ended is not None and ended.above is not None:
            ended.above.tokens += tokens
        if _is_first(span):
            _print_end(span, tokens)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            self.on_end(span)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing waits to be printed."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _print_end(span: ReadableSpan, tokens: int) -> None:
    fields: list[Field] = [("duration", f"{_seconds((span.end_time or 0) - (span.start_time or 0))}s")]
    if tokens:
        fields.append(("tokens", tokens))
    fields += [*_execution(span), *_identity(span), *_validation(span), *_others(span)]
    if span.status.status_code is not StatusCode.ERROR:
        print_line("✅", _ids(span), "SUCCESS", fields)
        return
    error, message = _error(span)
    text = "TIMEOUT" if _TIMEOUT.search(error) else "FAILED"
    said = [(key, value) for key, value in (("error", error), ("message", message)) if value]
    print_line("❌", _ids(span), text, [*said, *fields])


def _is_first(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def _ids(span: ReadableSpan) -> SpanContext:
    return span.get_span_context() or trace.INVALID_SPAN_CONTEXT


def _execution(span: ReadableSpan) -> Iterator[Field]:
    attributes = span.attributes or {}
    return ((short, attributes[name]) for name, short in _SHORT.items() if name in attributes)


def _identity(span: ReadableSpan) -> Iterator[Field]:
    ids = _ids(span)
    yield "trace", f"{ids.trace_id:032x}"
    yield "span", f"{ids.span_id:016x}"
    if span.parent is not None:
        yield "parent", f"{span.parent.span_id:016x}"
    yield "name", span.name
    yield "kind", span.kind.name.lower()
    for key, attribute in (("service", SERVICE_NAME), ("version", SERVICE_VERSION)):
        if value := span.resource.attributes.get(attribute):
            yield key, value
    yield "start", span.start_time or 0


def _validation(span: ReadableSpan) -> Iterator[Field]:
    """How long after the start the input was found good or bad."""
    for event in span.events:
        if event.name in _VALIDATION:
            yield _VALIDATION[event.name], f"{_seconds(event.timestamp - (span.start_time or 0))}s"


def _others(span: ReadableSpan) -> Iterator[Field]:
    """The attributes that have no field of their own, under their names."""
    attributes: Mapping[str, AttributeValue] = span.attributes or {}
    return ((key, value) for key, value in attributes.items() if key not in _SAID and _KEY.fullmatch(key))


def _error(span: ReadableSpan) -> tuple[str, str]:
    """Type and message of what failed, each empty when it is not known."""
    kind = str((span.attributes or {}).get(ERROR_TYPE, ""))
    for event in reversed(span.events):
        if event.name == "exception":
            said = event.attributes or {}
            return kind or str(said.get("exception.type", "")), str(said.get("exception.message", ""))
    return kind, span.status.description or ""


def _seconds(nanos: int) -> str:
    """Exactly: 1.52, 0.000000001."""
    whole, part = divmod(max(nanos, 0), 10**9)
    return f"{whole}.{f'{part:09d}'.rstrip('0') or 0}"
