"""The words of this project as types: spans, traces, and the answers given about them. No I/O.

Units: ``*_unix_nano`` are nanoseconds since the Unix epoch (exact integers), ``*_ms`` are milliseconds
(float), ids are lower-case hex text, ``confidence`` and ``similarity_score`` lie in 0..1.

Two families live here. What the engine works on (:class:`Span` and friends) are slotted, frozen
dataclasses: cheap, hashable by identity of content. What people and agents receive (``*Report``,
``*Answer``, ...) are frozen pydantic models, so REST, MCP and the CLI describe and serialise one definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

ENGINE_VERSION: Final = "3"
"""Part of the key of a stored diagnosis: raise it when judgement changes, or what a report says of it, and old verdicts
are recomputed."""

DEFAULT_TENANT: Final = "default"
UNKNOWN_SERVICE: Final = "unknown_service"
ANNOUNCED: Final = "otel_diag.span.start"
"""The event of a log record that announces a span (spec/5): the span has begun, and comes when it ends, if it does."""

NANOS_PER_MS: Final = 1_000_000

Attributes = Mapping[str, Any]
"""Decoded attributes: str, int, float, bool, None, list, dict; bytes appear as ``{"$bytes": base64}``."""


class Status(StrEnum):
    """Status of a span or an execution (spec/1): ``timeout`` is a failure whose text or code says deadline."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    RUNNING = "running"

    @property
    def is_failure(self) -> bool:
        return self in (Status.FAILED, Status.TIMEOUT)


class RootCauseType(StrEnum):
    """Most specific first: the order is the precedence table of spec/2."""

    PRE_EXECUTION_FAILURE = "PRE_EXECUTION_FAILURE"
    CONFIGURATION_ERROR = "CONFIGURATION_ERROR"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    RATE_LIMITED = "RATE_LIMITED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    RETRY_STORM = "RETRY_STORM"
    CONNECTION_FAILURE = "CONNECTION_FAILURE"
    NETWORK_TIMEOUT = "NETWORK_TIMEOUT"
    SERVICE_TIMEOUT = "SERVICE_TIMEOUT"
    COLD_START = "COLD_START"
    QUEUE_DELAY = "QUEUE_DELAY"
    MODAL_EXECUTION_FAILURE = "MODAL_EXECUTION_FAILURE"
    DEPENDENCY_FAILURE = "DEPENDENCY_FAILURE"
    SERVICE_ERROR = "SERVICE_ERROR"
    PERFORMANCE_DEGRADATION = "PERFORMANCE_DEGRADATION"
    MISSING_SERVICE = "MISSING_SERVICE"
    INCOMPLETE_TRACE = "INCOMPLETE_TRACE"
    UNKNOWN = "UNKNOWN"


# --------------------------------------------------------------------------------------------------
# What the receiver hands to a store: one Arrow table per batch.

_UTC_MICROS = pa.timestamp("us", tz="UTC")

EXCEPTION: Final = '"exception.type"'
"""In the ``attributes`` of a log record that tells of an exception."""

