-- The unit of diagnosis that an execution is within a trace ('': the one without), or that a trace is, with its current
-- diagnosis, if it has one: of the content that is summarised, or later than all that came. No row: there is none.
-- since, until: where the spans of its trace lie in start time. Written for any settings of the session.

CREATE OR REPLACE VIEW tenant_unit_of_trace AS
WITH
    {of_execution:Nullable(Int64)} AS wanted,
    {of_trace:String} AS of_this,
    (
        SELECT tuple(
            ifNull(count(), 0), maxOrNull(unit_id), maxOrNull(execution_id),
            -- A whole trace of several executions has no summary of its own: its spans' arrival tells.
            if(ifNull(count(), 0) = 1 OR wanted IS NOT NULL, maxOrNull(folded_at), maxOrNull(folded_until)),
            minOrNull(min_start_unix_nano), maxOrNull(max_start_unix_nano)
        )
        FROM trace_summaries FINAL
        WHERE tenant = {of_tenant:String} AND ifNull(trace_id, '') = of_this
            AND (of_this <> '' OR execution_id = wanted)
    ) AS folded,
    (
        SELECT tuple(
            ifNull(count(), 0), minOrNull(min_start_unix_nano), maxOrNull(max_start_unix_nano), maxOrNull(ingested_at)
        )
        FROM trace_arrivals FINAL
        WHERE tenant = {of_tenant:String} AND trace_id = of_this
    ) AS waiting,
    (
        SELECT ifNull(multiIf(
            wanted IS NOT NULL, concat(of_this, '/', toString(wanted)), folded.1 = 1, folded.2, of_this
        ), '')
    ) AS of_unit,
    (
        SELECT tuple(anyOrNull(status), anyOrNull(content_key), anyOrNull(folded_until))
        FROM trace_summaries FINAL
        WHERE tenant = {of_tenant:String} AND unit_id = of_unit
    ) AS own,
    (
        SELECT argMaxOrNull(
            tuple(
                verdict, root_cause_type, affected_service, affected_operation, confidence, report,
                ifNull(marks, ''), ifNull(similar_cases, '')
            ),
            computed_at
        )
        FROM diagnoses FINAL
        WHERE tenant = {of_tenant:String} AND unit_id = ifNull(of_unit, '') AND engine_version = '{engine_version}'
            AND (ifNull(content_key = own.2, false) OR folded.4 IS NULL OR ifNull(computed_at >= folded.4, true))
            AND (waiting.4 IS NULL OR ifNull(computed_at > waiting.4, true))
    ) AS judged
SELECT
    ifNull(of_unit, '') AS unit_id,
    of_this AS trace_id,
    multiIf(wanted IS NOT NULL, wanted, folded.1 = 1, folded.3, NULL) AS execution_id,
    own.1 AS status,
    arrayMin(arrayMap(t -> assumeNotNull(t), arrayFilter(t -> t IS NOT NULL, [folded.5, waiting.2]))) AS since,
    arrayMax(arrayMap(t -> assumeNotNull(t), arrayFilter(t -> t IS NOT NULL, [folded.6, waiting.3]))) AS until,
    own.3 AS folded_until,
    judged.1 AS verdict,
    judged.2 AS root_cause_type,
    judged.3 AS affected_service,
    judged.4 AS affected_operation,
    judged.5 AS confidence,
    judged.6 AS report,
    judged.7 AS marks,
    judged.8 AS similar_cases
WHERE folded.1 > 0 OR waiting.1 > 0;
