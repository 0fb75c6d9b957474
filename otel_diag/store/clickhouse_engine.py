"""The way to ClickHouse: a server over HTTP, or the same engine inside this process (chdb), through one driver."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, Final

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from otel_diag.errors import OtelDiagError, Permanent, StartupError, StoreInUse, Transient
from otel_diag.scratch import nameless_file, path_of, write_stream
from otel_diag.store.clickhouse_changes import arrow_bytes
from otel_diag.store.clickhouse_dialect import literal

_SESSION: Final[Mapping[str, Any]] = {
    # Every read sees the merged state; a partition holds all rows of a key, so each is merged alone.
    "final": 1,
    "do_not_merge_across_partitions_select_final": 1,
    # SQL as the other stores understand it.
    "aggregate_functions_null_for_empty": 1,
    "cast_keep_nullable": 1,
    "join_use_nulls": 1,
    # On a cluster, what is joined or looked for lies on any shard.
    "prefer_global_in_and_join": 1,
    "session_timezone": "UTC",
    "union_default_mode": "DISTINCT",
    # Values are written into the text.
    "max_query_size": 256 * 1024 * 1024,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
    "output_format_arrow_string_as_string": 1,
}

_WRITE_SESSION: Final[Mapping[str, Any]] = {
    # Durable when it returns, also where the server gathers small inserts or hands them to others.
    "wait_for_async_insert": 1,
    "distributed_foreground_insert": 1,
    "input_format_null_as_default": 0,
    "insert_allow_materialized_columns": 1,
    "lightweight_deletes_sync": 2,
    "max_partitions_per_insert_block": 0,
}

_CONNECTIONS: Final = 8
_WAIT_SECONDS: Final = 10.0

_TRANSIENT: Final = frozenset(
    [
        "ABORTED",
        "ACCESS_DENIED",
        "ALL_CONNECTION_TRIES_FAILED",
        "CANNOT_ALLOCATE_MEMORY",
        "CANNOT_FSYNC",
        "CANNOT_OPEN_FILE",
        "CANNOT_READ_ALL_DATA",
        "CANNOT_SCHEDULE_TASK",
        "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
        "KEEPER_EXCEPTION",
        "LIMIT_EXCEEDED",
        "MEMORY_LIMIT_EXCEEDED",
        "NETWORK_ERROR",
        "NOT_ENOUGH_SPACE",
        "NO_REPLICA_HAS_PART",
        "POCO_EXCEPTION",
        "QUERY_WAS_CANCELLED",
        "SOCKET_TIMEOUT",
        "STD_EXCEPTION",
        "TABLE_IS_READ_ONLY",
        "TIMEOUT_EXCEEDED",
        "TOO_FEW_LIVE_REPLICAS",
        "TOO_MANY_PARTS",
        "TOO_MANY_SIMULTANEOUS_QUERIES",
        "UNFINISHED",
        "UNKNOWN_STATUS_OF_INSERT",
        "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    ]
)
"""Engine errors that may pass. All else is caused by the data or the statement."""

_TIMEOUT: Final = "TIMEOUT_EXCEEDED"
_NOISE: Final = re.compile(r"(Code: \d+\. DB::Exception: )+|\s*\(version [^()]*(\([^()]*\))?\)\.?")


@dataclass(frozen=True, slots=True)
class Target:
    """What a store URL says. ``path``: of the engine in this process, "" for one in memory; None for a server."""

    path: str | None
    arguments: Mapping[str, Any]
    where: str
    secret: str | None


def target_of(url: str) -> Target:
    """Read ``clickhousedb://user:password@host:8123/database`` or ``clickhousedb:///path?interface=chdb``."""
    try:
        parsed = make_url(url)
        port = parsed.port
    except (ArgumentError, ValueError) as error:
        raise StartupError(
            "the store URL is not a ClickHouse URL",
            hint="It looks like clickhousedb://user:password@host:8123/database or "
            "clickhousedb:////absolute/path?interface=chdb.",
        ) from error
    if url.partition("://")[2].partition("/")[0].count("@") > 1:
        # What follows the first @ would be taken for a host, and printed in an error.
        raise StartupError("the store URL has more than one @", hint="Write special characters in a password as %XX.")
    options = {name: value if isinstance(value, str) else value[-1] for name, value in parsed.query.items()}
    if options.pop("interface", None) == "chdb":
        path = f"/{parsed.database.lstrip('/')}" if parsed.database else ""
        return Target(path, {"interface": "chdb", "path": path or None}, path or "memory", None)
    arguments = {
        "host": parsed.host or "localhost",
        "port": port,
        "username": parsed.username,
        "password": parsed.password or "",
        "database": parsed.database or "default",
        "generic_args": options,
        "autogenerate_session_id": False,
    }
    where = f"{parsed.host or 'localhost'}:{port or 'default port'}/{parsed.database or 'default'}"
    return Target(None, {k: v for k, v in arguments.items() if v is not None}, where, parsed.password)


