-- Which executions have a certain cause is asked by the key of their content. Without this index, the primary key would
-- be read from one end to the other for each of them.
CREATE INDEX diagnoses_content ON diagnoses (tenant, content_key);
