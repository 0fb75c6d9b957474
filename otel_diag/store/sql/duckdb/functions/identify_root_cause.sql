-- See docs/sql.md: the root cause of an execution, its newest attempt.

CREATE OR REPLACE MACRO identify_root_cause(execution_id) AS TABLE
SELECT * FROM tenant_identify_root_cause(coalesce(getvariable('otel_diag_tenant'), 'default'), execution_id, NULL);
