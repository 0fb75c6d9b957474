-- Indexes that only PostgreSQL needs; numbers are the same on every engine.
SELECT 1;
