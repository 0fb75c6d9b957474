-- Log records, data points and profile samples, partitioned by time: the program adds partitions as they are needed
-- (store/partitions.py). Keys begin with the time, so that new rows go to the end of the index.

CREATE TABLE log_records (
    tenant text COLLATE "C" NOT NULL,
    trace_id text COLLATE "C",
    span_id text COLLATE "C",
    service text NOT NULL,
    severity text,
    severity_number integer NOT NULL,
    severity_text text,
    event_name text,
    body_text text,
    body json,
    logged_at timestamptz,
    logged_unix_nano bigint NOT NULL,
    time_unix_nano bigint NOT NULL,
    observed_unix_nano bigint NOT NULL,
    execution_id bigint,
    service_version text,
    scope_name text,
    scope_version text,
    attributes json NOT NULL,
    resource_attributes json NOT NULL,
    flags bigint NOT NULL,
    otlp_rest json,
    content_hash bigint NOT NULL,
    ingested_at timestamptz NOT NULL,
    PRIMARY KEY (logged_unix_nano, content_hash, tenant)
)
PARTITION BY RANGE (logged_unix_nano);
CREATE INDEX log_records_trace ON log_records (trace_id, span_id) WHERE trace_id IS NOT NULL;
CREATE INDEX log_records_times ON log_records USING brin (logged_at, ingested_at) WITH (autosummarize = on);

CREATE TABLE metric_points (
    tenant text COLLATE "C" NOT NULL,
    metric text NOT NULL,
    kind text NOT NULL,
    unit text,
    description text,
    temporality text,
    is_monotonic boolean,
    service text NOT NULL,
    service_version text,
    started_at timestamptz,
    measured_at timestamptz,
    start_unix_nano bigint NOT NULL,
    time_unix_nano bigint NOT NULL,
    value double precision,
    value_int bigint,
    count bigint,
    sum double precision,
    min double precision,
    max double precision,
    explicit_bounds json,
    bucket_counts json,
    scale integer,
    zero_count bigint,
    zero_threshold double precision,
    positive_buckets json,
    negative_buckets json,
    quantiles json,
    exemplars json,
    trace_id text COLLATE "C",
    span_id text COLLATE "C",
    scope_name text,
    scope_version text,
    attributes json NOT NULL,
    resource_attributes json NOT NULL,
    flags bigint NOT NULL,
    otlp_rest json,
    content_hash bigint NOT NULL,
    ingested_at timestamptz NOT NULL,
    PRIMARY KEY (time_unix_nano, content_hash, tenant)
)
PARTITION BY RANGE (time_unix_nano);
CREATE INDEX metric_points_trace ON metric_points (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX metric_points_times ON metric_points USING brin (measured_at, ingested_at) WITH (autosummarize = on);

CREATE TABLE profile_samples (
    tenant text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C",
    service text NOT NULL,
    service_version text,
    sample_type text,
    sample_unit text,
    period_type text,
    period_unit text,
    period bigint NOT NULL,
    started_at timestamptz,
    time_unix_nano bigint NOT NULL,
    duration_nano bigint NOT NULL,
    value bigint NOT NULL,
    observed_values json,
    observed_unix_nanos json,
    stack text NOT NULL,
    frames json,
    trace_id text COLLATE "C",
    span_id text COLLATE "C",
    scope_name text,
    scope_version text,
    attributes json NOT NULL,
    profile_attributes json NOT NULL,
    resource_attributes json NOT NULL,
    otlp_rest json,
    content_hash bigint NOT NULL,
    ingested_at timestamptz NOT NULL,
    PRIMARY KEY (time_unix_nano, content_hash, tenant)
)
PARTITION BY RANGE (time_unix_nano);
CREATE INDEX profile_samples_trace ON profile_samples (trace_id, span_id) WHERE trace_id IS NOT NULL;
CREATE INDEX profile_samples_times ON profile_samples USING brin (started_at, ingested_at) WITH (autosummarize = on);
