"""Reading: the same statement gives the same rows and types on every backend, within its limits."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Select, case, func, literal, select, text, true, tuple_

from otel_diag.errors import OtelDiagError, Permanent, Transient
from otel_diag.store.base import Store
from otel_diag.store.open import open_store
from otel_diag.store.schema import trace_spans
from tests.store.batches import NOW_NANOS, batch_of, span, span_id, trace_batch, trace_id

SPAN = trace_spans.c


@pytest.fixture
def filled(store: Store) -> Store:
    """Three spans of two traces."""
    router = {"attributes": '{"region": {"name":"us"}, "a.b":"dotted", "n": 7}', "duration_ms": 1.0}
    store.append(
        batch_of(
            [
                span(1, 1, **router),
                span(
                    1, 2, service="Modal", operation="100%_infer", status="failed", duration_ms=2.0, execution_id=2**40
                ),
                span(2, 3, service="runner", duration_ms=6.0, execution_id=2**40, started_at=None, input_tokens=5),
            ]
        )
    )
    return store


def values(store: Store, statement: Select[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in store.select(statement).to_pylist()]


STATEMENTS = [
    pytest.param(
        select(SPAN.span_id).where(SPAN.trace_id.in_([trace_id(1), trace_id(9)])).order_by(SPAN.span_id),
        [(span_id(1),), (span_id(2),)],
        id="in",
    ),
    pytest.param(select(SPAN.span_id).where(SPAN.trace_id.in_([])), [], id="in nothing"),
    pytest.param(
        select(SPAN.span_id).where(tuple_(SPAN.tenant, SPAN.trace_id).in_([("default", trace_id(2))])),
        [(span_id(3),)],
        id="in tuples",
    ),
    pytest.param(select(SPAN.service).where(SPAN.service.ilike("%MODAL%")), [("Modal",)], id="ilike"),
    pytest.param(
        select(SPAN.operation).where(SPAN.operation.contains("100%_", autoescape=True)), [("100%_infer",)], id="escape"
    ),
    pytest.param(
        select(SPAN.span_id).order_by(SPAN.duration_ms.desc()).limit(1).offset(1), [(span_id(2),)], id="limit, offset"
    ),
    pytest.param(
        select(SPAN.attributes["a.b"].as_string(), SPAN.attributes["n"].as_integer()).where(SPAN.span_id == span_id(1)),
        [("dotted", 7)],
        id="json",
    ),
    pytest.param(
        select(
            func.percentile_cont(0.5).within_group(SPAN.duration_ms),
            func.count().filter(SPAN.status == "failed"),
            func.sum(SPAN.execution_id),
            func.avg(SPAN.duration_ms),
            func.avg(SPAN.execution_id),
        ),
        [(2.0, 1, 2**41, 3.0, float(2**40))],
        id="aggregates",
    ),
    pytest.param(
        select(
            SPAN.span_id, func.row_number().over(partition_by=SPAN.trace_id, order_by=SPAN.duration_ms.desc())
        ).order_by(SPAN.span_id),
        [(span_id(1), 2), (span_id(2), 1), (span_id(3), 1)],
        id="window",
    ),
    pytest.param(
        select(
            literal(True),
            SPAN.status == "failed",
            case((SPAN.status.in_(["failed", "timeout"]), "bad"), else_="good"),
            func.coalesce(SPAN.job_id, "none"),
        ).where(SPAN.span_id == span_id(2), true()),
        [(True, True, "bad", "none")],
        id="booleans, case",
    ),
    pytest.param(
        select(SPAN.span_id)
        .where(SPAN.started_at >= datetime(2026, 1, 1, tzinfo=UTC), SPAN.job_id.is_(None))
        .order_by(SPAN.span_id),
        [(span_id(1),), (span_id(2),)],
        id="times",
    ),
    pytest.param(
        select(func.date_trunc("hour", SPAN.started_at)).where(SPAN.span_id == span_id(1)),
        [(datetime(2026, 9, 21, 14, tzinfo=UTC),)],
        id="date_trunc",
    ),
    pytest.param(
        select(select(SPAN.trace_id, func.count().label("n")).group_by(SPAN.trace_id).cte("counted").c.n).order_by("n"),
        [(1,), (2,)],
        id="cte",
    ),
]


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS)
def test_statements_mean_the_same_everywhere(
    filled: Store, statement: Select[Any], expected: list[tuple[Any, ...]]
) -> None:
    assert values(filled, statement) == expected


def test_types_come_from_the_statement_even_without_rows(store: Store) -> None:
    statement = select(
        SPAN.attributes,
        SPAN.started_at,
        SPAN.status_code,
        SPAN.execution_id,
        SPAN.duration_ms,
        func.sum(SPAN.input_tokens).over(),
        func.avg(SPAN.input_tokens).over(),
        func.count().over(),
        SPAN.job_id.is_(None),
    )

    types = [
        pa.string(),
        pa.timestamp("us", tz="UTC"),
        pa.int32(),
        pa.int64(),
        pa.float64(),
        pa.int64(),
        pa.float64(),
        pa.int64(),
        pa.bool_(),
    ]
    assert store.select(statement).schema.types == types
    store.append(batch_of([span(1, 1, input_tokens=2**53 + 1)]))
    result = store.select(statement)
    assert result.schema.types == types
    assert result.column(5).to_pylist() == [2**53 + 1]


def test_max_rows_caps_what_is_fetched_and_keeps_the_order(store: Store) -> None:
    store.append(trace_batch(1, 50))
    statement = select(SPAN.span_id).order_by(SPAN.start_unix_nano.desc())

    assert store.select(statement, max_rows=2).to_pylist() == [{"span_id": span_id(49)}, {"span_id": span_id(48)}]
    assert store.select(statement, max_rows=0).num_rows == 0
    assert store.select(statement, max_rows=1000).num_rows == 50


def endless(store: Store) -> str:
    if store.capabilities().name == "clickhouse":
        many = "(SELECT arrayJoin(range(1000000)) AS n)"
        return f"SELECT count(*) FROM {many} AS a CROSS JOIN {many} AS b WHERE sqrt(a.n * b.n) > 1"
    numbers = "generate_series(1, 3000000000)"
    name = "generate_series" if store.capabilities().name == "duckdb" else "n"
    return f"SELECT count(*) FROM {numbers} AS n WHERE {name} % 7 = 3 AND sqrt({name}) > 1"


def test_a_query_past_its_time_is_cancelled_and_the_store_goes_on(filled: Store) -> None:
    with pytest.raises(Transient, match=r"cancelled after 0\.2 s"):
        filled.select_text(endless(filled), max_rows=1, timeout_seconds=0.2)
    with pytest.raises(Transient, match=r"cancelled after 0\.2 s"):
        filled.select(select(text("*")).select_from(text(f"({endless(filled)}) AS q")), timeout_seconds=0.2)

    assert filled.select(select(func.count()).select_from(trace_spans), timeout_seconds=60).num_rows == 1


def test_a_store_is_closed_while_queries_run(store_url: str) -> None:
    """On DuckDB they are cut short; the others end them by themselves."""
    store = open_store(store_url)
    query = partial(store.select_text, endless(store), max_rows=1, timeout_seconds=2)
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(query) for _ in range(2)]
        time.sleep(0.5)  # both have begun
        store.close()
        for each in running:
            with pytest.raises(Transient, match=r"is closed|cancelled after 2 s"):
                each.result()
    with closing(open_store(store_url)) as store:
        store.ping()


def test_text_from_a_user_is_run_as_it_stands(filled: Store) -> None:
    result = filled.select_text(
        "SELECT service, count(*) AS n, 0.5 AS half FROM trace_spans WHERE operation NOT LIKE '%x%' -- 100%\n"
        "GROUP BY service ORDER BY service DESC",
        max_rows=2,
        timeout_seconds=10,
    )

    assert result.to_pylist() == [
        {"service": "runner", "n": 1, "half": 0.5},
        {"service": "router", "n": 1, "half": 0.5},
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM trace_spans",
        "COMMIT; DELETE FROM trace_spans",
        "SELECT 1; DELETE FROM trace_spans",
        "WITH gone AS (DELETE FROM trace_spans RETURNING *) SELECT * FROM gone",
        "SELECT lo_from_bytea(0, 'written')",
        "INSERT INTO trace_arrivals SELECT 'a', 'b', now(), 1, 1, 1",
        "SELECT 1 +",
        "SELECT nothing FROM nowhere",
        "SELECT 1 / 0 + 'x'::int",
        "",
    ],
)
def test_text_that_writes_or_is_no_query_is_refused(filled: Store, sql: str) -> None:
    with pytest.raises(OtelDiagError):
        filled.select_text(sql, max_rows=10, timeout_seconds=10)

    assert values(filled, select(func.count()).select_from(trace_spans)) == [(3,)]


def test_the_store_reads_no_files_for_a_user(filled: Store) -> None:
    readers = {"duckdb": "read_text", "postgres": "pg_read_file_that_is_not", "clickhouse": "file"}
    reading = readers[filled.capabilities().name]
    with pytest.raises(Permanent):
        filled.select_text(f"SELECT * FROM {reading}('/etc/passwd')", max_rows=1, timeout_seconds=10)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file('/etc/passwd')",
        "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
        "SELECT count() FROM trace_spans WHERE service IN (SELECT name FROM system.tables)",
        "SELECT name FROM `system`.`tables`",
        "SELECT 1 INTO OUTFILE '/tmp/otel-diag-test-outfile'",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT (SELECT 1 SETTINGS max_execution_time = 0)",
        "SELECT 1) UNION ALL (SELECT 2",
        "SELECT 1 FORMAT JSON",
    ],
)
def test_clickhouse_reads_nothing_but_its_tables_for_a_user(tmp_path: Path, sql: str) -> None:
    pytest.importorskip("chdb")
    store = open_store(f"clickhousedb:///{tmp_path}/store?interface=chdb")
    with pytest.raises(Permanent):
        store.select_text(sql, max_rows=1, timeout_seconds=10)
    store.close()


def test_what_has_no_arrow_type_comes_as_text(filled: Store) -> None:
    result = filled.select_text(
        "SELECT CAST('00000000-0000-0000-0000-00000000002a' AS UUID) AS id, NULL AS nothing",
        max_rows=1,
        timeout_seconds=9,
    )

    assert result.to_pylist() == [{"id": "00000000-0000-0000-0000-00000000002a", "nothing": None}]


def test_a_statement_that_cannot_be_run_is_permanent(store: Store) -> None:
    with pytest.raises(Permanent):
        store.select(select(func.no_such_function(SPAN.service)))


def test_a_sum_past_64_bits_is_refused_not_rounded(store: Store) -> None:
    store.append(trace_batch(1, 3, input_tokens=2**62))
    with pytest.raises(Permanent):
        store.select(select(func.sum(SPAN.input_tokens)))


def test_a_closed_store_answers_with_a_clear_error(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(OtelDiagError):
        store.ping()
    with pytest.raises(OtelDiagError):
        store.append(trace_batch(1, 1))


def test_ping(store: Store) -> None:
    store.ping()


def test_a_span_is_found_by_trace_and_time(filled: Store) -> None:
    statement = select(SPAN.span_id).where(
        SPAN.trace_id == trace_id(2), SPAN.start_unix_nano.between(NOW_NANOS, NOW_NANOS + 10**9)
    )
    assert values(filled, statement) == [(span_id(3),)]
