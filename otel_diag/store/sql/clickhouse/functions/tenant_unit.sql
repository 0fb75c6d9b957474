-- The unit of diagnosis that an execution id (its newest attempt) or a trace id means: see tenant_unit_of_trace.

CREATE OR REPLACE VIEW tenant_unit AS
SELECT *
FROM tenant_unit_of_trace(
    of_tenant = {of_tenant:String},
    of_execution = {of_execution:Nullable(Int64)},
    of_trace = if(
        {of_execution:Nullable(Int64)} IS NULL,
        ifNull(lower({of_trace:Nullable(String)}), '-'),
        ifNull(
            (
                SELECT any(trace_id)
                FROM tenant_newest_attempt(
                    of_tenant = {of_tenant:String}, of_execution = ifNull({of_execution:Nullable(Int64)}, 0)
                )
                HAVING count() > 0
            ),
            '-'
        )
    )
);
