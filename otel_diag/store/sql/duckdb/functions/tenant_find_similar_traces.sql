-- The executions that were like this one when it was judged, the most alike first. None while it is not judged.

CREATE OR REPLACE MACRO tenant_find_similar_traces(of_tenant, of_execution, of_trace, at_most) AS TABLE
SELECT c.similar_execution_id, c.similarity_score, c.status, c.total_duration_ms, c.failure_point
FROM (
    SELECT unnest(cases) AS c, generate_subscripts(cases, 1) AS place
    FROM (
        SELECT from_json(u.similar_cases, '[{
            "similar_execution_id": "BIGINT", "similarity_score": "DOUBLE", "status": "VARCHAR",
            "total_duration_ms": "DOUBLE", "failure_point": "VARCHAR"
        }]') AS cases
        FROM tenant_unit(of_tenant, of_execution, of_trace) u
    )
)
ORDER BY place
LIMIT at_most;
