"""What the server did, as spans of its own. Without :mod:`.recorder` set up, which is the default, nothing happens.

Storing a span is work, and work that made a span would never end: so that every process knows an own span wherever it
comes back from, the ids of own traces begin alike, and work on nothing but own traces is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pyarrow as pa
from opentelemetry.context import Context
from opentelemetry.trace import get_tracer

OWN_PREFIX: Final = "0d1a60d1"
"""First digits of the trace ids made here; of others, one in four thousand million begins so."""

_tracer = get_tracer("otel_diag")


def is_own(trace_id: str) -> bool:
    return trace_id.startswith(OWN_PREFIX)


def trace_ids_of(batches: Iterable[pa.Table]) -> Iterator[str]:
    """Of the spans in these batches, one after the other."""
    return (trace_id.as_py() for batch in batches for trace_id in batch.column("trace_id"))


def record(
    name: str, started: int, attributes: Mapping[str, str | int], *, trace_ids: Iterable[str] | None = None
) -> None:
    """A span from ``started`` (``time.time_ns()``) until now. Costs microseconds; call it once a batch, not a span.

    ``trace_ids``: of the spans worked on, unless the work is on none. Only as many are read as needed.
    """
    if trace_ids is not None and all(map(is_own, trace_ids)):
        return
    # Not of a current span: what one thread does for many requests is part of none of them.
    _tracer.start_span(name, Context(), attributes=attributes, start_time=started).end()
