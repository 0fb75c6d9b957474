-- Made by `python -m otel_diag.store.clickhouse_tables` from otel_diag/store/schema.py.

CREATE VIEW IF NOT EXISTS open_spans AS
SELECT
    tenant,
    trace_id,
    span_id,
    nullIf(JSONExtractString(attributes, 'span.parent_id'), '') AS parent_span_id,
    service,
    JSONExtractString(attributes, 'span.name') AS operation,
    transform(JSONExtractInt(attributes, 'span.kind'), [2, 3, 4, 5], ['server', 'client', 'producer', 'consumer'], 'internal') AS kind,
    logged_at AS started_at,
    logged_unix_nano AS start_unix_nano,
    execution_id,
    JSONExtract(attributes, 'job.id', 'Nullable(String)') AS job_id,
    JSONExtract(attributes, 'model.id', 'Nullable(String)') AS model_id,
    JSONExtract(attributes, 'region', 'Nullable(String)') AS region,
    service_version,
    attributes,
    resource_attributes,
    ingested_at
FROM log_records
WHERE event_name = 'otel_diag.span.start' AND trace_id IS NOT NULL AND span_id IS NOT NULL
    AND (tenant, trace_id, span_id) NOT IN (
        SELECT tenant, trace_id, span_id FROM trace_spans
        WHERE trace_id IN (SELECT trace_id FROM log_records WHERE event_name = 'otel_diag.span.start' AND trace_id IS NOT NULL AND span_id IS NOT NULL)
    );
