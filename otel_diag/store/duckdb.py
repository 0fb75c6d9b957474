"""The embedded store: one DuckDB file, one writer, a cursor of its own for every read.

Sharing one connection between threads gives wrong results, and two writers conflict: writes wait for one another
here, reads see the last commit and wait for nobody.
"""

# ruff: noqa: S608 - SQL here is made of names from the schema and of integers; all else is a parameter.

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Condition, Lock, Timer
from typing import Any, Final

import duckdb
import pyarrow as pa
from sqlalchemy import ColumnElement, Select, Table, delete, func, literal_column, select
from sqlalchemy import Delete as SqlDelete
from sqlalchemy.dialects.postgresql.base import PGDialect

from otel_diag.errors import BadInput, Conflict, OtelDiagError, Permanent, StartupError, StoreInUse, Transient
from otel_diag.model import PrunedTable
from otel_diag.store.appending import ARRIVED, HOUR_NANOS, arrivals_of, near, with_time, without_known
from otel_diag.store.base import LOT_ROWS, Appended, Capabilities, Change, Delete
from otel_diag.store.migrate import migrate, pending
from otel_diag.store.retention import EARLIEST, LATEST, Cutoff, Period, Usage, expired
from otel_diag.store.rows import changed_rows, checked_batch, compile_statement, conform, merge_sql
from otel_diag.store.schema import SIGNAL_TABLES, SPANS, SignalTable, trace_arrivals

MEMORY: Final = ":memory:"

_CONFIG: Final = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # Less than a lot: it goes into the file itself, compressed, and not through the log first.
    "checkpoint_threshold": "8MB",
    # Merging row groups that lack a few rows makes every fifth checkpoint last two seconds. Row groups deleted as a
    # whole, which is what retention does, are given back all the same.
    "max_vacuum_tasks": "0",
    # Inserting with several threads copies every row twice. Queries run side by side, each in a thread of its caller.
    "threads": "1",
    # Analysis in Python runs in the same process, which is to stay below a gigabyte. The cache of blocks grows until
    # it meets this limit; what needs more goes to disk.
    "memory_limit": f"{min(320, os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2**22)}MiB",
}

_DATABASE: Final = "store"

# Only compiles: DuckDB's SQL is close to PostgreSQL's, and DuckDB's own driver runs the text.
_DIALECT: Final = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

_SLICE: Final = 5 * LOT_ROWS
"""Rows looked at, and deleted at most, while writers wait."""

_ROWS_BEFORE_REOPENING: Final = 200 * LOT_ROWS
"""Of each row group, 150 KB stay in memory, beside the cache and its limit, until the file is opened anew, which takes
0.2 s."""

_CLOSED: Final = "the store is closed"

_INTERRUPTING_SECONDS: Final = 0.05
"""An interruption is forgotten by a cursor between two statements, so it is repeated."""

_REOPENING_SECONDS: Final = 0.2
"""How long those who came before are waited for."""

_ROW: Final[ColumnElement[int]] = literal_column("rowid")


