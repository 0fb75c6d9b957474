-- The trace of the newest attempt of an execution, '' where it is known without any span. No row: it is not known.

CREATE OR REPLACE VIEW tenant_newest_attempt AS
WITH (
    SELECT tuple(minOrNull(min_start_unix_nano), maxOrNull(max_start_unix_nano))
    FROM trace_arrivals FINAL
    WHERE tenant = {of_tenant:String}
) AS unfolded
SELECT ifNull(trace_id, '') AS trace_id
FROM (
    SELECT trace_id, min_start_unix_nano AS first
    FROM trace_summaries FINAL
    WHERE tenant = {of_tenant:String} AND execution_id = {of_execution:Int64}
    UNION ALL
    SELECT toNullable(trace_id), start_unix_nano
    FROM trace_spans FINAL
    WHERE tenant = {of_tenant:String} AND execution_id = {of_execution:Int64}
        AND start_unix_nano BETWEEN ifNull(unfolded.1, 1) AND ifNull(unfolded.2, 0)
        AND trace_id GLOBAL IN (SELECT trace_id FROM trace_arrivals FINAL WHERE tenant = {of_tenant:String})
    UNION ALL
    SELECT trace_id, logged_unix_nano
    FROM log_records FINAL
    WHERE tenant = {of_tenant:String} AND execution_id = {of_execution:Int64} AND event_name = 'otel_diag.span.start'
        AND logged_unix_nano BETWEEN ifNull(unfolded.1, 1) AND ifNull(unfolded.2, 0)
        AND ifNull(trace_id, '') GLOBAL IN (
            SELECT trace_id FROM trace_arrivals FINAL WHERE tenant = {of_tenant:String}
        )
)
ORDER BY first DESC
LIMIT 1;
