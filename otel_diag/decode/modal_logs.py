"""Spans from lines that a program without a network printed into its log (docs/printed-traces.md).

``TRACE[1a2b3c4d]: ...`` with anything before it: a time, a level, an emoji, the braces of a JSON log. A line that says
``trace=``, ``span=`` and ``start=`` stands for itself; of others the ones with the same eight digits belong together in
order. Nothing here raises: what is no such line is passed over.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from calendar import timegm
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_diag.model import NANOS_PER_MS

MARK: Final = "TRACE["
"""In every such line."""

SERVICE: Final = "modal"
"""Of a line that names none."""

ANNOUNCED: Final = "otel_diag.span.start"
RECOVERED: Final = "otel_diag.recovered"
FORMAT: Final = "modal-logs"

_NANOS: Final = 10**9
_MAX_NANOS: Final = 2**63 - 1
_INT64: Final = range(-(2**63), 2**63)
_NAME: Final = "modal.inference"

Value = str | bool | int | float | list[Any]


class What(Enum):
    """What a line tells of."""

    START = auto()
    PASSED = auto()
    REFUSED = auto()
    SUCCESS = auto()
    FAILURE = auto()
    TIMEOUT = auto()


@dataclass(frozen=True, slots=True)
class Said:
    """One line. ``digits``: the eight of its mark; ``at``: Unix nanoseconds, 0 when nobody knows."""

    digits: str
    what: What
    fields: dict[str, Value]
    at: int


@dataclass(frozen=True, slots=True)
class Told:
    """What lines say of one execution of a function.

    ``line``: index of the last of them. ``end``: Unix nanoseconds, None when no line says that it ended. ``service``:
    None when no line names it. ``whole``: both its lines were there, or one that stands for itself.
    """

    line: int
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    service: str | None
    start: int
    end: int | None
    failed: bool
    message: str
    attributes: Mapping[str, Value]
    event: tuple[str, int, Mapping[str, Value]] | None
    whole: bool

    def span(self) -> Span:
        """As OTLP has it. The caller has seen that it ended."""
        span = Span(
            trace_id=bytes.fromhex(self.trace_id),
            span_id=bytes.fromhex(self.span_id),
            parent_span_id=bytes.fromhex(self.parent_id),
            name=_storable(self.name),
            kind=self.kind,  # type: ignore[arg-type]  # the number of a SpanKind
            start_time_unix_nano=self.start,
            end_time_unix_nano=self.end or self.start,
            attributes=_pairs(self.attributes),
        )
        if self.failed:
            span.status.code = span.status.STATUS_CODE_ERROR
            span.status.message = _storable(self.message)
        if self.event is not None:
            name, at, attributes = self.event
            span.events.add(name=name, time_unix_nano=at, attributes=_pairs(attributes))
        return span

    def announcement(self) -> LogRecord:
        """That it started, as the log record a service sends that announces its spans."""
        said: dict[str, Value] = {
            "span.name": self.name,
            "span.kind": self.kind,
            "span.start_unix_nano": self.start,
            "span.parent_id": self.parent_id,
        }
        return LogRecord(
            time_unix_nano=self.start,
            observed_time_unix_nano=self.start,
            trace_id=bytes.fromhex(self.trace_id),
            span_id=bytes.fromhex(self.span_id),
            event_name=ANNOUNCED,
            attributes=_pairs({**self.attributes, **said}),
        )


def executions(lines: Iterable[Said], trace_id_of: Callable[[str, int], str] | None = None) -> list[Told]:
    """What the lines tell, in the order of the last line of each.

    ``trace_id_of``: the id of the trace that an execution is part of, given its first eight digits and the start, for
    lines that do not say it; by default those digits and zeros.
    """
    found = _Executions(trace_id_of or (lambda digits, _: digits.ljust(32, "0")))
    for index, said in enumerate(lines):
        found.add(index, said)
    return found.all()


def time_of(text: str) -> int | None:
    """The time that stands at the beginning of a log line, in Unix nanoseconds; without a zone it is UTC."""
    head = text[:_HEAD_CHARACTERS]
    if match := _ISO.search(head):
        return _nanos(match)
    if match := _EPOCH.search(head):
        digits, fraction = match[1], match[2] or ""
        return int((digits + fraction).ljust(19, "0")[:19])
    return None


# --------------------------------------------------------------------------------------------------
# One line.


_MAX_CHARACTERS: Final = 16_384
"""Of a line: the helpers write 4 KiB at most, and a hostile one must not take time that grows with its square."""

_LINE: Final = re.compile(r"TRACE\[([0-9A-Fa-f]{8})\]:?\s*(.*)", re.DOTALL)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_HEAD: Final = re.compile(r"(.*?)(?:\s[-\u2013\u2014]\s|:\s|$)(.*)", re.DOTALL)
_FIRST_FIELD: Final = re.compile(r"(?:^|[\s,(])([A-Za-z_][A-Za-z0-9_.-]*)=")
_FIELD: Final = re.compile(r",\s*([A-Za-z_][A-Za-z0-9_.-]*)=")
_INT: Final = re.compile(r"-?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,400}([eE][+-]?[0-9]{1,3})?|[eE][+-]?[0-9]{1,3})|NaN|-?Infinity")
_TYPED_ERROR: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*):\s+(.+)", re.DOTALL)

_KINDS_OF_LINE: Final = (
    (What.REFUSED, re.compile(r"validation.*(fail|error|invalid)", re.IGNORECASE)),
    (What.PASSED, re.compile(r"validat(ion|ed)", re.IGNORECASE)),
    (What.TIMEOUT, re.compile(r"^time(d[ -]?)?[ -]?out|\btime(d[ -]?)?[ -]?out$", re.IGNORECASE)),
    (What.FAILURE, re.compile(r"^(failure|error)\b|\bfailed\b|\berror$", re.IGNORECASE)),
    (What.SUCCESS, re.compile(r"^(success|succeeded|completed)\b|\b(succeeded|completed|finished)$", re.IGNORECASE)),
    (What.START, re.compile(r"^start(ed|ing)?\b|\bstart(ed|ing)$", re.IGNORECASE)),
)
_FAILURES: Final = frozenset({What.REFUSED, What.FAILURE, What.TIMEOUT})


def read_line(line: str, at: int = 0, seen: int = 0) -> Said | None:
    """What a line says, if it is one of these.

    ``at``: when it was logged, in Unix nanoseconds; when that is 0 the time counts that stands in the line, and where
    there is none ``seen``.
    """
    if MARK not in line:
        return None
    text, logged = _unwrapped(_COLOUR.sub("", line[:_MAX_CHARACTERS]))
    match = _LINE.search(text)
    if match is None or not int(match[1], 16):
        return None
    head, rest = _HEAD.fullmatch(match[2].strip()).groups()  # type: ignore[union-attr]  # it matches everything
    what = next((what for what, words in _KINDS_OF_LINE if words.search(head)), None) if len(head) < 100 else None
    if what is None:
        return None
    fields = _fields(rest.strip())
    if what not in _FAILURES:
        fields.pop("message", None)
    times = (at, logged, time_of(text[: match.start()]) or 0, seen)
    return Said(match[1].lower(), what, fields, next((time for time in times if 0 < time <= _MAX_NANOS), 0))


def _unwrapped(text: str) -> tuple[str, int]:
    """The message of a line that is JSON, and its time; other lines as they are."""
    if not text.lstrip().startswith("{"):
        return text, 0
    try:
        wrapped = json.loads(text)
    except (ValueError, RecursionError):
        return text, 0
    messages = [value for value in wrapped.values() if isinstance(value, str) and MARK in value]
    if not messages:
        return text, 0
    times = (str(wrapped[name]) for name in ("time", "timestamp", "ts", "@timestamp") if name in wrapped)
    return messages[0], next((found for time in times if (found := time_of(time))), 0)


def _fields(text: str) -> dict[str, Value]:
    """``key=value, key="value"``; what stands before the first is the message."""
    match = _FIRST_FIELD.search(text)
    free = (text[: match.start()] if match else text).strip(" ,(")
    found: dict[str, Value] = {}
    while match is not None:
        value, end = _quoted(text, match.end())
        following = _FIELD.search(text, end)
        if value is None:
            value = text[end : following.start() if following else len(text)].strip()
            if match[1] not in _TEXTS:
                value = _plain(value)
        found.setdefault(match[1], value)
        match = following
    if free:
        found.setdefault("message", free)
    return found


def _quoted(text: str, start: int) -> tuple[Value | None, int]:
    """The JSON string or list at ``start`` and where it ends; None when there is none."""
    if text[start : start + 1] not in ('"', "["):
        return None, start
    try:
        value, end = _JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start
    if isinstance(value, list) and not all(isinstance(each, str | bool | int | float) for each in value):
        return None, start
    return value, end


_JSON: Final = json.JSONDecoder()

_TEXTS: Final = frozenset(
    {
        *("trace", "span", "parent", "name", "kind", "service", "version", "duration", "validated", "invalid"),
        *("error", "error_type", "message", "model", "model_id", "region", "job", "job_id"),
    }
)
"""Fields that are text however they look: the digits of an id are no number."""


def _plain(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    if _INT.fullmatch(text) and int(text) in _INT64:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


# --------------------------------------------------------------------------------------------------
# Times.

_HEAD_CHARACTERS: Final = 200
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
# Seconds from 2001 to 2286, with what follows them as milli-, micro- or nanoseconds or after a point.
_EPOCH: Final = re.compile(r"(?<![\w.-])([1-9]\d{9})(?:\.?(\d{3}|\d{6}|\d{9}|(?<=\.)\d{1,9}))?(?![\w.-])", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,12})(?:\.(\d{1,30}))?\s*(ms|s|m|h)?", re.ASCII)
_UNITS: Final = {"ms": NANOS_PER_MS, "s": _NANOS, "m": 60 * _NANOS, "h": 3600 * _NANOS}


def _nanos(match: re.Match[str]) -> int | None:
    date, time, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{zone or 'Z'}")
        seconds = timegm(moment.utctimetuple())
    except (ValueError, OverflowError):
        return None
    return max(seconds, 0) * _NANOS + int((fraction or "").ljust(9, "0"))


def _duration(value: Value | None) -> int | None:
    """Nanoseconds of ``1.52s``, ``80ms`` or a number of seconds."""
    match = _DURATION.fullmatch(str(value).rstrip(")"))
    if match is None:
        return None
    whole, fraction, unit = match.groups()
    scale = int(_UNITS[unit or "s"])
    return int(whole) * scale + int((fraction or "").ljust(30, "0")) * scale // 10**30


# --------------------------------------------------------------------------------------------------
# What belongs together.


@dataclass(slots=True, eq=False)
class _Execution:
    digits: str
    nth: int
    """Among those with these digits that do not say their id."""
    line: int
    fields: dict[str, Value]
    started: Said | None = None
    checked: Said | None = None
    ended: Said | None = None


@dataclass(slots=True)
class _Executions:
    trace_id_of: Callable[[str, int], str]
    found: list[_Execution] = field(default_factory=list)
    open: defaultdict[tuple[str, str], deque[_Execution]] = field(default_factory=lambda: defaultdict(deque))
    unchecked: defaultdict[str, deque[_Execution]] = field(default_factory=lambda: defaultdict(deque))
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, index: int, said: Said) -> None:
        if said.what in (What.PASSED, What.REFUSED):
            waiting = self.unchecked[said.digits]
            while waiting and waiting[0].ended:
                waiting.popleft()
            if waiting:
                waiting.popleft().checked = said
            return
        span_id = _hex(said.fields.get("span"), 16)
        same = self.open[said.digits, span_id]
        if said.what is What.START:
            execution = self._new(index, said, span_id)
            execution.started = said
            same.append(execution)
            self.unchecked[said.digits].append(execution)
            return
        execution = same.popleft() if same else self._new(index, said, span_id)
        execution.ended = said
        execution.line = index
        execution.fields |= said.fields

    def _new(self, index: int, said: Said, span_id: str) -> _Execution:
        nth = 0
        if not span_id:
            nth = self.counts[said.digits]
            self.counts[said.digits] += 1
        execution = _Execution(said.digits, nth, index, dict(said.fields))
        self.found.append(execution)
        return execution

    def all(self) -> list[Told]:
        return [self._told(execution) for execution in sorted(self.found, key=lambda execution: execution.line)]

    def _told(self, execution: _Execution) -> Told:
        fields = execution.fields
        start, end = _times(execution)
        trace_id = _hex(fields.get("trace"), 32) or self.trace_id_of(execution.digits, start)
        span_id = _hex(fields.get("span"), 16)
        parent_id = _hex(fields.get("parent"), 16)
        what = execution.ended.what if execution.ended else None
        failed = what in (What.FAILURE, What.TIMEOUT)
        error, message = _error(fields, what) if failed else ("", "")
        return Told(
            line=execution.line,
            trace_id=trace_id,
            span_id=span_id or _made_id(f"{execution.digits}/{execution.nth}"),
            parent_id=parent_id,
            name=str(fields.get("name", _NAME)),
            kind=_KINDS.get(str(fields.get("kind")), _KINDS["server" if parent_id else "internal"]),
            service=str(fields["service"]) if fields.get("service") else None,
            start=start,
            end=end,
            failed=failed,
            message=message,
            attributes=_attributes(fields) | ({"error.type": error} if error else {}),
            event=_event(execution, start),
            whole=bool(execution.ended and (execution.started or (span_id and "start" in fields))),
        )


_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}

_ATTRIBUTES: Final = {
    "model": "model.id",
    "model_id": "model.id",
    "region": "region",
    "execution": "execution.id",
    "execution_id": "execution.id",
    "attempt": "execution.attempt",
    "job": "job.id",
    "job_id": "job.id",
    "tokens": "gen_ai.usage.output_tokens",
    "version": "service.version",
}
"""Fields with a name of their own; others are attributes under theirs."""

_NO_ATTRIBUTES: Final = frozenset(
    {
        *("trace", "span", "parent", "name", "kind", "service", "start", "duration", "validated", "invalid"),
        *("error", "error_type", "message"),
    }
)


def _attributes(fields: Mapping[str, Value]) -> dict[str, Value]:
    said = {_ATTRIBUTES.get(key, key): value for key, value in fields.items() if key not in _NO_ATTRIBUTES}
    return {**said, RECOVERED: FORMAT}


def _error(fields: Mapping[str, Value], what: What | None) -> tuple[str, str]:
    """Type and message; of ``error=ValueError: too long`` and of the bare words both."""
    error = str(fields.get("error", fields.get("error_type", "")))
    message = str(fields.get("message", ""))
    if not (error and message) and (match := _TYPED_ERROR.fullmatch(error or message)):
        error, message = match.groups()
    return error or ("timeout" if what is What.TIMEOUT else ""), message


def _times(execution: _Execution) -> tuple[int, int | None]:
    """Start and end. What a line says of itself counts more than when it was logged."""
    said = execution.fields.get("start")
    start = said if isinstance(said, int) and not isinstance(said, bool) and 0 < said <= _MAX_NANOS else None
    logged = execution.started.at if execution.started else None
    if execution.ended is None:
        return start or logged or 0, None
    duration = _duration(execution.fields.get("duration"))
    end = execution.ended.at
    if start is not None:
        return start, min(start + duration if duration is not None else max(start, end), _MAX_NANOS)
    if duration is not None:
        return max(end - duration, 0), end
    return min(logged if logged is not None else end, end), end


def _event(execution: _Execution, start: int) -> tuple[str, int, Mapping[str, Value]] | None:
    fields = execution.fields
    for key, name in (("validated", "validation.passed"), ("invalid", "validation.failed")):
        after = _duration(fields.get(key))
        if after is not None:
            return name, min(start + after, _MAX_NANOS), {}
    said = execution.checked
    if said is None:
        return None
    if said.what is What.PASSED:
        return "validation.passed", said.at or start, {}
    error, message = _error(said.fields, said.what)
    given = {"error.type": error, "exception.message": message}
    return "validation.failed", said.at or start, {key: value for key, value in given.items() if value}


def _hex(value: Value | None, digits: int) -> str:
    """An id of so many digits; empty for anything else and for zeros."""
    text = str(value).lower()
    fits = len(text) == digits and re.fullmatch("[0-9a-f]+", text) and text.strip("0")
    return text if fits else ""


def _made_id(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


# --------------------------------------------------------------------------------------------------
# OTLP.

_SERVICE_NAME: Final = "service.name"


def named(resource: Resource, service: str | None) -> Resource:
    """The resource with this service, or its own for None, or the usual one."""
    if service is None and any(pair.key == _SERVICE_NAME for pair in resource.attributes):
        return resource
    found = Resource(attributes=_pairs({_SERVICE_NAME: service or SERVICE}))
    found.attributes.extend(pair for pair in resource.attributes if pair.key != _SERVICE_NAME)
    return found


def requests_of(
    told: Iterable[tuple[Told, Resource]],
) -> tuple[ExportTraceServiceRequest, ExportLogsServiceRequest]:
    """What ended as spans, and the rest announced, each of its resource."""
    groups: dict[bytes, list[Told]] = {}
    for one, resource in told:
        groups.setdefault(resource.SerializeToString(deterministic=True), []).append(one)
    spans, announced = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    for content, members in groups.items():
        resource = Resource.FromString(content)
        if ended := [one.span() for one in members if one.end is not None]:
            spans.resource_spans.add(resource=resource).scope_spans.add(spans=ended)
        if started := [one.announcement() for one in members if one.end is None]:
            announced.resource_logs.add(resource=resource).scope_logs.add(log_records=started)
    return spans, announced


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _storable(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _pairs(attributes: Mapping[str, Value]) -> Iterable[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def _any(value: Value) -> AnyValue:
    if isinstance(value, list):
        found = AnyValue()
        found.array_value.values.extend(_any(each) for each in value)
        return found
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and value in _INT64:
        return AnyValue(int_value=value)
    if isinstance(value, float) and not math.isnan(value):
        return AnyValue(double_value=value)
    return AnyValue(string_value=_storable(str(value)))
