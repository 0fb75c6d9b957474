-- What SQL functions give back of a diagnosis beside its report, and which text of each function is installed.

ALTER TABLE diagnoses ADD COLUMN marks json, ADD COLUMN similar_cases json;

-- Executions of the same shape, newest first: the similar cases of most diagnoses.
CREATE INDEX trace_summaries_signature ON trace_summaries (tenant, signature, started_at);

CREATE TABLE sql_functions (
    name text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    installed_at timestamptz NOT NULL,
    PRIMARY KEY (name)
);