SPAN_SCHEMA: Final = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("trace_id", pa.string(), nullable=False),
        pa.field("span_id", pa.string(), nullable=False),
        pa.field("parent_span_id", pa.string()),
        pa.field("service", pa.string(), nullable=False),
        pa.field("operation", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_type", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("started_at", _UTC_MICROS),
        pa.field("completed_at", _UTC_MICROS),
        pa.field("duration_ms", pa.float64()),
        pa.field("start_unix_nano", pa.int64(), nullable=False),
        pa.field("end_unix_nano", pa.int64(), nullable=False),
        pa.field("execution_id", pa.int64()),
        pa.field("attempt", pa.int32()),
        pa.field("job_id", pa.string()),
        pa.field("model_id", pa.string()),
        pa.field("region", pa.string()),
        pa.field("service_version", pa.string()),
        pa.field("scope_name", pa.string()),
        pa.field("scope_version", pa.string()),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("resource_attributes", pa.string(), nullable=False),
        pa.field("events", pa.string()),
        pa.field("links", pa.string()),
        pa.field("status_code", pa.int32(), nullable=False),
        pa.field("status_message", pa.string()),
        pa.field("trace_state", pa.string()),
        pa.field("flags", pa.int64(), nullable=False),
        pa.field("otlp_rest", pa.string()),
        pa.field("model_provider", pa.string()),
        pa.field("operation_type", pa.string()),
        pa.field("conversation_id", pa.string()),
        pa.field("input_tokens", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("cache_creation_input_tokens", pa.int64()),
        pa.field("cache_read_input_tokens", pa.int64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("ttft_ms", pa.float64()),
        pa.field("queue_time_ms", pa.float64()),
        pa.field("inference_time_ms", pa.float64()),
        pa.field("content_hash", pa.int64(), nullable=False),
    ]
)
"""Columns of a decoded batch, in table order; the store adds ``ingested_at`` when it commits.

- ``parent_span_id``, and every text that OTLP leaves empty (``trace_state``, ``status_message``, ``scope_*``),
  is null where the wire had none.
- ``kind``: unspecified, internal, server, client, producer, consumer, or the decimal of an unknown enum value.
- ``start_unix_nano`` / ``end_unix_nano``: the wire's unsigned 64 bits, two's complement (a value past 2^63 is
  negative), so nothing overflows. ``started_at`` / ``completed_at`` are null outside 1971..2261, ``duration_ms``
  is null when the end lies before the start or either is out of range.
- ``attributes``, ``resource_attributes``: a JSON object; ``events``, ``links``: a JSON array or null. Lossless,
  see :mod:`otel_diag.decode.attributes`. ``otlp_rest``: a JSON object of the rest (scope attributes, dropped
  counts, schema URLs, entity references), null when all of it is empty.
- ``content_hash``: 64 bits over :data:`SPAN_ON_WIRE`.
"""

SPAN_ON_WIRE: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "operation",
    "kind",
    "start_unix_nano",
    "end_unix_nano",
    "scope_name",
    "scope_version",
    "attributes",
    "resource_attributes",
    "events",
    "links",
    "status_code",
    "status_message",
    "trace_state",
    "flags",
    "otlp_rest",
)
"""What the wire said: the columns that a span is exported from, and that its ``content_hash`` is over. The others are
computed from these, and an alias added by an upgrade must not turn the retry of a stored span into a new one."""

LOG_SCHEMA: Final = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("service", pa.string(), nullable=False),
        pa.field("severity", pa.string()),
        pa.field("severity_number", pa.int32(), nullable=False),
        pa.field("severity_text", pa.string()),
        pa.field("event_name", pa.string()),
        pa.field("body_text", pa.string()),
        pa.field("body", pa.string()),
        pa.field("logged_at", _UTC_MICROS),
        pa.field("logged_unix_nano", pa.int64(), nullable=False),
        pa.field("time_unix_nano", pa.int64(), nullable=False),
        pa.field("observed_unix_nano", pa.int64(), nullable=False),
        pa.field("execution_id", pa.int64()),
        pa.field("service_version", pa.string()),
        pa.field("scope_name", pa.string()),
        pa.field("scope_version", pa.string()),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("resource_attributes", pa.string(), nullable=False),
        pa.field("flags", pa.int64(), nullable=False),
        pa.field("otlp_rest", pa.string()),
        pa.field("content_hash", pa.int64(), nullable=False),
    ]
)
"""Columns of decoded log records; what SPAN_SCHEMA has too means the same.

- ``trace_id``, ``span_id``: null where the record names none.
- ``severity``: trace, debug, info, warn, error, fatal, from the number's range; null outside 1..24.
- ``body``: JSON text (the empty value is ``null``), SQL null without a body. ``body_text``: a text as it is, anything
  else as its JSON; for searching.
- ``logged_unix_nano``: the record's time, or when it was observed where that is 0; ``logged_at`` the same as a
  timestamp. ``time_unix_nano`` and ``observed_unix_nano`` are what the wire said.
- ``content_hash``: also tells apart records that are alike within one request.
"""

