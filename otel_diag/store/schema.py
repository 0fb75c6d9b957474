"""The tables, once, as SQLAlchemy Core describes them: what queries are written against.

The DDL that creates them is each backend's own (``store/sql/<backend>/NNNN_*.sql``: types, indexes and partitions
differ); a test compares the two. JSON columns hold JSON text exactly as written (``json``, not ``jsonb``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from sqlalchemy import (
    JSON,
    TIMESTAMP,
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
)

from otel_diag.model import LOG_SCHEMA, METRIC_SCHEMA, PROFILE_SCHEMA, SPAN_SCHEMA

metadata = MetaData()

_Time = TIMESTAMP(timezone=True)

trace_spans = Table(
    "trace_spans",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("parent_span_id", Text),
    Column("service", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("started_at", _Time),
    Column("completed_at", _Time),
    Column("duration_ms", Double),
    Column("start_unix_nano", BigInteger, nullable=False),
    Column("end_unix_nano", BigInteger, nullable=False),
    Column("execution_id", BigInteger),
    Column("attempt", Integer),
    Column("job_id", Text),
    Column("model_id", Text),
    Column("region", Text),
    Column("service_version", Text),
    Column("scope_name", Text),
    Column("scope_version", Text),
    Column("attributes", JSON, nullable=False),
    Column("resource_attributes", JSON, nullable=False),
    Column("events", JSON),
    Column("links", JSON),
    Column("status_code", Integer, nullable=False),
    Column("status_message", Text),
    Column("trace_state", Text),
    Column("flags", BigInteger, nullable=False),
    Column("otlp_rest", JSON),
    Column("model_provider", Text),
    Column("operation_type", Text),
    Column("conversation_id", Text),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_creation_input_tokens", BigInteger),
    Column("cache_read_input_tokens", BigInteger),
    Column("cost_usd", Double),
    Column("ttft_ms", Double),
    Column("queue_time_ms", Double),
    Column("inference_time_ms", Double),
    Column("content_hash", BigInteger, nullable=False),
    Column("ingested_at", _Time, nullable=False),
)
"""One row per stored span: the columns of ``model.SPAN_SCHEMA`` and ``ingested_at``."""

log_records = Table(
    "log_records",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("trace_id", Text),
    Column("span_id", Text),
    Column("service", Text, nullable=False),
    Column("severity", Text),
    Column("severity_number", Integer, nullable=False),
    Column("severity_text", Text),
    Column("event_name", Text),
    Column("body_text", Text),
    Column("body", JSON),
    Column("logged_at", _Time),
    Column("logged_unix_nano", BigInteger, nullable=False),
    Column("time_unix_nano", BigInteger, nullable=False),
    Column("observed_unix_nano", BigInteger, nullable=False),
    Column("execution_id", BigInteger),
    Column("service_version", Text),
    Column("scope_name", Text),
    Column("scope_version", Text),
    Column("attributes", JSON, nullable=False),
    Column("resource_attributes", JSON, nullable=False),
    Column("flags", BigInteger, nullable=False),
    Column("otlp_rest", JSON),
    Column("content_hash", BigInteger, nullable=False),
    Column("ingested_at", _Time, nullable=False),
)
"""One row per log record: the columns of ``model.LOG_SCHEMA`` and ``ingested_at``."""

metric_points = Table(
    "metric_points",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("unit", Text),
    Column("description", Text),
    Column("temporality", Text),
    Column("is_monotonic", Boolean),
    Column("service", Text, nullable=False),
    Column("service_version", Text),
    Column("started_at", _Time),
    Column("measured_at", _Time),
    Column("start_unix_nano", BigInteger, nullable=False),
    Column("time_unix_nano", BigInteger, nullable=False),
    Column("value", Double),
    Column("value_int", BigInteger),
    Column("count", BigInteger),
    Column("sum", Double),
    Column("min", Double),
    Column("max", Double),
    Column("explicit_bounds", JSON),
    Column("bucket_counts", JSON),
    Column("scale", Integer),
    Column("zero_count", BigInteger),
    Column("zero_threshold", Double),
    Column("positive_buckets", JSON),
    Column("negative_buckets", JSON),
    Column("quantiles", JSON),
    Column("exemplars", JSON),
    Column("trace_id", Text),
    Column("span_id", Text),
    Column("scope_name", Text),
    Column("scope_version", Text),
    Column("attributes", JSON, nullable=False),
    Column("resource_attributes", JSON, nullable=False),
    Column("flags", BigInteger, nullable=False),
    Column("otlp_rest", JSON),
    Column("content_hash", BigInteger, nullable=False),
    Column("ingested_at", _Time, nullable=False),
)
"""One row per data point of any kind: the columns of ``model.METRIC_SCHEMA`` and ``ingested_at``."""

profile_samples = Table(
    "profile_samples",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("profile_id", Text),
    Column("service", Text, nullable=False),
    Column("service_version", Text),
    Column("sample_type", Text),
    Column("sample_unit", Text),
    Column("period_type", Text),
    Column("period_unit", Text),
    Column("period", BigInteger, nullable=False),
    Column("started_at", _Time),
    Column("time_unix_nano", BigInteger, nullable=False),
    Column("duration_nano", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("observed_values", JSON),
    Column("observed_unix_nanos", JSON),
    Column("stack", Text, nullable=False),
    Column("frames", JSON),
    Column("trace_id", Text),
    Column("span_id", Text),
    Column("scope_name", Text),
    Column("scope_version", Text),
    Column("attributes", JSON, nullable=False),
    Column("profile_attributes", JSON, nullable=False),
    Column("resource_attributes", JSON, nullable=False),
    Column("otlp_rest", JSON),
    Column("content_hash", BigInteger, nullable=False),
    Column("ingested_at", _Time, nullable=False),
)
"""One row per sample of a profile: the columns of ``model.PROFILE_SCHEMA`` and ``ingested_at``."""

trace_arrivals = Table(
    "trace_arrivals",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("ingested_at", _Time, nullable=False),
    Column("span_count", BigInteger, nullable=False),
    Column("min_start_unix_nano", BigInteger, nullable=False),
    Column("max_start_unix_nano", BigInteger, nullable=False),
)
"""Which traces have spans that are not summarised yet: one row per trace and commit, written with the spans,
deleted by the worker in the transaction that stores the summary. No key: appended, read, deleted."""

executions = Table(
    "executions",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("execution_id", BigInteger, primary_key=True),
    Column("job_id", Text),
    Column("model_id", Text),
    Column("region", Text),
    Column("status", Text, nullable=False),
    Column("started_at", _Time, nullable=False),
    Column("completed_at", _Time),
    Column("error_message", Text),
    Column("trace_id", Text),
    Column("declared_at", _Time, nullable=False),
)
"""Executions as their runner recorded them, whether or not a span ever came."""

trace_summaries = Table(
    "trace_summaries",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("unit_id", Text, primary_key=True),
    Column("trace_id", Text),
    Column("execution_id", BigInteger),
    Column("attempt", Integer),
    Column("job_id", Text),
    Column("model_id", Text),
    Column("region", Text),
    Column("service_version", Text),
    Column("root_service", Text, nullable=False),
    Column("root_operation", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("failure_point", Text),
    Column("started_at", _Time),
    Column("completed_at", _Time),
    Column("duration_ms", Double),
    Column("min_start_unix_nano", BigInteger, nullable=False),
    Column("max_start_unix_nano", BigInteger, nullable=False),
    Column("span_count", BigInteger, nullable=False),
    Column("failed_spans", BigInteger, nullable=False),
    Column("timeout_spans", BigInteger, nullable=False),
    Column("max_span_duration_ms", Double),
    Column("services", JSON, nullable=False),
    Column("elements", JSON, nullable=False),
    Column("hops", JSON, nullable=False),
    Column("critical_path", JSON, nullable=False),
    Column("signature", BigInteger, nullable=False),
    Column("latest", Boolean, nullable=False),
    Column("suspect", Boolean, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("content_key", BigInteger, nullable=False),
    Column("folded_until", _Time, nullable=False),
    Column("folded_at", _Time, nullable=False),
)
"""One row per unit of diagnosis: an execution within a trace, a whole trace without executions, or an execution
known without any span (``trace_id`` null). ``unit_id``: ``<trace_id>``, ``<trace_id>/<execution_id>`` or
``/<execution_id>``. ``elements``: the pre-order ``service.operation`` sequence (bounded); ``hops``: its distinct
[caller element, callee element] pairs; ``signature``: 64 bits over the elements; ``latest``: no newer
attempt of the execution is known; ``suspect``: failed, or slow for its kind, so worth a diagnosis; ``content_key``:
64 bits over the content of its spans and its declaration; ``folded_until``: the newest ``ingested_at`` it has seen."""

operation_rollups = Table(
    "operation_rollups",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("bucket_start", _Time, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("latency_bucket", Integer, primary_key=True),
    Column("sample_count", BigInteger, nullable=False),
    Column("sum_ms", Double, nullable=False),
)
"""Mergeable latency sketch of each operation and hour: how many spans fell into each exponential bucket, their sum.

