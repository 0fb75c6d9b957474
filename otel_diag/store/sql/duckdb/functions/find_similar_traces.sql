-- See docs/sql.md: the executions like it of an execution, its newest attempt.

CREATE OR REPLACE MACRO find_similar_traces(execution_id, "limit" := 5) AS TABLE
SELECT * FROM tenant_find_similar_traces(coalesce(getvariable('otel_diag_tenant'), 'default'), execution_id, NULL, "limit");
