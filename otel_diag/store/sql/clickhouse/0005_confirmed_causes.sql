-- Made by `python -m otel_diag.store.clickhouse_tables` from otel_diag/store/schema.py.

CREATE TABLE IF NOT EXISTS confirmed_causes (
    tenant LowCardinality(String),
    unit_id String,
    execution_id Nullable(Int64),
    trace_id Nullable(String),
    confirmed Bool,
    root_cause_type LowCardinality(Nullable(String)),
    affected_service LowCardinality(Nullable(String)),
    affected_operation LowCardinality(Nullable(String)),
    note Nullable(String),
    confirmed_by Nullable(String),
    confirmed_at DateTime64(6, 'UTC'),
    judged_type Nullable(String),
    judged_service Nullable(String),
    judged_operation Nullable(String),
    root_service LowCardinality(String),
    root_operation LowCardinality(String),
    failure_point Nullable(String),
    error_template Nullable(String),
    elements String CODEC(ZSTD(1)),
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
ORDER BY (tenant, unit_id);