``latency_bucket`` b holds values in (2^((b-1)/16), 2^(b/16)] ms, so any percentile is within 2.2 %; it is -1000 for
zero. ``model_id`` and ``region`` are '' when unknown, and inherited from the execution where the span itself does not
carry them. Rows are added up by key: see ``base.Accumulate``."""

execution_rollups = Table(
    "execution_rollups",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("bucket_start", _Time, primary_key=True),
    Column("root_service", Text, primary_key=True),
    Column("root_operation", Text, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("latency_bucket", Integer, primary_key=True),
    Column("sample_count", BigInteger, nullable=False),
    Column("sum_ms", Double, nullable=False),
)
"""The same of whole executions, by the newest attempt of each."""

operation_baselines = Table(
    "operation_baselines",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("bucket_start", _Time, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("measure", Text, primary_key=True),
    Column("latency_bucket", Integer, primary_key=True),
    Column("sample_count", BigInteger, nullable=False),
    Column("sum_ms", Double, nullable=False),
)
"""The same of each operation and day, without region, for ``measure`` ``duration`` and ``self`` (self time): what a
diagnosis compares with. Few rows, so that reading a week of them costs little."""

diagnoses = Table(
    "diagnoses",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("unit_id", Text, primary_key=True),
    Column("engine_version", Text, primary_key=True),
    Column("content_key", BigInteger, primary_key=True),
    Column("computed_at", _Time, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("root_cause_type", Text),
    Column("affected_service", Text),
    Column("affected_operation", Text),
    Column("confidence", Double),
    Column("report", JSON, nullable=False),
    Column("marks", JSON),
    Column("similar_cases", JSON),
)
"""One diagnosis per content and engine version (spec/2): every way in returns this one. ``marks``: what its timeline
says of the spans (``analyse.timeline.Marks``); ``similar_cases``: the executions like it at that time, best first
(``model.SimilarCase``). Both are null in rows of schema versions before 7."""

confirmed_causes = Table(
    "confirmed_causes",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("unit_id", Text, primary_key=True),
    Column("execution_id", BigInteger),
    Column("trace_id", Text),
    Column("confirmed", Boolean, nullable=False),
    Column("root_cause_type", Text),
    Column("affected_service", Text),
    Column("affected_operation", Text),
    Column("note", Text),
    Column("confirmed_by", Text),
    Column("confirmed_at", _Time, nullable=False),
    Column("judged_type", Text),
    Column("judged_service", Text),
    Column("judged_operation", Text),
    Column("root_service", Text, nullable=False),
    Column("root_operation", Text, nullable=False),
    Column("failure_point", Text),
    Column("error_template", Text),
    Column("elements", JSON, nullable=False),
)
"""What people said was the cause, the latest word on each unit; with what similar ones are found by, as it was then.

