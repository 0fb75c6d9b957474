-- The spans of a unit in start order, those that run too: all of its trace, or where that is of several executions those
-- of one. With what the stored diagnosis says of each; without one, what did not complete, and what took more than three
-- times the average of its operation in other executions. of_unit: trace, execution, first and last start time, newest
-- that the averages hold, whether it is judged, marks. One parameter, as the engine works out each by itself.

CREATE OR REPLACE VIEW tenant_spans AS
WITH RECURSIVE
    {of_unit:Tuple(String, Nullable(Int64), Int64, Int64, Nullable(DateTime64(6, 'UTC')), Bool, String)} AS unit,
    unit.1 AS this_trace,
    unit.2 AS wanted,
    unit.3 AS since,
    unit.4 AS until,
    spans AS (
        SELECT span_id, ifNull(parent_span_id, '') AS parent_span_id, execution_id, service, operation, started_at,
            completed_at, duration_ms, status, error_message, error_type, start_unix_nano, content_hash, ingested_at
        FROM trace_spans FINAL
        WHERE tenant = {of_tenant:String} AND trace_id = this_trace
            AND start_unix_nano BETWEEN since AND until
        UNION ALL
        SELECT * FROM (
            SELECT assumeNotNull(span_id), JSONExtractString(attributes, 'span.parent_id'), execution_id, service,
                JSONExtractString(attributes, 'span.name'), logged_at, NULL, NULL, 'running', NULL, NULL,
                logged_unix_nano, 0, ingested_at
            FROM log_records FINAL
            WHERE tenant = {of_tenant:String} AND trace_id = this_trace
                AND logged_unix_nano BETWEEN since AND until
                AND event_name = 'otel_diag.span.start' AND span_id IS NOT NULL
                AND assumeNotNull(span_id) GLOBAL NOT IN (
                    SELECT span_id
                    FROM trace_spans FINAL
                    WHERE tenant = {of_tenant:String} AND trace_id = this_trace
                        AND start_unix_nano BETWEEN since AND until
                )
            ORDER BY logged_unix_nano, content_hash
            LIMIT 1 BY span_id
        )
    ),
    (
        SELECT ifNull(uniqExact(execution_id), 0) > 1 AND ifNull(countIf(execution_id = wanted), 0) > 0 FROM spans
    ) AS by_several,
    -- A span belongs to the execution of its nearest ancestor that has one.
    owned AS (
        SELECT span_id AS owned_id, 1 AS level FROM spans WHERE by_several AND execution_id = wanted
        UNION ALL
        SELECT s.span_id, o.level + 1
        FROM owned AS o
        INNER JOIN (SELECT span_id, parent_span_id FROM spans WHERE execution_id IS NULL) AS s
            ON s.parent_span_id = o.owned_id
        WHERE o.level < 200
    ),
    mine AS (
        SELECT *
        FROM spans
        WHERE NOT by_several OR ifNull(execution_id = wanted, false)
            OR (execution_id IS NULL AND span_id GLOBAL IN (SELECT owned_id FROM owned))
    )
SELECT
    m.service AS service,
    m.operation AS operation,
    m.started_at AS started_at,
    m.completed_at AS completed_at,
    m.duration_ms AS duration_ms,
    k.gap_after_ms AS gap_after_ms,
    m.status AS status,
    m.error_message AS error_message,
    multiIf(
        unit.6, k.anomaly_reason,
        m.status IN ('failed', 'timeout'), concat(
            'status ', m.status,
            ifNull(concat(': ', leftUTF8(coalesce(nullIf(m.error_message, ''), nullIf(m.error_type, '')), 200)), '')
        ),
        ifNull(o.samples > 0 AND o.total_ms > 0 AND m.duration_ms > 3 * o.total_ms / o.samples, false), printf(
            '%.1f ms, %.1f times the average of %.1f ms over %d others', ifNull(m.duration_ms, 0),
            ifNull(m.duration_ms * o.samples / o.total_ms, 0), ifNull(o.total_ms / o.samples, 0),
            toInt64(ifNull(o.samples, 0))
        ),
        NULL
    ) AS anomaly_reason,
    (anomaly_reason IS NOT NULL)::Bool AS is_anomaly
FROM mine AS m
LEFT JOIN (
    SELECT service, operation, sum(samples) AS samples, sum(total_ms) AS total_ms
    FROM (
        SELECT service, operation, toFloat64(sample_count) AS samples, sum_ms AS total_ms
        FROM operation_baselines FINAL
        WHERE NOT unit.6 AND tenant = {of_tenant:String} AND measure = 'duration' AND status = 'completed'
            AND bucket_start BETWEEN
                toStartOfDay(toDateTime(intDiv(since, 1000000000), 'UTC')) - INTERVAL 7 DAY
                AND toStartOfDay(toDateTime(intDiv(since, 1000000000), 'UTC')) + INTERVAL 1 DAY
        UNION ALL
        SELECT service, operation, -1., -assumeNotNull(duration_ms)
        FROM trace_spans FINAL
        WHERE tenant = {of_tenant:String} AND trace_id = this_trace
            AND start_unix_nano BETWEEN since AND until
            AND status = 'completed' AND duration_ms IS NOT NULL
            AND ingested_at <= unit.5
    )
    GROUP BY service, operation
) AS o ON o.service = m.service AND o.operation = m.operation
LEFT JOIN (
    SELECT c.1 AS span_id, c.2 AS start_unix_nano, c.3 AS gap_after_ms, c.4 AS anomaly_reason
    FROM (
        SELECT arrayJoin(JSONExtract(
            unit.7, 'spans',
            'Array(Tuple(span_id String, start_unix_nano Int64, gap_after_ms Nullable(Float64),
                anomaly_reason Nullable(String)))'
        )) AS c
    )
) AS k ON k.span_id = m.span_id AND k.start_unix_nano = m.start_unix_nano
ORDER BY m.start_unix_nano, m.operation, m.span_id, m.content_hash;
