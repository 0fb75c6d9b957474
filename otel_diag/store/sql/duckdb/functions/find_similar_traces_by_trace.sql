-- See docs/sql.md: the executions like it of a trace.

CREATE OR REPLACE MACRO find_similar_traces_by_trace(trace_id, "limit" := 5) AS TABLE
SELECT * FROM tenant_find_similar_traces(coalesce(getvariable('otel_diag_tenant'), 'default'), NULL, trace_id, "limit");
