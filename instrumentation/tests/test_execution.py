from __future__ import annotations

import asyncio
import inspect
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_diag_instrumentation import continue_trace, execution, inject
from otel_diag_instrumentation.execution_context import int64

FULL = {
    "execution.id": 2193,
    "job.id": "job-7",
    "model.id": "llama3.2-1b",
    "region": "us-east",
    "execution.attempt": 2,
}
tracer = trace.get_tracer("a library that knows nothing of executions")


def test_the_root_span_and_every_span_below_carry_the_execution(spans: InMemorySpanExporter) -> None:
    with (
        execution(2193, job_id="job-7", model_id="llama3.2-1b", region="us-east", attempt=2),
        tracer.start_as_current_span("below"),
    ):
        pass
    below, root = spans.get_finished_spans()
    assert root.name == "runner.execution"
    assert root.parent is None
    assert dict(root.attributes or {}) == FULL
    assert dict(below.attributes or {}) == FULL
    assert below.parent is not None
    assert below.parent.span_id == root.context.span_id


def test_headers_carry_the_execution_to_the_next_service(spans: InMemorySpanExporter) -> None:
    with execution(2193, job_id="a job, with=odd; characters", model_id="org/model:é"):
        headers = inject()
    assert set(headers) == {"traceparent", "baggage"}
    with continue_trace({name.title(): value for name, value in headers.items()}, "POST /", method="POST", path="/"):
        pass
    root, server = spans.get_finished_spans()
    assert server.context.trace_id == root.context.trace_id
    carried = {key: (server.attributes or {}).get(key) for key in ("execution.id", "job.id", "model.id")}
    assert carried == {"execution.id": 2193, "job.id": "a job, with=odd; characters", "model.id": "org/model:é"}


def test_nothing_is_left_behind_after_the_block(spans: InMemorySpanExporter) -> None:
    before = get_current()
    with execution(1):
        pass
    assert get_current() == before
    assert baggage.get_all() == {}


def test_only_our_keys_are_copied_and_only_with_an_execution(spans: InMemorySpanExporter) -> None:
    token = attach(baggage.set_baggage("user.id", "secret", baggage.set_baggage("region", "not ours")))
    try:
        with tracer.start_as_current_span("outside"):
            pass
        with execution(5), tracer.start_as_current_span("inside"):
            pass
    finally:
        detach(token)
    outside, inside, _ = spans.get_finished_spans()
    assert dict(outside.attributes or {}) == {}
    assert dict(inside.attributes or {}) == {"execution.id": 5}


def test_baggage_of_any_type_is_read_as_text(spans: InMemorySpanExporter) -> None:
    token = attach(baggage.set_baggage("execution.id", 5, baggage.set_baggage("job.id", ["odd"])))
    try:
        with tracer.start_as_current_span("x"):
            pass
    finally:
        detach(token)
    assert dict(spans.get_finished_spans()[0].attributes or {}) == {"execution.id": 5, "job.id": "['odd']"}


def test_what_a_span_says_itself_stays(spans: InMemorySpanExporter) -> None:
    with execution(5, model_id="asked-for"), tracer.start_as_current_span("x", attributes={"model.id": "fallback"}):
        pass
    assert (spans.get_finished_spans()[0].attributes or {})["model.id"] == "fallback"


def test_an_execution_inside_another_inherits_nothing(spans: InMemorySpanExporter) -> None:
    for inner, said in ((2, {"execution.id": 2}), ("none", {})):
        spans.clear()
        with execution(1, model_id="outer", attempt=3), execution(inner), tracer.start_as_current_span("x"):
            pass
        assert dict(spans.get_finished_spans()[0].attributes or {}) == said


def test_a_failure_is_recorded_and_goes_on(spans: InMemorySpanExporter) -> None:
    with pytest.raises(TimeoutError, match="too late"), execution(1):
        raise TimeoutError("too late")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "TimeoutError: too late"
    assert (span.attributes or {})["error.type"] == "TimeoutError"
    (event,) = span.events
    assert event.name == "exception"
    assert (event.attributes or {})["exception.message"] == "too late"


