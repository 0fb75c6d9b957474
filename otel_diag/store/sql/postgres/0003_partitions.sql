-- Signals lie in partitions by time: old days are dropped as a whole, and a read within a day touches that day only.
-- What was stored before becomes one partition as it lies, up to the end of today: attached, not copied. Only rows with
-- times that no clock ever showed are moved. Later partitions are made by the program (store/partitions.py).

CREATE FUNCTION pg_temp.partition_by_time(signal text, key text, time_column text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    day CONSTANT bigint := 86400000000000;
    earliest CONSTANT bigint := 946684800000000000;
    latest CONSTANT bigint := 4102444800000000000;
    tomorrow CONSTANT bigint := (extract(epoch FROM now())::bigint / 86400 + 1) * day;
    horizon CONSTANT bigint := tomorrow + 40 * day;
    old CONSTANT text := signal || '_old';
    definitions text[];
    definition text;
    index_name text;
    found_first bigint;
    found_end bigint;
BEGIN
    SELECT array_agg(pg_get_indexdef(indexrelid)) INTO definitions
    FROM pg_index WHERE indrelid = signal::regclass AND NOT indisprimary;
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', signal, signal || '_pkey');
    FOR index_name IN SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = signal::regclass LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', index_name, index_name || '_old');
    END LOOP;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', signal, old);

    EXECUTE format('CREATE TABLE %I (LIKE %I, PRIMARY KEY (%s, %I)) PARTITION BY RANGE (%I)',
                   signal, old, key, time_column, time_column);
    FOREACH definition IN ARRAY coalesce(definitions, '{}') LOOP
        EXECUTE definition;
    END LOOP;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (MINVALUE) TO (%s)',
                   signal || '_early', signal, earliest);
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (MAXVALUE)',
                   signal || '_late', signal, latest);

    -- Rows of the future, from clocks that are fast: a day each, or what is left of a year.
    FOR found_first, found_end IN EXECUTE format(
        'SELECT DISTINCT
             CASE WHEN %1$I < %2$s THEN %1$I / %3$s * %3$s
                  ELSE greatest(%2$s, extract(epoch FROM year)::bigint * 1000000000) END,
             CASE WHEN %1$I < %2$s THEN %1$I / %3$s * %3$s + %3$s
                  ELSE extract(epoch FROM year + interval ''1 year'')::bigint * 1000000000 END
         FROM (SELECT %1$I, date_trunc(''year'', to_timestamp(%1$I / 1000000000), ''UTC'') AT TIME ZONE ''UTC'' AS year
               FROM %4$I WHERE %1$I >= %5$s AND %1$I < %6$s) AS future',
        time_column, horizon, day, old, tomorrow, latest)
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
                       signal || to_char(to_timestamp(found_first / 1000000000) AT TIME ZONE 'UTC', '"_"YYYYMMDD')
                       || CASE WHEN found_end - found_first = day THEN '' ELSE
                          to_char(to_timestamp(found_end / 1000000000 - 1) AT TIME ZONE 'UTC', '"_"YYYYMMDD') END,
                       signal, found_first, found_end);
    END LOOP;
    EXECUTE format('WITH moved AS (DELETE FROM %1$I WHERE %2$I < %3$s OR %2$I >= %4$s RETURNING *)
                    INSERT INTO %5$I SELECT * FROM moved', old, time_column, earliest, tomorrow, signal);

    EXECUTE format('SELECT min(%1$I) / %2$s * %2$s FROM %3$I', time_column, day, old) INTO found_first;
    IF found_first IS NULL THEN
        EXECUTE format('DROP TABLE %I', old);
    ELSE
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       signal, old, found_first, tomorrow);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', old,
                       signal || to_char(to_timestamp(found_first / 1000000000) AT TIME ZONE 'UTC', '"_"YYYYMMDD')
                       || CASE WHEN tomorrow - found_first = day THEN '' ELSE
                          to_char(to_timestamp(tomorrow / 1000000000 - 1) AT TIME ZONE 'UTC', '"_"YYYYMMDD') END);
    END IF;
END
$$;

-- The key holds what the content hash covers already, the time, because a partition can only vouch for itself.
SELECT pg_temp.partition_by_time('trace_spans', 'trace_id, span_id, content_hash, tenant', 'start_unix_nano');

-- Windows are asked for in nanoseconds, which prunes partitions; within one, block ranges bound what is read.
DROP INDEX trace_spans_started;
CREATE INDEX trace_spans_times ON trace_spans
    USING brin (start_unix_nano, started_at, ingested_at) WITH (autosummarize = on);
