-- The spans of a unit in start order, those that run too, with what the stored diagnosis says of each. Without one: what
-- did not complete, and what took more than three times the average of its operation in other executions.

CREATE OR REPLACE MACRO tenant_diagnose_execution_trace(of_tenant, of_execution, of_trace) AS TABLE
WITH RECURSIVE unit AS MATERIALIZED (
    SELECT * FROM tenant_unit(of_tenant, of_execution, of_trace)
), spans AS MATERIALIZED (
    SELECT s.span_id, s.parent_span_id, s.execution_id, s.service, s.operation, s.started_at, s.completed_at,
        s.duration_ms, s.status, s.error_message, s.error_type, s.start_unix_nano, s.content_hash, s.ingested_at
    FROM unit u
    JOIN trace_spans s ON s.trace_id = u.trace_id
    WHERE s.tenant = of_tenant AND s.start_unix_nano BETWEEN (SELECT since FROM unit) AND (SELECT until FROM unit)
    UNION ALL
    (
        SELECT DISTINCT ON (o.span_id) o.span_id, o.parent_span_id, o.execution_id, o.service, o.operation,
            o.started_at, NULL, NULL, 'running', NULL, NULL, o.start_unix_nano, 0, o.ingested_at
        FROM unit u
        JOIN open_spans o ON o.trace_id = u.trace_id
        WHERE o.tenant = of_tenant AND o.start_unix_nano BETWEEN (SELECT since FROM unit) AND (SELECT until FROM unit)
    )
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
), own AS (
    SELECT m.service, m.operation, count(*) AS samples, sum(m.duration_ms) AS total_ms
    FROM unit u, mine m
    WHERE m.status = 'completed' AND m.duration_ms IS NOT NULL AND m.ingested_at <= u.folded_until
    GROUP BY m.service, m.operation
), others AS (
    SELECT b.service, b.operation, sum(b.sample_count) - coalesce(max(own.samples), 0) AS samples,
        sum(b.sum_ms) - coalesce(max(own.total_ms), 0) AS total_ms
    FROM unit u
    JOIN operation_baselines b
        ON b.bucket_start BETWEEN date_trunc('day', make_timestamptz(u.since // 1000)) - INTERVAL 7 DAY
            AND date_trunc('day', make_timestamptz(u.since // 1000)) + INTERVAL 1 DAY
    LEFT JOIN own ON own.service = b.service AND own.operation = b.operation
    WHERE u.verdict IS NULL AND b.tenant = of_tenant AND b.measure = 'duration' AND b.status = 'completed'
        AND (b.service, b.operation) IN (SELECT (m.service, m.operation) FROM mine m)
    GROUP BY b.service, b.operation
), marks AS (
    SELECT k.span_id, k.start_unix_nano, k.gap_after_ms, k.is_anomaly, k.anomaly_reason
    FROM (
        SELECT unnest(from_json(u.marks -> 'spans', '[{
            "span_id": "VARCHAR", "start_unix_nano": "BIGINT", "gap_after_ms": "DOUBLE", "is_anomaly": "BOOLEAN",
            "anomaly_reason": "VARCHAR"
        }]')) AS k
        FROM unit u
    )
), provisional AS (
    SELECT m.*,
        CASE
            WHEN u.verdict IS NOT NULL THEN NULL
            WHEN m.status IN ('failed', 'timeout') THEN
                'status ' || m.status
                || coalesce(': ' || left(coalesce(nullif(m.error_message, ''), nullif(m.error_type, '')), 200), '')
            WHEN o.samples > 0 AND o.total_ms > 0 AND m.duration_ms > 3 * o.total_ms / o.samples THEN
                format(
                    '{:.1f} ms, {:.1f} times the average of {:.1f} ms over {} others',
                    m.duration_ms, m.duration_ms * o.samples / o.total_ms, o.total_ms / o.samples, o.samples
                )
        END AS reason
    FROM unit u, mine m
    LEFT JOIN others o ON o.service = m.service AND o.operation = m.operation
)
SELECT p.service, p.operation, p.started_at, p.completed_at, p.duration_ms, k.gap_after_ms, p.status,
    p.error_message, coalesce(k.is_anomaly, p.reason IS NOT NULL) AS is_anomaly,
    coalesce(k.anomaly_reason, p.reason) AS anomaly_reason
FROM provisional p
LEFT JOIN marks k ON k.span_id = p.span_id AND k.start_unix_nano = p.start_unix_nano
ORDER BY p.start_unix_nano, p.operation, p.span_id, p.content_hash;
