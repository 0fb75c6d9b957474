-- See docs/sql.md: the root cause of an execution, its newest attempt.

CREATE OR REPLACE VIEW identify_root_cause AS
SELECT * FROM tenant_identify_root_cause(
    of_tenant = getSettingOrDefault('SQL_otel_diag_tenant', 'default'), of_execution = {execution_id:Int64}, of_trace = NULL
);
