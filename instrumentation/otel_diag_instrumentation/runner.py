"""The runner's helper: one execution, known by its id in every service it reaches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span

from otel_diag_instrumentation.execution_context import int64, to_baggage
from otel_diag_instrumentation.spans import ActiveSpan, Scope
from otel_diag_instrumentation.vocabulary import EXECUTION_ATTEMPT, EXECUTION_ID, JOB_ID, MODEL_ID, REGION

_log = logging.getLogger(__name__)


def execution(
    execution_id: int | str | None = None,
    *,
    job_id: str | None = None,
    model_id: str | None = None,
    region: str | None = None,
    attempt: int | None = None,
    name: str = "runner.execution",
) -> Scope[Span]:
    """The span of one execution; W3C baggage carries its attributes to every span below, in every service.

    As a context manager it yields the span. As a decorator, of a plain or async function or a generator, it takes
    what is not given here from the arguments of the same name of each call::

        @execution()
        def run(execution_id: int, model_id: str, prompt: str) -> str: ...

    ``execution_id`` is a 64-bit integer or its decimal text; anything else is logged and left out, the work goes on.
    """
    given = {"execution_id": execution_id, "job_id": job_id, "model_id": model_id, "region": region, "attempt": attempt}

    def open_scope(arguments: Mapping[str, Any]) -> tuple[Span, ActiveSpan]:
        attributes = _attributes({key: arguments.get(key) if value is None else value for key, value in given.items()})
        opened = ActiveSpan(name, to_baggage(attributes), attributes=attributes)
        return opened.span, opened

    return Scope(open_scope)


def _attributes(values: Mapping[str, Any]) -> dict[str, int | str]:
    execution_id = int64(values["execution_id"])
    if execution_id is None:
        _log.warning(
            "execution id %r is not a 64-bit integer: the execution is traced without it", values["execution_id"]
        )
    read = {
        EXECUTION_ID: execution_id,
        JOB_ID: _text(values["job_id"]),
        MODEL_ID: _text(values["model_id"]),
        REGION: _text(values["region"]),
        EXECUTION_ATTEMPT: int64(values["attempt"]),
    }
    return {key: value for key, value in read.items() if value is not None}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
