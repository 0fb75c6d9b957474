-- Lists of failures come newest first from an index of theirs: an index on the status has the order of each status
-- only, and reads all failures of a window for the newest ten.
CREATE INDEX trace_summaries_failed ON trace_summaries (tenant, started_at)
    WHERE latest AND status IN ('failed', 'timeout');

-- What the sketches do not count, since it has no duration yet, is few rows: totals add them.
CREATE INDEX trace_summaries_unmeasured ON trace_summaries (tenant, started_at) WHERE latest AND duration_ms IS NULL;

-- The same for spans. They are few, so that the others' way into the table stays as it is.
CREATE INDEX trace_spans_failed ON trace_spans (tenant, start_unix_nano) WHERE status IN ('failed', 'timeout');

-- The slowest executions of a window, slowest first.
CREATE INDEX trace_summaries_slowest ON trace_summaries (tenant, duration_ms DESC NULLS LAST) WHERE latest;