class DuckDBStore:
    """Store protocol on DuckDB. Made by :meth:`open`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self._connection = connection
        self._path = path
        self._read_only = read_only
        self._write_lock = Lock()
        self._changed = Condition()
        """Held while what follows, and the connection, is changed."""
        self._invalidated = self._reopening = self._closed = False
        self._in_use = 0
        """Cursors that are open, or about to be."""
        self._cursors: set[duckdb.DuckDBPyConnection] = set()
        self._appended = 0
        """Rows, since the file was opened, or last was to be."""

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> DuckDBStore:
        """Open the file, created with its directory when missing, and bring its schema up to date.

        ``:memory:`` gives an empty store that ends with the process, never read-only. Read-only, nothing is created
        or migrated, and the file can be read while no other process writes it. Raises StartupError: in use by another
        process, not a database, written by a newer version, missing or too old to be read only.
        """
        read_only = read_only and str(path) != MEMORY
        return cls(_opened(str(path), read_only), str(path), read_only=read_only)

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        # DuckDB works chunk by chunk, and those of single requests are small: a quarter less time for the insert.
        batch = checked_batch(batch, signal).combine_chunks()
        if not batch.num_rows:
            return Appended(stored=0, duplicates=0)
        with self._transaction() as writer:
            fresh = _without_duplicates(writer, batch, signal)
            if fresh.num_rows:
                _insert(writer, fresh, signal)
            self._appended += fresh.num_rows
        if self._appended >= _ROWS_BEFORE_REOPENING and self._path != MEMORY:
            self._open_anew()
        return Appended(stored=fresh.num_rows, duplicates=batch.num_rows - fresh.num_rows)

    def apply(self, changes: Sequence[Change]) -> None:
        with self._transaction() as writer:
            for change in changes:
                if isinstance(change, Delete):
                    _delete(writer, change)
                elif change.rows:
                    writer.register("changed_rows", changed_rows(change))
                    writer.execute(merge_sql(change, "changed_rows"))

    def select(
        self,
        statement: Select[Any],
        *,
        max_rows: int | None = None,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        sql, parameters = compile_statement(statement, _DIALECT)
        with self._reading(timeout_seconds) as cursor:
            return conform(_fetch(cursor, sql, parameters, max_rows), statement)

    def select_text(self, sql: str, *, max_rows: int, timeout_seconds: float) -> pa.Table:
        with self._reading(timeout_seconds) as cursor:
            statements = cursor.extract_statements(sql)
            if [found.type for found in statements] != [duckdb.StatementType.SELECT]:
                raise BadInput("one SELECT statement is expected")
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            return conform(_fetch(cursor, sql, [], max_rows))

    def capabilities(self) -> Capabilities:
        return Capabilities(name="duckdb", writable=not self._read_only)

    def ping(self) -> None:
        with self._reading(None) as cursor:
            cursor.execute("SELECT 1")

    def close(self) -> None:
        """What is being read is cut short: the engine does not close while it works."""
        with self._write_lock, self._changed:
            self._closed = True
            while self._in_use:
                for cursor in self._cursors.copy():
                    cursor.interrupt()
                self._changed.wait(_INTERRUPTING_SECONDS)
            self._connection.close()

    def usage(self) -> Usage:
        """The share of the blocks in use, and of the log, that is rows and not the gaps of deleted ones.

        The file is larger: blocks given back stay in it to be used again, and gaps until their row group is empty.
        """
        hours: dict[int, int] = {}
        held = rows = 0
        with self._reading(None) as cursor:
            ((size,),) = cursor.execute(
                "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = $1", [_DATABASE]
            ).fetchall()
            for signal in SIGNAL_TABLES:
                table, time = signal.table.name, signal.time
                counted = cursor.execute(
                    f"SELECT {time} // {HOUR_NANOS}, count(*) FROM {table} "
                    f"WHERE {time} >= {EARLIEST} AND {time} < {LATEST} GROUP BY 1"
                ).fetchall()
                for hour, count in counted:
                    hours[hour] = hours.get(hour, 0) + count
                held += _rows_held(cursor, table, time)
                rows += cursor.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
        with suppress(OSError):
            size += Path(f"{self._path}.wal").stat().st_size
        if not rows:
            return Usage(size, [])
        size = size * rows // max(held, rows)
        return Usage(size, [_period(hour, size * count // rows) for hour, count in sorted(hours.items())])

    def prune(self, cutoff: Cutoff, *, dry_run: bool = False) -> Sequence[PrunedTable]:
        pruned = []
        for table, condition in expired(cutoff):
            rows = self._count(table, condition) if dry_run else self._delete_slices(table, condition)
            pruned.append(PrunedTable(table=table.name, rows=rows))
        if not dry_run:
            with self._write_lock, _driver_errors(), self._cursor() as cursor:
                cursor.execute("CHECKPOINT")
        return pruned

    def _count(self, table: Table, condition: ColumnElement[bool]) -> int:
        (row,) = self.select(select(func.count().label("n")).select_from(table).where(condition)).to_pylist()
        return int(row["n"])

    def _delete_slices(self, table: Table, condition: ColumnElement[bool]) -> int:
        """Delete rows, a transaction a slice, so that batches are appended in between."""
        first_and_last: list[Any] = [func.min(_ROW).label("first"), func.max(_ROW).label("last")]
        (row,) = self.select(select(*first_and_last).select_from(table).where(condition)).to_pylist()
        if row["first"] is None:
            return 0
        deleted = 0
        for first in range(row["first"], row["last"] + 1, _SLICE):
            with self._transaction() as writer:
                within = _ROW.between(literal_column(str(first)), literal_column(str(first + _SLICE - 1)))
                deleted += _deleted(writer, delete(table).where(within, condition))
        return deleted

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor inside a transaction; what is registered on it is forgotten with it."""
        with self._write_lock, _driver_errors(), self._cursor() as writer:
            writer.execute("BEGIN TRANSACTION")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):  # a COMMIT that failed has ended the transaction already
                    writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self, timeout_seconds: float | None) -> Iterator[duckdb.DuckDBPyConnection]:
        with _driver_errors(timeout_seconds), self._cursor() as cursor, _deadline(cursor, timeout_seconds):
            yield cursor

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of the caller's own.

        After an error such as a disk that is full at a checkpoint, the engine refuses everything until the file is
        opened anew, which each call tries until it works; what was committed is in the log. Not in memory, where all
        would be lost.
        """
        connection = self._usable()
        try:
            with connection.cursor() as cursor, self._interruptible(cursor):
                cursor.execute(f"USE {_DATABASE}")
                yield cursor
        except duckdb.Error as error:
            if self._closed:
                raise Transient(_CLOSED) from error
            if isinstance(error, duckdb.FatalException) or "has been invalidated" in str(error):
                with self._changed:
                    if connection is self._connection and self._path != MEMORY:
                        self._connection.close()
                        self._invalidated = True
            raise
        finally:
            with self._changed:
                self._in_use -= 1
                self._changed.notify_all()

    @contextmanager
    def _interruptible(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with self._changed:
            self._cursors.add(cursor)
        try:
            yield
        finally:
            with self._changed:
                self._cursors.remove(cursor)

    def _usable(self) -> duckdb.DuckDBPyConnection:
        """The connection, one more in use."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reopening)
            if self._closed:
                raise Transient(_CLOSED)
            if self._invalidated:
                self._reopen()
            self._in_use += 1
            return self._connection

    def _reopen(self) -> None:
        try:
            self._connection = _opened(self._path, self._read_only)
        except StartupError as error:
            raise Transient(error.message, hint=error.hint) from error
        self._invalidated = False

    def _open_anew(self) -> None:
        """When nobody reads; who comes meanwhile waits. Where somebody reads for long, it is left to another time."""
        with self._changed:
            self._appended = 0
            self._reopening = True
            try:
                if self._changed.wait_for(lambda: not self._in_use, _REOPENING_SECONDS) and not self._closed:
                    self._connection.close()
                    self._invalidated = True
                    with suppress(Transient):  # what was appended is stored; the next call tries again
                        self._reopen()
            finally:
                self._reopening = False
                self._changed.notify_all()


