"""Changes that belong together on an engine without transactions: a redo log of steps that may be made twice.

The whole set of changes is one row of ``pending_changes``, so it is there or not. Then every step is made, then the row
goes. Who finds a row makes its steps again: what was done already stays as it is, because a row that replaces carries
the version its step had at first, a row that is added carries the step's token, and what is removed is named by key.
"""

# ruff: noqa: S608 - SQL here is made of names from the schema and of quoted values.

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from sqlalchemy import select, true

from otel_diag.errors import Permanent
from otel_diag.store.base import Accumulate, Delete, Upsert
from otel_diag.store.clickhouse_dialect import compile_text, literal
from otel_diag.store.clickhouse_tables import Layout
from otel_diag.store.rows import changed_rows


@dataclass(frozen=True, slots=True)
class Insert:
    """Rows to insert; with a token, the engine drops them when it has seen it."""

    table: str
    rows: pa.Table
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A statement to run."""

    sql: str


Step = Insert | Run

EVERYTHING: Final = "true"


def insert_step(change: Upsert | Accumulate, layout: Layout, version: int, token: str) -> Insert:
    """The rows of a change as a step. Raises Permanent for what does not fit the table."""
    rows = changed_rows(change)
    missing = [column.name for column in layout.table.columns if not column.nullable and rows[column.name].null_count]
    if missing:
        raise Permanent(f"a row does not fit {layout.table.name}: it has no {', '.join(missing)}")
    if layout.versioned:
        return Insert(layout.table.name, rows.append_column("_put", pa.array([version] * len(rows), pa.uint64())))
    return Insert(layout.table.name, rows, token)


def condition(change: Delete) -> str:
    """What a Delete's rows have in common, as SQL."""
    where = change.statement.whereclause
    return EVERYTHING if where is None else compile_text(where)


def matching_keys(change: Delete, layout: Layout) -> str:
    """A query for the keys of the rows that a Delete would take."""
    columns = [layout.table.c[name] for name in layout.key]
    where = change.statement.whereclause
    return compile_text(select(*columns).where(true() if where is None else where))


def delete_step(layout: Layout, where: str, version: int) -> Run:
    """Take the rows that ``where`` holds for and that are older than ``version``."""
    name = layout.table.name
    if where == EVERYTHING:
        return Run(f"TRUNCATE TABLE {name}")
    if not layout.versioned:
        return Run(f"DELETE FROM {name} WHERE {where}")
    columns = ", ".join(layout.table.columns.keys())
    return Run(
        f"INSERT INTO {name} ({columns}, _version, _removed) SELECT {columns}, {version}, 1 FROM {name} "
        f"WHERE _version < {version} AND ({where})"
    )


def keys_condition(layout: Layout, keys: pa.Table) -> str:
    """Holds for the rows with these keys, and for no other."""
    rows = keys.to_pylist()
    if not rows:
        return "false"
    return f"({', '.join(layout.key)}) IN ({', '.join(literal(tuple(row.values())) for row in rows)})"


def encode(steps: Sequence[Step]) -> str:
    """The steps as the text of a log row."""
    return json.dumps([_encoded(step) for step in steps])


def _encoded(step: Step) -> dict[str, str | None]:
    if isinstance(step, Run):
        return {"run": step.sql}
    return {"insert": step.table, "rows": base64.b64encode(arrow_bytes(step.rows)).decode(), "token": step.token}


def decode(body: str) -> list[Step]:
    return [_decoded(step) for step in json.loads(body)]


def _decoded(step: dict[str, str]) -> Step:
    if "run" in step:
        return Run(step["run"])
    with pa.ipc.open_stream(base64.b64decode(step["rows"])) as reader:
        return Insert(step["insert"], reader.read_all(), step["token"])


def arrow_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    made: bytes = sink.getvalue().to_pybytes()
    return made
