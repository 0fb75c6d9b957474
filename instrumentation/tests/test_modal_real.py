"""Under Modal's own decorators, and called by the classes that call user code in a Modal container."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from otel_diag_instrumentation import continue_trace, execution, inference, inject, traced

modal = pytest.importorskip("modal")
api_pb2 = pytest.importorskip("modal_proto.api_pb2")
asgi = pytest.importorskip("modal._runtime.asgi")
serialization = pytest.importorskip("modal._serialization")
code_imports = pytest.importorskip("modal._runtime.user_code_imports")
event_loop = pytest.importorskip("modal._runtime.user_code_event_loop")
io_manager = pytest.importorskip("modal._runtime.container_io_manager")
runtime = pytest.importorskip("modal._runtime.execution_context")

app = modal.App("inference")

USER_CODE: dict[str, Callable[..., Any]] = {}
"""What a container gets when it imports a function: the one under Modal's decorators."""


def user_code(raw: Callable[..., Any]) -> Callable[..., Any]:
    USER_CODE[raw.__name__] = raw
    return raw


@app.function()
@user_code
@traced("function", app="inference", gpu="A10G")
def function(prompt: str) -> str:
    with inference():
        return prompt.upper()


@app.function()
@user_code
@traced("coroutine")
async def coroutine(prompt: str) -> str:
    return prompt.upper()


@app.function()
@user_code
@traced("generator")
def generator(prompt: str) -> Generator[str, None, None]:
    yield from prompt.upper()


@app.function()
@user_code
@traced("async_generator")
async def async_generator(prompt: str) -> AsyncGenerator[str, None]:
    for letter in prompt.upper():
        yield letter


@app.function()
@modal.batched(max_batch_size=4, wait_ms=10)
@user_code
@traced("batch")
def batch(prompts: list[str]) -> list[str]:
    return [prompt.upper() for prompt in prompts]


@app.function()
@modal.fastapi_endpoint(method="POST")
@user_code
@traced("endpoint")
def endpoint(prompt: str) -> dict[str, str]:
    return {"answer": prompt.upper()}


@app.function()
@modal.fastapi_endpoint(method="POST")
@user_code
@traced("async_endpoint")
async def async_endpoint(prompt: str) -> dict[str, str]:
    return {"answer": prompt.upper()}


@app.cls()
class Model:
    @modal.enter()
    @traced("load")
    def load(self) -> None:
        self.suffix = "!"

    @modal.method()
    @traced("method")
    def method(self, prompt: str) -> str:
        return prompt.upper() + self.suffix

    @modal.method()
    @traced("method_generator")
    def method_generator(self, prompt: str) -> Generator[str, None, None]:
        yield from prompt.upper() + self.suffix

    @modal.method()
    @traced("async_method")
    async def async_method(self, prompt: str) -> str:
        return prompt.upper()  # Modal runs no enter() before .local() of an async method


Input = tuple[tuple[Any, ...], dict[str, Any]]


def in_container(name: str, *inputs: Input, batched: bool = False) -> Any:
    """What a container makes of one input (or one batch), deserialised and called as Modal's runtime does it."""
    raw = USER_CODE[name]
    is_async = inspect.iscoroutinefunction(raw) or inspect.isasyncgenfunction(raw)
    is_generator = inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)
    pickled = api_pb2.DATA_FORMAT_PICKLE
    wire = [
        api_pb2.FunctionInput(args=serialization.serialize_data_format(each, pickled), data_format=pickled)
        for each in inputs
    ]
    count = len(inputs)
    io = io_manager.IOContext(
        input_ids=[f"in-{number}" for number in range(count)],
        retry_counts=[0] * count,
        function_call_ids=["fc-1"] * count,
        attempt_tokens=["token"] * count,
        finalized_function=code_imports.FinalizedFunction(raw, is_async, is_generator, []),
        function_inputs=wire,
        function_call_invocation_types=[0] * count,
        is_batched=batched,
        client=None,
        max_object_size_bytes=2**21,
        max_async_object_size_bytes=2**21,
    )
    reset = runtime._set_current_context_ids(io.input_ids, io.function_call_ids, io.attempt_tokens)
    try:
        if is_async and is_generator:
            return asyncio.run(collected(io.call_generator_async()))
        if is_async:
            return asyncio.run(io.call_function_async())[0]
        if is_generator:
            return list(io.call_generator_sync())
        outputs = io.call_function_sync()
        return outputs if batched else outputs[0]
    finally:
        reset()