class Engine:
    """Runs SQL, many threads at once. Every error of the driver comes out as Transient or Permanent."""

    def __init__(self, target: Target, *, read_only: bool) -> None:
        self._target = target
        self._places = BoundedSemaphore(_CONNECTIONS)
        self._lock = Lock()
        self._readers: list[Client] = []
        self._writers: list[Client] = []
        self._read_only = read_only
        self._closed = False

    @classmethod
    def open(cls, target: Target, *, read_only: bool) -> Engine:
        """Connect. Raises StartupError, StoreInUse when another process holds the embedded engine's path."""
        if target.path:
            if read_only and not Path(target.path).exists():
                raise StartupError(
                    f"there is no store at {target.path}", hint="Start `otel-diag serve` or import a file first."
                )
            try:
                Path(target.path).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StartupError(
                    f"cannot create the directory of the store {target.path}: {error.strerror}",
                    hint="Choose a path that can be written with --store or OTEL_DIAG_STORE.",
                ) from error
        engine = cls(target, read_only=read_only)
        try:
            engine.read("SELECT 1")
        except OtelDiagError as error:
            engine.close()
            raise startup_error(target, error) from error
        return engine

    @property
    def embedded(self) -> bool:
        return self._target.path is not None

    def read(self, sql: str, *, timeout_seconds: float | None = None, max_rows: int | None = None) -> pa.Table:
        """The rows of a query, which cannot change anything."""
        with self._borrow(self._readers, timeout_seconds) as client:
            content = client.raw_query(f"{sql}{_limits(timeout_seconds, max_rows)}\nFORMAT ArrowStream")
        if not content:
            raise Transient("the query was cut short")
        with pa.ipc.open_stream(content) as reader:
            table = reader.read_all()
        return table if max_rows is None else table.slice(0, max_rows)

    def read_any(self, sql: str, *, timeout_seconds: float, max_rows: int) -> pa.Table:
        """The rows of a query whose types may be such as Arrow has none for: those come as text."""
        with self._borrow(self._readers, timeout_seconds) as client:
            found = client.query(sql + _limits(timeout_seconds, max_rows), tz_mode="aware", column_oriented=True)
        if not found.result_columns:  # without rows, this format does not always name the columns
            return self.read(sql, timeout_seconds=timeout_seconds, max_rows=max_rows)
        return pa.table([_array(values[:max_rows]) for values in found.result_columns], names=list(found.column_names))

    def explain(self, sql: str) -> str:
        """The syntax tree of a statement as the engine sees it, a node a line. Nothing is run."""
        with self._borrow(self._readers, None) as client:
            return client.raw_query(f"EXPLAIN AST {sql}").decode("utf-8", "replace")

    def write(self, sql: str) -> None:
        """Run a statement that changes something."""
        with self._writer() as client:
            client.command(sql)

    def insert(self, table: str, rows: pa.Table, settings: Mapping[str, Any]) -> None:
        """Insert the rows, in one block where they lie in one partition. Durable when it returns."""
        rows = rows.combine_chunks()
        with self._writer() as client:
            if self.embedded:
                _insert_here(client, table, rows, settings)
            else:
                client.raw_insert(table, rows.column_names, arrow_bytes(rows), dict(settings), "ArrowStream")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            clients = [*self._readers, *self._writers]
            self._readers.clear()
            self._writers.clear()
        for client in clients:
            client.close()

    @contextmanager
    def _writer(self) -> Iterator[Client]:
        if self._read_only:
            raise Permanent("the store was opened read-only")
        with self._borrow(self._writers, None) as client:
            yield client

    @contextmanager
    def _borrow(self, free: list[Client], timeout_seconds: float | None) -> Iterator[Client]:
        if not self._places.acquire(timeout=_WAIT_SECONDS):
            raise Transient("all connections to the store are busy", hint="Try again in a moment.")
        try:
            with driver_errors(timeout_seconds):
                client = self._take(free)
                try:
                    yield client
                except BaseException:
                    # Not back into use: after a query was cut short, the embedded engine answers the next one of the
                    # same connection with nothing.
                    client.close()
                    raise
                self._give_back(free, client)
        finally:
            self._places.release()

    def _take(self, free: list[Client]) -> Client:
        with self._lock:
            if self._closed:
                raise Transient("the store is closed")
            if free:
                return free.pop()
        own = {"readonly": 2} if free is self._readers else _WRITE_SESSION
        return clickhouse_connect.get_client(
            **{**self._target.arguments, "settings": {**self._server_session(), **_SESSION, **own}}
        )

    def _server_session(self) -> Mapping[str, Any]:
        # An error must come as one, not in the middle of an answer that began well.
        return {} if self.embedded else {"wait_end_of_query": 1}

    def _give_back(self, free: list[Client], client: Client) -> None:
        with self._lock:
            closed = self._closed
            if not closed:
                free.append(client)
        if closed:
            client.close()


