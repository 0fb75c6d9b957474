"""The example pipeline end to end: real processes, and what a receiver gets to see of each fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "pipeline" / "pipeline.py"
HEALTHY = 6
FAULTS = (
    "lost_response",
    "slow_model",
    "connection_refused",
    "validation_error",
    "crash",
    "cold_start",
    "rate_limit",
    "death_before_router",
    "config_error",
    "retry_storm",
)
HOPS = [
    "runner.runner.execution",
    "runner.POST /route",
    "router.POST /route",
    "router.hybrid_router_call",
    "router.POST /inference",
]
INFERENCE = ["modal.modal.inference", "modal.tokenize", "modal.generate"]


class Run:
    """The records the pipeline printed, and the spans that arrived, by what was injected."""

    def __init__(self, records, spans) -> None:
        self.records = records
        self.by_trace = defaultdict(list)
        for span in sorted(spans, key=lambda span: span.start):
            self.by_trace[span.trace_id].append(span)

    def record(self, fault):
        (record,) = [record for record in self.records if record["injected"] == fault]
        return record

    def spans(self, fault):
        return self.by_trace[self.record(fault)["trace_id"]]

    def elements(self, fault) -> list[str]:
        return [span.element for span in self.spans(fault)]

    def span(self, fault, element):
        (span,) = [span for span in self.spans(fault) if span.element == element]
        return span


@pytest.fixture(scope="module")
def run(receiver) -> Run:
    command = [sys.executable, str(SCRIPT), "--endpoint", receiver.url, "--job-id", "demo-test", "--json"]
    done = subprocess.run(
        [*command, "--healthy", str(HEALTHY), "--faults", ",".join(FAULTS), "--start-id", "2193"],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert done.stderr == ""
    return Run([json.loads(line) for line in done.stdout.splitlines()], receiver.spans())


def test_there_is_a_record_for_every_execution_and_a_trace_for_every_record(run: Run) -> None:
    assert [record["execution_id"] for record in run.records] == list(range(2193, 2193 + len(FAULTS) + HEALTHY))
    assert [record["injected"] for record in run.records] == [*FAULTS, *["none"] * HEALTHY]
    assert {record["job_id"] for record in run.records} == {"demo-test"}
    assert set(run.by_trace) == {record["trace_id"] for record in run.records}, "warm-ups leave no traces"


def test_statuses_are_what_the_runner_saw(run: Run) -> None:
    statuses = {record["injected"]: record["status"] for record in run.records}
    timeouts = {"lost_response", "slow_model"}
    completed = {"none", "cold_start"}
    assert statuses == {
        fault: "timeout" if fault in timeouts else "completed" if fault in completed else "failed"
        for fault in (*FAULTS, "none")
    }


def test_every_span_of_every_service_carries_its_execution(run: Run) -> None:
    for record in run.records:
        for span in run.by_trace[record["trace_id"]]:
            assert span.attributes["execution.id"] == record["execution_id"]
            assert span.attributes["job.id"] == "demo-test"
            assert span.attributes["execution.attempt"] == 1
    pairs = {
        (span.attributes["model.id"], span.attributes["region"])
        for spans in run.by_trace.values()
        for span in spans
        if span.parent_id == ""
    }
    assert pairs == {(m, r) for m in ("llama3.2-1b", "qwen2.5-1.5b") for r in ("us-east", "eu-west")}


def test_parents_cross_the_processes(run: Run) -> None:
    for record in run.records:
        spans = run.by_trace[record["trace_id"]]
        parents = {span.span_id: span for span in spans}
        (root,) = [span for span in spans if not span.parent_id]
        assert root.element == "runner.runner.execution"
        for span in spans:
            if span.kind == "server":
                assert parents[span.parent_id].kind == "client"
                assert parents[span.parent_id].service != span.service
        orphans = [span for span in spans if span.parent_id and span.parent_id not in parents]
        expected = ["modal.tokenize"] if record["injected"] == "crash" else []
        assert [span.element for span in orphans] == expected


def test_healthy_executions_are_whole_warm_and_without_error(run: Run) -> None:
    healthy = [record for record in run.records if record["injected"] == "none"]
    for record in healthy:
        spans = run.by_trace[record["trace_id"]]
        assert [span.element for span in spans] == HOPS + INFERENCE
        assert not any(span.failed for span in spans)
        assert spans[5].attributes["faas.coldstart"] is False


def test_lost_response_the_router_had_finished_while_the_runner_timed_out(run: Run) -> None:
    assert run.elements("lost_response") == HOPS + INFERENCE
    client = run.span("lost_response", "runner.POST /route")
    server = run.span("lost_response", "router.POST /route")
    assert client.failed
    assert client.attributes["error.type"] == "httpx.ReadTimeout"
    assert not server.failed
    assert server.attributes["http.response.status_code"] == 200
    assert server.end < client.end
    assert run.span("lost_response", "runner.runner.execution").attributes["error.type"] == "TimeoutError"


def test_slow_model_the_function_was_at_work_when_its_caller_gave_up(run: Run) -> None:
    client = run.span("slow_model", "router.POST /inference")
    function = run.span("slow_model", "modal.modal.inference")
    assert client.attributes["error.type"] == "httpx.ReadTimeout"
    assert function.start < client.end < function.end
    assert not function.failed
    assert run.span("slow_model", "router.POST /route").attributes["http.response.status_code"] == 504


def test_connection_refused_the_callee_was_never_reached(run: Run) -> None:
    assert run.elements("connection_refused") == HOPS
    client = run.span("connection_refused", "router.POST /inference")
    assert client.attributes["error.type"] == "httpx.ConnectError"
    assert "refused" in client.message
    routing = run.span("connection_refused", "router.hybrid_router_call")
    assert routing.attributes["router.provider"] == "modal-drained"


def test_validation_error_the_input_was_rejected_in_the_function(run: Run) -> None:
    function = run.span("validation_error", "modal.modal.inference")
    assert function.failed
    assert function.attributes["error.type"].endswith("ValidationError")
    assert function.message == "ValidationError: max_tokens must be between 1 and 4096, got -1"
    assert run.span("validation_error", "router.POST /inference").attributes["error.type"] == "422"
    assert not run.span("validation_error", "router.POST /route").failed, "422 is no failure of the server"


def test_crash_what_ended_before_the_kill_has_arrived_and_nothing_after(run: Run) -> None:
    assert run.elements("crash") == [*HOPS, "modal.tokenize"]
    client = run.span("crash", "router.POST /inference")
    assert client.attributes["error.type"] == "500"
    task_id = client.message.partition("container ")[2].partition(" ")[0]
    assert task_id.startswith("ta-")
    assert "killed by signal 9" in client.message


def test_cold_start_the_container_is_new_and_loads_for_long(run: Run) -> None:
    function = run.span("cold_start", "modal.modal.inference")
    assert function.attributes["faas.coldstart"] is True
    assert run.span("cold_start", "modal.model.load").duration_s > 5
    others = {
        span.attributes["modal.task_id"]
        for spans in run.by_trace.values()
        for span in spans
        if span.element == "modal.modal.inference" and span is not function
    }
    assert function.attributes["modal.task_id"] not in others


def test_rate_limit_the_provider_refuses(run: Run) -> None:
    assert run.elements("rate_limit") == HOPS
    client = run.span("rate_limit", "router.POST /inference")
    assert client.attributes["http.response.status_code"] == 429
    assert client.message.startswith("RateLimitError")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("death_before_router", "FileNotFoundError: "),
        ("config_error", "ExecutionFailed: environment variable PIPELINE_TOKEN_EU is not set"),
    ],
)
def test_death_before_the_router_is_one_failed_span(run: Run, fault: str, message: str) -> None:
    assert run.elements(fault) == ["runner.runner.execution"]
    root = run.span(fault, "runner.runner.execution")
    assert root.failed
    assert root.message.startswith(message)


def test_retry_storm_is_three_failed_attempts_of_one_call(run: Run) -> None:
    attempts = [span for span in run.spans("retry_storm") if span.element == "router.POST /inference"]
    assert [span.attributes["error.type"] for span in attempts] == ["503"] * 3
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_process_is_left_behind(receiver, how: signal.Signals, code: int) -> None:
    command = [sys.executable, str(SCRIPT), "--endpoint", receiver.url, "--healthy", "0", "--faults", "cold_start"]
    # Tests that run in the background may have been told to ignore SIGINT, and children inherit that.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=heed) as pipeline:
        # host, its four containers and the cold one, router, proxy, runner
        everybody = _poll(lambda: found if len(found := _descendants(pipeline.pid)) == 9 else None)
        os.kill(pipeline.pid, how)
        assert pipeline.wait(timeout=30) == code
    _poll(lambda: not everybody & set(_running()))


def _poll(condition, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return value


def _running() -> dict[int, int]:
    """Process id -> parent's, of everything that runs and is no zombie."""
    lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    fields = [line.split() for line in lines.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in fields if not state.startswith("Z")}


def _descendants(ancestor: int) -> set[int]:
    parents = _running()
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def test_an_unknown_fault_is_refused_with_a_clear_line() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--faults", "gremlins"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "gremlins" in done.stderr
