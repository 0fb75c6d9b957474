-- The unit of diagnosis that an execution id (its newest attempt) or a trace id means, with its current diagnosis, if it
-- has one: of the content that is summarised, or later than all that came. No row: there is no such execution or trace.
-- since, until: where the spans of its trace lie in start time.

CREATE OR REPLACE FUNCTION tenant_unit(of_tenant text, of_execution bigint, of_trace text)
RETURNS TABLE (
    unit_id text, trace_id text, execution_id bigint, status text, since bigint, until bigint, folded_until timestamptz,
    verdict text, root_cause_type text, affected_service text, affected_operation text, confidence double precision,
    report json, marks json, similar_cases json
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SET search_path FROM CURRENT
AS $$
    WITH waiting AS (
        SELECT a.trace_id, min(a.min_start_unix_nano) AS first, max(a.max_start_unix_nano) AS last,
            max(a.ingested_at) AS newest
        FROM trace_arrivals a
        WHERE a.tenant = of_tenant
        GROUP BY a.trace_id
    ), attempts AS (
        (
            SELECT s.trace_id, s.min_start_unix_nano AS first
            FROM trace_summaries s
            WHERE s.tenant = of_tenant AND s.execution_id = of_execution
            ORDER BY s.min_start_unix_nano DESC
            LIMIT 1
        )
        UNION ALL
        SELECT s.trace_id, min(s.start_unix_nano)
        FROM waiting w
        JOIN trace_spans s ON s.trace_id = w.trace_id AND s.start_unix_nano BETWEEN w.first AND w.last
        WHERE s.tenant = of_tenant AND s.execution_id = of_execution
        GROUP BY s.trace_id
        UNION ALL
        SELECT l.trace_id, min(l.logged_unix_nano)
        FROM waiting w
        JOIN log_records l ON l.trace_id = w.trace_id AND l.logged_unix_nano BETWEEN w.first AND w.last
        WHERE l.tenant = of_tenant AND l.execution_id = of_execution AND l.event_name = 'otel_diag.span.start'
        GROUP BY l.trace_id
    ), asked AS (
        (SELECT a.trace_id FROM attempts a ORDER BY a.first DESC LIMIT 1)
        UNION ALL
        SELECT lower(of_trace) WHERE of_execution IS NULL
    ), folded AS (
        SELECT s.*
        FROM asked a
        JOIN trace_summaries s ON s.trace_id = a.trace_id
            OR (a.trace_id IS NULL AND s.execution_id = of_execution AND s.trace_id IS NULL)
        WHERE s.tenant = of_tenant
    ), unit AS (
        SELECT
            CASE
                WHEN of_execution IS NOT NULL THEN coalesce(a.trace_id, '') || '/' || of_execution
                WHEN f.units = 1 THEN f.unit_id
                ELSE a.trace_id
            END AS unit_id,
            a.trace_id,
            CASE WHEN of_execution IS NOT NULL THEN of_execution WHEN f.units = 1 THEN f.execution_id END AS execution_id,
            -- A whole trace of several executions has no summary of its own: its spans' arrival tells.
            CASE WHEN f.units = 1 OR of_execution IS NOT NULL THEN f.folded_at ELSE f.folded_until END AS judged_after,
            w.newest,
            least(f.first, w.first) AS since,
            greatest(f.last, w.last) AS until
        FROM asked a
        CROSS JOIN (
            SELECT count(*) AS units, max(f.unit_id) AS unit_id, max(f.execution_id) AS execution_id,
                min(f.min_start_unix_nano) AS first, max(f.max_start_unix_nano) AS last,
                max(f.folded_at) AS folded_at, max(f.folded_until) AS folded_until
            FROM folded f
        ) f
        LEFT JOIN waiting w ON w.trace_id = a.trace_id
        WHERE f.units > 0 OR w.trace_id IS NOT NULL
    )
    SELECT u.unit_id, u.trace_id, u.execution_id, f.status, u.since, u.until, f.folded_until,
        d.verdict, d.root_cause_type, d.affected_service, d.affected_operation, d.confidence,
        d.report, d.marks, d.similar_cases
    FROM unit u
    LEFT JOIN folded f ON f.unit_id = u.unit_id
    LEFT JOIN LATERAL (
        SELECT d.*
        FROM diagnoses d
        WHERE d.tenant = of_tenant AND d.unit_id = u.unit_id AND d.engine_version = '{engine_version}'
            AND (d.content_key = f.content_key OR u.judged_after IS NULL OR d.computed_at >= u.judged_after)
            AND (u.newest IS NULL OR d.computed_at > u.newest)
        ORDER BY d.computed_at DESC
        LIMIT 1
    ) d ON true
$$;
