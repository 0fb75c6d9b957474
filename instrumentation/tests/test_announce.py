"""What has begun is told while it runs. Every test is a process of its own that exports to a real receiver."""

from __future__ import annotations

import signal
import socket
import sys

import pytest

from .conftest import until, values

CONFIGURED = """
import os, sys, threading, time
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from otel_diag_instrumentation import configure, execution, flush
configure("runner", endpoint=ENDPOINT)
tracer = trace.get_tracer("t")
def done(): print("done", flush=True)
"""


def program(endpoint: str, source: str) -> str:
    return CONFIGURED.replace("ENDPOINT", repr(endpoint)) + source


def test_a_process_that_is_killed_in_the_middle_has_told_what_it_was_doing(start, sink) -> None:
    source = """
with execution(2193, job_id="nightly", attempt=2), tracer.start_as_current_span("inference", kind=SpanKind.CLIENT):
    threading.Event().wait()
"""
    process = start(sys.executable, "-c", program(sink.url, source))
    until(lambda: sorted(sink.announced()) == ["inference", "runner.execution"])
    process.kill()
    process.wait()
    assert sink.received == []
    (resource,) = {part.resource.SerializeToString(deterministic=True) for part in sink.logs}
    assert b"runner" in resource
    root, inner = sorted(sink.records(), key=lambda record: record.time_unix_nano)
    assert values(root) == {
        "span.name": "runner.execution",
        "span.kind": 1,
        "span.start_unix_nano": root.time_unix_nano,
        "span.parent_id": "",
        "execution.id": 2193,
        "execution.attempt": 2,
        "job.id": "nightly",
    }
    assert (values(inner)["span.name"], values(inner)["span.kind"]) == ("inference", 3)
    assert values(inner)["span.parent_id"] == root.span_id.hex()
    assert inner.trace_id == root.trace_id
    assert len(inner.span_id) == 8
    assert inner.flags & 1


def test_an_execution_is_told_at_once(start, sink) -> None:
    source = """
from otel_diag_instrumentation import announce
announce.ENTRY_AFTER_NS = announce.INNER_AFTER_NS = 10**15
with execution(5), tracer.start_as_current_span("inner"): threading.Event().wait()
"""
    start(sys.executable, "-c", program(sink.url, source))
    until(lambda: sink.announced() == ["runner.execution"])


def test_a_span_that_ends_soon_is_never_announced(run, sink) -> None:
    source = """
with tracer.start_as_current_span("root"):
    for _ in range(12):
        with tracer.start_as_current_span("short"): time.sleep(0.05)
"""
    run(program(sink.url, source))
    assert sink.announced() == ["root"]
    assert sink.names() == ["short"] * 12 + ["root"]


def test_entries_into_the_process_come_before_what_they_do(start, sink) -> None:
    source = """
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
remote = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))))
with tracer.start_as_current_span("continued", remote), tracer.start_as_current_span("inner"):
    with tracer.start_as_current_span("served", kind=SpanKind.SERVER): threading.Event().wait()
"""
    start(sys.executable, "-c", program(sink.url, source))
    until(lambda: len(sink.announced()) == 3)
    assert sink.announced()[0] == "continued"
    (inner,) = [record for record in sink.records() if values(record)["span.name"] == "inner"]
    assert inner.observed_time_unix_nano - inner.time_unix_nano >= 500_000_000
    assert values(sink.records()[0])["span.parent_id"] == f"{2:016x}"


@pytest.mark.parametrize(
    ("said", "told"), [("", ["root"]), ("off", []), ("OFF", []), ("on", ["root"])], ids=["unset", "off", "OFF", "on"]
)
def test_announcing_can_be_switched_off_by_the_variable(run, sink, said, told) -> None:
    run(program(sink.url, "with tracer.start_as_current_span('root'): time.sleep(0.6)"), OTEL_DIAG_ANNOUNCE=said)
    assert sink.announced() == told
    assert sink.names() == ["root"]


@pytest.mark.parametrize(("said", "told"), [("", []), ("on", ["root"])], ids=["unset", "on"])
def test_announcing_can_be_switched_off_by_the_program_and_the_variable_wins(run, sink, said, told) -> None:
    source = program(sink.url, "with tracer.start_as_current_span('root'): time.sleep(0.6)")
    run(source.replace("endpoint=", "announce=False, endpoint="), OTEL_DIAG_ANNOUNCE=said)
    assert sink.announced() == told


