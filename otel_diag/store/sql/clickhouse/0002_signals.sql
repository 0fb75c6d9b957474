-- Made by `python -m otel_diag.store.clickhouse_tables` from otel_diag/store/schema.py.

CREATE TABLE IF NOT EXISTS log_records (
    tenant LowCardinality(String),
    trace_id Nullable(String),
    span_id Nullable(String),
    service LowCardinality(String),
    severity LowCardinality(Nullable(String)),
    severity_number Int32,
    severity_text LowCardinality(Nullable(String)),
    event_name LowCardinality(Nullable(String)),
    body_text Nullable(String),
    body Nullable(String) CODEC(ZSTD(1)),
    logged_at Nullable(DateTime64(6, 'UTC')),
    logged_unix_nano Int64,
    time_unix_nano Int64,
    observed_unix_nano Int64,
    execution_id Nullable(Int64),
    service_version LowCardinality(Nullable(String)),
    scope_name LowCardinality(Nullable(String)),
    scope_version LowCardinality(Nullable(String)),
    attributes String CODEC(ZSTD(1)),
    resource_attributes String CODEC(ZSTD(1)),
    flags Int64,
    otlp_rest Nullable(String) CODEC(ZSTD(1)),
    content_hash Int64,
    ingested_at DateTime64(6, 'UTC'),
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_execution_id execution_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_ingested_at ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY if(logged_unix_nano >= 1420070400000000000 AND logged_unix_nano < 2524608000000000000, toYYYYMMDD(toDateTime(intDiv(logged_unix_nano, 1000000000), 'UTC')), 0)
ORDER BY (logged_unix_nano, content_hash, tenant)
SETTINGS auto_statistics_types = '', min_parts_to_merge_at_once = 40, merge_selector_base = 50, min_bytes_for_wide_part = 268435456;

CREATE TABLE IF NOT EXISTS metric_points (
    tenant LowCardinality(String),
    metric LowCardinality(String),
    kind LowCardinality(String),
    unit LowCardinality(Nullable(String)),
    description LowCardinality(Nullable(String)),
    temporality LowCardinality(Nullable(String)),
    is_monotonic Nullable(Bool),
    service LowCardinality(String),
    service_version LowCardinality(Nullable(String)),
    started_at Nullable(DateTime64(6, 'UTC')),
    measured_at Nullable(DateTime64(6, 'UTC')),
    start_unix_nano Int64,
    time_unix_nano Int64,
    value Nullable(Float64),
    value_int Nullable(Int64),
    count Nullable(Int64),
    sum Nullable(Float64),
    min Nullable(Float64),
    max Nullable(Float64),
    explicit_bounds Nullable(String) CODEC(ZSTD(1)),
    bucket_counts Nullable(String) CODEC(ZSTD(1)),
    scale Nullable(Int32),
    zero_count Nullable(Int64),
    zero_threshold Nullable(Float64),
    positive_buckets Nullable(String) CODEC(ZSTD(1)),
    negative_buckets Nullable(String) CODEC(ZSTD(1)),
    quantiles Nullable(String) CODEC(ZSTD(1)),
    exemplars Nullable(String) CODEC(ZSTD(1)),
    trace_id Nullable(String),
    span_id Nullable(String),
    scope_name LowCardinality(Nullable(String)),
    scope_version LowCardinality(Nullable(String)),
    attributes String CODEC(ZSTD(1)),
    resource_attributes String CODEC(ZSTD(1)),
    flags Int64,
    otlp_rest Nullable(String) CODEC(ZSTD(1)),
    content_hash Int64,
    ingested_at DateTime64(6, 'UTC'),
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_started_at started_at TYPE minmax GRANULARITY 1,
    INDEX by_ingested_at ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY if(time_unix_nano >= 1420070400000000000 AND time_unix_nano < 2524608000000000000, toYYYYMMDD(toDateTime(intDiv(time_unix_nano, 1000000000), 'UTC')), 0)
ORDER BY (time_unix_nano, content_hash, tenant)
SETTINGS auto_statistics_types = '', min_parts_to_merge_at_once = 40, merge_selector_base = 50, min_bytes_for_wide_part = 268435456;

CREATE TABLE IF NOT EXISTS profile_samples (
    tenant LowCardinality(String),
    profile_id Nullable(String),
    service LowCardinality(String),
    service_version LowCardinality(Nullable(String)),
    sample_type LowCardinality(Nullable(String)),
    sample_unit LowCardinality(Nullable(String)),
    period_type LowCardinality(Nullable(String)),
    period_unit LowCardinality(Nullable(String)),
    period Int64,
    started_at Nullable(DateTime64(6, 'UTC')),
    time_unix_nano Int64,
    duration_nano Int64,
    value Int64,
    observed_values Nullable(String) CODEC(ZSTD(1)),
    observed_unix_nanos Nullable(String) CODEC(ZSTD(1)),
    stack String,
    frames Nullable(String) CODEC(ZSTD(1)),
    trace_id Nullable(String),
    span_id Nullable(String),
    scope_name LowCardinality(Nullable(String)),
    scope_version LowCardinality(Nullable(String)),
    attributes String CODEC(ZSTD(1)),
    profile_attributes String CODEC(ZSTD(1)),
    resource_attributes String CODEC(ZSTD(1)),
    otlp_rest Nullable(String) CODEC(ZSTD(1)),
    content_hash Int64,
    ingested_at DateTime64(6, 'UTC'),
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_started_at started_at TYPE minmax GRANULARITY 1,
    INDEX by_ingested_at ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY if(time_unix_nano >= 1420070400000000000 AND time_unix_nano < 2524608000000000000, toYYYYMMDD(toDateTime(intDiv(time_unix_nano, 1000000000), 'UTC')), 0)
ORDER BY (time_unix_nano, content_hash, tenant)
SETTINGS auto_statistics_types = '', min_parts_to_merge_at_once = 40, merge_selector_base = 50, min_bytes_for_wide_part = 268435456;