METRIC_SCHEMA: Final = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("unit", pa.string()),
        pa.field("description", pa.string()),
        pa.field("temporality", pa.string()),
        pa.field("is_monotonic", pa.bool_()),
        pa.field("service", pa.string(), nullable=False),
        pa.field("service_version", pa.string()),
        pa.field("started_at", _UTC_MICROS),
        pa.field("measured_at", _UTC_MICROS),
        pa.field("start_unix_nano", pa.int64(), nullable=False),
        pa.field("time_unix_nano", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("value_int", pa.int64()),
        pa.field("count", pa.int64()),
        pa.field("sum", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("explicit_bounds", pa.string()),
        pa.field("bucket_counts", pa.string()),
        pa.field("scale", pa.int32()),
        pa.field("zero_count", pa.int64()),
        pa.field("zero_threshold", pa.float64()),
        pa.field("positive_buckets", pa.string()),
        pa.field("negative_buckets", pa.string()),
        pa.field("quantiles", pa.string()),
        pa.field("exemplars", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("scope_name", pa.string()),
        pa.field("scope_version", pa.string()),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("resource_attributes", pa.string(), nullable=False),
        pa.field("flags", pa.int64(), nullable=False),
        pa.field("otlp_rest", pa.string()),
        pa.field("content_hash", pa.int64(), nullable=False),
    ]
)
"""Columns of decoded data points, whatever their kind; what SPAN_SCHEMA has too means the same.

- ``kind``: gauge, sum, histogram, exponential_histogram or summary; columns of other kinds are null.
- ``temporality``: unspecified, delta, cumulative, or the decimal of an unknown enum value.
- ``value``: of a gauge or sum; an integer is here as the nearest double, and exactly in ``value_int``. Both are null
  when the point has no value (bit 1 of ``flags``: no recorded value).
- ``count``, ``zero_count``: the wire's unsigned 64 bits, two's complement.
- ``explicit_bounds``, ``bucket_counts``: JSON arrays or null; ``positive_buckets``, ``negative_buckets``: a JSON object
  with ``offset`` and ``bucket_counts``, or null; ``quantiles``, ``exemplars``: a JSON array of objects or null.
  Numbers are written as attributes are, see :mod:`otel_diag.decode.attributes`.
- ``trace_id``, ``span_id``: of the last exemplar that names both; ``exemplars`` has them all.
"""

PROFILE_SCHEMA: Final = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("profile_id", pa.string()),
        pa.field("service", pa.string(), nullable=False),
        pa.field("service_version", pa.string()),
        pa.field("sample_type", pa.string()),
        pa.field("sample_unit", pa.string()),
        pa.field("period_type", pa.string()),
        pa.field("period_unit", pa.string()),
        pa.field("period", pa.int64(), nullable=False),
        pa.field("started_at", _UTC_MICROS),
        pa.field("time_unix_nano", pa.int64(), nullable=False),
        pa.field("duration_nano", pa.int64(), nullable=False),
        pa.field("value", pa.int64(), nullable=False),
        pa.field("observed_values", pa.string()),
        pa.field("observed_unix_nanos", pa.string()),
        pa.field("stack", pa.string(), nullable=False),
        pa.field("frames", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("scope_name", pa.string()),
        pa.field("scope_version", pa.string()),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("profile_attributes", pa.string(), nullable=False),
        pa.field("resource_attributes", pa.string(), nullable=False),
        pa.field("otlp_rest", pa.string()),
        pa.field("content_hash", pa.int64(), nullable=False),
    ]
)
"""Columns of decoded profile samples; what SPAN_SCHEMA has too means the same.

- ``profile_id``: hex, null without one. ``sample_type`` and ``sample_unit`` say what ``value`` counts (cpu in
  nanoseconds, samples in count); ``period`` is the distance between samples, in ``period_unit``.
- ``time_unix_nano``, ``duration_nano``: of the profile, the wire's unsigned 64 bits, two's complement.
- ``value``: the sum of the sample's values, of timestamps without values their number. ``observed_values``,
  ``observed_unix_nanos``: the single ones, JSON arrays or null.
- ``stack``: names of the functions from the root to the leaf, separated by ``;``. A frame without a symbol is its
  address. ``frames``: JSON array of all that is known, leaf first as on the wire, inlined calls in ``lines``.
- ``content_hash``: also tells apart samples that are alike within one request.
"""


