-- The spans of a unit in start order, those that run too, with what the stored diagnosis says of each; without one, with
-- what their own figures say.

CREATE OR REPLACE VIEW tenant_diagnose_execution_trace AS
SELECT
    service, operation, started_at, completed_at, duration_ms, gap_after_ms, status, error_message, is_anomaly,
    anomaly_reason
FROM tenant_spans(
    of_tenant = {of_tenant:String},
    of_unit = (
        SELECT tuple(
            ifNull(any(trace_id), ''), any(execution_id), ifNull(any(since), 1), ifNull(any(until), 0),
            any(folded_until), ifNull(any(verdict IS NOT NULL), false), ifNull(any(ifNull(marks, '')), '')
        )
        FROM tenant_unit(
            of_tenant = {of_tenant:String}, of_execution = {of_execution:Nullable(Int64)},
            of_trace = {of_trace:Nullable(String)}
        )
    )
);
