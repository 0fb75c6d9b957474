-- The executions that were like this one when it was judged, the most alike first. None while it is not judged.

CREATE OR REPLACE VIEW tenant_find_similar_traces AS
SELECT
    c.1 AS similar_execution_id,
    c.2 AS similarity_score,
    c.3 AS status,
    c.4 AS total_duration_ms,
    c.5 AS failure_point
FROM (
    SELECT JSONExtract(
        ifNull(similar_cases, ''),
        'Array(Tuple(similar_execution_id Nullable(Int64), similarity_score Float64, status String,
            total_duration_ms Nullable(Float64), failure_point Nullable(String)))'
    ) AS cases
    FROM tenant_unit(
        of_tenant = {of_tenant:String}, of_execution = {of_execution:Nullable(Int64)},
        of_trace = {of_trace:Nullable(String)}
    )
)
ARRAY JOIN cases AS c, arrayEnumerate(cases) AS place
ORDER BY place
LIMIT {at_most:UInt64};