def _insert_here(client: Client, table: str, rows: pa.Table, settings: Mapping[str, Any]) -> None:
    """For the engine in this process. The driver would write the rows to the disk for it, after two more copies."""
    names = ", ".join(map(quote_identifier, rows.column_names))
    with nameless_file() as file:
        write_stream(rows, file)
        infile = f"FROM INFILE '{path_of(file)}'{_clause(settings)} FORMAT ArrowStream"
        client.command(f"INSERT INTO {table} ({names}) {infile}")


def _limits(timeout_seconds: float | None, max_rows: int | None) -> str:
    settings: dict[str, Any] = {}
    if timeout_seconds is not None:
        settings["max_execution_time"] = max(timeout_seconds, 0.001)
    if max_rows:  # 0 would mean: no limit
        settings["limit"] = max_rows
    return _clause(settings)


def _clause(settings: Mapping[str, Any]) -> str:
    written = ", ".join(f"{name} = {literal(value)}" for name, value in settings.items())
    return f"\nSETTINGS {written}" if settings else ""


def _array(values: Sequence[Any]) -> pa.Array:
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError):
        array = None
    if array is None or not isinstance(array, pa.Array) or isinstance(array, pa.ExtensionArray):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return array


def startup_error(target: Target, error: OtelDiagError) -> StartupError:
    text = redacted(error.message, target)
    if "Error initializing EmbeddedServer" in text or "Cannot lock file" in text:
        return StoreInUse(
            f"the store {target.where} is in use by another process",
            hint="The running `otel-diag serve` owns this directory: send to it and ask it, or stop it first.",
        )
    if target.path is not None:
        hint = (
            "Check that it is a directory of this engine that you may read and write, or choose another with --store."
        )
        if "different path" in text or "already" in text:
            hint = "This process has an engine open elsewhere, and can have but one: close that store first."
    elif re.search(r"AUTHENTICATION_FAILED|password", text):
        hint = "Check the user and the password in the store URL."
    elif "UNKNOWN_DATABASE" in text:
        hint = "Create it first: CREATE DATABASE name."
    else:
        hint = "Check that the server is running and reachable over HTTP, and the host and port in the store URL."
    return StartupError(f"cannot open the ClickHouse store at {target.where}: {text}", hint=hint)


def redacted(text: str, target: Target) -> str:
    return text.replace(target.secret, "***") if target.secret else text


@contextmanager
def driver_errors(timeout_seconds: float | None = None) -> Iterator[None]:
    """Raise Transient or Permanent for what the driver raises."""
    try:
        yield
    except ClickHouseError as error:
        raise translate(error, timeout_seconds) from error
    except pa.ArrowException as error:
        raise Permanent(f"a value does not fit its column: {error}") from error
    except OSError as error:
        raise Transient(f"the store does not answer: {error}") from error


def translate(error: ClickHouseError, timeout_seconds: float | None) -> OtelDiagError:
    text = _NOISE.sub("", str(error)).strip() or type(error).__name__
    name = getattr(error, "name", None)
    if name == _TIMEOUT and timeout_seconds is not None:
        return Transient(f"the query was cancelled after {timeout_seconds:g} s", hint="Narrow it, or allow more time.")
    if name is None or name in _TRANSIENT:
        return Transient(text)  # without a name it is the connection's
    return Permanent(text)