async def collected(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def finished(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in spans.get_finished_spans() if span.name == name]
    return span


@pytest.mark.parametrize("name", ["function", "coroutine", "generator", "async_generator"])
def test_each_kind_of_function_continues_the_callers_trace(spans: InMemorySpanExporter, name: str) -> None:
    with execution(7, model_id="m"):
        carrier = inject(timed=True)
    assert "".join(in_container(name, (("ab",), {"otel_context": carrier}))) == "AB"
    caller, span = spans.get_finished_spans()
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert span.parent.span_id == caller.context.span_id
    attributes = span.attributes or {}
    assert (attributes["execution.id"], attributes["model.id"]) == (7, "m")
    assert attributes["modal.input_id"] == "in-0"
    assert attributes["queue.time_ms"] >= 0


def test_what_a_function_tells_of_its_work(spans: InMemorySpanExporter) -> None:
    assert function.local("ab") == "AB"
    attributes = dict(finished(spans, "function").attributes or {})
    assert attributes.pop("inference.time_ms") >= 0
    attributes.pop("faas.coldstart")
    assert attributes == {
        "modal.app": "inference",
        "modal.function": "function",
        "hw.type": "gpu",
        "gpu.model": "A10G",
    }


def test_each_input_of_a_map_is_a_span_of_the_callers_trace(spans: InMemorySpanExporter) -> None:
    """The container's side of ``function.map(prompts, kwargs={"otel_context": inject()})``."""
    with execution(8):
        carrier = inject()
    outputs = [in_container("function", ((prompt,), {"otel_context": carrier})) for prompt in "abc"]
    assert outputs == ["A", "B", "C"]
    caller, *inputs = spans.get_finished_spans()
    assert [span.parent.span_id for span in inputs if span.parent] == [caller.context.span_id] * 3
    assert [(span.attributes or {})["execution.id"] for span in inputs] == [8] * 3


def test_methods(spans: InMemorySpanExporter) -> None:
    with execution(9):
        carrier = inject()
    model = Model()
    assert model.method.local("ab", otel_context=carrier) == "AB!"
    assert "".join(Model().method_generator.local("ab", otel_context=carrier)) == "AB!"
    assert asyncio.run(Model().async_method.local("ab", otel_context=carrier)) == "AB"
    for name in ("method", "method_generator", "async_method"):
        assert (finished(spans, name).attributes or {})["execution.id"] == 9


def test_a_batch_is_one_span_and_takes_no_context(spans: InMemorySpanExporter) -> None:
    assert in_container("batch", (("a",), {}), (("b",), {}), batched=True) == ["A", "B"]
    assert finished(spans, "batch").parent is None
    with pytest.raises(modal.exception.InvalidError):
        in_container("batch", (("a",), {"otel_context": inject()}), batched=True)


@pytest.mark.parametrize("name", ["endpoint", "async_endpoint"])
def test_a_web_endpoint_continues_the_trace_without_taking_the_request(spans: InMemorySpanExporter, name: str) -> None:
    """FastAPI 0.142 and later open the SERVER span, below which the function is."""
    testclient = pytest.importorskip("fastapi.testclient")
    pytest.importorskip("fastapi.telemetry")
    client = testclient.TestClient(asgi.magic_fastapi_app(USER_CODE[name], "POST", False))
    with execution(10):
        headers = inject()
    answer = client.post("/", params={"prompt": "ab"}, headers=headers)
    assert answer.json() == {"answer": "AB"}
    span = finished(spans, name)
    assert f"{span.context.trace_id:032x}" == headers["traceparent"].split("-")[1]
    assert (span.attributes or {})["execution.id"] == 10


def web_app() -> Any:
    """A router whose framework traces requests too."""
    fastapi = pytest.importorskip("fastapi")
    pytest.importorskip("fastapi.telemetry")
    served = fastapi.FastAPI()

    def handle(request: Any) -> str:
        with continue_trace(request.headers, "inner", method="POST", path="/route") as exchange:
            exchange.status(200)
        return "ok"

    handle.__annotations__["request"] = fastapi.Request
    served.post("/route")(handle)
    return served


@pytest.mark.parametrize("remote", [True, False])
def test_a_server_span_that_is_there_gets_no_sibling(spans: InMemorySpanExporter, remote: bool) -> None:
    testclient = pytest.importorskip("fastapi.testclient")
    headers = {}
    if remote:
        with execution(11):
            headers = inject()
    testclient.TestClient(web_app()).post("/route", headers=headers)
    by_id = {span.context.span_id: span for span in spans.get_finished_spans()}
    served = [span for span in by_id.values() if span.kind is SpanKind.SERVER]
    assert [span.name for span in served] == ["POST /route"]
    above = finished(spans, "inner")
    while above.parent is not None and above.parent.span_id in by_id and above is not served[0]:
        above = by_id[above.parent.span_id]
    assert above is served[0]
    assert (finished(spans, "inner").attributes or {}).get("execution.id") == (11 if remote else None)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A container's signal handlers: Python's own, and the one for an input that its caller cancels."""

    def cancel(number: int, frame: object) -> None:
        raise modal.exception.InputCancellation("Input was cancelled by user")

    monkeypatch.setenv("MODAL_IS_REMOTE", "1")
    before = [
        (signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)),
        (signal.SIGUSR1, signal.signal(signal.SIGUSR1, cancel)),
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@traced("work")
def work(number: int) -> None:
    signal.raise_signal(number)


@traced("work")
async def async_work(number: int) -> None:
    signal.raise_signal(number)
    await asyncio.Event().wait()


@traced("work")
def generator_work(number: int) -> Generator[int, None, None]:
    yield 1
    signal.raise_signal(number)


def run_sync(number: int) -> None:
    work(number)


def run_generator(number: int) -> None:
    list(generator_work(number))


def run_async(number: int) -> None:
    with event_loop.UserCodeEventLoop() as loop:
        loop.run(async_work(number))


def run_among_others(number: int) -> None:
    """As ``@modal.concurrent`` does: each input is a task beside others."""

    async def inputs() -> None:
        task = asyncio.create_task(async_work(number))
        await task

    with event_loop.UserCodeEventLoop() as loop:
        loop.run(inputs())


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("run_input", "number", "preempted"),
    [
        (run_sync, signal.SIGINT, True),
        (run_generator, signal.SIGINT, True),
        (run_async, signal.SIGINT, True),
        (run_sync, signal.SIGUSR1, None),
        (run_async, signal.SIGUSR1, None),
        (run_among_others, signal.SIGINT, None),
    ],
)
def test_a_preempted_input_says_so_and_a_cancelled_one_does_not(
    spans: InMemorySpanExporter, run_input: Callable[[int], None], number: int, preempted: bool | None
) -> None:
    with contextlib.suppress(KeyboardInterrupt, modal.exception.InputCancellation):
        run_input(number)
    span = finished(spans, "work")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {}).get("modal.preempted") is preempted


@pytest.mark.usefixtures("signals")
def test_the_input_is_preempted_not_what_it_calls(spans: InMemorySpanExporter) -> None:
    @traced("input")
    def outer() -> None:
        work(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert "modal.preempted" not in (finished(spans, "work").attributes or {})
    assert (finished(spans, "input").attributes or {})["modal.preempted"] is True


def test_an_interrupt_outside_a_container_is_no_preemption(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODAL_IS_REMOTE", raising=False)

    @traced
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (span,) = spans.get_finished_spans()
    assert "modal.preempted" not in (span.attributes or {})
