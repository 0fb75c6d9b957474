-- See docs/sql.md: the root cause of a trace.

CREATE OR REPLACE MACRO identify_root_cause_by_trace(trace_id) AS TABLE
SELECT * FROM tenant_identify_root_cause(coalesce(getvariable('otel_diag_tenant'), 'default'), NULL, trace_id);
