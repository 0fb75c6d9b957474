-- See docs/sql.md: every span of an execution, its newest attempt.

CREATE OR REPLACE MACRO diagnose_execution_trace(execution_id) AS TABLE
SELECT * FROM tenant_diagnose_execution_trace(coalesce(getvariable('otel_diag_tenant'), 'default'), execution_id, NULL);
