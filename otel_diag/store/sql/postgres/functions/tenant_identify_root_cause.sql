-- The root cause that the stored diagnosis of a unit names; where it names none, or is not stored, evidence says so.

CREATE OR REPLACE FUNCTION tenant_identify_root_cause(of_tenant text, of_execution bigint, of_trace text)
RETURNS TABLE (
    root_cause_type text, affected_service text, affected_operation text, evidence text, recommendation text,
    confidence double precision
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SET search_path FROM CURRENT
AS $$
    SELECT
        u.root_cause_type,
        u.affected_service,
        u.affected_operation,
        CASE
            WHEN u.verdict = 'root_cause' THEN u.report -> 'root_cause' ->> 'evidence'
            WHEN u.verdict = 'healthy' THEN 'healthy: it completed, and nothing in it is far from what is usual'
            WHEN u.verdict = 'inconclusive' THEN 'inconclusive: what is known of it does not say why it did not complete'
            WHEN u.status = 'running' THEN 'not judged: it runs, so far as is known; what can be said by now: otel-diag diagnose ' || coalesce(of_execution::text, u.trace_id)
            ELSE 'not judged yet; to have it judged: otel-diag diagnose ' || coalesce(of_execution::text, u.trace_id)
        END,
        u.report -> 'root_cause' ->> 'recommendation',
        u.confidence
    FROM tenant_unit(of_tenant, of_execution, of_trace) u
$$;
