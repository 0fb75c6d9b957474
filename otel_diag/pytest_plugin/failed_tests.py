"""What the plugin does: a span around each test, and for a failed one its trace and its diagnosis.

Whatever ends while a test runs is the test's: threads start without its context, and an event loop that lives longer
than the test has an older one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Span, SpanContext, StatusCode, format_span_id

MAX_SPANS: Final = 10_000
"""Spans of one test that are kept, the first that end."""

_ROOT: Final = pytest.StashKey[Span]()
_FAILED: Final = pytest.StashKey[bool]()


class FailedTests:
    """The plugin of one run."""

    def __init__(self, config: pytest.Config, directory: Path) -> None:
        self._directory = directory
        self._shown_from = config.invocation_params.dir
        self._service = config.rootpath.name
        self._ended = _Ended()
        self._watched: trace.TracerProvider | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        path, line, _ = item.location
        attributes: dict[str, str | int] = {
            "test.case.name": item.nodeid,
            "code.file.path": path,
            "code.line.number": (line or 0) + 1,
        }
        tracer = self._provider().get_tracer("otel_diag.pytest_plugin")
        root = tracer.start_span(item.nodeid, Context(), attributes=attributes)
        item.stash[_ROOT] = root
        self._ended.forget()
        token = attach(trace.set_span_in_context(root, Context()))
        try:
            return (yield)
        finally:
            detach(token)

    # First: what is expected to fail has become what it is to pytest when the others are done.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        root = item.stash[_ROOT]
        if report.failed:
            item.stash[_FAILED] = True
            # Without a word: what the test says, pytest says, and here it would pass for the cause of what it has seen.
            root.set_status(StatusCode.ERROR)
            report.sections.append((f"otel-diag {report.when}", self._told(item)))
        if report.when == "teardown":
            root.end()
            if item.stash.get(_FAILED, False) and (request := self._trace(item)) is not None:
                self._kept(item, request)  # with what fixtures have ended since
        return report

    def _provider(self) -> trace.TracerProvider:
        """That of the application, which may have set it since the last test, else one that keeps spans only here."""
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            named = Resource({SERVICE_NAME: self._service}).merge(OTELResourceDetector().detect())
            provider = TracerProvider(resource=Resource.create(named.attributes), shutdown_on_exit=False)
            trace.set_tracer_provider(provider)
        if provider is not self._watched and isinstance(provider, TracerProvider):
            provider.add_span_processor(self._ended)
            self._watched = provider
        return provider

    def _told(self, item: pytest.Item) -> str:
        """What the report says about a failed test."""
        request = self._trace(item)
        if request is None:
            return "No span was recorded while the test ran."
        from otel_diag.pytest_plugin.diagnosis import diagnosis  # a second, for failed tests only

        test = format_span_id(item.stash[_ROOT].get_span_context().span_id)
        return f"{diagnosis(request, test)}\n\n{self._kept(item, request)}"

    def _trace(self, item: pytest.Item) -> bytes | None:
        """The test's trace until now, as an export request; None when nothing but the test itself is recorded."""
        root = item.stash[_ROOT]
        spans = self._ended.spans(besides=root.get_span_context())
        return one_trace([*spans, root], root.get_span_context()) if spans and isinstance(root, ReadableSpan) else None

    def _kept(self, item: pytest.Item, request: bytes) -> str:
        path = self._directory / file_name(item.nodeid)
        shown = os.path.relpath(path, self._shown_from)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(request)
        except OSError as error:
            return f"Its spans could not be written to {shown}: {error.strerror}"
        return f"Its spans: otel-diag import {shown}"


class _Ended(SpanProcessor):
    """The spans that ended since the last :meth:`forget`.

    Without a lock: a signal handler or the garbage collector may end a span in the thread that holds it.
    """

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._spans) < MAX_SPANS:
            self._spans.append(span)

    def forget(self) -> None:
        self._spans = []

    def spans(self, besides: SpanContext) -> Sequence[ReadableSpan]:
        return [span for span in self._spans if span.get_span_context() != besides]


def one_trace(spans: Sequence[ReadableSpan], root: SpanContext) -> bytes:
    """All of it as one export request, in which the other traces are branches of the root's.

    What runs still ends now.
    """
    encoded: ExportTraceServiceRequest = encode_spans(spans)
    trace_id, root_id = root.trace_id.to_bytes(16, "big"), root.span_id.to_bytes(8, "big")
    for span in (span for found in encoded.resource_spans for scope in found.scope_spans for span in scope.spans):
        if span.trace_id != trace_id:
            span.trace_id = trace_id
            span.parent_span_id = span.parent_span_id or root_id
        span.end_time_unix_nano = span.end_time_unix_nano or time.time_ns()
    request: bytes = encoded.SerializeToString()
    return request


def file_name(nodeid: str) -> str:
    """Of a test's trace: the same in every run, and no other test's."""
    readable = re.sub(r"[^\w.-]+", "_", nodeid)[-100:]
    return f"{readable}-{blake2b(nodeid.encode(), digest_size=4).hexdigest()}.otlp"
