-- What the Collector's ClickHouse exporter creates (version 0.140 or so), and rows as it writes them.
CREATE TABLE otel_traces (
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

INSERT INTO otel_traces VALUES
('2026-09-21 12:00:00.000000001', '5b8efff798038103d269b633813fc60c', 'eee19b7ec3c1b174', '', 'a=b', 'job', 'Internal',
 'runner', {'service.name': 'runner', 'service.version': '1.4.2', 'cloud.region': 'us-east'}, 'runner', '2', {'execution.id': '2193', 'job.id': 'nightly'},
 61000000000, 'Error', 'request timed out', ['2026-09-21 12:01:01.000000000'], ['exception'],
 [{'exception.type': 'httpx.ReadTimeout', 'exception.message': 'timed out after 60 s'}], [], [], [], []),
('2026-09-21 12:00:00.000100000', '5b8efff798038103d269b633813fc60c', 'eee19b7ec3c1b175', 'eee19b7ec3c1b174', '', 'POST /route', 'Client',
 'runner', {'service.name': 'runner', 'service.version': '1.4.2', 'cloud.region': 'us-east'}, 'runner', '2', {'http.request.method': 'POST'},
 60000000000, 'Error', 'timed out', [], [], [], [], [], [], []),
('2026-09-21 12:00:00.000900000', '5b8efff798038103d269b633813fc60c', 'eee19b7ec3c1b176', 'eee19b7ec3c1b175', '', 'route', 'Server',
 'router', {}, '', '', {'gen_ai.usage.input_tokens': '17', 'naïve "key"': 'a\\b'},
 255000000, 'Unset', '', [], [], [], ['5b8efff798038103d269b633813fc60d'], ['eee19b7ec3c1b177'], [''], [{'why': 'retry'}]);
