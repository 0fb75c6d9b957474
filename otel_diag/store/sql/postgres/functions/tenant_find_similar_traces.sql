-- The executions that were like this one when it was judged, the most alike first. None while it is not judged.

CREATE OR REPLACE FUNCTION tenant_find_similar_traces(
    of_tenant text, of_execution bigint, of_trace text, at_most integer
)
RETURNS TABLE (
    similar_execution_id bigint, similarity_score double precision, status text, total_duration_ms double precision,
    failure_point text
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5 SET search_path FROM CURRENT
AS $$
    SELECT
        (c.found ->> 'similar_execution_id')::bigint,
        (c.found ->> 'similarity_score')::double precision,
        c.found ->> 'status',
        (c.found ->> 'total_duration_ms')::double precision,
        c.found ->> 'failure_point'
    FROM tenant_unit(of_tenant, of_execution, of_trace) u,
        json_array_elements(u.similar_cases) WITH ORDINALITY AS c (found, place)
    ORDER BY c.place
    LIMIT at_most
$$;