# --------------------------------------------------------------------------------------------------
# What the engine works on.


@dataclass(frozen=True, slots=True)
class Event:
    """A span event. ``attributes`` of an ``exception`` event carry exception.type / .message / .stacktrace."""

    name: str
    unix_nano: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A span link: this span is causally related to one in this or another trace."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One stored (or announced) span, as the analysis sees it.

    ``end_unix_nano`` is None while it runs (announced, never finished). It may lie before the start: stored as
    received, and then ``duration_ms`` is None. ``truncated``: a value of it was cut when it came; ``dropped``: how many
    attributes, events and links its sender, or this server, left out; ``logged``: how many of ``events`` are exceptions
    that were logged in it rather than recorded on it, the last ones.
    """

    trace_id: str
    span_id: str
    service: str
    operation: str
    start_unix_nano: int
    end_unix_nano: int | None
    parent_span_id: str | None = None
    kind: str = "internal"
    status: Status = Status.COMPLETED
    error_type: str | None = None
    error_message: str | None = None
    execution_id: int | None = None
    attempt: int | None = None
    job_id: str | None = None
    model_id: str | None = None
    region: str | None = None
    service_version: str | None = None
    scope_name: str | None = None
    attributes: Attributes = field(default_factory=dict)
    resource: Attributes = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    content_hash: int = 0
    ingested_at: datetime | None = None
    trace_state: str | None = None
    truncated: bool = False
    dropped: int = 0
    logged: int = 0

    @property
    def element(self) -> str:
        """``service.operation``: the unit in which traces are compared."""
        return f"{self.service}.{self.operation}"

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None while running or when the end lies before the start."""
        if self.end_unix_nano is None or self.end_unix_nano < self.start_unix_nano:
            return None
        return (self.end_unix_nano - self.start_unix_nano) / NANOS_PER_MS

    @property
    def started_at(self) -> datetime:
        return datetime.fromtimestamp(self.start_unix_nano / 1e9, UTC)


@dataclass(frozen=True, slots=True)
class Declared:
    """An execution as its runner recorded it, possibly without any span (spec/2, POST /api/v1/executions)."""

    execution_id: int
    status: Status
    started_at: datetime
    completed_at: datetime | None = None
    job_id: str | None = None
    model_id: str | None = None
    region: str | None = None
    error_message: str | None = None
    trace_id: str | None = None


MAX_NOTE: Final = 2_000
MAX_SAID: Final = 200


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What somebody says of a verdict: that it was right or wrong, and what the cause really was, as far as they know.

    ``note`` has at most MAX_NOTE characters, the other texts MAX_SAID.
    """

    confirmed: bool = True
    root_cause_type: RootCauseType | None = None
    affected_service: str | None = None
    affected_operation: str | None = None
    note: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one unit of diagnosis: an execution, or a whole trace when no execution is known.

    ``spans`` is in arrival order and may hold orphans, cycles, duplicates and several roots;
    ``declared`` is what the runner said about the execution, if anything; with it, ``spans`` may be empty.
    ``left_out``: how many spans it has beside them, of a trace too long to be read whole. ``shared``: it is one of
    several executions in its trace, and may begin below a span that belongs to another one or to none.
    """

    spans: tuple[Span, ...]
    execution_id: int | None = None
    trace_id: str | None = None
    declared: Declared | None = None
    left_out: int = 0
    shared: bool = False

    @property
    def span_count(self) -> int:
        """With those that were left out."""
        return len(self.spans) + self.left_out


