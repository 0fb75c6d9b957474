-- The root cause that the stored diagnosis of a unit names; where it names none, or is not stored, evidence says so.

CREATE OR REPLACE VIEW tenant_identify_root_cause AS
SELECT
    u.root_cause_type AS root_cause_type,
    u.affected_service AS affected_service,
    u.affected_operation AS affected_operation,
    multiIf(
        u.verdict = 'root_cause', JSONExtractString(ifNull(u.report, ''), 'root_cause', 'evidence'),
        u.verdict = 'healthy', 'healthy: it completed, and nothing in it is far from what is usual',
        u.verdict = 'inconclusive', 'inconclusive: what is known of it does not say why it did not complete',
        u.status = 'running', concat(
            'not judged: it runs, so far as is known; what can be said by now: otel-diag diagnose ',
            ifNull(toString({of_execution:Nullable(Int64)}), u.trace_id)
        ),
        concat(
            'not judged yet; to have it judged: otel-diag diagnose ',
            ifNull(toString({of_execution:Nullable(Int64)}), u.trace_id)
        )
    ) AS evidence,
    JSONExtract(ifNull(u.report, ''), 'root_cause', 'recommendation', 'Nullable(String)') AS recommendation,
    u.confidence AS confidence
FROM tenant_unit(
    of_tenant = {of_tenant:String}, of_execution = {of_execution:Nullable(Int64)}, of_trace = {of_trace:Nullable(String)}
) AS u;
