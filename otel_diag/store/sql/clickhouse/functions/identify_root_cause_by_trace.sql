-- See docs/sql.md: the root cause of a trace.

CREATE OR REPLACE VIEW identify_root_cause_by_trace AS
SELECT * FROM tenant_identify_root_cause(
    of_tenant = getSettingOrDefault('SQL_otel_diag_tenant', 'default'), of_execution = NULL, of_trace = {trace_id:String}
);