# --------------------------------------------------------------------------------------------------
# What people and agents receive.


class Answer(BaseModel):
    """Base of everything that leaves the system: frozen, no unknown fields.

    ``totals``, where an answer has it: of each list that was cut, how many there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class NextStep(Answer):
    """A call that can be made as it stands."""

    tool: str
    arguments: dict[str, Any]
    why: str


class Hop(Answer):
    """One service-to-service call."""

    caller: str
    callee: str


class RootCause(Answer):
    root_cause_type: RootCauseType
    affected_service: str
    affected_operation: str
    hop: Hop | None = None
    confidence: float = Field(ge=0, le=1)
    evidence: str
    evidence_spans: list[str] = []
    recommendation: str


class ReportFinding(Answer):
    """One thing noticed: ``anomaly`` says what, with the figures."""

    service: str
    operation: str
    anomaly: str
    duration_ms: float | None = None
    gap_after_ms: float | None = None
    span_ids: list[str] = []


class SimilarCase(Answer):
    """``executions``: how many of those looked at ran through the same operations and ended with the same status."""

    similar_execution_id: int | None
    trace_id: str
    similarity_score: float
    status: Status
    total_duration_ms: float | None
    failure_point: str | None = None
    executions: int = 1


class Claim(Answer):
    """A sentence with its figures, and what it rests on: ``query`` shows the rows when it is run again as it stands.

    ``span_ids``: the first of ``total_spans``; the rows hold them all.
    """

    claim: str
    span_ids: list[str] = []
    total_spans: int = 0
    query: str


class ConfirmedCause(Answer):
    """What somebody said was the cause of an execution. ``confirmed`` False: that the verdict was wrong.

    ``note`` and ``by`` are theirs, as written. ``similarity_score`` and ``matches`` (itself, failure, root_cause): how
    the execution is like the one in question.
    """

    execution_id: int | None
    trace_id: str | None
    confirmed: bool
    root_cause_type: RootCauseType | None
    affected_service: str | None
    affected_operation: str | None
    note: str | None
    by: str | None
    confirmed_at: datetime
    similarity_score: float
    matches: list[str]


class DataQuality(Answer):
    """What is wrong with the data itself. Empty lists and zeros mean: nothing.

    ``truncated``: spans with a value that was cut when it came. ``late``: spans that came long after they had ended and
    the first of the trace had come, ``late_max_ms`` how long at most. ``totals``: of each list that was cut, how many
    there are.
    """

    spans: int = 0
    spans_examined: int = 0
    orphans: list[str] = []
    roots: int = 0
    missing_root: bool = False
    cycles_broken: list[str] = []
    duplicate_span_ids: list[str] = []
    end_before_start: list[str] = []
    out_of_range_times: list[str] = []
    running_spans: list[str] = []
    truncated: list[str] = []
    late: list[str] = []
    late_max_ms: float = 0.0
    still_arriving: bool = False
    max_skew_ms: float = 0.0
    skew_bound_ms: float = 0.0
    baseline_executions: int = 0
    thresholds: Literal["baseline", "constants"] = "constants"
    notes: list[str] = []
    totals: dict[str, int] = {}


AnalysisType = Literal["full", "root_cause", "similar", "gaps"]
VerdictName = Literal["root_cause", "healthy", "inconclusive"]


class Report(Answer):
    """The answer of ``trace/diagnose`` and ``diagnose_execution``.

    ``evidence_ledger``: the first of ``total_claims``. ``not_examined``: what was not looked at, one sentence each.
    """

    execution_id: int | None
    trace_id: str | None
    analysis_type: AnalysisType = "full"
    verdict: VerdictName
    status: Status
    computed_at: datetime
    root_cause: RootCause | None
    findings: list[ReportFinding] = []
    recommendations: list[str] = []
    confirmed_causes: list[ConfirmedCause] = []
    similar_cases: list[SimilarCase] = []
    timing_breakdown: dict[str, float | Literal["missing"]] = {}
    data_quality: DataQuality = DataQuality()
    evidence_ledger: list[Claim] = []
    total_claims: int = 0
    not_examined: list[str] = []
    totals: dict[str, int] = {}
    next_steps: list[NextStep] = []


class TimelineEntry(Answer):
    """``start_ms`` / ``end_ms`` count from the first start of the trace, raw clocks; ``end_ms`` None: still running."""

    service: str
    operation: str
    start_ms: float
    end_ms: float | None
    duration_ms: float | None
    status: Status
    error_message: str | None
    depth: int
    critical: bool
    span_id: str
    gap_after_ms: float | None = None
    is_anomaly: bool = False
    anomaly_reason: str | None = None


class Timeline(Answer):
    """``spans_examined`` of ``total_spans`` were read: fewer only of a trace that is very long."""

    execution_id: int | None
    trace_id: str | None
    total_spans: int
    spans_examined: int
    timeline: list[TimelineEntry]
    totals: dict[str, int] = {}


class TraceSummary(Answer):
    """All but ``total_spans`` is of the ``spans_examined``: fewer only of a trace that is very long."""

    execution_id: int | None
    trace_id: str | None
    total_spans: int
    spans_examined: int
    failed_spans: int
    timeout_spans: int
    total_duration_ms: float | None
    max_span_duration_ms: float | None
    services_involved: list[str]
    first_error: str | None


class SpanBrief(Answer):
    """A span as it is shown inside a list of executions."""

    service: str
    operation: str
    status: Status
    duration_ms: float | None
    error_message: str | None = None
    span_id: str = ""


class Distinguishing(Answer):
    """A value that the failed (or slow) executions have and healthy ones have not: counts, and shares of each cohort.

    ``service`` is null for what holds for the execution. ``score``: difference of the shares. ``same_as``: other
    attributes with the very same executions.
    """

    attribute: str
    value: str
    service: str | None = None
    failed_share: float
    healthy_share: float
    failed_count: int
    healthy_count: int
    score: float
    same_as: list[str] = []


class Cohorts(Answer):
    """How many executions were compared; of some the spans were not read, there being too many.

    ``bad``: what the first cohort is; "slow" where nothing failed.
    """

    bad: Literal["failed", "slow"]
    failed: int
    healthy: int
    failed_with_spans: int
    healthy_with_spans: int


class ExecutionAnalysis(Answer):
    execution_id: int | None
    trace_id: str | None
    region: str | None
    model: str | None
    status: Status
    duration_ms: float | None
    span_count: int
    spans: list[SpanBrief]
    root_cause_type: RootCauseType | None = None


class FailurePattern(Answer):
    """What several failures share. ``count`` of ``total`` failures in the window match."""

    pattern: str
    count: int
    total: int
    example_ids: list[int | str]


class JobAnalysis(Answer):
    """The answer of ``find_timeout_root_cause``. Lists are capped; the totals are not.

    ``distinguishing``: what the failed executions have and healthy ones have not, of those that ``cohorts`` counts.
    """

    job_id: str | None
    total_executions: int
    failed_executions: int
    analysis: list[ExecutionAnalysis]
    pattern: str
    patterns: list[FailurePattern] = []
    distinguishing: list[Distinguishing] = []
    cohorts: Cohorts | None = None
    totals: dict[str, int] = {}
    next_steps: list[NextStep] = []


class ExecutionBrief(Answer):
    execution_id: int | None
    trace_id: str | None
    job_id: str | None
    model_id: str | None
    region: str | None
    status: Status
    duration_ms: float | None
    span_count: int
    started_at: datetime | None = None
    error_message: str | None = None
    root_cause_type: RootCauseType | None = None
    similarity_score: float | None = None


class AttributeDifference(Answer):
    """An attribute with another value in corresponding spans, ``spans`` of them. None: it is not there.

    ``element``: the service where it holds for all of it (resource attributes, version), else ``service.operation``.
    """

    element: str
    attribute: str
    value: str | None
    other_value: str | None
    spans: int


class Divergence(Answer):
    """The first place, in causal order, where two traces differ."""

    kind: Literal["missing", "extra", "status", "duration", "none"]
    element: str
    detail: str
    span_id: str | None = None


class Comparison(Answer):
    """The answer of ``compare_with_successful``.

    ``differences`` and ``attributes`` are against the nearest; ``distinguishing`` is what hardly any peer has.
    """

    failed_execution: ExecutionBrief
    similar_successful: list[ExecutionBrief]
    differences: list[str]
    first_divergence: Divergence | None
    attributes: list[AttributeDifference] = []
    distinguishing: list[Distinguishing] = []
    cohorts: Cohorts | None = None
    totals: dict[str, int] = {}
    next_steps: list[NextStep] = []


class Failure(Answer):
    id: int | str
    job_id: str | None
    region: str | None
    model_id: str | None
    status: Status
    error_message: str | None
    root_cause_type: RootCauseType | None
    started_at: datetime | None = None
    duration_ms: float | None = None
    trace_id: str | None = None


class NewError(Answer):
    """An error text that the window before did not have; ``<*>`` stands for what varies."""

    template: str
    count: int
    first_seen: datetime
    example_ids: list[int | str]


class GoneError(Answer):
    """An error text of the window before that this one does not have."""

    template: str
    count_before: int
    last_seen: datetime


class ChangedError(Answer):
    """An error text that became more or less frequent; rates are per execution."""

    template: str
    count: int
    count_before: int
    rate: float
    rate_before: float
    example_ids: list[int | str]


class RecentFailures(Answer):
    """The answer of ``get_recent_failures``. Patterns are sought among the newest ``examined_failures``.

    ``new_errors``, ``gone_errors``, ``changed_errors``: against the window of the same length before ``since``; counts
    are of ``errors_examined`` failures of this one and ``errors_examined_before`` of that one: all, or the newest.
    ``total_is_partial``: there are more; only so many were counted.
    """

    total_failures: int
    total_is_partial: bool = False
    since: datetime
    examined_failures: int = 0
    failures: list[Failure]
    patterns: list[FailurePattern]
    distinguishing: list[Distinguishing] = []
    cohorts: Cohorts | None = None
    new_errors: list[NewError] = []
    gone_errors: list[GoneError] = []
    changed_errors: list[ChangedError] = []
    errors_examined: int = 0
    errors_examined_before: int = 0
    totals: dict[str, int] = {}
    next_steps: list[NextStep] = []


class PerformanceWindow(Answer):
    since: datetime
    until: datetime
    total_executions: int
    successful: int
    failed: int
    success_rate: float | None
    avg_duration_sec: float | None
    p50_duration_sec: float | None
    p95_duration_sec: float | None
    p99_duration_sec: float | None


class Performance(PerformanceWindow):
    """The answer of ``analyze_performance``: this window, and the one before it of the same length."""

    measured: Literal["executions", "operation"]
    filters: dict[str, str]
    previous_window: PerformanceWindow
    next_steps: list[NextStep] = []


GapKind = Literal["send", "queue", "return", "idle"]


class Gap(Answer):
    """Time in which a parent waits and nothing below it runs. ``skew_bound_ms``: the figure may be off by this much."""

    after_span: str | None
    before_span: str | None
    parent_span: str | None = None
    gap_ms: float
    kind: GapKind
    skew_bound_ms: float
    caller: str | None = None
    callee: str | None = None
    detail: str = ""
    is_anomaly: bool = False


class MissingHop(Answer):
    """A hop that peers have and this execution has not. ``reason`` tells the three cases of spec/2 apart."""

    service: str
    operation: str
    caller: str | None
    reason: Literal["never_called", "not_exported", "still_arriving"]
    share_of_peers: float | None
    detail: str


class GapReport(Answer):
    """The answer of ``find_trace_gaps``."""

    trace_id: str | None
    execution_id: int | None
    total_spans: int
    spans: list[TimelineEntry]
    gaps: list[Gap]
    missing: list[MissingHop]
    orphans: list[str]
    data_quality: DataQuality = DataQuality()
    totals: dict[str, int] = {}
    next_steps: list[NextStep] = []


class Understood(Answer):
    """How a question was read: the intent, the filters and the time window that was used.

    ``by``: the grammar, the client (it gave the intent), or a model and its name.
    """

    intent: str
    filters: dict[str, Any]
    window: dict[str, str] | None
    by: str = "grammar"


class QueryAnswer(Answer):
    """The answer of ``trace/query`` and ``query_traces``.

    ``intent_fields``, where nothing was understood: what may be given as intent, for a caller who translates.
    """

    query: str
    understood: Understood | None
    message: str
    results: list[dict[str, Any]]
    total_results: int
    sql_or_call: str | None
    suggestions: list[str] = []
    intent_fields: dict[str, str] = {}
    totals: dict[str, int] = {}
    next_steps: list[NextStep] = []


class ElementChange(Answer):
    """All spans of one ``service.operation`` on both sides; ms are sums of their durations."""

    element: str
    left_count: int
    right_count: int
    left_failed: int
    right_failed: int
    left_ms: float
    right_ms: float


class ServiceTime(Answer):
    """Self time of a service's spans, in ms; None: it has no span there."""

    service: str
    left_ms: float | None
    right_ms: float | None


