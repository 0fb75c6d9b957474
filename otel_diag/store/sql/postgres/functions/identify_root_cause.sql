-- See docs/sql.md: the root cause of an execution, its newest attempt.

CREATE OR REPLACE FUNCTION identify_root_cause(execution_id bigint)
RETURNS TABLE (
    root_cause_type text, affected_service text, affected_operation text, evidence text, recommendation text,
    confidence double precision
)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    SELECT * FROM tenant_identify_root_cause(
        coalesce(nullif(current_setting('otel_diag.tenant', true), ''), 'default'), identify_root_cause.execution_id, NULL
    )
$$;
