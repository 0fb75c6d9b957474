"""Announced spans: what has begun is told while it runs, so that a process that is killed leaves a trace of it.

A span leaves its process when it ends, so one whose process dies before that (out of memory, ``kill -9``, a container
taken away) would leave nothing. A span that stays open is therefore announced, by a log record with its name and start.
The record is superseded when the span itself arrives. A span that ends soon is never announced: it costs two dictionary
operations.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, format_span_id, set_span_in_context

from otel_diag_instrumentation.vocabulary import EXECUTION_ATTEMPT, EXECUTION_ID, JOB_ID, MODEL_ID, REGION

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.util.types import AnyValue

LOOK_EVERY_S: Final = 0.2
"""How often open spans are looked at while there are any; at once when an execution begins, if not more often."""

ENTRY_AFTER_NS: Final = 100_000_000
"""How long an entry into the process (a local root, a SERVER or CONSUMER span) is open before a look announces it. The
root of an execution need not be: an execution is known even when its process dies at once."""

INNER_AFTER_NS: Final = 500_000_000
"""The same for every other span."""

AT_MOST_AT_A_LOOK: Final = 20
"""100 a second, which costs 1 % of a core, most of it for the five requests. Those that are open longest come first."""

AT_MOST_IN_A_REQUEST: Final = 500
"""Of the last announcements. The queue of the SDK's batch processor holds 2,048 and drops the others."""

_ENTRIES: Final = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})
_EXECUTION: Final = (EXECUTION_ID, EXECUTION_ATTEMPT, JOB_ID, MODEL_ID, REGION)


class Announcer(SpanProcessor):
    """Remembers the sampled spans that are open, and announces those that stay open from a daemon thread.

    It only announces, also when the process ends. Ending the spans of others would invent an end that has not happened,
    and what still runs in other threads may yet end them itself.
    """

    def __init__(self, logs: LoggerProvider) -> None:
        self._logs = logs
        self._logger = logs.get_logger("otel-diag-instrumentation")
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start)
        self._start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        context = span.get_span_context()
        if context.trace_flags.sampled:
            self._open[context.span_id] = span
            if _begins_execution(span):
                self._execution_begun.set()
            if not self._woken.is_set():
                self._woken.set()

    def on_end(self, span: ReadableSpan) -> None:
        self._open.pop(span.context.span_id, None)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True  # older SDKs answer None here, and then do not flush the processors that follow

    def announce_all(self) -> None:
        """Announces whatever is open and was not announced before, and waits for the export."""
        while spans := list(self._open.copy().values())[:AT_MOST_IN_A_REQUEST]:
            self._announce(spans)

    def _start(self) -> None:
        """Also in a forked process: the thread did not come along, and the spans are those of the other process."""
        self._open: dict[int, Span] = {}
        self._woken, self._execution_begun = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="otel-diag-announce", daemon=True).start()

    def _run(self) -> None:
        next_look = 0.0
        while True:
            self._woken.wait()
            self._woken.clear()
            if self._execution_begun.wait(LOOK_EVERY_S):
                self._execution_begun.clear()
                time.sleep(max(0.0, next_look - time.monotonic()))
            next_look = time.monotonic() + LOOK_EVERY_S
            now = time.time_ns()
            due = [span for span in self._open.copy().values() if _is_due(span, now)]
            self._announce(due[:AT_MOST_AT_A_LOOK])
            if self._open:
                self._woken.set()

    def _announce(self, spans: Iterable[Span]) -> None:
        still_open = [span for span in spans if self._open.pop(span.get_span_context().span_id, None)]
        for span in still_open:
            self._emit(span)
        if still_open:
            self._logs.force_flush()

    def _emit(self, span: Span) -> None:
        own = span.attributes or {}
        attributes: dict[str, AnyValue] = {key: own[key] for key in _EXECUTION if key in own}
        attributes["span.name"] = span.name
        attributes["span.kind"] = span.kind.value + 1  # OTLP has 0 for "unspecified"
        attributes["span.start_unix_nano"] = span.start_time
        attributes["span.parent_id"] = format_span_id(span.parent.span_id) if span.parent else ""
        self._logger.emit(
            event_name="otel_diag.span.start",
            timestamp=span.start_time,
            context=set_span_in_context(span, Context()),
            attributes=attributes,
        )


def _begins_execution(span: Span) -> bool:
    return span.parent is None and EXECUTION_ID in (span.attributes or ())


def _is_due(span: Span, now_unix_nano: int) -> bool:
    if _begins_execution(span):
        return True
    is_entry = span.parent is None or span.parent.is_remote or span.kind in _ENTRIES
    return now_unix_nano - (span.start_time or 0) >= (ENTRY_AFTER_NS if is_entry else INNER_AFTER_NS)