def test_cancellation_is_a_failure_and_a_clean_exit_is_none(spans: InMemorySpanExporter) -> None:
    with pytest.raises(asyncio.CancelledError), execution(1):
        raise asyncio.CancelledError
    with pytest.raises(SystemExit), execution(2):
        raise SystemExit(0)
    cancelled, left = spans.get_finished_spans()
    assert cancelled.status.status_code is StatusCode.ERROR
    assert left.status.status_code is StatusCode.UNSET


def test_as_a_decorator_it_reads_the_arguments_of_each_call(spans: InMemorySpanExporter) -> None:
    @execution(job_id="job-7", name="work")
    def work(execution_id: int, model_id: str = "default", *, attempt: int = 1) -> str:
        return f"{execution_id} {model_id}"

    assert work(7, attempt=2) == "7 default"
    assert work(execution_id=8, model_id="m") == "8 m"
    first, second = spans.get_finished_spans()
    assert first.name == "work"
    assert dict(first.attributes or {}) == {"execution.id": 7, "job.id": "job-7", "execution.attempt": 2}
    assert dict(second.attributes or {}) == {"execution.id": 8, "job.id": "job-7", "model.id": "m"}


def test_async_executions_side_by_side_do_not_mix(spans: InMemorySpanExporter) -> None:
    @execution()
    async def work(execution_id: int) -> None:
        await asyncio.sleep(0)
        with tracer.start_as_current_span("below"):
            await asyncio.sleep(0)

    async def all_at_once() -> None:
        await asyncio.gather(*(work(number) for number in range(20)))

    assert inspect.iscoroutinefunction(work)
    asyncio.run(all_at_once())
    finished = spans.get_finished_spans()
    assert len(finished) == 40
    roots = {span.context.span_id: span for span in finished if span.name == "runner.execution"}
    for span in finished:
        if span.parent is not None:
            expected = (roots[span.parent.span_id].attributes or {})["execution.id"]
            assert (span.attributes or {})["execution.id"] == expected


@pytest.mark.parametrize("bad", ["not a number", 2**63, None, True])
def test_an_id_that_is_none_is_left_out_and_the_work_goes_on(
    spans: InMemorySpanExporter, bad: int | str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with execution(bad, region="us-east"):
        pass
    assert dict(spans.get_finished_spans()[0].attributes or {}) == {"region": "us-east"}
    assert "is not a 64-bit integer" in caplog.text


@given(st.one_of(st.integers(), st.text(), st.none(), st.floats(), st.integers().map(str)))
def test_int64_is_total_and_fits_the_wire(value: object) -> None:
    number = int64(value)
    assert number is None or -(2**63) <= number < 2**63
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        assert number == value == int64(str(value))


DIES = """
import sys
from opentelemetry import trace
from otel_diag_instrumentation import configure, execution
configure("runner")
below = trace.get_tracer("t").start_as_current_span("below", attributes={"region": "own"})
try:
    with execution(7, region="us-east"), below:
        DEATH
finally:
    sys.excepthook = lambda *_: None
"""


@pytest.mark.parametrize(
    ("death", "failed"), [("sys.exit(3)", True), ("sys.exit()", False), ("raise KeyboardInterrupt", True)]
)
def test_an_execution_leaves_with_its_process(run, sink, death: str, failed: bool) -> None:
    try:
        run(DIES.replace("DEATH", death), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_BSP_SCHEDULE_DELAY="60000")
    except subprocess.CalledProcessError:
        assert failed
    sent = [span for part in sink.received for scope in part.scope_spans for span in scope.spans]
    root = next(span for span in sent if span.name == "runner.execution")
    assert (root.status.code == Status.STATUS_CODE_ERROR) == failed
    regions = {pair.value.string_value for span in sent for pair in span.attributes if pair.key == "region"}
    assert regions == {"us-east", "own"}
    assert all(("execution.id", 7) in {(pair.key, pair.value.int_value) for pair in span.attributes} for span in sent)


def test_the_execution_is_on_what_a_sampler_has_chosen(run, sink) -> None:
    run(DIES.replace("DEATH", "pass"), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_TRACES_SAMPLER="always_off")
    assert sink.received == []
    run(
        DIES.replace("DEATH", "pass"),
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="1.0",
    )
    assert sorted(sink.names()) == ["below", "runner.execution"]
