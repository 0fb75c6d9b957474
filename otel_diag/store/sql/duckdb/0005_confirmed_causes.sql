-- What people said was the cause of a failure, to be offered when it happens again.

CREATE TABLE confirmed_causes (
    tenant VARCHAR NOT NULL,
    unit_id VARCHAR NOT NULL,
    execution_id BIGINT,
    trace_id VARCHAR,
    confirmed BOOLEAN NOT NULL,
    root_cause_type VARCHAR,
    affected_service VARCHAR,
    affected_operation VARCHAR,
    note VARCHAR,
    confirmed_by VARCHAR,
    confirmed_at TIMESTAMPTZ NOT NULL,
    judged_type VARCHAR,
    judged_service VARCHAR,
    judged_operation VARCHAR,
    root_service VARCHAR NOT NULL,
    root_operation VARCHAR NOT NULL,
    failure_point VARCHAR,
    error_template VARCHAR,
    elements JSON NOT NULL,
    PRIMARY KEY (tenant, unit_id)
);
