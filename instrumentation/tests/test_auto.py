"""``opentelemetry-instrument`` on programs that know nothing of it: real processes, a real receiver."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from urllib.error import HTTPError

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from .conftest import until, values

INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")

SCRIPT = """
from opentelemetry import trace
with trace.get_tracer("t").start_as_current_span("work"): pass
"""

APP = """
import sys
import fastapi, uvicorn

app = fastapi.FastAPI()

@app.get("/items/{item}")
def read(item: int) -> dict[str, int]:
    return {"item": 10 // item}

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture
def instrumented(start, sink, tmp_path):
    """Runs a program, given as ``app.py``, or a command in its folder."""

    def instrumented(source, *command, endpoint=sink.url, **variables):
        (tmp_path / "app.py").write_text(dedent(source))
        if endpoint:
            variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        return start(INSTRUMENT, *(command or [sys.executable, "app.py"]), cwd=tmp_path, **variables)

    return instrumented


def ended(process, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=40)
    assert process.returncode == code, err
    return out, err


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port: int, path: str) -> int:
    """The status of the answer; asks until there is one."""

    def answer() -> int | None:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").status
        except HTTPError as error:
            return error.code
        except OSError:
            return None

    return until(answer)


# ---------------------------------------------------------------------------------- a web application


def served(process, sink, port: int) -> None:
    """One good and one failing request, then SIGTERM: both traces and the exception are there."""
    assert get(port, "/items/5") == 200
    assert get(port, "/items/0") == 500
    process.terminate()
    assert process.wait(timeout=25) == -signal.SIGTERM
    assert sink.names().count("GET /items/{item}") == 2
    (error,) = [record for record in sink.records() if record.event_name == "http.server.request.exception"]
    assert values(error)["exception.type"] == "ZeroDivisionError"
    failed = next(
        span
        for part in sink.received
        for scope in part.scope_spans
        for span in scope.spans
        if span.name == "GET /items/{item}" and span.status.code == 2
    )
    assert failed.trace_id == error.trace_id


def test_a_fastapi_application_that_is_not_touched(instrumented, sink) -> None:
    port = free_port()
    served(instrumented(APP, sys.executable, "app.py", str(port)), sink, port)
    assert sink.resource()["service.name"] == "app"


def test_the_same_under_the_uvicorn_command(instrumented, sink) -> None:
    port = free_port()
    uvicorn = Path(sys.executable).with_name("uvicorn")
    process = instrumented(APP, uvicorn, "app:app", "--port", str(port), OTEL_SERVICE_NAME="items")
    served(process, sink, port)
    assert sink.resource()["service.name"] == "items"


# ---------------------------------------------------------------------------------- what it sends, and where


def test_a_script_and_what_it_is_called(instrumented, sink) -> None:
    ended(instrumented(SCRIPT))
    assert sink.names() == ["work"]
    assert sink.paths == ["/v1/traces"]
    assert sink.resource()["service.name"] == "app"
    assert re.fullmatch(r"\d+\.\d+b\d+", sink.resource()["telemetry.auto.version"])


def test_a_module_is_called_by_its_name(instrumented, sink) -> None:
    ended(instrumented(SCRIPT, sys.executable, "-m", "app"))
    assert sink.resource()["service.name"] == "app"


def test_where_only_the_interpreter_is_known_the_service_has_no_name(instrumented, sink) -> None:
    ended(instrumented("", sys.executable, "-c", SCRIPT))
    assert sink.resource()["service.name"].startswith("unknown_service")


