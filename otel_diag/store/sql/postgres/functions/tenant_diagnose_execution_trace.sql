-- The spans of a unit in start order, those that run too, with what the stored diagnosis says of each. Without one: what
-- did not complete, and what took more than three times the average of its operation in other executions.

CREATE OR REPLACE FUNCTION tenant_diagnose_execution_trace(of_tenant text, of_execution bigint, of_trace text)
RETURNS TABLE (
    service text, operation text, started_at timestamptz, completed_at timestamptz, duration_ms double precision,
    gap_after_ms double precision, status text, error_message text, is_anomaly boolean, anomaly_reason text
)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    WITH RECURSIVE unit AS MATERIALIZED (
        SELECT * FROM tenant_unit(of_tenant, of_execution, of_trace)
    ), spans AS MATERIALIZED (
        SELECT s.span_id, s.parent_span_id, s.execution_id, s.service, s.operation, s.started_at, s.completed_at,
            s.duration_ms, s.status, s.error_message, s.error_type, s.start_unix_nano, s.content_hash, s.ingested_at
        FROM unit u
        JOIN trace_spans s ON s.trace_id = u.trace_id AND s.start_unix_nano BETWEEN u.since AND u.until
        WHERE s.tenant = of_tenant
        UNION ALL
        SELECT DISTINCT ON (o.span_id) o.span_id, o.parent_span_id, o.execution_id, o.service, o.operation,
            o.started_at, NULL, NULL, 'running', NULL, NULL, o.start_unix_nano, 0, o.ingested_at
        FROM unit u
        JOIN open_spans o ON o.trace_id = u.trace_id AND o.start_unix_nano BETWEEN u.since AND u.until
        WHERE o.tenant = of_tenant
    ), shared AS MATERIALIZED (
        -- Whether the trace is of several executions, this one among them.
        SELECT count(DISTINCT s.execution_id) > 1 AND bool_or(s.execution_id = u.execution_id) AS by_several
        FROM unit u, spans s
    ), owned (span_id) AS (
        -- A span belongs to the execution of its nearest ancestor that has one.
        SELECT s.span_id FROM unit u, shared, spans s WHERE shared.by_several AND s.execution_id = u.execution_id
        UNION
        SELECT s.span_id FROM owned o JOIN spans s ON s.parent_span_id = o.span_id WHERE s.execution_id IS NULL
    ), mine AS MATERIALIZED (
        SELECT s.*
        FROM unit u, shared, spans s
        WHERE shared.by_several IS NOT TRUE OR s.execution_id = u.execution_id
            OR (s.execution_id IS NULL AND s.span_id IN (SELECT o.span_id FROM owned o))
    ), others AS (
        SELECT b.service, b.operation, sum(b.sample_count) - coalesce(max(own.samples), 0) AS samples,
            sum(b.sum_ms) - coalesce(max(own.total_ms), 0) AS total_ms
        FROM unit u
        JOIN operation_baselines b
            ON b.bucket_start BETWEEN date_trunc('day', to_timestamp(u.since / 1e9), 'UTC') - INTERVAL '7 days'
                AND date_trunc('day', to_timestamp(u.since / 1e9), 'UTC') + INTERVAL '1 day'
        LEFT JOIN (
            SELECT m.service, m.operation, count(*) AS samples, sum(m.duration_ms) AS total_ms
            FROM unit u, mine m
            WHERE m.status = 'completed' AND m.duration_ms IS NOT NULL AND m.ingested_at <= u.folded_until
            GROUP BY m.service, m.operation
        ) own ON own.service = b.service AND own.operation = b.operation
        WHERE u.verdict IS NULL AND b.tenant = of_tenant AND b.measure = 'duration' AND b.status = 'completed'
            AND (b.service, b.operation) IN (SELECT m.service, m.operation FROM mine m)
        GROUP BY b.service, b.operation
    ), marks AS (
        SELECT m.*
        FROM unit u, json_to_recordset(u.marks -> 'spans') AS m (
            span_id text, start_unix_nano bigint, gap_after_ms double precision, is_anomaly boolean, anomaly_reason text
        )
    ), provisional AS (
        SELECT m.*,
            CASE
                WHEN u.verdict IS NOT NULL THEN NULL
                WHEN m.status IN ('failed', 'timeout') THEN
                    'status ' || m.status
                    || coalesce(': ' || left(coalesce(nullif(m.error_message, ''), nullif(m.error_type, '')), 200), '')
                WHEN o.samples > 0 AND o.total_ms > 0 AND m.duration_ms > 3 * o.total_ms / o.samples THEN
                    round(m.duration_ms::numeric, 1) || ' ms, '
                    || round((m.duration_ms * o.samples / o.total_ms)::numeric, 1) || ' times the average of '
                    || round((o.total_ms / o.samples)::numeric, 1) || ' ms over ' || o.samples || ' others'
            END AS reason
        FROM unit u, mine m
        LEFT JOIN others o ON o.service = m.service AND o.operation = m.operation
    )
    SELECT p.service, p.operation, p.started_at, p.completed_at, p.duration_ms, k.gap_after_ms, p.status,
        p.error_message, coalesce(k.is_anomaly, p.reason IS NOT NULL), coalesce(k.anomaly_reason, p.reason)
    FROM provisional p
    LEFT JOIN marks k ON k.span_id = p.span_id AND k.start_unix_nano = p.start_unix_nano
    ORDER BY p.start_unix_nano, p.operation COLLATE "C", p.span_id, p.content_hash
$$;
