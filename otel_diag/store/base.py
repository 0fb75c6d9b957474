"""What a store is: the one interface behind which DuckDB, PostgreSQL and ClickHouse stand.

Arrow tables are the currency of writes, SQLAlchemy Core statements over :mod:`otel_diag.store.schema` that of
reads. Implementations are thread-safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa
from sqlalchemy import Delete as SqlDelete
from sqlalchemy import Select, Table

from otel_diag.model import PrunedTable
from otel_diag.store.retention import Cutoff, Usage
from otel_diag.store.schema import SPANS, SignalTable

LOT_ROWS: Final = 24_576
"""Rows that an embedded engine takes in one transaction at half the cost, a row, of 4,096 (docs/ingest.md). It has to
be a multiple of 2,048."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch: ``stored + duplicates + pending`` is its number of rows.

    ``pending``: durable, and not looked at for duplicates yet.
    """

    stored: int
    duplicates: int
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this backend can do beyond the interface. Default: nothing."""

    name: str
    writable: bool = True
    """False when it was opened read-only."""


@dataclass(frozen=True, slots=True)
class Upsert:
    """Insert the rows; a row whose primary key exists replaces the whole old row."""

    table: Table
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Accumulate:
    """Insert the rows; where the primary key exists, every other column is added to the old value.

    Keys must be distinct within ``rows``.
    """

    table: Table
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete by statement. With ``expect``, any other number of deleted rows raises Conflict."""

    statement: SqlDelete
    expect: int | None = None


Change = Upsert | Accumulate | Delete


class Store(Protocol):
    """Durable rows. Every method raises Transient (try again) or Permanent; none raises a driver's own error."""

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        """Commit a batch of one signal, and the ``trace_arrivals`` rows of spans, in one transaction.

        Durable when it returns. Idempotent: a row whose ``signal.key`` is stored already, or stands twice in the
        batch, counts as a duplicate and is not stored again, however late it comes. ``ingested_at`` is the time of
        the commit.
        """
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """All of the changes in one transaction, in order, or none. Raises Conflict, see Delete."""
        ...

    def select(
        self,
        statement: Select[Any],
        *,
        max_rows: int | None = None,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        """Run a read-only statement. Timestamps come back as UTC microseconds, JSON columns as text.

        Raises Transient when ``timeout_seconds`` pass (the query is cancelled in the engine). With ``max_rows``,
        at most that many rows are fetched.
        """
        ...

    def select_text(self, sql: str, *, max_rows: int, timeout_seconds: float) -> pa.Table:
        """Run SQL written by a user, already checked by the caller, in a read-only transaction where there is one."""
        ...

    def usage(self) -> Usage:
        """What the store takes up, by the time of what is told about: what retention by size goes by."""
        ...

    def prune(self, cutoff: Cutoff, *, dry_run: bool = False) -> Sequence[PrunedTable]:
        """Remove what ``retention.expired`` names, table by table in its order; with ``dry_run`` count it only.

        Appends go on meanwhile. A process that dies in the middle leaves whole rows of a smaller store, and the next
        call goes on. Where several processes share the store and another one prunes, nothing is done: empty.
        """
        ...

    def capabilities(self) -> Capabilities: ...

    def ping(self) -> None:
        """Raise Transient unless the store answers."""
        ...

    def close(self) -> None:
        """Finish what is being written, flush, let go. Idempotent."""
        ...
