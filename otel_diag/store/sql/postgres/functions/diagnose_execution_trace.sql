-- See docs/sql.md: every span of an execution, its newest attempt.

CREATE OR REPLACE FUNCTION diagnose_execution_trace(execution_id bigint)
RETURNS TABLE (
    service text, operation text, started_at timestamptz, completed_at timestamptz, duration_ms double precision,
    gap_after_ms double precision, status text, error_message text, is_anomaly boolean, anomaly_reason text
)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    SELECT * FROM tenant_diagnose_execution_trace(
        coalesce(nullif(current_setting('otel_diag.tenant', true), ''), 'default'), diagnose_execution_trace.execution_id, NULL
    )
$$;