``confirmed``: whether the verdict was right. ``root_cause_type``, ``affected_*``: the cause as they said; ``judged_*``:
as the verdict did. Retention leaves these alone: they are knowledge, few and small."""

views = MetaData()

open_spans = Table(
    "open_spans",
    views,
    Column("tenant", Text),
    Column("trace_id", Text),
    Column("span_id", Text),
    Column("parent_span_id", Text),
    Column("service", Text),
    Column("operation", Text),
    Column("kind", Text),
    Column("started_at", _Time),
    Column("start_unix_nano", BigInteger),
    Column("execution_id", BigInteger),
    Column("job_id", Text),
    Column("model_id", Text),
    Column("region", Text),
    Column("service_version", Text),
    Column("attributes", JSON),
    Column("resource_attributes", JSON),
    Column("ingested_at", _Time),
)
"""A view: the announcements among the log records whose span is not stored. For people; the reader asks for those of
some traces only, within their time (``Reader.spans``)."""

schema_migrations = Table(
    "schema_migrations",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("applied_at", _Time, nullable=False),
)

sql_functions = Table(
    "sql_functions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("installed_at", _Time, nullable=False),
)
"""Which text of each function of ``store/functions.py`` is installed."""

OWN_TABLES: Final = (schema_migrations.name, sql_functions.name)
"""What migrations keep for themselves: nobody else reads it."""


@dataclass(frozen=True, slots=True, eq=False)
class SignalTable:
    """One kind of telemetry as it is appended.

    ``schema``: the columns of ``table`` but ``ingested_at``, in order. Rows alike in all of ``key`` are duplicates.
    ``time``: the column of int64 nanoseconds that tells how old a row is.
    """

    table: Table
    schema: pa.Schema
    key: tuple[str, ...]
    time: str


SPANS: Final = SignalTable(
    trace_spans, SPAN_SCHEMA, ("trace_id", "span_id", "content_hash", "tenant"), "start_unix_nano"
)

LOG_RECORDS: Final = SignalTable(
    log_records, LOG_SCHEMA, ("logged_unix_nano", "content_hash", "tenant"), "logged_unix_nano"
)
METRIC_POINTS: Final = SignalTable(
    metric_points, METRIC_SCHEMA, ("time_unix_nano", "content_hash", "tenant"), "time_unix_nano"
)
PROFILE_SAMPLES: Final = SignalTable(
    profile_samples, PROFILE_SCHEMA, ("time_unix_nano", "content_hash", "tenant"), "time_unix_nano"
)

SIGNAL_TABLES: Final = (SPANS, METRIC_POINTS, LOG_RECORDS, PROFILE_SAMPLES)
