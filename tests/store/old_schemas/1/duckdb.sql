-- The first schema on DuckDB.
-- trace_spans has no key: keeping one while inserting halves the rate and triples the file. The writer looks for
-- duplicates within the batch's own start times instead, where the zone maps leave little to read.

CREATE TABLE trace_spans (
    tenant VARCHAR NOT NULL,
    trace_id VARCHAR NOT NULL,
    span_id VARCHAR NOT NULL,
    parent_span_id VARCHAR,
    service VARCHAR NOT NULL,
    operation VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    error_type VARCHAR,
    error_message VARCHAR,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    duration_ms DOUBLE,
    start_unix_nano BIGINT NOT NULL,
    end_unix_nano BIGINT NOT NULL,
    execution_id BIGINT,
    attempt INTEGER,
    job_id VARCHAR,
    model_id VARCHAR,
    region VARCHAR,
    service_version VARCHAR,
    scope_name VARCHAR,
    scope_version VARCHAR,
    attributes JSON NOT NULL,
    resource_attributes JSON NOT NULL,
    events JSON,
    links JSON,
    status_code INTEGER NOT NULL,
    status_message VARCHAR,
    trace_state VARCHAR,
    flags BIGINT NOT NULL,
    otlp_rest JSON,
    model_provider VARCHAR,
    operation_type VARCHAR,
    conversation_id VARCHAR,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_creation_input_tokens BIGINT,
    cache_read_input_tokens BIGINT,
    cost_usd DOUBLE,
    ttft_ms DOUBLE,
    queue_time_ms DOUBLE,
    inference_time_ms DOUBLE,
    content_hash BIGINT NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE trace_arrivals (
    tenant VARCHAR NOT NULL,
    trace_id VARCHAR NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL,
    span_count BIGINT NOT NULL,
    min_start_unix_nano BIGINT NOT NULL,
    max_start_unix_nano BIGINT NOT NULL
);

CREATE TABLE executions (
    tenant VARCHAR NOT NULL,
    execution_id BIGINT NOT NULL,
    job_id VARCHAR,
    model_id VARCHAR,
    region VARCHAR,
    status VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    completed_at TIMESTAMPTZ,
    error_message VARCHAR,
    trace_id VARCHAR,
    declared_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, execution_id)
);

CREATE TABLE trace_summaries (
    tenant VARCHAR NOT NULL,
    unit_id VARCHAR NOT NULL,
    trace_id VARCHAR,
    execution_id BIGINT,
    attempt INTEGER,
    job_id VARCHAR,
    model_id VARCHAR,
    region VARCHAR,
    service_version VARCHAR,
    root_service VARCHAR NOT NULL,
    root_operation VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    error_type VARCHAR,
    error_message VARCHAR,
    failure_point VARCHAR,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    duration_ms DOUBLE,
    min_start_unix_nano BIGINT NOT NULL,
    max_start_unix_nano BIGINT NOT NULL,
    span_count BIGINT NOT NULL,
    failed_spans BIGINT NOT NULL,
    timeout_spans BIGINT NOT NULL,
    max_span_duration_ms DOUBLE,
    services JSON NOT NULL,
    elements JSON NOT NULL,
    hops JSON NOT NULL,
    critical_path JSON NOT NULL,
    signature BIGINT NOT NULL,
    latest BOOLEAN NOT NULL,
    suspect BOOLEAN NOT NULL,
    complete BOOLEAN NOT NULL,
    content_key BIGINT NOT NULL,
    folded_until TIMESTAMPTZ NOT NULL,
    folded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, unit_id)
);

CREATE TABLE operation_rollups (
    tenant VARCHAR NOT NULL,
    bucket_start TIMESTAMPTZ NOT NULL,
    service VARCHAR NOT NULL,
    operation VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL,
    region VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    latency_bucket INTEGER NOT NULL,
    sample_count BIGINT NOT NULL,
    sum_ms DOUBLE NOT NULL,
    PRIMARY KEY (tenant, bucket_start, service, operation, model_id, region, status, latency_bucket)
);

CREATE TABLE execution_rollups (
    tenant VARCHAR NOT NULL,
    bucket_start TIMESTAMPTZ NOT NULL,
    root_service VARCHAR NOT NULL,
    root_operation VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL,
    region VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    latency_bucket INTEGER NOT NULL,
    sample_count BIGINT NOT NULL,
    sum_ms DOUBLE NOT NULL,
    PRIMARY KEY (tenant, bucket_start, root_service, root_operation, model_id, region, status, latency_bucket)
);

CREATE TABLE operation_baselines (
    tenant VARCHAR NOT NULL,
    bucket_start TIMESTAMPTZ NOT NULL,
    service VARCHAR NOT NULL,
    operation VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,
    latency_bucket INTEGER NOT NULL,
    sample_count BIGINT NOT NULL,
    sum_ms DOUBLE NOT NULL,
    PRIMARY KEY (tenant, bucket_start, service, operation, model_id, status, measure, latency_bucket)
);

CREATE TABLE diagnoses (
    tenant VARCHAR NOT NULL,
    unit_id VARCHAR NOT NULL,
    engine_version VARCHAR NOT NULL,
    content_key BIGINT NOT NULL,
    computed_at TIMESTAMPTZ NOT NULL,
    verdict VARCHAR NOT NULL,
    root_cause_type VARCHAR,
    affected_service VARCHAR,
    affected_operation VARCHAR,
    confidence DOUBLE,
    report JSON NOT NULL,
    PRIMARY KEY (tenant, unit_id, engine_version, content_key)
);

CREATE TABLE schema_migrations (
    version INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (version)
);

INSERT INTO schema_migrations VALUES (1, 'initial', '2026-11-21 00:00:00+00');
