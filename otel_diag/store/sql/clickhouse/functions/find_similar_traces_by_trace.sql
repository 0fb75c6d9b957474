-- See docs/sql.md: the executions like it of a trace.
-- A view has no defaults: for another number than five, call tenant_find_similar_traces.

CREATE OR REPLACE VIEW find_similar_traces_by_trace AS
SELECT * FROM tenant_find_similar_traces(
    of_tenant = getSettingOrDefault('SQL_otel_diag_tenant', 'default'), of_execution = NULL, of_trace = {trace_id:String}, at_most = 5
);
