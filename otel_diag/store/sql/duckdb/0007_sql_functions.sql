-- What SQL functions give back of a diagnosis beside its report, and which text of each function is installed.

ALTER TABLE diagnoses ADD COLUMN marks JSON;
ALTER TABLE diagnoses ADD COLUMN similar_cases JSON;

CREATE TABLE sql_functions (
    name VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    installed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name)
);
