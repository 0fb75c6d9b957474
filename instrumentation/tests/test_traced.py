from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from otel_diag_instrumentation import execution, inference, inject, traced

tracer = trace.get_tracer("test")


def plain(value: int, *, times: int = 2) -> list[int]:
    """Doc."""
    return [value] * times


async def coroutine(value: int, *, times: int = 2) -> list[int]:
    """Doc."""
    return [value] * times


def generator(value: int, *, times: int = 2) -> Generator[int, None, str]:
    """Doc."""
    for _ in range(times):
        yield value
    return "done"


async def async_generator(value: int, *, times: int = 2) -> AsyncGenerator[int, None]:
    """Doc."""
    for _ in range(times):
        yield value


def drain(result: Any) -> list[int]:
    """The values of a call of any kind."""

    async def collect() -> list[int]:
        return [item async for item in result]

    if inspect.isasyncgen(result):
        return asyncio.run(collect())
    if inspect.iscoroutine(result):
        values: list[int] = asyncio.run(result)
        return values
    return list(result)


KINDS = [plain, coroutine, generator, async_generator]


@pytest.mark.parametrize("function", KINDS, ids=lambda function: function.__name__)
def test_every_kind_of_function_keeps_kind_name_signature_and_result(
    spans: InMemorySpanExporter, function: Callable[..., Any]
) -> None:
    wrapped = traced("modal.inference", app="app")(function)
    for is_kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert is_kind(wrapped) == is_kind(function)
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert (wrapped.__name__, wrapped.__doc__) == (function.__name__, "Doc.")
    with execution(9):
        carrier = inject()
    assert drain(wrapped(4, times=3, otel_context=carrier)) == [4, 4, 4]
    caller, span = spans.get_finished_spans()
    assert span.name == "modal.inference"
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert span.parent.span_id == caller.context.span_id
    attributes = span.attributes or {}
    assert attributes["execution.id"] == 9
    assert attributes["modal.app"] == "app"
    assert attributes["modal.function"] == function.__qualname__


@pytest.mark.parametrize("function", KINDS, ids=lambda function: function.__name__)
def test_without_a_remote_caller_it_is_an_internal_root(
    spans: InMemorySpanExporter, function: Callable[..., Any]
) -> None:
    drain(traced(function)(1))
    (span,) = spans.get_finished_spans()
    assert (span.kind, span.parent, span.name) == (SpanKind.INTERNAL, None, function.__qualname__)


def test_the_context_may_come_from_the_arguments(spans: InMemorySpanExporter) -> None:
    @traced(context_from=lambda request: request["headers"])
    def endpoint(request: dict[str, Any]) -> str:
        return "ok"

    with tracer.start_as_current_span("caller"):
        headers = inject()
    endpoint({"headers": headers})
    caller, span = spans.get_finished_spans()
    assert span.parent is not None
    assert span.parent.span_id == caller.context.span_id


