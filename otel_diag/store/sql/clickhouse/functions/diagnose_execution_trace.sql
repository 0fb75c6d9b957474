-- See docs/sql.md: every span of an execution, its newest attempt.

CREATE OR REPLACE VIEW diagnose_execution_trace AS
SELECT * FROM tenant_diagnose_execution_trace(
    of_tenant = getSettingOrDefault('SQL_otel_diag_tenant', 'default'), of_execution = {execution_id:Int64}, of_trace = NULL
);
