-- The first schema on PostgreSQL. JSON columns are json, not jsonb: the text stays exactly as it was received.
-- Ids are compared byte by byte (collation "C"): faster than the database's language rules, and they have no language.

CREATE TABLE trace_spans (
    tenant text COLLATE "C" NOT NULL,
    trace_id text COLLATE "C" NOT NULL,
    span_id text COLLATE "C" NOT NULL,
    parent_span_id text COLLATE "C",
    service text NOT NULL,
    operation text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    error_type text,
    error_message text,
    started_at timestamptz,
    completed_at timestamptz,
    duration_ms double precision,
    start_unix_nano bigint NOT NULL,
    end_unix_nano bigint NOT NULL,
    execution_id bigint,
    attempt integer,
    job_id text,
    model_id text,
    region text,
    service_version text,
    scope_name text,
    scope_version text,
    attributes json NOT NULL,
    resource_attributes json NOT NULL,
    events json,
    links json,
    status_code integer NOT NULL,
    status_message text,
    trace_state text,
    flags bigint NOT NULL,
    otlp_rest json,
    model_provider text,
    operation_type text,
    conversation_id text,
    input_tokens bigint,
    output_tokens bigint,
    cache_creation_input_tokens bigint,
    cache_read_input_tokens bigint,
    cost_usd double precision,
    ttft_ms double precision,
    queue_time_ms double precision,
    inference_time_ms double precision,
    content_hash bigint NOT NULL,
    ingested_at timestamptz NOT NULL,
    PRIMARY KEY (trace_id, span_id, content_hash, tenant)
);
-- The key drops what was sent twice and finds the spans of a trace. Statistics per service and operation come from
-- operation_rollups, so no index on trace_spans pays for them; the block ranges of started_at bound searches in time.
CREATE INDEX trace_spans_execution ON trace_spans (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX trace_spans_started ON trace_spans USING brin (started_at) WITH (autosummarize = on);

CREATE TABLE trace_arrivals (
    tenant text COLLATE "C" NOT NULL,
    trace_id text COLLATE "C" NOT NULL,
    ingested_at timestamptz NOT NULL,
    span_count bigint NOT NULL,
    min_start_unix_nano bigint NOT NULL,
    max_start_unix_nano bigint NOT NULL
)
-- Every row is deleted seconds after it was written: vacuum by count, not by a share of a table that stays small.
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE executions (
    tenant text COLLATE "C" NOT NULL,
    execution_id bigint NOT NULL,
    job_id text,
    model_id text,
    region text,
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    error_message text,
    trace_id text COLLATE "C",
    declared_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, execution_id)
);
CREATE INDEX executions_trace ON executions (trace_id) WHERE trace_id IS NOT NULL;

CREATE TABLE trace_summaries (
    tenant text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    trace_id text COLLATE "C",
    execution_id bigint,
    attempt integer,
    job_id text,
    model_id text,
    region text,
    service_version text,
    root_service text NOT NULL,
    root_operation text NOT NULL,
    status text NOT NULL,
    error_type text,
    error_message text,
    failure_point text,
    started_at timestamptz,
    completed_at timestamptz,
    duration_ms double precision,
    min_start_unix_nano bigint NOT NULL,
    max_start_unix_nano bigint NOT NULL,
    span_count bigint NOT NULL,
    failed_spans bigint NOT NULL,
    timeout_spans bigint NOT NULL,
    max_span_duration_ms double precision,
    services json NOT NULL,
    elements json NOT NULL,
    hops json NOT NULL,
    critical_path json NOT NULL,
    signature bigint NOT NULL,
    latest boolean NOT NULL,
    suspect boolean NOT NULL,
    complete boolean NOT NULL,
    content_key bigint NOT NULL,
    folded_until timestamptz NOT NULL,
    folded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, unit_id)
);
CREATE INDEX trace_summaries_trace ON trace_summaries (trace_id);
CREATE INDEX trace_summaries_execution ON trace_summaries (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX trace_summaries_job ON trace_summaries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX trace_summaries_started ON trace_summaries (tenant, started_at);
CREATE INDEX trace_summaries_status ON trace_summaries (tenant, status, started_at);
CREATE INDEX trace_summaries_root ON trace_summaries (tenant, root_service, root_operation, status, started_at);
CREATE INDEX trace_summaries_suspect ON trace_summaries (folded_until) WHERE suspect;

-- Rows of the three are added to in place; free room in each page keeps the new version beside the old one, out of
-- the index.
CREATE TABLE operation_rollups (
    tenant text COLLATE "C" NOT NULL,
    bucket_start timestamptz NOT NULL,
    service text NOT NULL,
    operation text NOT NULL,
    model_id text NOT NULL,
    region text NOT NULL,
    status text NOT NULL,
    latency_bucket integer NOT NULL,
    sample_count bigint NOT NULL,
    sum_ms double precision NOT NULL,
    PRIMARY KEY (tenant, bucket_start, service, operation, model_id, region, status, latency_bucket)
)
WITH (fillfactor = 70);

CREATE TABLE execution_rollups (
    tenant text COLLATE "C" NOT NULL,
    bucket_start timestamptz NOT NULL,
    root_service text NOT NULL,
    root_operation text NOT NULL,
    model_id text NOT NULL,
    region text NOT NULL,
    status text NOT NULL,
    latency_bucket integer NOT NULL,
    sample_count bigint NOT NULL,
    sum_ms double precision NOT NULL,
    PRIMARY KEY (tenant, bucket_start, root_service, root_operation, model_id, region, status, latency_bucket)
)
WITH (fillfactor = 70);

CREATE TABLE operation_baselines (
    tenant text COLLATE "C" NOT NULL,
    bucket_start timestamptz NOT NULL,
    service text NOT NULL,
    operation text NOT NULL,
    model_id text NOT NULL,
    status text NOT NULL,
    measure text NOT NULL,
    latency_bucket integer NOT NULL,
    sample_count bigint NOT NULL,
    sum_ms double precision NOT NULL,
    PRIMARY KEY (tenant, bucket_start, service, operation, model_id, status, measure, latency_bucket)
)
WITH (fillfactor = 70);

CREATE TABLE diagnoses (
    tenant text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    engine_version text NOT NULL,
    content_key bigint NOT NULL,
    computed_at timestamptz NOT NULL,
    verdict text NOT NULL,
    root_cause_type text,
    affected_service text,
    affected_operation text,
    confidence double precision,
    report json NOT NULL,
    PRIMARY KEY (tenant, unit_id, engine_version, content_key)
);

CREATE TABLE schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (version)
);

INSERT INTO schema_migrations VALUES (1, 'initial', '2026-11-21 00:00:00+00');
