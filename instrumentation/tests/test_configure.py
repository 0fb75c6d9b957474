from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

ONE_SPAN = """
from otel_diag_instrumentation import configure, execution
configure("runner", endpoint=ENDPOINT, service_version="1.2")
with execution(1): pass
"""


def one_span(endpoint: str) -> str:
    return ONE_SPAN.replace("ENDPOINT", repr(endpoint))


def test_the_last_spans_leave_at_exit_with_the_service_they_come_from(run, sink) -> None:
    run(one_span(f"{sink.url}/"), OTEL_BSP_SCHEDULE_DELAY="60000")
    assert sink.paths == ["/v1/traces"]
    assert sink.names() == ["runner.execution"]
    resource = sink.resource()
    assert (resource["service.name"], resource["service.version"]) == ("runner", "1.2")
    assert resource["telemetry.sdk.name"] == "opentelemetry"


def test_standard_variables_win(run, sink) -> None:
    run(
        one_span("http://127.0.0.1:1"),
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{sink.url}/elsewhere",
        OTEL_SERVICE_NAME="from-environment",
        OTEL_RESOURCE_ATTRIBUTES="service.version=9,deployment.environment.name=test",
    )
    assert sink.paths == ["/elsewhere"]
    resource = sink.resource()
    assert resource["service.name"] == "from-environment"
    assert resource["service.version"] == "9"
    assert resource["deployment.environment.name"] == "test"


def test_the_sdk_can_be_disabled_and_the_exporter_left_out(run, sink) -> None:
    run(one_span(sink.url), OTEL_SDK_DISABLED="true")
    run(one_span(sink.url), OTEL_TRACES_EXPORTER="none")
    assert sink.paths == []


def test_other_exporters_are_found_by_name(run, sink) -> None:
    done = run(one_span(sink.url), OTEL_TRACES_EXPORTER="console,otlp")
    assert "runner.execution" in done.stdout
    assert sink.names() == ["runner.execution"]


def test_an_exporter_that_is_not_there_is_reported_and_costs_only_spans(run, sink) -> None:
    assert "'nowhere', which is not installed" in run(one_span(sink.url), OTEL_TRACES_EXPORTER="nowhere").stderr
    assert "'pigeon' is not known" in run(one_span(sink.url), OTEL_EXPORTER_OTLP_PROTOCOL="pigeon").stderr
    assert sink.paths == []


TWICE = """
from opentelemetry import trace
from otel_diag_instrumentation import configure, execution
assert configure("first", endpoint=ENDPOINT) is configure("second") is trace.get_tracer_provider()
with execution(1): pass
"""


def test_configuring_twice_changes_nothing(run, sink) -> None:
    run(TWICE.replace("ENDPOINT", repr(sink.url)))
    assert sink.names() == ["runner.execution"]
    assert sink.resource()["service.name"] == "first"


EXISTING = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
own = TracerProvider(resource=Resource({"service.name": "own"}))
own.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(own)
from otel_diag_instrumentation import configure, execution
assert configure("ours", endpoint=ENDPOINT) is own
with execution(7), trace.get_tracer("t").start_as_current_span("below"): pass
"""


def test_a_provider_that_is_there_is_respected_and_learns_the_execution(run, sink) -> None:
    done = run(EXISTING.replace("ENDPOINT", repr(sink.url)))
    assert sink.paths == []
    assert done.stdout.count('"execution.id": 7') == 2
    assert '"service.name": "own"' in done.stdout


SNAPSHOT = """
import random
from otel_diag_instrumentation import configure, execution
configure("modal")
frozen = random.getstate()
for _ in range(2):
    random.setstate(frozen)
    with execution(1): pass
"""


def test_a_restored_snapshot_does_not_repeat_ids(run, sink) -> None:
    run(SNAPSHOT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
    spans = [span for part in sink.received for scope in part.scope_spans for span in scope.spans]
    assert len({span.trace_id for span in spans}) == len({span.span_id for span in spans}) == 2


def test_a_closed_port_neither_breaks_the_service_nor_keeps_it_from_ending(run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        run(one_span(f"http://127.0.0.1:{closed.getsockname()[1]}"), OTEL_EXPORTER_OTLP_TIMEOUT="600")


def test_an_endpoint_that_never_answers_does_not_keep_the_process_from_ending(run, sink) -> None:
    sink.answering.clear()
    run(one_span(sink.url), OTEL_EXPORTER_OTLP_TIMEOUT="600")
    assert sink.asked.is_set()
    assert sink.received == []


class Received(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request, context):  # noqa: N802 - the service's name for it
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


def test_grpc_with_its_extra(run) -> None:
    received = Received()
    with ThreadPoolExecutor(max_workers=1) as pool:
        server = grpc.server(pool)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(received, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        run(one_span(f"http://127.0.0.1:{port}"), OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
        server.stop(None).wait()
    (request,) = received.requests
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "runner.execution"


def test_importing_the_helpers_loads_no_exporter(run) -> None:
    loaded = run("import sys, otel_diag_instrumentation; print(*sys.modules)").stdout.split()
    heavy = {"grpc", "requests", "google.protobuf", "opentelemetry.instrumentation", "opentelemetry.sdk._logs"}
    assert not heavy & set(loaded)
