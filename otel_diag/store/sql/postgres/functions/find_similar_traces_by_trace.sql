-- See docs/sql.md: the executions like it of a trace.

CREATE OR REPLACE FUNCTION find_similar_traces_by_trace(trace_id text, "limit" integer DEFAULT 5)
RETURNS TABLE (
    similar_execution_id bigint, similarity_score double precision, status text, total_duration_ms double precision,
    failure_point text
)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    SELECT * FROM tenant_find_similar_traces(
        coalesce(nullif(current_setting('otel_diag.tenant', true), ''), 'default'), NULL, find_similar_traces_by_trace.trace_id, find_similar_traces_by_trace."limit"
    )
$$;
