"""A store that an older version wrote is read by this one: ``old_schemas/N`` is one of schema version N, with rows.

The files are frozen: what a release wrote does not change. ``rows.jsonl`` holds executions that were summarised and
diagnosed, one that was not yet, one that only its runner recorded, and spans with impossible times.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from sqlalchemy import select

from otel_diag.config import Settings
from otel_diag.errors import StartupError
from otel_diag.model import SPAN_SCHEMA
from otel_diag.query import Key, Queries
from otel_diag.store.base import Store
from otel_diag.store.migrate import migrations
from otel_diag.store.open import open_store
from otel_diag.store.schema import OWN_TABLES, metadata, trace_arrivals, trace_spans
from otel_diag.worker import Worker
from tests.query.conftest import later
from tests.store.batches import batch_of

OLD = Path(__file__).parent / "old_schemas"
VERSIONS = sorted(directory.name for directory in OLD.iterdir())

Rows = dict[str, list[dict[str, Any]]]


def old_rows(version: str) -> Rows:
    rows: Rows = {}
    for line in (OLD / version / "rows.jsonl").read_text("utf-8").splitlines():
        found = json.loads(line)
        rows.setdefault(found["table"], []).append(found["row"])
    return rows


def fill(execute: Any, placeholder: str, rows: Rows) -> None:
    for table, found in rows.items():
        for row in found:
            values = ", ".join([placeholder] * len(row))
            execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})", list(row.values()))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["duckdb", "postgres"])
def old_store(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> str:
    """The URL of a store as that version left it."""
    schema = (OLD / version / f"{request.param}.sql").read_text("utf-8")
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        with psycopg.connect(url) as connection:
            connection.execute(schema.encode())
            fill(connection.execute, "%s", old_rows(version))
        return url
    path = tmp_path / "old.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(schema)
        fill(connection.execute, "?", old_rows(version))
    return f"duckdb:///{path}"


def stored(store: Store) -> Rows:
    """Every row, without what is null: as the file tells it."""
    tables = [table for name, table in metadata.tables.items() if name not in OWN_TABLES]
    return {
        table.name: [
            {
                name: json.loads(json.dumps(value, default=lambda v: v.isoformat()))
                for name, value in row.items()
                if value is not None
            }
            for row in rows
        ]
        for table in tables
        if (rows := store.select(select(table)).to_pylist())
    }


def in_order(rows: Rows) -> Rows:
    return {name: sorted(found, key=json.dumps) for name, found in rows.items()}


def test_every_row_is_there_after_the_upgrade(old_store: str, version: str) -> None:
    with pytest.raises(StartupError, match="written by an older otel-diag"):
        open_store(old_store, read_only=True)
    store = open_store(old_store)
    applied = store.select_text("SELECT max(version) AS n FROM schema_migrations", max_rows=1, timeout_seconds=5)
    assert applied["n"].to_pylist() == [migrations(store.capabilities().name)[-1].version]
    assert in_order(stored(store)) == in_order(old_rows(version))
    store.close()
    again = open_store(old_store, read_only=True)
    assert in_order(stored(again)) == in_order(old_rows(version))
    again.close()


def test_old_spans_are_known_diagnosed_and_added_to(old_store: str, version: str) -> None:
    store = open_store(old_store)
    columns = [trace_spans.c[name] for name in SPAN_SCHEMA.names]
    spans = store.select(select(*columns)).to_pylist()
    assert store.append(batch_of(spans)).stored == 0, "what was stored before is still a duplicate"
    queries = Queries(store, Settings(), clock=later)
    before = {row["unit_id"]: json.loads(row["report"]) for row in old_rows(version)["diagnoses"]}
    for number in (2193, 2194):
        report = queries.diagnose(Key(execution_id=number))
        assert report.root_cause is not None
        assert report.root_cause.root_cause_type == "CONNECTION_FAILURE"
    (old,) = [found for unit_id, found in before.items() if unit_id.endswith("/2193")]
    renewed = queries.diagnose(Key(execution_id=2193))
    assert renewed.computed_at > datetime.fromisoformat(old["computed_at"]), "an older engine's verdict stood"
    assert renewed.evidence_ledger
    assert queries.diagnose(Key(execution_id=7001)).verdict
    worker = Worker(store, Settings(quiet_seconds=0, settle_seconds=0), clock=later)
    worker.fold_quiet()
    assert store.select(select(trace_arrivals)).num_rows == 0
    fresh = [row | {"span_id": "f" * 16} for row in spans]
    assert store.append(batch_of(fresh)).stored == len({(row["trace_id"], row["content_hash"]) for row in fresh})
    store.close()
