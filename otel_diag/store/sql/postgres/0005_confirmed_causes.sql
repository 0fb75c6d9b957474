-- What people said was the cause of a failure, to be offered when it happens again.

CREATE TABLE confirmed_causes (
    tenant text COLLATE "C" NOT NULL,
    unit_id text COLLATE "C" NOT NULL,
    execution_id bigint,
    trace_id text COLLATE "C",
    confirmed boolean NOT NULL,
    root_cause_type text,
    affected_service text,
    affected_operation text,
    note text,
    confirmed_by text,
    confirmed_at timestamptz NOT NULL,
    judged_type text,
    judged_service text,
    judged_operation text,
    root_service text NOT NULL,
    root_operation text NOT NULL,
    failure_point text,
    error_template text,
    elements json NOT NULL,
    PRIMARY KEY (tenant, unit_id)
);
CREATE INDEX confirmed_causes_error ON confirmed_causes (tenant, error_template);
CREATE INDEX confirmed_causes_root ON confirmed_causes (tenant, root_service, root_operation);