def test_what_is_not_sampled_is_not_announced(run, sink) -> None:
    source = """
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult, StaticSampler
trace.get_tracer_provider().sampler = StaticSampler(Decision.RECORD_ONLY)
with trace.get_tracer("other").start_as_current_span("root") as span:
    assert span.is_recording()
    time.sleep(0.6)
"""
    run(program(sink.url, source))
    assert sink.paths == []


def test_a_backend_without_logs_is_left_alone(run, sink) -> None:
    run(program(sink.url, "with tracer.start_as_current_span('root'): time.sleep(0.6)"), OTEL_LOGS_EXPORTER="none")
    assert sink.paths == ["/v1/traces"]


def test_a_flood_of_open_spans_is_told_bit_by_bit(start, sink) -> None:
    source = """
spans = [tracer.start_span(str(number)) for number in range(300)]
threading.Event().wait()
"""
    start(sys.executable, "-c", program(sink.url, source))
    until(lambda: len(sink.announced()) >= 60)
    assert all(len(scope.log_records) <= 20 for part in sink.logs for scope in part.scope_logs)
    assert sink.announced() == [str(number) for number in range(len(sink.announced()))]


def test_when_the_process_ends_everything_open_is_announced_and_nothing_twice(run, sink) -> None:
    source = """
spans = [tracer.start_span(str(number)) for number in range(1200)]
"""
    run(program(sink.url, source))
    assert sorted(sink.announced(), key=int) == [str(number) for number in range(1200)]
    assert sink.names() == []


def test_a_forked_process_announces_its_own_spans_and_not_those_of_its_parent(start, sink) -> None:
    source = """
with tracer.start_as_current_span("parent"):
    parent = os.getpid()
    if not os.fork():
        with tracer.start_as_current_span("child"):
            while os.getppid() == parent: time.sleep(0.05)
        os._exit(0)
    threading.Event().wait()
"""
    start(sys.executable, "-c", program(sink.url, source))
    until(lambda: {"parent", "child"} <= set(sink.announced()))
    assert sorted(sink.announced()) == ["child", "parent"]


WORK = """
begun = time.monotonic()
for number in range(200):
    with tracer.start_as_current_span("root"), tracer.start_as_current_span("inner"): time.sleep(0.003)
with tracer.start_as_current_span("long"): time.sleep(0.6)
print(time.monotonic() - begun)
left = time.monotonic()
import atexit
atexit.register(lambda: print(time.monotonic() - left))
"""


def test_an_endpoint_that_is_closed_delays_neither_the_work_nor_the_end(run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = run(program(endpoint, WORK), OTEL_EXPORTER_OTLP_TIMEOUT="600")
    assert float(done.stdout.split()[0]) < 15


def test_an_endpoint_that_never_answers_delays_neither_the_work_nor_the_end(run, sink) -> None:
    sink.answering.clear()
    done = run(program(sink.url, WORK), OTEL_EXPORTER_OTLP_TIMEOUT="600")
    assert float(done.stdout.split()[0]) < 15
    assert sink.asked.is_set()
    assert sink.received == []


def test_without_the_logs_of_the_sdk_only_the_announcements_are_missing(run, sink) -> None:
    hidden = "import sys; sys.modules['opentelemetry.sdk._logs'] = None\n"
    run(hidden + program(sink.url, "with tracer.start_as_current_span('root'): time.sleep(0.6)"))
    assert sink.paths == ["/v1/traces"]
    assert sink.names() == ["root"]


def test_sigterm_tells_what_is_open(start, sink) -> None:
    source = """
span = tracer.start_span("ended"); span.end()
with tracer.start_as_current_span("open"), tracer.start_as_current_span("inner"):
    done()
    threading.Event().wait()
"""
    process = start(sys.executable, "-c", program(sink.url, source), OTEL_BSP_SCHEDULE_DELAY="60000")
    assert process.stdout.readline() == "done\n"
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    assert sink.names() == ["ended"]
    assert sorted(sink.announced()) == ["inner", "open"]
