-- See docs/sql.md: the executions like it of an execution, its newest attempt.
-- A view has no defaults: for another number than five, call tenant_find_similar_traces.

CREATE OR REPLACE VIEW find_similar_traces AS
SELECT * FROM tenant_find_similar_traces(
    of_tenant = getSettingOrDefault('SQL_otel_diag_tenant', 'default'), of_execution = {execution_id:Int64}, of_trace = NULL, at_most = 5
);
