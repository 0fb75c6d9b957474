-- See docs/sql.md: every span of a trace.

CREATE OR REPLACE VIEW diagnose_execution_trace_by_trace AS
SELECT * FROM tenant_diagnose_execution_trace(
    of_tenant = getSettingOrDefault('SQL_otel_diag_tenant', 'default'), of_execution = NULL, of_trace = {trace_id:String}
);