def test_the_gpu_in_use_is_told_by_pytorch(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    @traced
    def work() -> None:
        pass

    def lost() -> str:
        raise RuntimeError("CUDA error: device-side assert triggered")

    torch = ModuleType("torch")
    monkeypatch.setitem(sys.modules, "torch", torch)
    work()
    told = [(False, lambda: "NVIDIA A10G"), (True, lost), (True, lambda: "NVIDIA A10G")]
    for initialized, name in told:
        cuda = ModuleType("torch.cuda")
        vars(cuda).update(is_initialized=lambda initialized=initialized: initialized, get_device_name=name)
        vars(torch).update(cuda=cuda)
        work()
    *without, known = [span.attributes or {} for span in spans.get_finished_spans()]
    assert [attributes.get("hw.type") for attributes in without] == [None] * 3
    assert (known["hw.type"], known["gpu.model"]) == ("gpu", "NVIDIA A10G")


def test_the_models_own_time_adds_up(spans: InMemorySpanExporter) -> None:
    @traced
    def work() -> None:
        for _ in range(2):
            with inference():
                measured.append(dict(getattr(trace.get_current_span(), "attributes", {})).get("inference.time_ms"))

    measured: list[object] = []
    work()
    (span,) = spans.get_finished_spans()
    nothing, first = measured
    assert nothing is None
    assert isinstance(first, float)
    assert (span.attributes or {})["inference.time_ms"] > first > 0


def test_a_failure_is_recorded_while_its_span_is_current(spans: InMemorySpanExporter) -> None:
    """Who listens to recorded exceptions (Sentry does) finds the span in the context."""
    current: list[int] = []

    class Seen(ValueError):
        def __str__(self) -> str:
            current.append(trace.get_current_span().get_span_context().span_id)
            return "seen"

    @traced
    def fail() -> None:
        raise Seen

    @traced
    def fail_in_steps() -> Generator[int, None, None]:
        yield 1
        raise Seen

    with pytest.raises(Seen):
        fail()
    with pytest.raises(Seen):
        list(fail_in_steps())
    first, second = spans.get_finished_spans()
    assert set(current) == {first.context.span_id, second.context.span_id}


def test_methods_work(spans: InMemorySpanExporter) -> None:
    class Model:
        @traced
        def infer(self, prompt: str) -> str:
            return prompt.upper()

    assert Model().infer("a") == "A"
    assert spans.get_finished_spans()[0].name.endswith("Model.infer")


def test_an_error_is_recorded_with_its_type(spans: InMemorySpanExporter) -> None:
    class Bad(ValueError):
        pass

    @traced
    async def fail() -> None:
        raise Bad("no")

    with pytest.raises(Bad):
        asyncio.run(fail())
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert str((span.attributes or {})["error.type"]).endswith("Bad")
    assert [event.name for event in span.events] == ["exception"]


def test_a_generator_is_current_only_while_it_runs(spans: InMemorySpanExporter) -> None:
    @traced("stream")
    def stream() -> Generator[int, None, None]:
        for number in range(2):
            with tracer.start_as_current_span("step"):
                yield number

    for _ in stream():
        assert not trace.get_current_span().is_recording()
    first, second, outer = spans.get_finished_spans()
    assert outer.name == "stream"
    for step in (first, second):
        assert step.parent is not None
        assert step.parent.span_id == outer.context.span_id


def test_an_async_generator_is_current_only_while_it_runs(spans: InMemorySpanExporter) -> None:
    @traced("stream")
    async def stream() -> AsyncGenerator[int, None]:
        with tracer.start_as_current_span("step"):
            pass
        yield 1

    async def consume() -> None:
        async for _ in stream():
            assert not trace.get_current_span().is_recording()

    asyncio.run(consume())
    step, outer = spans.get_finished_spans()
    assert step.parent is not None
    assert step.parent.span_id == outer.context.span_id


def echo() -> Generator[Any, Any, str]:
    received: list[Any] = []
    while len(received) < 3:
        try:
            received.append((yield len(received)))
        except KeyError as error:
            received.append(error)
    return repr(received)


async def async_echo() -> AsyncGenerator[Any, Any]:
    received: list[Any] = []
    while len(received) < 3:
        try:
            received.append((yield received))
        except KeyError as error:
            received.append(error)


def test_send_throw_and_return_pass_through(spans: InMemorySpanExporter) -> None:
    running = traced(echo)()
    assert next(running) == 0
    assert running.send("a") == 1
    assert running.throw(KeyError("k")) == 2
    with pytest.raises(StopIteration) as stop:
        running.send("b")
    assert stop.value.value == "['a', KeyError('k'), 'b']"
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.UNSET


def test_asend_and_athrow_pass_through(spans: InMemorySpanExporter) -> None:
    async def talk() -> None:
        running = traced(async_echo)()
        assert await running.asend(None) == []
        assert await running.asend("a") == ["a"]
        assert [str(item) for item in await running.athrow(KeyError("k"))] == ["a", "'k'"]
        with pytest.raises(StopAsyncIteration):
            await running.asend("b")

    asyncio.run(talk())
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.UNSET


def test_an_error_thrown_in_and_not_caught_fails_the_span(spans: InMemorySpanExporter) -> None:
    running = traced(generator)(1)
    next(running)
    with pytest.raises(RuntimeError):
        running.throw(RuntimeError("stop"))
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.ERROR


def test_a_consumer_that_stops_early_ends_the_span_without_error(spans: InMemorySpanExporter) -> None:
    closed: list[str] = []

    @traced
    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append("sync")

    @traced
    async def async_endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append("async")

    async def stop_early() -> None:
        running = async_endless()
        await anext(running)
        await running.aclose()

    running = endless()
    next(running)
    running.close()
    asyncio.run(stop_early())
    assert closed == ["sync", "async"]
    assert [span.status.status_code for span in spans.get_finished_spans()] == [StatusCode.UNSET, StatusCode.UNSET]
