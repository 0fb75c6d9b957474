"""The databases that the migrations make are the ones the queries are written against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.resources import files
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy import JSON, TIMESTAMP, BigInteger, Boolean, Double, Integer, Text

from otel_diag.errors import StartupError
from otel_diag.store.base import Store, Upsert
from otel_diag.store.clickhouse_tables import generated_files
from otel_diag.store.functions import names
from otel_diag.store.migrate import migrations
from otel_diag.store.open import open_store
from otel_diag.store.schema import SIGNAL_TABLES, SignalTable, metadata, schema_migrations, views
from tests.conftest import BACKENDS, chdb_client

TYPES = {
    Text: {"VARCHAR", "text", "String"},
    JSON: {"JSON", "json", "String"},
    BigInteger: {"BIGINT", "bigint", "Int64"},
    Integer: {"INTEGER", "integer", "Int32"},
    Double: {"DOUBLE", "double precision", "Float64"},
    Boolean: {"BOOLEAN", "boolean", "Bool"},
    TIMESTAMP: {"TIMESTAMP WITH TIME ZONE", "timestamp with time zone", "DateTime64(6, 'UTC'"},
}

PARTITION = re.compile(r"_(early|late|\d{8}(_\d{8})?)$")


KEYS_OF_ITS_OWN = ("trace_arrivals", "pending_changes", *views.tables, *names("clickhouse"))
"""What has a key on ClickHouse alone, or is listed there as if it could have one."""


def query(store: Store, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.select_text(sql, max_rows=10_000, timeout_seconds=30).to_pylist()
    return rows


def columns_of(store: Store, store_url: str) -> dict[tuple[str, str], tuple[str, bool]]:
    """Type and whether it may be null, by table and column."""
    if store.capabilities().name == "clickhouse":
        with chdb_client(store_url) as client:
            rows = client.query(
                "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() "
                "AND table <> 'pending_changes' AND default_kind NOT IN ('EPHEMERAL', 'MATERIALIZED')"
            ).result_rows
        return {
            (table, name): (re.sub(r"(LowCardinality|Nullable)\(|\)+$", "", type_), "Nullable" in type_)
            for table, name, type_ in rows
        }
    return {
        (row["table_name"], row["column_name"]): (row["data_type"], row["is_nullable"] == "YES")
        for row in query(
            store,
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = current_schema()",
        )
        if not PARTITION.search(row["table_name"])
    }


def test_the_database_has_exactly_the_tables_and_columns_of_the_schema(store: Store, store_url: str) -> None:
    found = columns_of(store, store_url)
    tables = [*metadata.tables.values(), *views.tables.values()]
    expected = {(table.name, column.name): column for table in tables for column in table.columns}

    assert found.keys() == expected.keys()
    for name, column in expected.items():
        data_type, nullable = found[name]
        assert data_type in TYPES[type(column.type)], name
        # Of the columns of a view, each engine says something else.
        assert nullable == column.nullable or column.table.name in views.tables, name


def keys_of(store: Store, store_url: str) -> dict[str, list[str]]:
    if store.capabilities().name == "clickhouse":
        with chdb_client(store_url) as client:
            rows = client.query("SELECT name, sorting_key FROM system.tables WHERE database = currentDatabase()")
            return {name: key.strip("()").split(", ") for name, key in rows.result_rows if name not in KEYS_OF_ITS_OWN}
    found: dict[str, list[str]] = {}
    for row in query(
        store,
        "SELECT u.table_name, u.column_name FROM information_schema.key_column_usage u "
        "JOIN information_schema.table_constraints c ON c.constraint_name = u.constraint_name "
        "AND c.table_name = u.table_name WHERE c.constraint_type = 'PRIMARY KEY' "
        "AND c.table_schema = current_schema() ORDER BY u.table_name, u.ordinal_position",
    ):
        if not PARTITION.search(row["table_name"]):
            found.setdefault(row["table_name"], []).append(row["column_name"])
    return found


def test_the_database_has_the_keys_of_the_schema(store: Store, store_url: str) -> None:
    found = keys_of(store, store_url)
    for signal in SIGNAL_TABLES:
        found.pop(signal.table.name, None)  # a key of the backend's own choice, or none

    keyed = {table.name: [column.name for column in table.primary_key] for table in metadata.tables.values()}
    assert found == {name: key for name, key in keyed.items() if key}


@pytest.mark.parametrize("signal", SIGNAL_TABLES, ids=lambda signal: signal.table.name)
def test_signals_have_the_columns_of_a_batch_in_its_order(signal: SignalTable) -> None:
    assert signal.table.columns.keys() == [*signal.schema.names, "ingested_at"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_are_numbered_without_gaps_and_nothing_else_lies_there(backend: str) -> None:
    directory = files("otel_diag.store").joinpath("sql", backend)
    names = sorted(file.name for file in directory.iterdir() if file.is_file())

    assert names
    assert [f"{found.version:04d}_{found.name}.sql" for found in migrations(backend)] == names
    assert [found.version for found in migrations(backend)] == list(range(1, len(names) + 1))


def test_clickhouse_files_are_what_the_schema_says() -> None:
    shipped = {found.version: found.sql for found in migrations("clickhouse")}
    made = {int(name[:4]): sql for name, sql in generated_files().items()}
    assert shipped == made, "run: python -m otel_diag.store.clickhouse_tables"


def test_every_backend_has_the_same_versions() -> None:
    versions = [[(found.version, found.name) for found in migrations(backend)] for backend in BACKENDS]
    assert all(found == versions[0] for found in versions)


def test_tables_are_created_by_one_file_each() -> None:
    for backend in BACKENDS:
        sql = "\n".join(found.sql for found in migrations(backend))
        created = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", sql)
        assert sorted(created) == sorted([*metadata.tables, *(["pending_changes"] if backend == "clickhouse" else [])])


def applied(store: Store) -> Sequence[int]:
    return [row["version"] for row in query(store, "SELECT version FROM schema_migrations ORDER BY version")]


def test_opening_again_applies_nothing_again(store_url: str) -> None:
    for _ in range(2):
        store = open_store(store_url)
        assert applied(store) == [found.version for found in migrations(store.capabilities().name)]
        store.close()


def test_many_may_open_an_empty_database_at_once(postgres_url: str) -> None:
    start = Barrier(8)

    def open_together(_: int) -> Sequence[int]:
        start.wait()
        store = open_store(postgres_url)
        versions = applied(store)
        store.close()
        return versions

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_together, range(8))) == [[found.version for found in migrations("postgres")]] * 8


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_from_the_future_is_refused(store_url: str, read_only: bool) -> None:
    store = open_store(store_url)
    future = {"version": 9999, "name": "future", "applied_at": datetime(2030, 1, 1, tzinfo=UTC)}
    store.apply([Upsert(schema_migrations, [future])])
    store.close()

    with pytest.raises(StartupError, match="schema version 9999") as caught:
        open_store(store_url, read_only=read_only)
    assert "newer otel-diag" in caught.value.hint


def test_read_only_does_not_create_the_schema(postgres_url: str) -> None:
    with pytest.raises(StartupError, match="no store in the database yet"):
        open_store(postgres_url, read_only=True)
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert tables.fetchone() == (0,)
