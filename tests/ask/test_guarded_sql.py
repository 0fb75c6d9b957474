"""SQL from outside: attacks are refused, ordinary analytics run, and nobody sees another tenant's rows."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.ask.guarded_sql import MAX_CALLS, MAX_NESTING, MAX_SQL, check_select
from otel_diag.errors import BadInput
from otel_diag.store.functions import FUNCTIONS

TABLES = ("trace_spans", "executions")
DIALECTS = ("duckdb", "postgres", "clickhouse")

ATTACKS = """
DELETE FROM trace_spans
SELECT 1; DROP TABLE trace_spans
COMMIT; DROP TABLE trace_spans
SELECT 1; SELECT 2
WITH x AS (DELETE FROM trace_spans RETURNING *) SELECT * FROM x
WITH x AS (SELECT 1), y AS (INSERT INTO trace_spans SELECT * FROM trace_spans RETURNING 1) SELECT * FROM y
SELECT * FROM (WITH x AS (UPDATE trace_spans SET tenant = 'b' RETURNING *) SELECT * FROM x) AS y
SELECT * INTO stolen FROM trace_spans
SELECT * FROM trace_spans FOR UPDATE
SELECT * FROM trace_spans FOR SHARE
COPY trace_spans TO '/tmp/x'
COPY (SELECT * FROM trace_spans) TO PROGRAM 'sh'
PRAGMA database_list
SET search_path = pg_catalog
CALL pg_sleep(10)
ATTACH '/tmp/x.duckdb' AS x
EXPLAIN ANALYZE DELETE FROM trace_spans
CREATE TABLE x AS SELECT * FROM trace_spans
INSTALL httpfs
EXECUTE stmt
VALUES (1)
SHOW ALL
DESCRIBE trace_spans
DO $$ BEGIN PERFORM 1; END $$
SELECT * FROM read_csv('/etc/passwd')
SELECT * FROM read_csv_auto('/etc/passwd')
SELECT * FROM read_parquet('s3://bucket/x')
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM glob('/*')
SELECT * FROM '/etc/passwd'
SELECT * FROM "/etc/passwd"
SELECT * FROM 'https://example.com/x.csv'
SELECT * FROM range(1000000000)
SELECT * FROM generate_series(1, 1000000000)
SELECT generate_series(1, 1000000000)
SELECT unnest(range(1000000000))
SELECT * FROM unnest(ARRAY[1, 2])
SELECT * FROM trace_spans, LATERAL generate_series(1, 100) AS g
SELECT * FROM trace_spans CROSS JOIN LATERAL pg_ls_dir('/') AS f
SELECT count(*) FROM trace_spans WHERE started_at > now() - INTERVAL '1DROP day'
SELECT count(*) FROM trace_spans WHERE started_at > now() - INTERVAL '1 union'
SELECT repeat('x', 1000000000)
SELECT lpad('x', 1000000000)
SELECT pg_sleep(10)
SELECT pg_read_file('/etc/passwd')
SELECT pg_catalog.pg_read_file('/etc/passwd')
SELECT "pg_read_file"('/etc/passwd')
SELECT * FROM pg_catalog.pg_read_file('/etc/passwd')
SELECT PG_SLEEP(10)
SELECT/**/pg_sleep(10)
SELECT pg_sleep /* hidden */ (10)
SELECT lo_import('/etc/passwd')
SELECT lo_export(1, '/tmp/x')
SELECT * FROM dblink('host=evil', 'SELECT 1') AS t(a int)
SELECT query_to_xml('SELECT * FROM trace_spans', true, true, '')
SELECT current_setting('data_directory')
SELECT set_config('role', 'postgres', false)
SELECT getenv('HOME')
SELECT getvariable('x')
SELECT version()
SELECT nextval('x')
SELECT txid_current()
SELECT current_user
SELECT session_user
SELECT user
SELECT current_role
SELECT current_schema
SELECT current_catalog
SELECT current_database()
SELECT pg_terminate_backend(1)
SELECT pg_advisory_lock(1)
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM pragma_table_info('trace_spans')
SELECT query('SELECT 1')
SELECT * FROM query('SELECT * FROM trace_spans')
SELECT * FROM query_table('trace_spans')
SELECT * FROM sqlite_master
SELECT * FROM information_schema.tables
SELECT * FROM pg_catalog.pg_shadow
SELECT * FROM pg_shadow
SELECT * FROM main.trace_spans
SELECT * FROM public.trace_spans
SELECT * FROM other.public.trace_spans
SELECT * FROM "public"."trace_spans"
SELECT * FROM diagnoses
SELECT * FROM trace_spans JOIN pg_authid ON true
SELECT * FROM trace_spans WHERE service IN (SELECT rolname FROM pg_roles)
SELECT (SELECT count(*) FROM pg_class)
SELECT * FROM trace_spans UNION SELECT * FROM pg_class
SELECT * FROM trace_spans ORDER BY (SELECT pg_sleep(1))
SELECT * FROM trace_spans LIMIT (SELECT pg_sleep(1))
SELECT count(*) FILTER (WHERE pg_sleep(1) IS NULL) FROM trace_spans
SELECT sum(1) OVER (ORDER BY pg_sleep(1)) FROM trace_spans
SELECT CASE WHEN true THEN pg_sleep(1) END
SELECT 'pg_class'::regclass
SELECT CAST('postgres' AS regrole)
SELECT 'x'::trace_spans
SELECT (t).pg_sleep FROM trace_spans AS t
SELECT public.trace_spans.tenant FROM trace_spans
WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT * FROM x
SELECT E'\\x27; DROP TABLE x; --'
SELECT U&'\\0027'
SELECT $1
SELECT ?
SELECT * FROM trace_spans TABLESAMPLE BERNOULLI (1)
SELECT * FROM ONLY trace_spans
SELECT * FROM ROWS FROM (generate_series(1, 2)) AS x
SELECT
FROM
' OR 1=1 --
"""

ORDINARY = """
SELECT * FROM trace_spans
select service, count(*) as n from trace_spans group by service order by n desc limit 5
SELECT service, count(*) FILTER (WHERE status = 'failed') AS failed FROM trace_spans GROUP BY 1 HAVING count(*) > 0
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FROM trace_spans
SELECT service, avg(duration_ms) OVER (PARTITION BY service ORDER BY started_at) FROM trace_spans
SELECT row_number() OVER w, lag(duration_ms) OVER w FROM trace_spans WINDOW w AS (ORDER BY started_at)
SELECT attributes ->> 'http.route' AS route FROM trace_spans WHERE attributes ->> 'http.route' IS NOT NULL
SELECT date_trunc('hour', started_at) AS hour, count(*) FROM trace_spans GROUP BY 1 ORDER BY 1
SELECT extract(epoch FROM started_at), round(cast(duration_ms AS numeric), 1) FROM trace_spans
SELECT * FROM trace_spans WHERE started_at > now() - interval '1 day'
SELECT * FROM trace_spans WHERE started_at > timestamp '2026-01-01' AND operation ILIKE '%route%'
SELECT t.service, e.status FROM trace_spans t LEFT JOIN executions AS e ON e.execution_id = t.execution_id
SELECT * FROM trace_spans JOIN executions USING (execution_id)
SELECT a.service FROM (SELECT service FROM trace_spans) AS a WHERE EXISTS (SELECT 1 FROM executions)
WITH slow AS (SELECT * FROM trace_spans WHERE duration_ms > 1), n AS (SELECT 1 FROM slow) SELECT * FROM n, slow
SELECT service FROM trace_spans UNION ALL SELECT status FROM executions
SELECT service FROM trace_spans EXCEPT SELECT 'x'
SELECT DISTINCT coalesce(service, 'none'), nullif(service, ''), upper(service) || '!' FROM trace_spans
SELECT CASE WHEN duration_ms BETWEEN 1 AND 5 THEN 'fast' ELSE 'slow' END, service IN ('a', 'b') FROM trace_spans
SELECT string_agg(service, ',' ORDER BY service), array_agg(service), stddev(duration_ms) FROM trace_spans
SELECT 1 -- the end; DROP TABLE trace_spans
SELECT /* a comment; */ service FROM trace_spans;
SELECT 'it''s; DROP TABLE trace_spans --' FROM trace_spans
SELECT x.service FROM trace_spans AS x, LATERAL (SELECT max(execution_id) AS top FROM executions) AS y
"""

QUERIES = [line for line in ORDINARY.strip().splitlines() if line]


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE trace_spans (tenant TEXT, service TEXT, operation TEXT, status TEXT, duration_ms DOUBLE,"
            " started_at TIMESTAMP, execution_id BIGINT, attributes JSON)"
        )
        connection.execute("CREATE TABLE executions (tenant TEXT, execution_id BIGINT, status TEXT)")
        connection.execute(
            """INSERT INTO trace_spans VALUES
            ('mine', 'mine-a', 'route', 'failed', 2.0, localtimestamp - INTERVAL 2 HOUR, 1,
             '{"http.route": "/mine", "http": {"route": 1}}'),
            ('mine', 'mine-b', 'infer', 'completed', 9.0, '2026-11-21 11:00', 2, '{}'),
            ('theirs', 'theirs', 'route', 'failed', 4.0, '2026-11-21 10:00', 1, '{"http.route": "/theirs"}')"""
        )
        connection.execute("INSERT INTO executions VALUES ('mine', 1, 'failed'), ('theirs', 1, 'theirs')")
        yield connection


def run(database: duckdb.DuckDBPyConnection, sql: str, tenant: str = "mine") -> list[tuple[object, ...]]:
    return database.execute(check_select(sql, "duckdb", TABLES, tenant=tenant).sql).fetchall()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("attack", [line for line in ATTACKS.strip().splitlines() if line])
def test_attacks_are_refused_with_a_hint(attack: str, dialect: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_select(attack, dialect, TABLES, tenant="mine")
    assert "executions, trace_spans" in refused.value.hint


CLICKHOUSE_ATTACKS = """
SELECT * FROM file('/etc/passwd')
SELECT file('/etc/passwd')
SELECT sum(file('/etc/passwd')) FROM trace_spans
SELECT quantile(0.5)(file('x')) FROM trace_spans
SELECT * FROM url('http://127.0.0.1', CSV)
SELECT * FROM merge('default', '.*')
SELECT * FROM cluster('c', trace_spans)
SELECT * FROM numbers(1000000000000)
SELECT * FROM system.tables
SELECT dictGet('d', 'x', 1)
SELECT service FROM trace_spans SETTINGS readonly = 0
SELECT (SELECT max(service) FROM trace_spans SETTINGS max_execution_time = 0)
SELECT service FROM trace_spans UNION ALL SELECT 'x' SETTINGS max_threads = 1
SELECT service FROM trace_spans FORMAT JSON
SELECT service FROM trace_spans INTO OUTFILE '/tmp/x'
SELECT * FROM trace_spans PREWHERE tenant = 'theirs'
SELECT * FROM trace_spans FINAL
SELECT * FROM trace_spans SAMPLE 0.1
WITH 'mine' AS tenant SELECT count(*) FROM trace_spans
SELECT count(*) FROM trace_spans WHERE service IN executions
SELECT count(*) FROM trace_spans WHERE service IN (executions)
SELECT count(*) FROM trace_spans WHERE service IN ((executions))
SELECT count(*) FROM trace_spans WHERE service NOT IN executions
SELECT count(*) FROM trace_spans WHERE service GLOBAL IN executions
SELECT globalIn(service, executions) FROM trace_spans
SELECT COLUMNS('.*') FROM trace_spans
SELECT {x:String} FROM trace_spans
"""


@pytest.mark.parametrize("attack", [line for line in CLICKHOUSE_ATTACKS.strip().splitlines() if line])
def test_what_only_clickhouse_understands_is_refused_there(attack: str) -> None:
    with pytest.raises(BadInput):
        check_select(attack, "clickhouse", TABLES, tenant="mine")


def test_clickhouse_speaks_its_own_dialect_and_the_common_one() -> None:
    def checked(expression: str) -> str:
        sql = check_select(f"SELECT {expression} FROM trace_spans", "clickhouse", TABLES, tenant="mine").sql
        return sql.partition("SELECT ")[2].partition(" FROM (")[0]

    assert checked("quantileIf(0.9)(duration_ms, status = 'x')") == "quantileIf(0.9)(duration_ms, status = 'x')"
    assert checked("percentile_cont(0.5) WITHIN GROUP (ORDER BY d)") == "quantileExactInclusive(0.5)(d)"
    assert "JSONExtractString(attributes, 'a.b')" in checked(
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY attributes ->> 'a.b')"
    )


CALLS = """
SELECT * FROM identify_root_cause(2193)
SELECT x.evidence FROM Identify_Root_Cause(execution_id => 2193) AS x
SELECT identify_root_cause.evidence FROM identify_root_cause(execution_id = 2193) JOIN executions e ON true
WITH found AS (SELECT * FROM identify_root_cause(execution_id := 2193)) SELECT * FROM found
"""

NO_CALLS = """
SELECT identify_root_cause(1)
SELECT * FROM tenant_identify_root_cause('theirs', 1, NULL)
SELECT * FROM tenant_unit(of_tenant = 'theirs', of_execution = 1, of_trace = NULL)
SELECT * FROM identify_root_cause(1) WITH ORDINALITY
SELECT * FROM public.identify_root_cause(1)
SELECT * FROM other.identify_root_cause(1)
SELECT * FROM "identify_root_cause"(1)
SELECT * FROM identify_root_cause
SELECT * FROM identify_root_cause()
SELECT * FROM identify_root_cause(1, 'theirs')
SELECT * FROM identify_root_cause('1')
SELECT * FROM identify_root_cause(1.5)
SELECT * FROM identify_root_cause(1 + 1)
SELECT * FROM identify_root_cause((SELECT 1))
SELECT * FROM identify_root_cause((SELECT execution_id FROM executions))
SELECT * FROM identify_root_cause(execution_id := 1, of_tenant := 'theirs')
SELECT * FROM identify_root_cause(execution_id := 1, execution_id := 2)
SELECT * FROM identify_root_cause(99999999999999999999)
SELECT * FROM identify_root_cause(1) TABLESAMPLE (10)
SELECT * FROM executions e, LATERAL identify_root_cause(e.execution_id) x
SELECT * FROM executions e, identify_root_cause(e.execution_id) x
SELECT * FROM identify_root_cause_by_trace(1)
SELECT * FROM identify_root_cause_by_trace('a' || 'b')
SELECT * FROM find_similar_traces(1, '5')
SELECT * FROM find_similar_traces(1, 5, 6)
"""


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("query", CALLS.strip().splitlines())
def test_functions_are_called_as_the_tenant(query: str, dialect: str) -> None:
    checked = check_select(query, dialect, TABLES, tenant="it's", functions=FUNCTIONS)
    assert [(call.function.name, dict(call.values)) for call in checked.calls] == [
        ("identify_root_cause", {"execution_id": 2193})
    ]
    text = checked.sql.casefold()
    assert text.count("'it''s'") == 1 + text.count('"executions"."tenant"')
    assert "tenant_identify_root_cause(" in text
    assert text.replace("tenant_identify_root_cause(", "").count("identify_root_cause(") == 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("query", NO_CALLS.strip().splitlines())
def test_other_calls_of_functions_are_refused(query: str, dialect: str) -> None:
    with pytest.raises(BadInput):
        check_select(query, dialect, TABLES, tenant="mine", functions=FUNCTIONS)


def test_functions_are_called_twenty_times_at_most() -> None:
    def calls(count: int) -> str:
        return " UNION ALL ".join(f"SELECT * FROM identify_root_cause({n})" for n in range(count))

    assert len(check_select(calls(MAX_CALLS), "duckdb", TABLES, tenant="mine", functions=FUNCTIONS).calls) == MAX_CALLS
    with pytest.raises(BadInput, match="more than 20 calls"):
        check_select(calls(MAX_CALLS + 1), "duckdb", TABLES, tenant="mine", functions=FUNCTIONS)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("query", QUERIES)
def test_ordinary_queries_pass_confined_to_the_tenant(query: str, dialect: str) -> None:
    checked = check_select(query, dialect, TABLES, tenant="it's")
    tree = sqlglot.parse_one(checked.sql, read=dialect)
    tables = [table for table in tree.find_all(sqlglot.exp.Table) if table.name in TABLES]
    assert {table.name for table in tables} == set(checked.tables)
    for table in tables:
        select = table.find_ancestor(sqlglot.exp.Select)
        assert select is not None
        assert select.sql() == f'SELECT * FROM "{table.name}" WHERE "{table.name}"."tenant" = \'it\'\'s\''


@pytest.mark.parametrize("query", QUERIES)
def test_ordinary_queries_run(database: duckdb.DuckDBPyConnection, query: str) -> None:
    assert run(database, query)
    assert "theirs" not in str(run(database, query))


def test_keys_with_dots_are_keys(database: duckdb.DuckDBPyConnection) -> None:
    rows = run(
        database, "SELECT attributes ->> 'http.route', attributes ->> '$.http.route' FROM trace_spans ORDER BY service"
    )
    assert rows[0] == ("/mine", "1")


@pytest.mark.parametrize(
    "query",
    [
        "WITH trace_spans AS (SELECT * FROM trace_spans) SELECT tenant FROM trace_spans",
        "WITH executions AS (SELECT * FROM trace_spans) SELECT executions.tenant FROM executions",
        (
            "SELECT tenant FROM (WITH trace_spans AS (SELECT * FROM executions) SELECT * FROM trace_spans) UNION ALL"
            " SELECT tenant FROM trace_spans"
        ),
        (
            "WITH a AS (WITH trace_spans AS (SELECT * FROM executions) SELECT * FROM trace_spans), b AS (SELECT * FROM"
            " trace_spans) SELECT tenant FROM b UNION ALL SELECT tenant FROM a"
        ),
        "SELECT trace_spans.tenant FROM (trace_spans JOIN executions USING (execution_id))",
        "SELECT tenant FROM TRACE_SPANS WHERE Trace_Spans.tenant = 'theirs' OR true",
        'SELECT "trace_spans".tenant FROM "trace_spans"',
        "FROM trace_spans SELECT tenant",
        "SELECT (SELECT max(x.tenant) FROM trace_spans AS x) AS tenant FROM executions",
    ],
)
def test_no_spelling_reaches_another_tenant(database: duckdb.DuckDBPyConnection, query: str) -> None:
    assert {row[0] for row in run(database, query)} == {"mine"}


def test_names_defined_by_with_are_visible_only_from_there_on() -> None:
    for query in (
        "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM trace_spans) SELECT * FROM a",
        "WITH a AS (SELECT * FROM a) SELECT * FROM a",
        "SELECT * FROM (WITH a AS (SELECT * FROM trace_spans) SELECT * FROM a) AS x, a",
    ):
        with pytest.raises(BadInput, match=r"the table [ab]"):
            check_select(query, "postgres", TABLES, tenant="mine")


def test_a_tenant_is_only_ever_a_value(database: duckdb.DuckDBPyConnection) -> None:
    for tenant in ("x' OR '1'='1", "x\\", "\\' OR true --", '"', "x\n"):
        assert run(database, "SELECT * FROM trace_spans", tenant) == []


def test_backslashes_end_no_string(database: duckdb.DuckDBPyConnection) -> None:
    rows = run(database, r"SELECT '\' AS a, ' FROM executions --' AS b FROM trace_spans LIMIT 1")
    assert rows == [("\\", " FROM executions --")]


def test_size_is_bounded() -> None:
    deep = "SELECT " + "(" * (MAX_NESTING + 1) + "1" + ")" * (MAX_NESTING + 1)
    for query in (deep, "SELECT 1 " + " " * MAX_SQL, "SELECT " + "NOT " * 4000 + "true", "SELECT " + "- " * 9000 + "1"):
        with pytest.raises(BadInput):
            check_select(query, "duckdb", TABLES, tenant="mine")


@given(
    st.lists(
        st.sampled_from(
            [
                "SELECT",
                "FROM",
                "WHERE",
                "WITH",
                "AS",
                "(",
                ")",
                ",",
                "*",
                "trace_spans",
                "executions",
                "x",
                "1",
                "'a'",
                '"',
                ";",
                "--",
                "/*",
                "*/",
                "JOIN",
                "ON",
                "UNION",
                "pg_sleep",
                "INTO",
                "FOR",
                "UPDATE",
                ".",
                "::",
                "->>",
                "LATERAL",
                "$$",
                "CASE",
                "WHEN",
                "END",
                "OVER",
                "GROUP",
                "BY",
                "LIMIT",
            ]
        ),
        max_size=25,
    )
)
def test_anything_is_checked_or_refused(words: list[str]) -> None:
    for dialect in DIALECTS:
        try:
            checked = check_select(" ".join(words), dialect, TABLES, tenant="mine")
        except BadInput:
            continue
        assert checked.sql.count("\"tenant\" = 'mine'") == sum(checked.sql.count(f'FROM "{table}"') for table in TABLES)
