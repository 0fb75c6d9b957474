-- See docs/sql.md: every span of a trace.

CREATE OR REPLACE FUNCTION diagnose_execution_trace_by_trace(trace_id text)
RETURNS TABLE (
    service text, operation text, started_at timestamptz, completed_at timestamptz, duration_ms double precision,
    gap_after_ms double precision, status text, error_message text, is_anomaly boolean, anomaly_reason text
)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    SELECT * FROM tenant_diagnose_execution_trace(
        coalesce(nullif(current_setting('otel_diag.tenant', true), ''), 'default'), NULL, diagnose_execution_trace_by_trace.trace_id
    )
$$;
