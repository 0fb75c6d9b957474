"""What the helpers share: a span that records how it ended, around a block or around any kind of function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.vocabulary import ERROR_TYPE

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

_tracer = trace.get_tracer("otel-diag-instrumentation")


class ActiveSpan:
    """A span that has started, and ``context``, in which it is current: the context of a ``with`` block.

    When the block raises, the span ends with status ERROR, ``error.type`` and an ``exception`` event, and the error
    goes on. What runs in steps (a generator) makes the context current itself, and calls :meth:`end`.
    """

    # A class, as contextlib's ExitStack and contextmanager cost a third of what the SDK takes for the span.
    __slots__ = ("_token", "context", "span")

    def __init__(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
        links: Sequence[Link] = (),
    ) -> None:
        self.span = _tracer.start_span(name, context, kind, attributes, links)
        self.context = trace.set_span_in_context(self.span, context)

    def __enter__(self) -> ActiveSpan:
        self._token = attach(self.context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.end(error)  # while it is current: who listens to recorded exceptions finds the span in the context
        finally:
            detach(self._token)

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span, as failed by ``error``."""
        if error is not None and _is_failure(error):
            record_failure(self.span, error)
        self.span.end()


OpenCall = Callable[[tuple[Any, ...], dict[str, Any]], ActiveSpan]
"""Opens the span of one call; gets the call's arguments, and may take keyword arguments of its own out of them."""


def record_failure(span: Span, error: BaseException) -> None:
    """Marks ``span`` as failed by ``error``; an ``error.type`` it has already (an HTTP status) stays."""
    if not span.is_recording():
        return
    span.record_exception(error)
    if ERROR_TYPE not in attributes_of(span):
        span.set_attribute(ERROR_TYPE, error_type(error))
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


def attributes_of(span: Span) -> Mapping[str, AttributeValue]:
    """What ``span`` says so far; nothing when it is not recorded (the API alone does not tell)."""
    return getattr(span, "attributes", None) or {}


def error_type(error: BaseException) -> str:
    """The qualified class name of ``error``; built-in ones without their module, as ``exception.type`` has it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_failure(error: BaseException) -> bool:
    """A consumer that stops reading a generator, and a clean exit, are no failures; being cancelled is one."""
    if isinstance(error, SystemExit):
        return error.code not in (None, 0)
    return not isinstance(error, GeneratorExit)


class Scope(Generic[T]):
    """A span around a ``with`` block, or, as a decorator, around every call of a function of any kind.

    ``open_scope`` gets the call's arguments by name (empty for a ``with`` block); it returns the value of the ``with``
    statement and the span.
    """

    __slots__ = ("_entered", "_open_scope")

    def __init__(self, open_scope: Callable[[Mapping[str, Any]], tuple[T, ActiveSpan]]) -> None:
        self._open_scope = open_scope

    def __enter__(self) -> T:
        value, self._entered = self._open_scope({})
        self._entered.__enter__()
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, traceback)

    def __call__(self, function: Function) -> Function:
        signature = inspect.signature(function)

        def open_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActiveSpan:
            return self._open_scope(signature.bind(*args, **kwargs).arguments)[1]

        return wrap(function, open_call)


def wrap(function: Function, open_call: OpenCall, after: Callable[[], object] | None = None) -> Function:
    """``function`` with every call inside ``open_call``: same name, signature and kind (plain, async, generators).

    ``after`` runs when the span has ended; it may block, so async functions run it in a thread. A generator's context
    is current only while the generator itself runs, never in the code that consumes it.
    """
    if inspect.isasyncgenfunction(function):
        wrapper = _around_async_generator(function, open_call, after)
    elif inspect.iscoroutinefunction(function):
        wrapper = _around_coroutine(function, open_call, after)
    elif inspect.isgeneratorfunction(function):
        wrapper = _around_generator(function, open_call, after)
    else:
        wrapper = _around_function(function, open_call, after)
    return cast(Function, functools.wraps(function)(wrapper))


def _around_function(
    function: Callable[..., Any], open_call: OpenCall, after: Callable[[], object] | None
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            with open_call(args, kwargs):
                return function(*args, **kwargs)
        finally:
            if after is not None:
                after()

    return call


def _around_coroutine(
    function: Callable[..., Any], open_call: OpenCall, after: Callable[[], object] | None
) -> Callable[..., Any]:
    import asyncio  # costs 15 ms; whoever decorates async code has it anyway

    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            with open_call(args, kwargs):
                return await function(*args, **kwargs)
        finally:
            if after is not None:
                await asyncio.to_thread(after)

    return call


def _around_generator(
    function: Callable[..., Any], open_call: OpenCall, after: Callable[[], object] | None
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        try:
            opened = open_call(args, kwargs)
            with _ended(opened):
                return (yield from _stepped(function(*args, **kwargs), opened.context))
        finally:
            if after is not None:
                after()

    return call


def _around_async_generator(
    function: Callable[..., Any], open_call: OpenCall, after: Callable[[], object] | None
) -> Callable[..., Any]:
    import asyncio

    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        try:
            opened = open_call(args, kwargs)
            context = opened.context
            with _ended(opened):
                generator = function(*args, **kwargs)
                step = generator.asend(None)
                while True:
                    try:
                        with _current(context):
                            item = await step
                    except StopAsyncIteration:
                        return
                    try:
                        step = generator.asend((yield item))
                    except GeneratorExit:
                        with _current(context):
                            await generator.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown into the generator, which decides
                        step = generator.athrow(error)
        finally:
            if after is not None:
                await asyncio.to_thread(after)

    return call


def _stepped(generator: Generator[Any, Any, Any], context: Context) -> Generator[Any, Any, Any]:
    """``yield from generator``, with ``context`` current in each of its steps."""
    step = functools.partial(generator.send, None)
    while True:
        token = attach(context)
        try:
            item = step()
        except StopIteration as stop:
            return stop.value
        finally:
            detach(token)
        try:
            step = functools.partial(generator.send, (yield item))
        except GeneratorExit:
            with _current(context):
                generator.close()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown into the generator, which decides
            step = functools.partial(generator.throw, error)


@contextmanager
def _current(context: Context) -> Iterator[None]:
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


@contextmanager
def _ended(opened: ActiveSpan) -> Iterator[None]:
    """Ends the span of a generator with it; its context is current for no longer than that takes."""
    try:
        yield
    except BaseException as error:
        with _current(opened.context):
            opened.end(error)
        raise
    opened.end()
