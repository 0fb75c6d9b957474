"""Beside the real sentry-sdk, which sends its envelopes to a stand-in for Sentry on this machine."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

pytest.importorskip("sentry_sdk")
from sentry_sdk.envelope import Envelope, Item


class Sentry(ThreadingHTTPServer):
    """Keeps what it is sent. Knows only what sentry-sdk needs: a DSN and the path of envelopes."""

    daemon_threads = True

    def __init__(self) -> None:
        self.items: list[Item] = []
        super().__init__(("127.0.0.1", 0), _SentryHandler)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"

    @property
    def events(self) -> list[dict]:
        return [item.payload.json for item in self.items if item.type == "event"]

    def trace_contexts(self) -> list[tuple[str, str]]:
        contexts = [event["contexts"]["trace"] for event in self.events]
        return [(context["trace_id"], context["span_id"]) for context in contexts]


class _SentryHandler(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        assert self.path == "/api/1/envelope/"
        assert self.headers.get("Content-Encoding") is None, "the SDK was told not to compress"
        self.server.items += Envelope.deserialize(self.rfile.read(int(self.headers["Content-Length"]))).items
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with Sentry() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


def spans_of(sink) -> dict[str, Span]:
    return {span.name: span for part in sink.received for scope in part.scope_spans for span in scope.spans}


def ids(span: Span) -> tuple[str, str]:
    return span.trace_id.hex(), span.span_id.hex()


HEAD = """
import json
import sentry_sdk
from sentry_sdk.integrations.otlp import OTLPIntegration
from opentelemetry import trace
from otel_diag_instrumentation import configure, execution, inject, link_sentry

def init(capture_exceptions=False, frameworks=(), **options):
    beside = OTLPIntegration(
        setup_otlp_traces_exporter=False, setup_propagator=False, capture_exceptions=capture_exceptions
    )
    sentry_sdk.init(
        integrations=[beside, *frameworks],
        auto_enabling_integrations=False,  # they import every framework that is installed
        _experiments={"transport_compression_level": 0},
        **options,
    )
"""

CAUGHT = """
with execution(7):
    headers = inject()
    with trace.get_tracer("t").start_as_current_span("step"):
        try:
            1 / 0
        except ZeroDivisionError as error:
            event_id = sentry_sdk.capture_exception(error)
            sentry_sdk.capture_exception(error)  # again: Sentry drops it
print(json.dumps([event_id, headers]))
"""

SENTRY_FIRST = "init()\nlink_sentry()\nconfigure('runner')"
SENTRY_LAST = "configure('runner')\nlink_sentry()\ninit()"


@pytest.mark.parametrize("set_up", [SENTRY_FIRST, SENTRY_LAST], ids=["sentry first", "sentry last"])
def test_event_and_span_name_each_other_and_the_context_still_crosses(run, sink, sentry, set_up: str) -> None:
    done = run(HEAD + set_up + CAUGHT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SENTRY_DSN=sentry.dsn)
    event_id, headers = json.loads(done.stdout)
    spans = spans_of(sink)
    assert [event["event_id"] for event in sentry.events] == [event_id]
    assert sentry.trace_contexts() == [ids(spans["step"])]
    assert attributes(spans["step"])["sentry.event_id"] == event_id
    assert "sentry.event_id" not in attributes(spans["runner.execution"])
    trace_id, span_id = ids(spans["runner.execution"])
    assert headers["traceparent"].split("-")[1:3] == [trace_id, span_id]
    assert "execution.id=7" in headers["baggage"].split(",")


TRANSACTION = """
configure("runner")
link_sentry()
init(traces_sample_rate=1.0)
with execution(7), sentry_sdk.start_transaction(name="not an event"): pass
"""


def test_what_sentry_measures_for_itself_is_no_event(run, sink, sentry) -> None:
    run(HEAD + TRANSACTION, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SENTRY_DSN=sentry.dsn)
    assert {item.type for item in sentry.items} & {"event", "transaction"} == {"transaction"}
    assert "sentry.event_id" not in attributes(spans_of(sink)["runner.execution"])


UNHANDLED_IN_A_SCRIPT = """
configure("runner")
link_sentry()
init(capture_exceptions=True)
with execution(7), execution(8, name="inner"):
    raise KeyError("nobody catches this")
"""


def test_an_error_that_nobody_catches_is_linked_to_the_first_span_that_it_fails(run, sink, sentry) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run(HEAD + UNHANDLED_IN_A_SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SENTRY_DSN=sentry.dsn)
    spans = spans_of(sink)
    (event,) = sentry.events  # not again where the script ends
    assert sentry.trace_contexts() == [ids(spans["inner"])]
    assert attributes(spans["inner"])["sentry.event_id"] == event["event_id"]
    assert "sentry.event_id" not in attributes(spans["runner.execution"])


UNHANDLED_IN_A_REQUEST = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration

logs, kept = LoggerProvider(), InMemoryLogRecordExporter()
logs.add_log_record_processor(SimpleLogRecordProcessor(kept))
set_logger_provider(logs)
configure("router")
link_sentry()
link_sentry()
init(frameworks=[StarletteIntegration(), FastApiIntegration()])

app = FastAPI()

@app.get("/boom")
def boom():
    raise KeyError("nobody catches this")

with execution(7):
    headers = inject()
assert TestClient(app, raise_server_exceptions=False).get("/boom", headers=headers).status_code == 500
records = [each.log_record for each in kept.get_finished_logs()]
print(json.dumps([
    [format(record.trace_id, "032x"), format(record.span_id, "016x"), dict(record.attributes)]
    for record in records if record.event_name == "sentry.event"
]))
"""


def test_an_error_reported_after_its_request_is_linked_by_a_log_record(run, sink, sentry) -> None:
    pytest.importorskip("fastapi")
    done = run(HEAD + UNHANDLED_IN_A_REQUEST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SENTRY_DSN=sentry.dsn)
    served = spans_of(sink)["GET /boom"]
    (event,) = sentry.events
    assert sentry.trace_contexts() == [ids(served)]
    ((trace_id, span_id, noted),) = json.loads(done.stdout)
    assert (trace_id, span_id) == ids(served)
    assert noted["sentry.event_id"] == event["event_id"]


def test_without_sentry_this_is_said_and_the_service_runs(run, sink) -> None:
    source = """
import sys
from otel_diag_instrumentation import configure, execution, link_sentry
configure("runner")
assert "sentry_sdk" not in sys.modules
sys.modules["sentry_sdk"] = None  # an import of it fails
link_sentry()
with execution(7): pass
"""
    done = run(source, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
    assert "spans will not carry sentry.event_id" in done.stderr
    assert sink.names() == ["runner.execution"]
