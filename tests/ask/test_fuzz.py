"""Whatever is asked, in SQL or in English, is understood or refused. OTEL_DIAG_FUZZ_EXAMPLES says how many we try."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot import exp

from otel_diag.ask.describe import describe
from otel_diag.ask.grammar import understand
from otel_diag.ask.guarded_sql import check_select
from otel_diag.ask.intent import Intent, Known, NotUnderstood
from otel_diag.errors import BadInput
from tests.conftest import fuzzed

TABLES = ("trace_spans", "trace_summaries")
STATEMENTS = [
    "SELECT service, count(*) FROM trace_spans WHERE duration_ms > 10 GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
    """WITH slow AS (SELECT * FROM trace_summaries WHERE status = 'timeout') SELECT s.trace_id FROM slow s
    JOIN trace_spans t ON s.trace_id = t.trace_id AND t.attributes ->> 'execution.id' = '7'""",
    """SELECT CASE WHEN kind IN ('server', 'client') THEN 1 ELSE 0 END, quantile_cont(duration_ms, 0.95)
    OVER (PARTITION BY service) FROM trace_spans WHERE started_at > now() - INTERVAL '1 day'""",
]
PIECES = """( ) , ; ' " -- /* */ $$ :: . * DROP TABLE DELETE FROM COPY PRAGMA ATTACH read_csv UNION SELECT"""
KNOWN = Known(
    services={"router"}, operations={"charge"}, models={"llama3.2-1b"}, regions={"us-east-1"}, jobs={"demo-1"}
)
NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
WORDS = sorted(
    {
        word
        for phrasing in json.loads((Path(__file__).parent / "phrasings.json").read_text())["phrasings"]
        for word in phrasing["question"].split()
    }
)

edits = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 12), st.sampled_from(PIECES.split()) | st.text(max_size=3)),
    max_size=4,
)


def spliced(text: str, changes: list[tuple[int, int, str]]) -> str:
    for at, length, new in changes:
        text = text[:at] + new + text[at + length :]
    return text


@fuzzed
@given(
    dialect=st.sampled_from(["duckdb", "postgres", "clickhouse"]),
    sql=st.builds(spliced, st.sampled_from(STATEMENTS), edits) | st.text(max_size=60),
)
def test_sql_is_checked_or_refused(dialect: str, sql: str) -> None:
    try:
        checked = check_select(sql, dialect, TABLES, tenant="default")
    except BadInput:
        return
    (query,) = sqlglot.parse(checked.sql, dialect=dialect)
    assert isinstance(query, exp.Query)
    defined = {cte.alias for cte in query.find_all(exp.CTE)}
    assert {table.name for table in query.find_all(exp.Table)} <= {*TABLES, *defined}


@fuzzed
@example("demo-1 region")
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=12).map(" ".join))
def test_questions_are_understood_or_refused(question: str) -> None:
    found = understand(question, KNOWN, now=NOW)
    assert isinstance(found, Intent | NotUnderstood)
    if isinstance(found, Intent):
        assert describe(found)
