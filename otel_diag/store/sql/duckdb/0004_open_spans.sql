-- Spans that were announced and have not come: running, or lost with their process.

CREATE VIEW open_spans AS
SELECT
    l.tenant,
    l.trace_id,
    l.span_id,
    nullif(l.attributes ->> 'span.parent_id', '') AS parent_span_id,
    l.service,
    l.attributes ->> 'span.name' AS operation,
    CASE l.attributes ->> 'span.kind'
        WHEN '2' THEN 'server' WHEN '3' THEN 'client' WHEN '4' THEN 'producer' WHEN '5' THEN 'consumer'
        ELSE 'internal'
    END AS kind,
    l.logged_at AS started_at,
    l.logged_unix_nano AS start_unix_nano,
    l.execution_id,
    l.attributes ->> 'job.id' AS job_id,
    l.attributes ->> 'model.id' AS model_id,
    l.attributes ->> 'region' AS region,
    l.service_version,
    l.attributes,
    l.resource_attributes,
    l.ingested_at
FROM log_records l
WHERE l.event_name = 'otel_diag.span.start' AND l.trace_id IS NOT NULL AND l.span_id IS NOT NULL
    AND NOT EXISTS (
        SELECT 1 FROM trace_spans s
        WHERE s.tenant = l.tenant AND s.trace_id = l.trace_id AND s.span_id = l.span_id
    );
