"""What only a process of its own shows: cold starts, Modal's environment, and the flush at the end of each input."""

from __future__ import annotations

from opentelemetry.proto.trace.v1.trace_pb2 import Span


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


INPUTS = """
import sys, types
modal = types.ModuleType("modal")
modal.current_input_id = lambda: "in-1"
sys.modules["modal"] = modal
from otel_diag_instrumentation import configure, traced
configure("modal")

@traced
def helper(): pass

@traced("modal.inference")
def infer(prompt):
    helper()
    return prompt

infer("a")
infer("b")
import os
os._exit(0)
"""


def test_each_input_is_sent_before_it_returns_so_a_killed_container_loses_nothing(run, sink) -> None:
    run(INPUTS, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_BSP_SCHEDULE_DELAY="60000", MODAL_TASK_ID="ta-7")
    assert sink.names() == ["helper", "modal.inference", "helper", "modal.inference"]
    assert len(sink.paths) == 2, "a traced function called by another leaves the flush to it"
    spans = [span for part in sink.received for scope in part.scope_spans for span in scope.spans]
    inputs = [attributes(span) for span in spans if span.name == "modal.inference"]
    assert [each["faas.coldstart"] for each in inputs] == [True, False]
    assert {(each["modal.input_id"], each["modal.task_id"]) for each in inputs} == {("in-1", "ta-7")}


ENTER = """
import sys, types
modal = types.ModuleType("modal")
modal.current_input_id = lambda: None
sys.modules["modal"] = modal
from otel_diag_instrumentation import configure, traced
configure("modal")

@traced
def load(): pass

@traced
def infer(): pass

load()
modal.current_input_id = lambda: "in-1"
infer()
infer()
"""


def test_loading_the_model_does_not_take_the_cold_start_from_the_first_input(run, sink) -> None:
    run(ENTER, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
    spans = [span for part in sink.received for scope in part.scope_spans for span in scope.spans]
    cold = [(span.name, attributes(span)["faas.coldstart"]) for span in spans]
    assert cold == [("load", True), ("infer", True), ("infer", False)]


ASYNC_INPUT = """
import asyncio, os
from otel_diag_instrumentation import configure, traced
configure("modal")

@traced
async def infer(): pass

@traced
async def stream():
    yield 1

async def main():
    await infer()
    async for _ in stream(): pass

asyncio.run(main())
os._exit(0)
"""


def test_async_inputs_are_sent_too(run, sink) -> None:
    run(ASYNC_INPUT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_BSP_SCHEDULE_DELAY="60000")
    assert sink.names() == ["infer", "stream"]


STALLED = """
from otel_diag_instrumentation import configure, flush, traced
configure("modal")

@traced
def infer(): return 1

assert [infer() for _ in range(50)] == [1] * 50
assert not flush(20), "a stalled export is not waited for again"
"""


def test_an_endpoint_that_never_answers_stops_neither_inputs_nor_exit(run, sink) -> None:
    sink.answering.clear()
    run(STALLED, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_EXPORTER_OTLP_TIMEOUT="600")
    assert sink.asked.is_set()
    assert sink.received == []


FORK = """
import os, sys
from otel_diag_instrumentation import configure, flush, traced
configure("forked")

@traced
def work(): pass

child = os.fork()
if child == 0:
    work()
    os._exit(0 if flush() else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_sends_its_own_spans(run, sink) -> None:
    run(FORK, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
    assert sink.names() == ["work"]
