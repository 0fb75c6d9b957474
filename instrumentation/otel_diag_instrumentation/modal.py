"""The helper for Modal functions: goes under Modal's own decorators, and sends the spans before the input returns."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar, overload

from opentelemetry import trace
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.trace import SpanKind

from otel_diag_instrumentation.flushing import flush
from otel_diag_instrumentation.http import extract
from otel_diag_instrumentation.spans import open_span, wrap
from otel_diag_instrumentation.vocabulary import (
    FAAS_COLDSTART,
    MODAL_APP,
    MODAL_FUNCTION,
    MODAL_INPUT_ID,
    MODAL_TASK_ID,
)

R = TypeVar("R")

CONTEXT_ARGUMENT: Final = "otel_context"
"""Keyword argument that takes a carrier (``traceparent``, ``tracestate``, ``baggage``) across ``.remote()`` and kin."""

_INSIDE: Final = create_key("otel-diag-traced")
_calls_of_this_process = itertools.count()


@overload
def traced(name: Callable[..., R]) -> Callable[..., R]: ...


@overload
def traced(
    name: str | None = None,
    *,
    app: str | None = None,
    context_from: Callable[..., Mapping[str, str] | None] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]: ...


def traced(
    name: str | Callable[..., R] | None = None,
    *,
    app: str | None = None,
    context_from: Callable[..., Mapping[str, str] | None] | None = None,
) -> Callable[..., R] | Callable[[Callable[..., R]], Callable[..., R]]:
    """Traces every call (Modal: every input) of a function, method, coroutine function or (async) generator function.

    It belongs under Modal's decorators, next to the function, and keeps the function's name, signature and kind::

        @app.function(gpu="A10G")
        @traced("modal.inference", app="inference")
        def infer(prompt: str) -> str: ...

        infer.remote(prompt, otel_context=inject())

    The caller's context comes in the keyword argument ``otel_context``, which the function itself does not see, or
    from ``context_from``, called with the function's arguments (a web endpoint: ``lambda request: request.headers``).
    With it the span is a SERVER span of the caller's trace. The first call in a process has ``faas.coldstart`` true.
    When the outermost traced call ends, its spans are flushed, for at most a second: Modal may freeze or stop
    the container as soon as the input has returned.
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        span_name = name if isinstance(name, str) else function.__qualname__

        @contextmanager
        def open_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Context]:
            carrier = kwargs.pop(CONTEXT_ARGUMENT, None)
            if carrier is None and context_from is not None:
                carrier = context_from(*args, **kwargs)
            remote = extract(carrier) if carrier else None
            continues = remote is not None and trace.get_current_span(remote).get_span_context().is_remote
            attributes = {
                MODAL_APP: app,
                MODAL_FUNCTION: function.__qualname__,
                MODAL_INPUT_ID: _input_id(),
                MODAL_TASK_ID: os.environ.get("MODAL_TASK_ID"),
                FAAS_COLDSTART: next(_calls_of_this_process) == 0,
            }
            kind = SpanKind.SERVER if continues else SpanKind.INTERNAL
            with open_span(span_name, context=remote, kind=kind, attributes=attributes) as (_, context):
                yield set_value(_INSIDE, True, context)

        return wrap(function, open_call, _flush_outermost)

    return decorate(name) if name is not None and not isinstance(name, str) else decorate


def _flush_outermost() -> None:
    """Runs after the call, in the context around it: a traced function called by another leaves the flush to it."""
    if get_value(_INSIDE) is None:
        flush()


def _input_id() -> str | None:
    """The id of the running Modal input; None outside a Modal container. Never imports modal itself."""
    modal = sys.modules.get("modal")
    current_input_id = getattr(modal, "current_input_id", None)
    return current_input_id() if current_input_id is not None else None
