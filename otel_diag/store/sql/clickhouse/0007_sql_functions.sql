-- Made by `python -m otel_diag.store.clickhouse_tables` from otel_diag/store/schema.py.

ALTER TABLE diagnoses ADD COLUMN IF NOT EXISTS marks Nullable(String) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS similar_cases Nullable(String) CODEC(ZSTD(1));

CREATE TABLE IF NOT EXISTS sql_functions (
    name String,
    digest String,
    installed_at DateTime64(6, 'UTC'),
    _put UInt64 EPHEMERAL 0,
    _version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put),
    _removed UInt8 MATERIALIZED 0
)
ENGINE = ReplacingMergeTree(_version, _removed)
ORDER BY (name);
