"""The helper for Modal functions: goes under Modal's own decorators, and sends the spans before the input returns."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, TypeVar, overload

from opentelemetry import trace
from opentelemetry.context import create_key, get_current, get_value, set_value
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.execution_context import int64
from otel_diag_instrumentation.flushing import flush
from otel_diag_instrumentation.propagation import SENT_HEADER, joined
from otel_diag_instrumentation.spans import ActiveSpan, attributes_of, wrap
from otel_diag_instrumentation.vocabulary import (
    FAAS_COLDSTART,
    GPU_MODEL,
    HW_TYPE,
    INFERENCE_TIME_MS,
    MODAL_APP,
    MODAL_FUNCTION,
    MODAL_INPUT_ID,
    MODAL_PREEMPTED,
    MODAL_TASK_ID,
    QUEUE_TIME_MS,
)

R = TypeVar("R")

CONTEXT_ARGUMENT: Final = "otel_context"
"""Keyword argument that takes a carrier (``traceparent``, ``tracestate``, ``baggage``) across ``.remote()`` and kin."""

_INSIDE: Final = create_key("otel-diag-traced")
_calls_of_this_process: Final = {True: itertools.count(), False: itertools.count()}
"""Inputs, and calls outside one: an ``@modal.enter()`` method does not take the cold start from the first input."""


@overload
def traced(name: Callable[..., R]) -> Callable[..., R]: ...


@overload
def traced(
    name: str | None = None,
    *,
    app: str | None = None,
    gpu: str | None = None,
    context_from: Callable[..., Mapping[str, str] | None] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]: ...


def traced(
    name: str | Callable[..., R] | None = None,
    *,
    app: str | None = None,
    gpu: str | None = None,
    context_from: Callable[..., Mapping[str, str] | None] | None = None,
) -> Callable[..., R] | Callable[[Callable[..., R]], Callable[..., R]]:
    """Traces every call (Modal: every input) of a function, method, coroutine function or (async) generator function.

    It belongs under Modal's decorators, next to the function, and keeps the function's name, signature and kind::

        @app.function(gpu="A10G")
        @traced("modal.inference", app="inference", gpu="A10G")
        def infer(prompt: str) -> str: ...

        infer.remote(prompt, otel_context=inject(timed=True))

    The caller's context comes in the keyword argument ``otel_context``, which the function itself does not see, or
    from ``context_from``, called with the function's arguments (a web endpoint: ``lambda request: request.headers``).
    With it the span is a SERVER span of the caller's trace, with ``queue.time_ms`` when the carrier is timed and the
    clocks do not contradict it. ``gpu`` is by default what PyTorch says, where it is in use already. The first input
    of a process has ``faas.coldstart`` true. One that Modal interrupts to stop the container has ``modal.preempted``.
    When the outermost traced call ends, its spans are flushed, for at most a second: Modal may freeze or stop
    the container as soon as the input has returned.
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        span_name = name if isinstance(name, str) else function.__qualname__
        constant = {MODAL_FUNCTION: function.__qualname__} | ({} if app is None else {MODAL_APP: app})

        def open_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActiveSpan:
            carrier = kwargs.pop(CONTEXT_ARGUMENT, None)
            if carrier is None and context_from is not None:
                carrier = context_from(*args, **kwargs)
            attributes = {**constant, **_surroundings(gpu)}
            context, kind = None, SpanKind.INTERNAL
            if carrier:
                context, kind = joined(carrier)
                queued_ms = _queued_ms(carrier)
                if queued_ms is not None:
                    attributes[QUEUE_TIME_MS] = queued_ms
            context = set_value(_INSIDE, True, get_current() if context is None else context)
            opening = ActiveSpan if get_value(_INSIDE) else _Input
            return opening(span_name, context, kind, attributes)

        return wrap(function, open_call, _flush_outermost)

    return decorate(name) if name is not None and not isinstance(name, str) else decorate


class _Input(ActiveSpan):
    """The outermost traced call, which is the one that Modal itself interrupts."""

    __slots__ = ()

    def end(self, error: BaseException | None = None) -> None:
        if error is not None and _is_preemption(error):
            self.span.set_attribute(MODAL_PREEMPTED, True)
        super().end(error)


def _is_preemption(error: BaseException) -> bool:
    """Whether ``error`` is how a function of a Modal container learns that the container stops.

    Modal sends SIGINT: a KeyboardInterrupt, or for a coroutine a CancelledError. A caller's cancellation differs by its
    text, but among concurrent inputs it has none: next to other tasks it is not taken for a preemption.
    """
    if "MODAL_IS_REMOTE" not in os.environ:
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    import asyncio  # costs 15 ms; whoever is cancelled has it anyway

    if not isinstance(error, asyncio.CancelledError) or error.args:
        return False
    try:
        return len(asyncio.all_tasks()) == 1
    except RuntimeError:  # no event loop runs here
        return False


def _surroundings(gpu: str | None) -> dict[str, AttributeValue]:
    """What is known of the container, the input and the GPU of this call."""
    input_id, task_id, gpu = _input_id(), os.environ.get("MODAL_TASK_ID"), gpu or _gpu_in_use()
    known: dict[str, AttributeValue] = {FAAS_COLDSTART: next(_calls_of_this_process[input_id is not None]) == 0}
    if input_id is not None:
        known[MODAL_INPUT_ID] = input_id
    if task_id is not None:
        known[MODAL_TASK_ID] = task_id
    if gpu is not None:
        known |= {HW_TYPE: "gpu", GPU_MODEL: gpu}
    return known


def _input_id() -> str | None:
    """The id of the running Modal input; None outside a Modal container. Never imports modal itself."""
    modal = sys.modules.get("modal")
    current_input_id = getattr(modal, "current_input_id", None)
    return current_input_id() if current_input_id is not None else None


def _gpu_in_use() -> str | None:
    """The GPU that PyTorch works on. Neither imports it nor makes it open the device."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    is_initialized = getattr(cuda, "is_initialized", None)
    if is_initialized is None or not is_initialized():
        return None
    try:
        return _device_name(cuda)
    except RuntimeError:  # the device is lost
        return None


@lru_cache(maxsize=1)
def _device_name(cuda: Any) -> str:
    return str(cuda.get_device_name())


def _queued_ms(carrier: Mapping[str, str]) -> float | None:
    """Since ``carrier`` was made; None when it does not say, or was made in the future of this machine's clock."""
    sent = int64(carrier.get(SENT_HEADER))
    waited = None if sent is None else (time.time_ns() - sent) / 1e6
    return waited if waited is not None and waited >= 0 else None


def _flush_outermost() -> None:
    """Runs after the call, in the context around it: a traced function called by another leaves the flush to it."""
    if get_value(_INSIDE) is None:
        flush()


class Inference:
    """A block whose time is ``inference.time_ms`` of the current span."""

    __slots__ = ("_begun",)

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span = trace.get_current_span()
        took_ms = (time.perf_counter() - self._begun) * 1000
        before = attributes_of(span).get(INFERENCE_TIME_MS)
        span.set_attribute(INFERENCE_TIME_MS, took_ms + (before if isinstance(before, float) else 0.0))


def inference() -> Inference:
    """Measures the model's own time in a traced function, without queue, loading and the rest.

    ::

        with inference():
            output = model.generate(prompt)

    It is recorded as ``inference.time_ms`` of the current span; several blocks add up.
    """
    return Inference()
