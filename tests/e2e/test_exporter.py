"""``OTEL_TRACES_EXPORTER=otel_diag``: scripts with the real SDK write into the store, with a server or without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from otel_diag.store.open import open_store
from otel_diag.store.schema import log_records, trace_spans
from tests.e2e.processes import PATIENCE_SECONDS, answer_of, environment, serving

FAILING = """
import sys
from otel_diag_instrumentation import call, configure, execution

configure("runner")

@execution(job_id="nightly")
def run(execution_id, model_id, region):
    with call("router", "POST", "http://router.internal/route"):
        raise ConnectionRefusedError("router.internal refused the connection")

try:
    run(5, "llama", "eu-west")
except ConnectionRefusedError:
    print(*sorted({"duckdb", "pyarrow", "httpx"} & sys.modules.keys()))
"""

MANY = """
from opentelemetry import trace
from otel_diag_instrumentation import configure, flushing

flushing.EXIT_TIMEOUT_S = 0.0  # on a busy machine the first batch takes longer than the usual two seconds
configure("many")
tracer = trace.get_tracer("many")
for _ in range(1_200):
    tracer.start_span("step").end()
print("done", flush=True)
"""

FORKING = """
import os, sys, threading
from opentelemetry import trace
from otel_diag_instrumentation import configure, flush

configure("forking")
tracer = trace.get_tracer("forking")
for number in range(4):
    tracer.start_span(f"parent {number}").end()
    flushing = threading.Thread(target=flush, args=(60.0,))
    flushing.start()
    child = os.fork()  # in the middle of an export, the first time of its imports
    if not child:
        tracer.start_span(f"child {number}").end()
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    flushing.join()
"""

LOGGING = """
from opentelemetry import trace
from opentelemetry._logs import LogRecord, get_logger
from otel_diag_instrumentation import configure, flushing

flushing.EXIT_TIMEOUT_S = 0.0
configure("logging")
with trace.get_tracer("logging").start_as_current_span("work"):
    get_logger("logging").emit(LogRecord(event_name="started"))
"""

LEFT_OPEN = """
from opentelemetry import trace
from otel_diag_instrumentation import configure, flushing

flushing.EXIT_TIMEOUT_S = 0.0
configure("left open")
tracer = trace.get_tracer("left open")
left = [tracer.start_span(f"step {number}") for number in range(200)]
tracer.start_span("ended").end()
"""

UNENDING = """
import threading, time
from opentelemetry import trace
from otel_diag_instrumentation import configure

configure("unending")
tracer = trace.get_tracer("unending")

def work():
    while True:
        tracer.start_span("step").end()
        time.sleep(0.001)

threading.Thread(target=work, daemon=True).start()
time.sleep(1.0)  # spans are being exported
"""

WRITING_ON = """
import threading, time
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otel_diag.exporter.spans import StoreSpanExporter

provider = TracerProvider(shutdown_on_exit=False)  # of nobody who would wait for it at exit
provider.add_span_processor(SimpleSpanProcessor(StoreSpanExporter()))
written = threading.Semaphore(0)

def work():
    while True:
        provider.get_tracer("writing on").start_span("step").end()
        written.release()

threading.Thread(target=work, daemon=True).start()
written.acquire()
written.acquire()
time.sleep(0.02)  # the next one is at work in the store
"""

PLAIN_SDK = """
from opentelemetry import trace
from opentelemetry._logs import LogRecord, get_logger
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

_OTelSDKConfigurator().configure()
with trace.get_tracer("plain").start_as_current_span("work"):
    get_logger("plain").emit(LogRecord(event_name="otel_diag.span.start"))
"""


def exporting(store: str, **settings: str) -> Mapping[str, str]:
    return environment() | {"OTEL_TRACES_EXPORTER": "otel_diag", "OTEL_DIAG_STORE": store} | settings


def started(script: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a script wrote to standard output and error, when it has ended well."""
    try:
        out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return out, errors


def run(script: str, store: str, **settings: str) -> tuple[str, str]:
    return ended(started(script, exporting(store, **settings)))


def names(store: str) -> list[str]:
    with closing(open_store(store, read_only=True)) as opened:
        return sorted(opened.select(select(trace_spans.c.operation)).column("operation").to_pylist())


def spans_in(store: str) -> int:
    with closing(open_store(store, read_only=True)) as opened:
        return opened.select(select(func.count().label("n")).select_from(trace_spans)).column("n")[0].as_py()


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path / 'data' / 'store.duckdb'}"


def test_what_a_script_wrote_is_diagnosed_as_soon_as_it_has_ended(file: str) -> None:
    assert run(FAILING, file) == ("\n", ""), "nothing heavy is loaded before the first batch"

    cause = answer_of("diagnose", "5", "--store", file)["root_cause"]
    assert cause["root_cause_type"] == "CONNECTION_FAILURE"
    assert (cause["affected_service"], cause["hop"]["callee"]) == ("runner", "router")
    assert [one["id"] for one in answer_of("failures", "--store", file)["failures"]] == [5], "nobody else summarises"


