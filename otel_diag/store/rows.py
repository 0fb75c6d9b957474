"""What every backend does alike with Arrow tables and SQLAlchemy statements, before and after its driver's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import JSON, TIMESTAMP, BigInteger, Boolean, Dialect, Double, Integer, Select, Table, Text
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from otel_diag.errors import Permanent
from otel_diag.store.base import Accumulate, Upsert
from otel_diag.store.schema import SignalTable

_ARROW_TYPES: Mapping[type[TypeEngine[Any]], pa.DataType] = {
    Text: pa.string(),
    JSON: pa.string(),
    BigInteger: pa.int64(),
    Integer: pa.int32(),
    Double: pa.float64(),
    Boolean: pa.bool_(),
    TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


def checked_batch(batch: pa.Table, signal: SignalTable) -> pa.Table:
    """The batch with exactly the columns of its signal, in order. Raises Permanent when it cannot be."""
    schema = signal.schema
    if not batch.schema.equals(schema):
        try:
            batch = batch.select(schema.names).cast(schema)
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise Permanent(f"the batch does not fit {signal.table.name}: {error}") from error
    if incomplete := [field.name for field in schema if not field.nullable and batch[field.name].null_count]:
        raise Permanent(f"the batch has rows without {', '.join(incomplete)}")
    return batch


def changed_rows(change: Upsert | Accumulate) -> pa.Table:
    """The rows of a change as a table with every column of theirs; a column a row does not name is null.

    Of several rows with one key the last stands, as if they had been upserted one after the other. Raises Permanent
    for a column the table does not have and for a value that does not fit its column.
    """
    table = change.table
    schema = pa.schema([(column.name, _ARROW_TYPES[type(column.type)]) for column in table.columns])
    if unknown := set().union(*change.rows).difference(schema.names):
        raise Permanent(f"{table.name} has no column {', '.join(sorted(unknown))}")
    rows: Sequence[Mapping[str, Any]] = change.rows
    if isinstance(change, Upsert) and (key := primary_key(table)):
        rows = list({tuple(row.get(name) for name in key): row for row in rows}.values())
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise Permanent(f"a row does not fit {table.name}: {error}") from error


def merge_sql(change: Upsert | Accumulate, source: str) -> str:
    """INSERT from ``source``, a relation with the table's columns; rows with a known key replace or are added up.

    In the order of the key, so that two transactions that touch the same rows wait for one another, not both ways.
    """
    table = change.table
    key = primary_key(table)
    columns = ", ".join(table.columns.keys())
    insert = f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {source}"  # noqa: S608
    if not key:
        return insert
    others = [name for name in table.columns.keys() if name not in key]  # noqa: SIM118
    if isinstance(change, Upsert):
        assignments = [f"{name} = excluded.{name}" for name in others]
    else:
        assignments = [f"{name} = {table.name}.{name} + excluded.{name}" for name in others]
    keys = ", ".join(key)
    return f"{insert} ORDER BY {keys} ON CONFLICT ({keys}) DO UPDATE SET {', '.join(assignments)}"


def compile_statement(statement: ClauseElement, dialect: Dialect) -> tuple[str, list[Any]]:
    """SQL with $1, $2 ... and the values for them. ``dialect`` was made with ``paramstyle="numeric_dollar"``."""
    compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return str(compiled), [compiled.params[name] for name in compiled.positiontup]


def primary_key(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key)


def conform(result: pa.Table, statement: Select[Any] | None = None) -> pa.Table:
    """Level what the engines' drivers do differently, so that one statement gives the same types everywhere.

    Decimals (sums of integers) become int64 where the statement says integer, else double; unsigned and narrow
    integers become int64, times with a zone UTC microseconds, every kind of text plain strings.
    """
    for position, (field, integer) in enumerate(
        zip(result.schema, integer_columns(statement, result.num_columns), strict=True)
    ):
        wanted = _conforming(field.type, integer)
        if wanted != field.type:
            result = result.set_column(position, field.name, pc.cast(result.column(position), wanted))
    return result


def integer_columns(statement: Select[Any] | None, count: int) -> list[bool]:
    """Which of the ``count`` columns the statement declares integer; none of them without a statement."""
    if statement is None:
        return [False] * count
    return [isinstance(column.type, Integer) for column in statement.selected_columns]


def _conforming(found: pa.DataType, integer: bool) -> pa.DataType:
    if pa.types.is_decimal(found):
        return pa.int64() if integer else pa.float64()
    if pa.types.is_integer(found) and found not in (pa.int32(), pa.int64()):
        return pa.int64()
    if pa.types.is_timestamp(found) and found.tz is not None:
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_dictionary(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return pa.string()
    return found