class Received(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def Export(self, request, context):  # noqa: N802 - the service's name for it
        self.names += [s.name for part in request.resource_spans for scope in part.scope_spans for s in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def grpc_server():
    received = Received()
    with ThreadPoolExecutor(max_workers=1) as pool:
        server = grpc.server(pool)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(received, server)
        received.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield received
        server.stop(None).wait()


SHOW = """
from otel_diag_instrumentation.exporters import Destination
for signal in ("traces", "logs", "metrics"):
    Destination().each_exporter(signal, lambda made: print(signal, type(made).__module__, made._endpoint))
"""


def destinations(process) -> dict[str, tuple[str, str]]:
    """Signal -> (protocol, endpoint), as the exporters have them."""
    lines = [line.split() for line in ended(process)[0].splitlines()]
    return {signal: (re.search("grpc|http", module)[0], endpoint) for signal, module, endpoint in lines}


TRACES, LOGS = "/v1/traces", "/v1/logs"
HTTP, OTHER = "http://127.0.0.1:4318", "http://collector:1234"


@pytest.mark.parametrize(
    ("variables", "traces", "logs"),
    [
        ({}, ("grpc", "127.0.0.1:4317"), ("grpc", "127.0.0.1:4317")),
        ({"PROTOCOL": "http/protobuf"}, ("http", HTTP + TRACES), ("http", HTTP + LOGS)),
        ({"TRACES_PROTOCOL": "http/protobuf"}, ("http", HTTP + TRACES), ("http", HTTP + LOGS)),
        ({"LOGS_PROTOCOL": "http/protobuf"}, ("grpc", "127.0.0.1:4317"), ("http", HTTP + LOGS)),
        ({"ENDPOINT": OTHER}, ("http", OTHER + TRACES), ("http", OTHER + LOGS)),
        ({"ENDPOINT": "http://collector:4317"}, ("grpc", "collector:4317"), ("grpc", "collector:4317")),
        ({"ENDPOINT": OTHER, "PROTOCOL": "grpc"}, ("grpc", "collector:1234"), ("grpc", "collector:1234")),
        ({"TRACES_ENDPOINT": OTHER + TRACES}, ("http", OTHER + TRACES), ("http", OTHER + LOGS)),
        ({"TRACES_ENDPOINT": f"{OTHER}/a", "ENDPOINT": HTTP}, ("http", f"{OTHER}/a"), ("http", HTTP + LOGS)),
        ({"LOGS_ENDPOINT": f"{OTHER}/b", "PROTOCOL": "http/protobuf"}, ("http", HTTP + TRACES), ("http", f"{OTHER}/b")),
    ],
    ids=lambda value: "-".join(value) or "nothing" if isinstance(value, dict) else "",
)
def test_the_endpoint_and_protocol_variables(start, variables, traces, logs) -> None:
    given = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    found = destinations(start(sys.executable, "-c", SHOW, **given))
    assert found == {"traces": traces, "logs": logs}


def test_without_the_grpc_exporter_it_is_http(start) -> None:
    hidden = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.grpc'] = None\n"
    found = destinations(start(sys.executable, "-c", hidden + SHOW))
    assert found == {"traces": ("http", HTTP + TRACES), "logs": ("http", HTTP + LOGS)}


def test_over_grpc(instrumented, grpc_server) -> None:
    ended(instrumented(SCRIPT, endpoint=grpc_server.endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc"))
    assert grpc_server.names == ["work"]


def test_the_standard_variables_about_what_is_said(instrumented, sink) -> None:
    source = """
    from opentelemetry import propagate, trace
    with trace.get_tracer("t").start_as_current_span("work", attributes={"long": "12345"}): propagate.inject(c := {})
    print(*c)
    """
    process = instrumented(
        source,
        OTEL_SERVICE_NAME="named",
        OTEL_RESOURCE_ATTRIBUTES="service.version=9,deployment.environment.name=test",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="3",
        OTEL_PROPAGATORS="baggage",
    )
    assert ended(process)[0] == "\n"
    assert sink.resource()["service.name"] == "named"
    assert (sink.resource()["service.version"], sink.resource()["deployment.environment.name"]) == ("9", "test")
    (span,) = [span for part in sink.received for scope in part.scope_spans for span in scope.spans]
    assert span.attributes[0].value.string_value == "123"


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    ],
    ids=lambda variables: "-".join(variables.values()),
)
def test_nothing_is_sent_when_a_variable_says_so(instrumented, sink, variables) -> None:
    assert ended(instrumented(SCRIPT, **variables)) == ("", "")
    assert sink.paths == []


def test_metrics_are_sent_when_they_are_asked_for(instrumented, sink) -> None:
    source = SCRIPT + "from opentelemetry import metrics; metrics.get_meter('t').create_counter('c').add(1)\n"
    ended(instrumented(source, OTEL_METRICS_EXPORTER="otlp"))
    assert sorted(sink.paths) == ["/v1/metrics", "/v1/traces"]


def test_an_exporter_that_is_not_there_costs_only_itself(instrumented, sink) -> None:
    out, err = ended(instrumented(SCRIPT, OTEL_TRACES_EXPORTER="nowhere,console,none,otlp", OTEL_LOGS_EXPORTER="otlp"))
    assert json.loads(out)["name"] == "work"
    assert sink.names() == ["work"]
    assert "'nowhere', which is not installed" in err
    assert "Traceback" not in err


def test_a_setting_that_the_batches_refuse_costs_spans_and_not_the_service(instrumented, sink) -> None:
    out, err = ended(instrumented(SCRIPT + "print('ran')", OTEL_BSP_MAX_QUEUE_SIZE="5"))
    assert out == "ran\n"
    assert "max_export_batch_size must be less than or equal to max_queue_size" in err


# ---------------------------------------------------------------------------------- other packages


def installed(folder: Path, name: str, source: str, **entry_points: str) -> None:
    """A package as pip leaves it behind."""
    (folder / f"{name}.py").write_text(dedent(source))
    information = folder / f"{name}-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [f"[{group}]\n{name} = {name}:{made}\n" for group, made in entry_points.items()]
    (information / "entry_points.txt").write_text("".join(lines))


def test_samplers_id_generators_and_exporters_of_other_packages(instrumented, sink, tmp_path) -> None:
    source = """
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import Decision, SamplingResult, Sampler

    class Choosy(Sampler):
        def __init__(self, argument): self.argument = argument
        def get_description(self): return "choosy"
        def should_sample(self, parent_context, trace_id, name, *_, **__):
            return SamplingResult(Decision.RECORD_AND_SAMPLE if name == self.argument else Decision.DROP)

    class Ids(IdGenerator):
        def generate_trace_id(self): return 0xabc
        def generate_span_id(self): return 0xdef

    class Printing(SpanExporter):
        def export(self, spans):
            print(*(f"{span.name} {span.context.trace_id:x} {span.context.span_id:x}" for span in spans), sep="\\n")
            return SpanExportResult.SUCCESS
    """
    groups = {"opentelemetry_traces_sampler": "Choosy", "opentelemetry_id_generator": "Ids"}
    installed(tmp_path, "foreign", source, opentelemetry_traces_exporter="Printing", **groups)
    process = instrumented(
        SCRIPT.replace('"work"', '"other"') + SCRIPT,
        PYTHONPATH=str(tmp_path),
        OTEL_TRACES_SAMPLER="foreign",
        OTEL_TRACES_SAMPLER_ARG="work",
        OTEL_PYTHON_ID_GENERATOR="foreign",
        OTEL_TRACES_EXPORTER="foreign",
        OTEL_LOGS_EXPORTER="none",
    )
    assert ended(process) == ("work abc def\n", "")


def test_a_sampler_that_is_not_there_leaves_the_default(instrumented, sink) -> None:
    _, err = ended(instrumented(SCRIPT, OTEL_TRACES_SAMPLER="nowhere"))
    assert "OTEL_TRACES_SAMPLER names 'nowhere'" in err
    assert sink.names() == ["work"]


EXECUTION = """
import time
from otel_diag_instrumentation import execution
with execution(2193): time.sleep(0.6)
"""


def test_where_another_distribution_wins_its_spans_carry_the_execution_and_are_announced(
    instrumented, sink, tmp_path
) -> None:
    source = """
    from opentelemetry.instrumentation.distro import BaseDistro
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator as Configurator

    class Distro(BaseDistro):
        def _configure(self, **kwargs): pass
    """
    groups = {"opentelemetry_distro": "Distro", "opentelemetry_configurator": "Configurator"}
    installed(tmp_path, "foreign", source, **groups)
    variables = {"OTEL_PYTHON_DISTRO": "foreign", "OTEL_PYTHON_CONFIGURATOR": "foreign"}
    variables |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    ended(instrumented(EXECUTION, PYTHONPATH=str(tmp_path), OTEL_SERVICE_NAME="theirs", **variables))
    assert sink.names() == ["runner.execution"]
    assert sink.resource()["service.name"] == "theirs"
    (told,) = sink.records()
    assert values(told)["execution.id"] == 2193
    (span,) = sink.received[0].scope_spans[0].spans
    assert "execution.id" in {pair.key for pair in span.attributes}


def test_a_program_that_configures_itself_too_changes_nothing(instrumented, sink) -> None:
    source = "from otel_diag_instrumentation import configure; configure('other', endpoint='http://127.0.0.1:1')\n"
    ended(instrumented(source + SCRIPT))
    assert sink.names() == ["work"]
    assert sink.resource()["service.name"] == "app"


def test_child_processes_see_no_variable_of_ours(instrumented) -> None:
    source = "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('OTEL_')}))"
    out, _ = ended(instrumented(source, endpoint=None))
    assert json.loads(out) == {}


def test_an_instrumentor_is_loaded_unless_fastapi_does_it_itself(instrumented, sink, tmp_path) -> None:
    source = """
    class Loud:
        def instrument(self, **kwargs): print("instrumented")
    """
    installed(tmp_path, "fastapi_instrumentor", source)
    entry_points = (
        "[opentelemetry_instrumentor]\nfastapi = fastapi_instrumentor:Loud\nother = fastapi_instrumentor:Loud\n"
    )
    (tmp_path / "fastapi_instrumentor-1.dist-info" / "entry_points.txt").write_text(entry_points)
    out, _ = ended(instrumented(SCRIPT, PYTHONPATH=str(tmp_path)))
    assert out == "instrumented\n"


@pytest.mark.parametrize("answering", [False, None], ids=["never answers", "closed"])
def test_an_unreachable_endpoint_keeps_nobody(instrumented, sink, answering) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    if answering is False:
        sink.answering.clear()
        endpoint = sink.url
    assert (
        ended(instrumented(SCRIPT + "print('ran')", endpoint=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="600"))[0] == "ran\n"
    )


def test_a_run_that_is_killed_has_told_what_it_was_doing(instrumented, sink) -> None:
    process = instrumented(EXECUTION.replace("0.6", "60"))
    until(sink.announced)
    process.kill()
    process.wait()
    assert sink.announced() == ["runner.execution"]
    assert sink.names() == []