def test_a_script_writes_to_postgresql(postgres_url: str) -> None:
    assert run(FAILING, postgres_url)[1] == ""
    assert answer_of("diagnose", "5", "--store", postgres_url)["root_cause"]["affected_service"] == "runner"


def about_spans(errors: str) -> list[str]:
    """The lines that are not about log records: those that announce spans are lost with them, in a line of theirs."""
    return [line for line in errors.splitlines() if " log records are lost" not in line]


def test_beside_a_server_spans_go_through_it(file: str) -> None:
    with serving(file) as server:
        assert run(FAILING, file)[1] == ""
        assert server.span_count() == 2
        assert server.diagnosis(5)["root_cause"]["hop"]["callee"] == "router"


def test_a_server_that_does_not_let_the_script_in_costs_spans_and_a_line(file: str) -> None:
    tokens = '[{"name": "x", "roles": ["ingest"], "sha256": "' + "0" * 64 + '"}]'
    with serving(file, OTEL_DIAG_TOKENS=tokens):
        _, errors = run(FAILING, file)
    assert "2 spans are lost" in errors
    assert "Set OTEL_DIAG_TOKEN" in errors
    assert len(about_spans(errors)) == 1


def test_processes_that_write_at_once_lose_nothing_however_short_the_exit(file: str) -> None:
    for process in [started(MANY, exporting(file)) for _ in range(2)]:
        assert ended(process) == ("done\n", "")
    assert spans_in(file) == 2_400


def test_a_script_waits_for_its_turn(file: str) -> None:
    open_store(file).close()
    with closing(open_store(file)) as held:
        process = started(MANY, exporting(file))
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert held.select(select(trace_spans)).num_rows == 0
    ended(process)
    assert spans_in(file) == 1_200


def test_log_records_leave_however_short_the_exit(file: str) -> None:
    assert run(LOGGING, file) == ("", "")
    with closing(open_store(file, read_only=True)) as store:
        assert store.select(select(log_records.c.event_name)).column("event_name").to_pylist() == ["started"]


def test_what_is_left_open_is_announced_however_short_the_exit(file: str) -> None:
    assert run(LEFT_OPEN, file) == ("", "")
    with closing(open_store(file, read_only=True)) as store:
        assert store.select(select(log_records.c.event_name)).num_rows == 200


def test_a_thread_that_goes_on_does_not_keep_the_process(file: str) -> None:
    assert run(UNENDING, file) == ("", "")
    assert spans_in(file) > 0


def test_a_thread_that_is_in_the_store_when_the_process_ends_does_not_abort_it(file: str) -> None:
    assert run(WRITING_ON, file) == ("", "")
    assert spans_in(file) >= 2


def test_parent_and_forked_child_both_write(file: str) -> None:
    _, errors = run(FORKING, file)
    # Python may end the child while objects of DuckDB's binding are alive, which says so.
    report = ("leaked", "nanobind", "skipped remainder")
    assert [line for line in errors.splitlines() if not any(word in line for word in report)] == []
    assert names(file) == [f"{who} {number}" for who in ("child", "parent") for number in range(4)]


def test_the_sdk_alone_finds_both_exporters(file: str) -> None:
    _, errors = run(PLAIN_SDK, file, OTEL_LOGS_EXPORTER="otel_diag", OTEL_METRICS_EXPORTER="none")
    assert errors == ""
    assert names(file) == ["work"]
    with closing(open_store(file, read_only=True)) as store:
        (record,) = store.select(select(log_records.c.event_name, log_records.c.trace_id)).to_pylist()
        (span,) = store.select(select(trace_spans.c.trace_id)).to_pylist()
    assert record == {"event_name": "otel_diag.span.start", "trace_id": span["trace_id"]}


def test_a_missing_package_is_named(file: str) -> None:
    without = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.common.trace_encoder'] = None"
    out, errors = run(without + MANY, file)
    assert out == "done\n"
    assert "pip install 'otel-diag[exporter]'" in errors
    assert len(about_spans(errors)) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"OTEL_DIAG_STORE": "duckdb:////dev/null/store.duckdb"}, "Choose a path that can be written"),
        ({"OTEL_DIAG_STORE": "nonsense"}, "the store URL has no scheme"),
        ({"OTEL_DIAG_PORT": "none"}, "wrong setting: port"),
    ],
)
def test_what_cannot_be_written_costs_the_script_a_line(file: str, settings: dict[str, str], said: str) -> None:
    out, errors = ended(started(MANY, exporting(file) | settings))
    assert out == "done\n"
    assert said in errors
    assert "spans are lost" in errors
    assert len(about_spans(errors)) == 1
