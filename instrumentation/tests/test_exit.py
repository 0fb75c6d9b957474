"""How a process may end without losing the spans that have ended. Every test is a process of its own."""

from __future__ import annotations

import signal
import sys

from .conftest import until

CONFIGURED = """
import multiprocessing, os, signal, sys, threading, time
from opentelemetry import trace
from otel_diag_instrumentation import configure, flush
configure("runner", endpoint=ENDPOINT)
tracer = trace.get_tracer("t")
def work(name="work"):
    with tracer.start_as_current_span(name): pass
def done(): print("done", flush=True)
"""

SLOW_BATCHES = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}


def program(endpoint: str, source: str) -> str:
    return CONFIGURED.replace("ENDPOINT", repr(endpoint)) + source


def terminated(start, source: str, **variables: str) -> int:
    """Runs until it says that it is done, then tells it to end; how it ended."""
    process = start(sys.executable, "-c", source, **SLOW_BATCHES, **variables)
    assert process.stdout.readline() == "done\n"
    process.terminate()
    return process.wait(timeout=25)


def test_sigterm_sends_the_last_spans_and_still_kills(start, sink) -> None:
    assert terminated(start, program(sink.url, "work(); done(); threading.Event().wait()")) == -signal.SIGTERM
    assert sink.names() == ["work"]


def test_a_handler_of_the_program_is_left_alone(start, sink) -> None:
    before = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    assert terminated(start, before + program(sink.url, "work(); done(); threading.Event().wait()")) == 7
    assert sink.names() == ["work"]


def test_a_program_that_ignores_sigterm_goes_on_doing_so(start, sink) -> None:
    before = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    source = before + program(sink.url, "done(); print(sys.stdin.readline())")
    process = start(sys.executable, "-c", source)
    assert process.stdout.readline() == "done\n"
    process.terminate()
    assert process.communicate("go on\n")[0].strip() == "go on"
    assert process.returncode == 0


def test_configuring_in_another_thread_leaves_signals_alone(start, sink) -> None:
    source = program(sink.url, "work(); print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)")
    indented = "\n".join(f"    {line}" for line in source.splitlines())
    process = start(
        sys.executable,
        "-c",
        f"import threading\ndef main():\n{indented}\nt = threading.Thread(target=main); t.start(); t.join()",
    )
    assert process.communicate(timeout=25) == ("True\n", "")
    assert sink.names() == ["work"]


def test_an_endpoint_that_never_answers_does_not_keep_a_terminated_process(start, sink) -> None:
    sink.answering.clear()
    source = program(sink.url, "work(); done(); threading.Event().wait()")
    assert terminated(start, source, OTEL_EXPORTER_OTLP_TIMEOUT="600") == -signal.SIGTERM


def test_a_disabled_sdk_leaves_signals_and_threads_alone(run, sink) -> None:
    source = "work(); print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, threading.active_count())"
    assert run(program(sink.url, source), OTEL_SDK_DISABLED="true").stdout == "True 1\n"


FORKED = """
context = multiprocessing.get_context("fork")
worker = context.Process(target=work, args=("of the worker",))
worker.start(); worker.join()
assert worker.exitcode == 0
if not os.fork():
    work("of the fork")
    sys.exit()
os.wait()
work("of the parent")
"""


def test_forked_processes_send_their_last_spans_too(run, sink) -> None:
    run(program(sink.url, FORKED), **SLOW_BATCHES)
    assert sink.names() == ["of the worker", "of the fork", "of the parent"]


def test_a_worker_that_is_terminated_sends_its_last_spans(run, sink) -> None:
    source = """
def main(ready):
    work("of the worker")
    ready.set()
    threading.Event().wait()
context = multiprocessing.get_context("fork")
ready = context.Event()
worker = context.Process(target=main, args=(ready,))
worker.start(); ready.wait(); worker.terminate(); worker.join()
assert worker.exitcode == -signal.SIGTERM
"""
    run(program(sink.url, source), **SLOW_BATCHES)
    assert sink.names() == ["of the worker"]


def test_log_records_and_metrics_leave_at_exit_as_spans_do(run, sink) -> None:
    source = """
from opentelemetry import _logs, metrics
_logs.get_logger("t").emit(body="said")
metrics.get_meter("t").create_counter("counted").add(1)
work()
"""
    run(program(sink.url, source), **SLOW_BATCHES, OTEL_BLRP_SCHEDULE_DELAY="60000", OTEL_METRICS_EXPORTER="otlp")
    assert [record.body.string_value for record in sink.records()] == ["said"]
    assert sorted(sink.paths) == ["/v1/logs", "/v1/metrics", "/v1/traces"]


def test_a_flush_waits_for_log_records_too(start, sink) -> None:
    source = """
from opentelemetry import _logs
_logs.get_logger("t").emit(body="said")
print(flush(), flush=True)
threading.Event().wait()
"""
    process = start(sys.executable, "-c", program(sink.url, source), OTEL_BLRP_SCHEDULE_DELAY="60000")
    assert process.stdout.readline() == "True\n"
    assert [record.body.string_value for record in until(sink.records)] == ["said"]
