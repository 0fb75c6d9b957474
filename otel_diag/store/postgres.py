"""The store for a team: PostgreSQL, written by binary COPY, shared by any number of processes."""

# ruff: noqa: S608 - SQL here is made of names from the schema; all else is a parameter.

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader
from sqlalchemy import ColumnElement, Select, Table, delete, func, select
from sqlalchemy import Delete as SqlDelete
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from otel_diag.errors import Conflict, OtelDiagError, Permanent, StartupError, Transient
from otel_diag.model import PrunedTable
from otel_diag.store.appending import ARRIVED
from otel_diag.store.base import Appended, Capabilities, Change, Delete
from otel_diag.store.migrate import migrate, migrations, pending
from otel_diag.store.partitions import Partition, add_partitions, drop_partition, finish_drops, partitions_of
from otel_diag.store.retention import EARLIEST, LATEST, Cutoff, Period, Usage, expired, nanos_of
from otel_diag.store.rows import (
    changed_rows,
    checked_batch,
    compile_statement,
    conform,
    integer_columns,
    merge_sql,
)
from otel_diag.store.schema import SIGNAL_TABLES, SPANS, SignalTable, metadata

_DIALECT: Final = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

_CONNECTION_DEFAULTS: Final = {
    "application_name": "otel-diag",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    # A peer that vanished without a word is noticed in seconds, not when the kernel gives up.
    "tcp_user_timeout": "30000",
}
"""Used where the URL does not say otherwise. No ``options``: transaction poolers refuse them."""

_CONNECTIONS: Final = 16
_WAIT_SECONDS: Final = 10.0
_TRUSTED_IDLE_SECONDS: Final = 1.0

_MIGRATION_LOCK: Final = 0x07E1_D1A6
"""Key of the advisory lock that lets one process migrate at a time."""

_PRUNE_LOCK: Final = 0x07E1_D1A8
"""Key of the advisory lock that lets one process prune at a time."""

