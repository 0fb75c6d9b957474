"""Real SDK, real wire: an in-memory exporter for what spans say, an OTLP receiver for what leaves a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_diag_instrumentation import configure

T = TypeVar("T")


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """The application's own tracer provider, which configure() finds and respects."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    assert configure("ignored") is provider
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


class Sink(ThreadingHTTPServer):
    """Accepts OTLP/HTTP. While ``answering`` is cleared it reads requests and leaves them without an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[ResourceSpans] = []
        self.logs: list[ResourceLogs] = []
        self.paths: list[str] = []
        self.asked = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        super().__init__(("127.0.0.1", 0), _SinkHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def names(self) -> list[str]:
        return [span.name for part in self.received for scope in part.scope_spans for span in scope.spans]

    def records(self) -> list[LogRecord]:
        return [record for part in self.logs for scope in part.scope_logs for record in scope.log_records]

    def announced(self) -> list[str]:
        """Names of the spans that were announced, in the order in which they were."""
        return [values(record)["span.name"] for record in self.records() if record.event_name == "otel_diag.span.start"]

    def resource(self) -> dict[str, str]:
        return {pair.key: pair.value.string_value for pair in self.received[0].resource.attributes}


class _SinkHandler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.asked.set()
        self.server.answering.wait()
        if self.path.endswith("/v1/logs"):
            self.server.logs.extend(ExportLogsServiceRequest.FromString(body).resource_logs)
        elif not self.path.endswith("/v1/metrics"):
            self.server.received.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def values(record: LogRecord) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in record.attributes}


def until(condition: Callable[[], T]) -> T:
    """The first result that is true. Fails when it takes longer than anybody would wait."""
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return value


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.answering.set()
        server.shutdown()


def environment(**given: str) -> dict[str, str]:
    """This process's, with only the OTEL_* variables given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return clean | {"NO_PROXY": "127.0.0.1"} | given


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run() -> Run:
    """Runs Python source in a fresh process to its end."""

    def run(source: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", source],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=25,
            check=True,
        )

    return run


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command and leaves it running, until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env=environment(**variables), cwd=cwd, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
