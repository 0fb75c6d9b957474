"""Words and figures as people read them, shared by Markdown and the terminal."""

from __future__ import annotations

import unicodedata

from otel_diag.errors import NotFound, OtelDiagError
from otel_diag.model import Status

STATUS_MARKS = {Status.COMPLETED: "✔", Status.FAILED: "✖", Status.TIMEOUT: "⏱", Status.RUNNING: "…"}


def clean(text: str, limit: int = 200) -> str:
    """Text from a span as one harmless line: no control or invisible characters, at most ``limit`` of its own.

    What is cut off is disclosed. Control characters could drive a terminal; format characters (zero width,
    bidirectional, tags) could hide instructions from the person who reads along.
    """
    visible = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    line = " ".join(visible.split())
    if len(line) <= limit:
        return line
    return f"{line[:limit]}… ({len(line) - limit} more characters)"


def duration(ms: float | None) -> str:
    """Milliseconds, in the unit a person would say. An unknown duration is a dash."""
    if ms is None:
        return "-"
    if abs(ms) < 1:
        return f"{ms:.2g} ms"
    if abs(ms) < 1_000:
        return f"{ms:.0f} ms"
    if abs(ms) < 60_000:
        return f"{ms / 1_000:.1f} s"
    minutes, seconds = divmod(round(ms / 1_000), 60)
    return f"{minutes:,} min {seconds} s"


def seconds(value: float | None) -> str:
    return duration(None if value is None else value * 1_000)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def key_name(execution_id: int | None, trace_id: str | None) -> str:
    """How an answer names what it is about."""
    if execution_id is not None:
        return f"execution {execution_id}"
    return f"trace {trace_id}" if trace_id is not None else "unknown execution"


def hint_of(error: OtelDiagError) -> str:
    """What to do next, with the nearest ids where something was not found."""
    if isinstance(error, NotFound) and error.nearest:
        return f"{error.hint} Nearest: {', '.join(error.nearest)}.".strip()
    return error.hint