def path_in(rest: str) -> str:
    """The path in a store's URL, of which ``rest`` follows ``duckdb://``: nothing, or a slash and the path."""
    path = rest.partition("?")[0]
    if path in ("", "/", MEMORY, f"/{MEMORY}"):
        return MEMORY
    if not path.startswith("/"):
        raise StartupError(
            f"duckdb://{path} names a host, and DuckDB has none",
            hint=f"Write duckdb:///{path} for a relative path, duckdb:////{path} for an absolute one.",
        )
    return path.removeprefix("/")


def compact(path: Path) -> None:
    """Rewrite the file of a store so that it holds no free block. Raises StartupError: missing, in use, no room.

    The old file stays as it is, and locked, until the new one is complete and takes its place.
    """
    if not path.exists():
        raise StartupError(f"there is no store at {path}", hint="Start `otel-diag serve` or import a file first.")
    DuckDBStore.open(path).close()  # its log is in it then
    copy = path.with_name(f"{path.name}.compact")
    for left_over in (copy, Path(f"{copy}.wal")):
        left_over.unlink(missing_ok=True)
    try:
        with duckdb.connect(":memory:", config={"memory_limit": _CONFIG["memory_limit"]}) as connection:
            for name, file in (("old", path), ("new", copy)):
                connection.execute(_attach(str(file), name))
            connection.execute("COPY FROM DATABASE old TO new; CHECKPOINT new; DETACH new")
            with copy.open("rb") as written:
                os.fsync(written.fileno())
            copy.replace(path)
    except duckdb.Error as error:
        copy.unlink(missing_ok=True)
        raise _startup_error(error, str(path)) from error


