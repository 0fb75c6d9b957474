-- Made by `python -m otel_diag.store.clickhouse_tables` from otel_diag/store/schema.py.

CREATE TABLE IF NOT EXISTS trace_spans (
    tenant LowCardinality(String),
    trace_id String,
    span_id String,
    parent_span_id Nullable(String),
    service LowCardinality(String),
    operation LowCardinality(String),
    kind LowCardinality(String),
    status LowCardinality(String),
    error_type LowCardinality(Nullable(String)),
    error_message Nullable(String),
    started_at Nullable(DateTime64(6, 'UTC')),
    completed_at Nullable(DateTime64(6, 'UTC')),
    duration_ms Nullable(Float64),
    start_unix_nano Int64,
    end_unix_nano Int64,
    execution_id Nullable(Int64),
    attempt Nullable(Int32),
    job_id Nullable(String),
    model_id LowCardinality(Nullable(String)),
    region LowCardinality(Nullable(String)),
    service_version LowCardinality(Nullable(String)),
    scope_name LowCardinality(Nullable(String)),
    scope_version LowCardinality(Nullable(String)),
    attributes String CODEC(ZSTD(1)),
    resource_attributes String CODEC(ZSTD(1)),
    events Nullable(String) CODEC(ZSTD(1)),
    links Nullable(String) CODEC(ZSTD(1)),
    status_code Int32,
    status_message Nullable(String),
    trace_state Nullable(String),
    flags Int64,
    otlp_rest Nullable(String) CODEC(ZSTD(1)),
    model_provider LowCardinality(Nullable(String)),
    operation_type LowCardinality(Nullable(String)),
    conversation_id Nullable(String),
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    cache_creation_input_tokens Nullable(Int64),
    cache_read_input_tokens Nullable(Int64),
    cost_usd Nullable(Float64),
    ttft_ms Nullable(Float64),
    queue_time_ms Nullable(Float64),
    inference_time_ms Nullable(Float64),
    content_hash Int64,
    ingested_at DateTime64(6, 'UTC'),
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_execution_id execution_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_started_at started_at TYPE minmax GRANULARITY 1,
    INDEX by_ingested_at ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY if(start_unix_nano >= 1420070400000000000 AND start_unix_nano < 2524608000000000000, toYYYYMMDD(toDateTime(intDiv(start_unix_nano, 1000000000), 'UTC')), 0)
ORDER BY (start_unix_nano, trace_id, span_id, content_hash, tenant)
SETTINGS auto_statistics_types = '', min_parts_to_merge_at_once = 40, merge_selector_base = 50, min_bytes_for_wide_part = 268435456;

CREATE TABLE IF NOT EXISTS trace_arrivals (
    tenant LowCardinality(String),
    trace_id String,
    ingested_at DateTime64(6, 'UTC'),
    span_count Int64,
    min_start_unix_nano Int64,
    max_start_unix_nano Int64,
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
PARTITION BY toStartOfMinute(ingested_at)
ORDER BY (tenant, trace_id, ingested_at);

CREATE TABLE IF NOT EXISTS executions (
    tenant LowCardinality(String),
    execution_id Int64,
    job_id Nullable(String),
    model_id LowCardinality(Nullable(String)),
    region LowCardinality(Nullable(String)),
    status LowCardinality(String),
    started_at DateTime64(6, 'UTC'),
    completed_at Nullable(DateTime64(6, 'UTC')),
    error_message Nullable(String),
    trace_id Nullable(String),
    declared_at DateTime64(6, 'UTC'),
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
ORDER BY (tenant, execution_id);

CREATE TABLE IF NOT EXISTS trace_summaries (
    tenant LowCardinality(String),
    unit_id String,
    trace_id Nullable(String),
    execution_id Nullable(Int64),
    attempt Nullable(Int32),
    job_id Nullable(String),
    model_id LowCardinality(Nullable(String)),
    region LowCardinality(Nullable(String)),
    service_version LowCardinality(Nullable(String)),
    root_service LowCardinality(String),
    root_operation LowCardinality(String),
    status LowCardinality(String),
    error_type LowCardinality(Nullable(String)),
    error_message Nullable(String),
    failure_point Nullable(String),
    started_at Nullable(DateTime64(6, 'UTC')),
    completed_at Nullable(DateTime64(6, 'UTC')),
    duration_ms Nullable(Float64),
    min_start_unix_nano Int64,
    max_start_unix_nano Int64,
    span_count Int64,
    failed_spans Int64,
    timeout_spans Int64,
    max_span_duration_ms Nullable(Float64),
    services String CODEC(ZSTD(1)),
    elements String CODEC(ZSTD(1)),
    hops String CODEC(ZSTD(1)),
    critical_path String CODEC(ZSTD(1)),
    signature Int64,
    latest Bool,
    suspect Bool,
    complete Bool,
    content_key Int64,
    folded_until DateTime64(6, 'UTC'),
    folded_at DateTime64(6, 'UTC'),
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
ORDER BY (tenant, unit_id);

CREATE TABLE IF NOT EXISTS operation_rollups (
    tenant LowCardinality(String),
    bucket_start DateTime64(6, 'UTC'),
    service LowCardinality(String),
    operation LowCardinality(String),
    model_id LowCardinality(String),
    region LowCardinality(String),
    status LowCardinality(String),
    latency_bucket Int32,
    sample_count Int64,
    sum_ms Float64
)
ENGINE = SummingMergeTree
ORDER BY (tenant, bucket_start, service, operation, model_id, region, status, latency_bucket)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS execution_rollups (
    tenant LowCardinality(String),
    bucket_start DateTime64(6, 'UTC'),
    root_service LowCardinality(String),
    root_operation LowCardinality(String),
    model_id LowCardinality(String),
    region LowCardinality(String),
    status LowCardinality(String),
    latency_bucket Int32,
    sample_count Int64,
    sum_ms Float64
)
ENGINE = SummingMergeTree
ORDER BY (tenant, bucket_start, root_service, root_operation, model_id, region, status, latency_bucket)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS operation_baselines (
    tenant LowCardinality(String),
    bucket_start DateTime64(6, 'UTC'),
    service LowCardinality(String),
    operation LowCardinality(String),
    model_id LowCardinality(String),
    status LowCardinality(String),
    measure LowCardinality(String),
    latency_bucket Int32,
    sample_count Int64,
    sum_ms Float64
)
ENGINE = SummingMergeTree
ORDER BY (tenant, bucket_start, service, operation, model_id, status, measure, latency_bucket)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS diagnoses (
    tenant LowCardinality(String),
    unit_id String,
    engine_version LowCardinality(String),
    content_key Int64,
    computed_at DateTime64(6, 'UTC'),
    verdict LowCardinality(String),
    root_cause_type LowCardinality(Nullable(String)),
    affected_service LowCardinality(Nullable(String)),
    affected_operation LowCardinality(Nullable(String)),
    confidence Nullable(Float64),
    report String CODEC(ZSTD(1)),
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
ORDER BY (tenant, unit_id, engine_version, content_key);

CREATE TABLE IF NOT EXISTS schema_migrations (
    version Int32,
    name String,
    applied_at DateTime64(6, 'UTC'),
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
ORDER BY (version);

CREATE TABLE IF NOT EXISTS pending_changes (
    id String,
    writer String,
    at DateTime64(6, 'UTC'),
    body String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(at)
PARTITION BY id
ORDER BY id;
