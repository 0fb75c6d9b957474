"""Which attributes of spans tell executions apart, which only name them, and which merely repeat how they ended."""

from __future__ import annotations

import math
import re
from enum import IntEnum
from typing import Final

from otel_diag.model import Span

LONGEST_VALUE: Final = 200
"""Characters of a text that still is a value: longer ones are contents (prompts, statements, stack traces)."""


class Telling(IntEnum):
    """How likely an attribute is to be the reason that something differs, the likeliest first."""

    VERSION = 0
    HOST = 1
    REGION = 2
    MODEL = 3
    PROVIDER = 4
    SETTING = 5
    NUMBER = 6


_BY_NAME: Final = (
    (Telling.VERSION, re.compile(r"version|revision|commit|release|build|image|deployment\.id")),
    (Telling.HOST, re.compile(r"(^|[._])(host|hostname|node|machine|gpu|instance|pod|container)([._]|$)")),
    (Telling.REGION, re.compile(r"region|zone|data_?center|cluster|environment|deployment\.name")),
    (Telling.MODEL, re.compile(r"model")),
    (Telling.PROVIDER, re.compile(r"provider|vendor|gen_ai\.system|llm\.system")),
    (
        Telling.SETTING,
        re.compile(
            r"(^|[._])(max|min|limit|timeouts?|concurrency|replicas|workers|retries|temperature|top_[pk])([._]|$)"
            r"|(batch|pool|queue)[._]size|(max|min|limit|timeout)_|_(max|min|limit|timeout)"
        ),
    ),
)
_SAYS_NOTHING: Final = re.compile(
    r"(^|[._])(pid|tid|timestamp|time|start|end|date|attempt|nonce|sequence|line_?no|lineno)([._]|$)|_(at|time|unix_nano)$"
    r"|(^|[._])thread[._]|^(execution|code|telemetry|otel)\.|^process\.(parent_pid|command|executable|owner)"
)
"""Names whose values differ between any two executions, or are alike in all."""

_NAMES_ONE: Final = re.compile(
    r"(^|[._])(u?uid|uuid|guid|port|hostname|pod)([._]|$)|(^|[._])id$|(request|trace|span|message|session|conversation|user)_?id$|^job\.|(client|peer|local|sock)\.(address|addr)$"
)
"""Names of what two executions hardly ever share, while many may."""

_SAYS_OUTCOME: Final = re.compile(
    r"(^|[._])(error|errors|exception|failed|failure|success|outcome|status|status_code|status_text|status_message|"
    r"finish_reasons?|disconnect|resend_count|retry_count|attempt)([._]|$)|^otel\.status"
)
_IDENTIFIES: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f-]{12,}|(?=[0-9a-f]*\d)[0-9a-f]{16,}|\d{10,}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*",
    re.IGNORECASE,
)


def telling(name: str, value: object) -> Telling:
    """By its name; else a number comes after everything that is set to a word or switched on or off."""
    lowered = name.lower()
    for kind, pattern in _BY_NAME:
        if pattern.search(lowered):
            return kind
    return Telling.SETTING if as_number(value) is None else Telling.NUMBER


def names_one(name: str, value: object) -> bool:
    """Whether the value is an id, a time or an address, which no other execution is expected to have."""
    if telling(name, value) is Telling.VERSION:
        return False
    return says_nothing(name) or _NAMES_ONE.search(name.lower()) is not None or is_identifier(value)


def says_nothing(name: str) -> bool:
    """Whether not even many executions with the same value would mean anything."""
    return _SAYS_NOTHING.search(name.lower()) is not None


def is_identifier(value: object) -> bool:
    """Whether a value looks like an id or a moment, whatever its name."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return False
    return _IDENTIFIES.fullmatch(str(value)) is not None


def says_outcome(name: str) -> bool:
    """Whether the attribute is written because of how the execution ended: no explanation for it."""
    return _SAYS_OUTCOME.search(name.lower()) is not None


def as_text(value: object) -> str | None:
    """A value as it is compared and shown; None for what is no single value, or too long to be one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_VALUE else None


def as_number(value: object) -> float | None:
    """A finite number; None for anything else, truth values included."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def resource_values(span: Span) -> dict[str, str]:
    """What holds for all of a service: its resource, and the version wherever that was said."""
    values = {name: text for name, value in span.resource.items() if (text := as_text(value)) is not None}
    values.pop("service.name", None)
    if span.service_version is not None:
        values["service.version"] = span.service_version
    return values