def _rows_held(cursor: duckdb.DuckDBPyConnection, table: str, column: str) -> int:
    """Rows with those that are deleted, as long as they take up room."""
    ((rows,),) = cursor.execute(
        "SELECT coalesce(sum(count), 0)::BIGINT FROM pragma_storage_info($1) "
        "WHERE column_name = $2 AND segment_type <> 'VALIDITY'",
        [table, column],
    ).fetchall()
    return int(rows)


def _period(hour: int, size: int) -> Period:
    first = datetime.fromtimestamp(hour * 3600, UTC)
    return Period(first, first + timedelta(hours=1), size)


def _opened(path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
    connection = _connect(path, read_only)
    try:
        # Not known before the connection is: the time zone belongs to an extension that is built in.
        connection.execute("SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")
        _prepare_schema(connection, path, read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        if path != MEMORY:
            if read_only and not Path(path).exists():
                raise StartupError(
                    f"there is no store at {path}", hint="Start `otel-diag serve` or import a file first."
                )
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return _attached(path, read_only)
    except duckdb.Error as error:
        raise _startup_error(error, path) from error
    except OSError as error:
        raise StartupError(
            f"cannot create the directory of the store {path}: {error.strerror}",
            hint="Choose a path that can be written with --store or OTEL_DIAG_STORE.",
        ) from error


def _attached(path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
    """A connection whose one database, besides an empty one in memory, is the file: only so can one say how large its
    row groups are."""
    config: dict[str, str | bool | int | float | list[str]] = dict(_CONFIG)
    connection = duckdb.connect(MEMORY, config=config)
    try:
        connection.execute(f"{_attach(path, _DATABASE, read_only=read_only)}; USE {_DATABASE}")
        # Nothing is read or written but the database: a query, whoever wrote it, cannot open files or the network.
        connection.execute("SET enable_external_access = false")
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(path: str, name: str, *, read_only: bool = False) -> str:
    options = f"ROW_GROUP_SIZE {LOT_ROWS}" + (", READ_ONLY" if read_only else "")
    return f"ATTACH '{path.replace(chr(39), chr(39) * 2)}' AS {name} ({options})"


def _startup_error(error: duckdb.Error, path: str) -> StartupError:
    text = str(error)
    if "Could not set lock" in text:
        holder = re.search(r"\(PID (\d+)\)", text)
        return StoreInUse(
            f"the store {path} is in use by another process" + (f" (PID {holder[1]})" if holder else ""),
            hint="The running `otel-diag serve` owns this file: send to it and ask it, or stop it first.",
        )
    if "different configuration" in text:
        return StartupError(
            f"the store {path} is open in this process already, in another mode", hint="Close the other one first."
        )
    return StartupError(
        f"cannot open the store {path}: {text.splitlines()[0]}",
        hint="Check that it is a DuckDB file that you may read and write, or choose another with --store.",
    )


def _prepare_schema(connection: duckdb.DuckDBPyConnection, path: str, read_only: bool) -> None:
    def execute(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    try:
        if not read_only:
            connection.execute("BEGIN TRANSACTION")
            migrate(execute, "duckdb")
            connection.execute("COMMIT")
        elif pending(execute, "duckdb"):
            raise StartupError(
                f"the store {path} was written by an older otel-diag",
                hint="Open it once for writing: `otel-diag migrate`, or start `otel-diag serve`.",
            )
    except duckdb.Error as error:
        raise StartupError(f"cannot prepare the store {path}: {str(error).splitlines()[0]}") from error


def _without_duplicates(writer: duckdb.DuckDBPyConnection, batch: pa.Table, signal: SignalTable) -> pa.Table:
    """The batch's rows that are not stored yet, the first of each key.

    Two integer columns, and only those parts of them whose zone maps overlap the batch, decide that nothing is a
    duplicate, as is usual; only what looks like one is compared in full.
    """
    writer.register("hashes", batch.select(["content_hash"]))
    # Rows, not Arrow: nearly always there is none, and asking for a table plans the query twice.
    stored = writer.execute(
        f"SELECT {', '.join(signal.key)} FROM {signal.table.name} SEMI JOIN hashes USING (content_hash) "
        f"WHERE {near(batch, signal)}"
    ).fetchall()
    columns = [list(column) for column in zip(*stored, strict=True)] or [[]] * len(signal.key)
    return without_known(batch, signal, pa.table(columns, names=list(signal.key)))


def _insert(writer: duckdb.DuckDBPyConnection, fresh: pa.Table, signal: SignalTable) -> None:
    now = datetime.now(UTC)
    _insert_all(writer, signal.table, with_time(fresh, now))
    if signal in ARRIVED and (arrivals := arrivals_of(fresh, signal, now)).num_rows:
        _insert_all(writer, trace_arrivals, arrivals)


def _insert_all(writer: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table) -> None:
    writer.register("inserted", rows)
    writer.execute(f"INSERT INTO {table.name} BY NAME SELECT * FROM inserted")


def _delete(writer: duckdb.DuckDBPyConnection, change: Delete) -> None:
    deleted = _deleted(writer, change.statement)
    if change.expect is not None and deleted != change.expect:
        raise Conflict(f"{deleted} rows of {change.statement.table} to delete, {change.expect} expected")


def _deleted(writer: duckdb.DuckDBPyConnection, statement: SqlDelete) -> int:
    sql, parameters = compile_statement(statement, _DIALECT)
    found = writer.execute(sql, parameters).fetchone()
    return int(found[0]) if found else 0


def _fetch(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any], max_rows: int | None) -> pa.Table:
    relation = cursor.sql(sql, params=parameters)
    return (relation if max_rows is None else relation.limit(max_rows)).to_arrow_table()


@contextmanager
def _deadline(cursor: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = Timer(seconds, cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # so that it never reaches for a closed cursor


@contextmanager
def _driver_errors(timeout_seconds: float | None = None) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise _translate(error, timeout_seconds) from error
    except pa.ArrowException as error:
        raise Permanent(f"a value does not fit its column: {error}") from error


def _translate(error: duckdb.Error, timeout_seconds: float | None) -> OtelDiagError:
    text = str(error).strip()
    match error:
        case duckdb.InterruptException() if timeout_seconds is not None:
            return Transient(
                f"the query was cancelled after {timeout_seconds:g} s", hint="Narrow it, or allow more time."
            )
        case duckdb.DataError() | duckdb.IntegrityError() | duckdb.ProgrammingError() | duckdb.NotSupportedError():
            return Permanent(text)
        case duckdb.PermissionException():
            return Permanent(text)
        case _:
            return Transient(text)
