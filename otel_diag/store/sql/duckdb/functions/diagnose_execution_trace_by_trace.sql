-- See docs/sql.md: every span of a trace.

CREATE OR REPLACE MACRO diagnose_execution_trace_by_trace(trace_id) AS TABLE
SELECT * FROM tenant_diagnose_execution_trace(coalesce(getvariable('otel_diag_tenant'), 'default'), NULL, trace_id);