_SIZES: Final = """
SELECT relname, pg_total_relation_size(oid), reltuples::bigint FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""

# Compiling a statement takes a second, several times what any of them does.
_BEGIN_READ: Final = (
    "SET TRANSACTION READ ONLY; SET LOCAL TimeZone = 'UTC'; SET LOCAL jit = off; SET LOCAL statement_timeout = "
)

# "OK means committed" must hold on a server whose default is to say so before the disk does.
_BEGIN_WRITE: Final = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'; "
)

_PERMANENT: Final = frozenset({"0A", "22", "23", "42", "54"})
"""SQLSTATE classes of what the data or the statement cause. All else may pass: connection, resources, conflicts."""

_INSUFFICIENT_PRIVILEGE: Final = "42501"
_NO_PARTITION: Final = "23514"
"""A check that no row passes: the tables have no others than the bounds of their partitions."""

_PARTITION_LEAVES: Final = frozenset({"42P17", "42P07"})
"""Its range overlaps, or its name is taken by, a partition that another process is dropping: that takes a moment."""

_QUERY_CANCELED: Final = "57014"

_ARROW_TYPES: Final = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int32(),
    23: pa.int32(),
    25: pa.string(),
    114: pa.string(),
    700: pa.float64(),
    701: pa.float64(),
    1043: pa.string(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
    3802: pa.string(),
}
"""By type OID, which are fixed for built-in types; for others pyarrow looks at the values."""

_NUMERIC: Final = 1700


class _NoPartition(Transient):
    """There is none for the time of a row."""


class PostgresStore:
    """Store protocol on PostgreSQL. Made by :meth:`open`."""

    def __init__(self, connections: _Connections, *, read_only: bool) -> None:
        self._connections = connections
        self._read_only = read_only
        # A staging table outlives its transaction, on a pooled connection the process too: named after its columns.
        self._version = migrations("postgres")[-1].version
        self._prepared_until = datetime.min.replace(tzinfo=UTC)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> PostgresStore:
        """Connect, and bring the schema up to date unless ``read_only``.

        ``url`` as SQLAlchemy or libpq write it, with libpq's parameters (sslmode, channel_binding, ...). Raises
        StartupError: not reachable, refused, no such database, not UTF-8, written by a newer version.
        """
        conninfo = _conninfo(url)
        try:
            with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
                _prepare_schema(connection, read_only)
        except psycopg.Error as error:
            raise _startup_error(error, conninfo) from error
        return cls(_Connections(conninfo), read_only=read_only)

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        batch = checked_batch(batch, signal)
        if not batch.num_rows:
            return Appended(stored=0, duplicates=0)
        self._prepare_days()
        try:
            stored = self._append(batch, signal)
        except _NoPartition:
            self._add_partitions(signal, pc.unique(batch[signal.time]).to_pylist())
            stored = self._append(batch, signal)
        return Appended(stored=stored, duplicates=batch.num_rows - stored)

    def apply(self, changes: Sequence[Change]) -> None:
        with self._writing() as connection:
            for change in changes:
                if isinstance(change, Delete):
                    _delete(connection, change)
                elif change.rows:
                    staging = self._copy(connection, change.table, changed_rows(change))
                    _run(connection, merge_sql(change, staging))
                    _run(connection, f"DELETE FROM {staging}")

    def select(
        self,
        statement: Select[Any],
        *,
        max_rows: int | None = None,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        sql, parameters = compile_statement(statement, _DIALECT)
        with self._reading(timeout_seconds) as connection:
            return conform(_fetch(connection, sql, parameters, max_rows, statement), statement)

    def select_text(self, sql: str, *, max_rows: int, timeout_seconds: float) -> pa.Table:
        with self._reading(timeout_seconds) as connection:
            return conform(_fetch(connection, sql, [], max_rows, None))

    def capabilities(self) -> Capabilities:
        return Capabilities(name="postgres", writable=not self._read_only)

    def ping(self) -> None:
        with self._reading(_WAIT_SECONDS) as connection:
            _run(connection, "SELECT 1")

    def close(self) -> None:
        self._connections.close()

    def usage(self) -> Usage:
        with self._reading(None) as connection:
            sizes = {name: size for name, size, _ in _run(connection, _SIZES)}
            days: dict[tuple[int, int], int] = {}
            total = sum(sizes.get(name, 0) for name in metadata.tables)
            for signal in SIGNAL_TABLES:
                for partition in partitions_of(connection, signal.table.name):
                    size = sizes.get(partition.name, 0)  # it may have been made since sizes were read
                    bounds = partition.range
                    total += size
                    if bounds.first >= EARLIEST and bounds.end <= LATEST:
                        days[bounds.end, bounds.first] = days.get((bounds.end, bounds.first), 0) + size
        return Usage(total, [Period(_moment(first), _moment(end), size) for (end, first), size in sorted(days.items())])

    def prune(self, cutoff: Cutoff, *, dry_run: bool = False) -> Sequence[PrunedTable]:
        if dry_run:
            with self._reading(None) as connection:
                return [_prunable(connection, table, condition, cutoff) for table, condition in expired(cutoff)]
        # The lock is a transaction's of its own: a pooler in between keeps it, and it ends with this process.
        with self._writing() as alone, self._connections.borrow() as connection:
            if not _run(alone, f"SELECT pg_try_advisory_xact_lock({_PRUNE_LOCK})")[0][0]:
                return []
            for signal in SIGNAL_TABLES:
                finish_drops(connection, signal.table.name)
            return [_pruned(connection, table, condition, cutoff) for table, condition in expired(cutoff)]

    def _append(self, batch: pa.Table, signal: SignalTable) -> int:
        with self._writing() as connection:
            staging = self._copy(connection, signal.table, batch)
            return _store(connection, staging, signal)

    def _prepare_days(self) -> None:
        """Once a day, make the partitions of today and tomorrow."""
        now = datetime.now(UTC)
        if now >= self._prepared_until and not self._read_only:
            for signal in SIGNAL_TABLES:
                self._add_partitions(signal, [nanos_of(now), nanos_of(now + timedelta(days=1))])
            self._prepared_until = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

    def _add_partitions(self, signal: SignalTable, times: Sequence[int]) -> None:
        with self._writing() as connection:
            add_partitions(connection, signal, times, datetime.now(UTC))

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection[Any]]:
        if self._read_only:
            raise Permanent("the store was opened read-only")
        with _driver_errors(None), self._connections.borrow() as connection, connection.transaction():
            _run(connection, _BEGIN_WRITE)
            yield connection

    @contextmanager
    def _reading(self, timeout_seconds: float | None) -> Iterator[psycopg.Connection[Any]]:
        milliseconds = 0 if timeout_seconds is None else max(1, round(timeout_seconds * 1000))
        with _driver_errors(timeout_seconds), self._connections.borrow() as connection, connection.transaction():
            _run(connection, f"{_BEGIN_READ}{milliseconds}")
            yield connection

    def _copy(self, connection: psycopg.Connection[Any], table: Table, rows: pa.Table) -> str:
        """COPY the rows into a temporary table with their columns, emptied by the commit, and return its name."""
        staging = f"staging_{table.name}_v{self._version}"
        columns = ", ".join(rows.column_names)
        _run(
            connection,
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} ON COMMIT DELETE ROWS "
            f"AS SELECT {columns} FROM {table.name} WITH NO DATA",
        )
        encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        with connection.cursor() as cursor, cursor.copy(f"COPY {staging} FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(encoder.write_header())
            for batch in rows.to_batches():
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
        return staging


class _Connections:
    """Open connections, handed out one at a time; a caller who finds none free opens one.

    psycopg_pool reconnects in the background with growing pauses, so after a long outage callers would wait for its
    next attempt. Here every call tries at once, fails at once, and works again as soon as the server does.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._slots = BoundedSemaphore(_CONNECTIONS)
        self._lock = Lock()
        self._free: list[tuple[psycopg.Connection[Any], float]] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection outside any transaction. Raises Transient when all stay busy, and psycopg.Error."""
        if not self._slots.acquire(timeout=_WAIT_SECONDS):
            raise Transient(f"all {_CONNECTIONS} connections to PostgreSQL are busy")
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection, _ in free:
            connection.close()

    def _take(self) -> psycopg.Connection[Any]:
        while True:
            with self._lock:
                if self._closed:
                    raise Transient("the store is closed")
                if not self._free:
                    break
                connection, since = self._free.pop()
            if monotonic() - since < _TRUSTED_IDLE_SECONDS or _answers(connection):
                return connection
            connection.close()
        connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        for shown_as_text in ("json", "jsonb", "uuid"):
            connection.adapters.register_loader(shown_as_text, TextLoader)
        return connection

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            usable = connection.info.transaction_status == TransactionStatus.IDLE and not self._closed
            if usable:
                self._free.append((connection, monotonic()))
        if not usable:
            connection.close()


def _answers(connection: psycopg.Connection[Any]) -> bool:
    with suppress(psycopg.Error):
        connection.execute("SELECT 1")
        return True
    return False


def _run(connection: psycopg.Connection[Any], sql: str) -> list[tuple[Any, ...]]:
    """Run one or several statements without parameters; the rows of the last, if it returns any."""
    cursor = connection.execute(sql)
    while cursor.nextset():
        continue
    return cursor.fetchall() if cursor.description else []


def _store(connection: psycopg.Connection[Any], staging: str, signal: SignalTable) -> int:
    """Move what is not stored yet, note which traces spans belong to, and return how many rows it was.

    In the order of the key: two processes given the same retry wait for one another instead of deadlocking.
    """
    columns = ", ".join(signal.schema.names)
    # The time is part of the hash of the content; it is in the key because a partition vouches for itself only.
    key = ", ".join([*signal.key, *({signal.time} - set(signal.key))])
    insert = f"""
        INSERT INTO {signal.table.name} ({columns}, ingested_at)
        SELECT {columns}, (SELECT clock_timestamp()) FROM {staging}
        ORDER BY {key}
        ON CONFLICT ({key}) DO NOTHING
    """
    if signal not in ARRIVED:
        return connection.execute(insert).rowcount
    rows = _run(
        connection,
        f"""
        WITH stored AS (
            {insert}
            RETURNING tenant, trace_id, ingested_at, {signal.time} AS start_unix_nano, {ARRIVED[signal]} AS arrived
        ), arrived AS (
            INSERT INTO trace_arrivals
                (tenant, trace_id, ingested_at, span_count, min_start_unix_nano, max_start_unix_nano)
            SELECT tenant, trace_id, ingested_at, count(*), min(start_unix_nano), max(start_unix_nano)
            FROM stored WHERE arrived GROUP BY tenant, trace_id, ingested_at
        )
        SELECT count(*) FROM stored
        """,
    )
    return int(rows[0][0])


def _pruned(
    connection: psycopg.Connection[Any], table: Table, condition: ColumnElement[bool], cutoff: Cutoff
) -> PrunedTable:
    """Drop the partitions that lie before the cutoff as a whole, delete the other rows that are too old."""
    leaving = _leaving(connection, table, cutoff)
    for name in leaving:
        drop_partition(connection, table.name, name)
    deleted = _deleted(connection, delete(table).where(condition))
    return _told(table, sum(rows for _, rows in leaving.values()) + deleted, leaving)


def _prunable(
    connection: psycopg.Connection[Any], table: Table, condition: ColumnElement[bool], cutoff: Cutoff
) -> PrunedTable:
    leaving = _leaving(connection, table, cutoff)
    sql, parameters = compile_statement(select(func.count()).select_from(table).where(condition), _DIALECT)
    with psycopg.RawCursor(connection) as cursor:
        ((rows,),) = cursor.execute(sql, parameters).fetchall()
    return _told(table, rows, leaving)


def _told(table: Table, rows: int, leaving: Mapping[str, tuple[int, int]]) -> PrunedTable:
    size = sum(size for size, _ in leaving.values()) if leaving else None
    return PrunedTable(table=table.name, rows=rows, partitions=len(leaving), bytes=size)


def _leaving(connection: psycopg.Connection[Any], table: Table, cutoff: Cutoff) -> dict[str, tuple[int, int]]:
    """The partitions that lie before the cutoff as a whole: their bytes, and rows as the database estimates them.

    One that was never analysed has no estimate, and is counted: it is small or new.
    """
    names = {found.name for found in partitions_of(connection, table.name) if _is_before(found, cutoff)}
    return {
        name: (size, rows if rows >= 0 else int(_run(connection, f"SELECT count(*) FROM {name}")[0][0]))
        for name, size, rows in _run(connection, _SIZES)
        if name in names
    }


def _is_before(partition: Partition, cutoff: Cutoff) -> bool:
    return partition.range.first >= EARLIEST and partition.range.end <= cutoff.nanos


def _moment(nanos: int) -> datetime:
    return datetime.fromtimestamp(nanos // 10**9, UTC)


def _delete(connection: psycopg.Connection[Any], change: Delete) -> None:
    deleted = _deleted(connection, change.statement)
    if change.expect is not None and deleted != change.expect:
        raise Conflict(f"{deleted} rows of {change.statement.table} to delete, {change.expect} expected")


def _deleted(connection: psycopg.Connection[Any], statement: SqlDelete) -> int:
    sql, parameters = compile_statement(statement, _DIALECT)
    with psycopg.RawCursor(connection) as cursor:
        return cursor.execute(sql, parameters).rowcount


def _fetch(
    connection: psycopg.Connection[Any],
    sql: str,
    parameters: list[Any],
    max_rows: int | None,
    statement: Select[Any] | None,
) -> pa.Table:
    """Run a query; with ``max_rows`` through a cursor in the server, so that no more than those are sent."""
    if max_rows is None:
        with psycopg.RawCursor(connection) as cursor:
            cursor.execute(sql, parameters)
            return _table(cursor, cursor.fetchall(), statement)
    with psycopg.RawServerCursor(connection, "limited") as limited:
        limited.execute(sql, parameters)
        return _table(limited, limited.fetchmany(max_rows) if max_rows else [], statement)


def _table(cursor: psycopg.Cursor[Any], rows: list[tuple[Any, ...]], statement: Select[Any] | None) -> pa.Table:
    description = cursor.description or []
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(description)
    integers = integer_columns(statement, len(description))
    arrays = [
        _array(values, column.type_code, integer)
        for values, column, integer in zip(columns, description, integers, strict=True)
    ]
    return pa.table(arrays, names=[column.name for column in description])


def _array(values: Sequence[Any], oid: int, integer: bool) -> pa.Array:
    if oid == _NUMERIC:
        number = int if integer else float
        return pa.array(
            [None if value is None else number(value) for value in values], pa.int64() if integer else pa.float64()
        )
    try:
        return pa.array(values, _ARROW_TYPES.get(oid))
    except pa.ArrowException:  # a type Arrow has no counterpart for
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _conninfo(url: str) -> str:
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
    if plain.partition("://")[2].partition("/")[0].count("@") > 1:
        # What follows the first @ would be taken for a host, and printed in an error.
        raise StartupError("the store URL has more than one @", hint="Write special characters in a password as %XX.")
    try:
        given = conninfo_to_dict(plain)
    except psycopg.Error as error:
        raise StartupError(
            f"the store URL is not a PostgreSQL URL: {_redacted(error, url)}",
            hint="It looks like postgresql://user:password@host:5432/database?sslmode=require.",
        ) from None
    return make_conninfo("", **{**_CONNECTION_DEFAULTS, **given})


def _redacted(error: psycopg.Error, url: str) -> str:
    secrets = re.findall(r"://[^/@]*?:([^@]*)@", url)
    text = str(error).strip()
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _startup_error(error: psycopg.Error, conninfo: str) -> StartupError:
    given = conninfo_to_dict(conninfo)
    where = f"{given.get('host') or 'the local socket'}/{given.get('dbname') or ''}"
    text = str(error).strip()
    attempts = re.findall(r"^.*failed: (?:FATAL: +)?(.+)$", text, re.MULTILINE)
    reason = attempts[-1] if attempts else text.splitlines()[0]
    if password := given.get("password"):
        reason = reason.replace(str(password), "***")
    if re.search(r"password|authentication|pg_hba.conf|role .* does not exist", reason):
        hint = "Check the user and the password in the store URL."
    elif re.search(r'database ".*" does not exist', reason):
        hint = f"Create it first: createdb {given.get('dbname')}."
    elif error.sqlstate == _INSUFFICIENT_PRIVILEGE:
        hint = "Grant the user CREATE on the schema, or let its owner run `otel-diag migrate`."
    else:
        hint = "Check that the server is running and reachable, and the host and port in the store URL."
    return StartupError(f"cannot open the PostgreSQL store at {where}: {reason}", hint=hint)


def _prepare_schema(connection: psycopg.Connection[Any], read_only: bool) -> None:
    encoding = connection.execute("SHOW server_encoding").fetchone()
    if encoding != ("UTF8",):
        raise StartupError(
            f"the database is encoded in {encoding[0] if encoding else 'nothing'}, spans need UTF8",
            hint="Create another: createdb --encoding=UTF8 --template=template0 NAME.",
        )
    with connection.transaction():
        if not read_only:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
            migrate(lambda sql: _run(connection, sql), "postgres")
        elif missing := pending(lambda sql: _run(connection, sql), "postgres"):
            if missing == migrations("postgres"):
                raise StartupError(
                    "there is no store in the database yet", hint="Start `otel-diag serve` or import a file first."
                )
            raise StartupError(
                "the store was written by an older otel-diag",
                hint="Bring it up to date with `otel-diag migrate`, or start `otel-diag serve` on it.",
            )


@contextmanager
def _driver_errors(timeout_seconds: float | None) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error, timeout_seconds) from error
    except (pa.ArrowException, OverflowError) as error:
        raise Permanent(f"a value does not fit its column: {error}") from error


def _translate(error: psycopg.Error, timeout_seconds: float | None) -> OtelDiagError:
    state = error.sqlstate
    text = str(error).strip() or type(error).__name__
    if state == _QUERY_CANCELED and timeout_seconds is not None:
        return Transient(f"the query was cancelled after {timeout_seconds:g} s", hint="Narrow it, or allow more time.")
    if state is None:
        # The driver's own: a value it cannot write or read is an error of the data, all else of the connection.
        return Permanent(text) if isinstance(error, psycopg.DataError | psycopg.ProgrammingError) else Transient(text)
    if state == _NO_PARTITION:
        return _NoPartition("the partition of these times is being dropped")
    if state in _PARTITION_LEAVES:
        return Transient(f"the partition of these times is being dropped: {text}")
    if state[:2] in _PERMANENT and state != _INSUFFICIENT_PRIVILEGE:
        return Permanent(text)
    return Transient(text)