class SpanChange(Answer):
    """One span that is on one side only, or changed against the one it corresponds to."""

    kind: Literal["only_left", "only_right", "status", "duration"]
    element: str
    detail: str
    left_span_id: str | None
    right_span_id: str | None


class TraceDiff(Answer):
    """Two traces side by side. ``summary``: at most 40 lines, of traces of any length.

    ``changes`` holds all of the ``total_changes`` spans that differ, or none when there are more than 40.
    """

    left: ExecutionBrief
    right: ExecutionBrief
    similarity_score: float
    summary: list[str] = []
    differences: list[str]
    first_divergence: Divergence | None
    attributes: list[AttributeDifference] = []
    elements: list[ElementChange] = []
    services: list[ServiceTime] = []
    changes: list[SpanChange] = []
    total_changes: int = 0


class SearchPage(Answer):
    """``total_is_partial``: there are more; only so many were counted."""

    total: int
    total_is_partial: bool = False
    executions: list[ExecutionBrief]
    next_offset: int | None


class OperationInfo(Answer):
    """One operation over a window: counts, and durations in milliseconds (percentiles within 2.2 %)."""

    service: str
    operation: str
    sample_count: int
    failed_count: int
    avg_duration_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


class ServiceInfo(Answer):
    service: str
    operations: int
    span_count: int
    failed_count: int


class ServiceEdge(Answer):
    caller: str
    callee: str
    calls: int


class ServiceMap(Answer):
    """Edges learned from summarised traces; ``traces`` of ``total_traces`` in the window were read."""

    services: list[str]
    edges: list[ServiceEdge]
    traces: int
    total_traces: int


class SqlResult(Answer):
    columns: list[str]
    rows: list[list[Any]]
    row_count: int
    row_count_is_partial: bool


class PrunedTable(Answer):
    """``rows`` of dropped partitions are the engine's estimate, if it has one; ``bytes``: of the partitions."""

    table: str
    rows: int
    partitions: int = 0
    bytes: int | None = None


class PrunedStore(Answer):
    """What was removed, or with ``dry_run`` would be. ``before`` null: nothing was too old or too much.

    ``bytes_after`` is null for a dry run, ``file_bytes`` unless a file was compacted: its size then.
    """

    before: datetime | None
    dry_run: bool
    tables: list[PrunedTable]
    bytes_before: int
    bytes_after: int | None = None
    file_bytes: int | None = None
