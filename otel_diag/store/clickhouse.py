"""The store for much: ClickHouse, one server or a cluster, or the same engine in this process (chdb).

There are no transactions. One insert is atomic (within one day of telemetry), durable and at once visible; what takes
several goes through a redo log (``clickhouse_changes``). What was sent twice is looked for before it is inserted, and
where two processes insert it at the same time, every read sees it once all the same.
"""

# ruff: noqa: S608 - SQL here is made of names from the schema, of numbers and of quoted values.

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic, time_ns
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Boolean, ColumnElement, Select, Table, func, select

from otel_diag.errors import Conflict, OtelDiagError, Permanent, StartupError, Transient
from otel_diag.model import PrunedTable
from otel_diag.store.appending import ARRIVED, arrivals_of, near, with_time, without_known
from otel_diag.store.base import Accumulate, Appended, Capabilities, Change, Delete, Upsert
from otel_diag.store.clickhouse_changes import (
    Insert,
    Step,
    condition,
    decode,
    delete_step,
    encode,
    insert_step,
    keys_condition,
    matching_keys,
)
from otel_diag.store.clickhouse_dialect import compile_text, literal, quoted
from otel_diag.store.clickhouse_engine import Engine, Target, driver_errors, redacted, target_of
from otel_diag.store.clickhouse_tables import PENDING, Layout, layouts
from otel_diag.store.functions import FUNCTIONS, SCOPED
from otel_diag.store.migrate import migrate, pending
from otel_diag.store.retention import Cutoff, Period, Usage, expired
from otel_diag.store.rows import checked_batch, conform, integer_columns
from otel_diag.store.schema import SIGNAL_TABLES, SPANS, SignalTable, trace_arrivals

_LOOKED_THROUGH: Final = 300_000
"""Rows near the batch in time whose hashes are fetched; where there are more, the batch's hashes are sent instead."""

_ANNOUNCED: Final = timedelta(seconds=30)
"""How long a note that spans may come without their arrivals holds for."""

_ARRIVALS_WAIT: Final = timedelta(milliseconds=500)
_ARRIVALS_ROWS: Final = 50_000
"""Arrivals of several commits are inserted together: at the latest after so long, or when there are so many."""

_ABANDONED: Final = timedelta(seconds=60)
"""A change of another process that stands this long is finished for it."""

_TIDIED_SECONDS: Final = 10.0

_PRUNES_FOR: Final = timedelta(hours=1)
"""Another process that began to prune longer ago has died."""

_TABLE_FUNCTION: Final = re.compile(r"^ *TableExpression.*\n *Function (\w+)", re.MULTILINE)
_OWN_FUNCTIONS: Final = frozenset(function.scoped for function in FUNCTIONS)
"""Those that are told the tenant, by whoever checked the SQL."""

_NAMED_TABLE: Final = re.compile(r"^ *TableIdentifier (\S+)", re.MULTILINE)
_OUTSIDE: Final = re.compile(
    r"^ *Function (file|url|s3|remote\w*|dict\w+|joinGet\w*|getSetting\w*|getMacro|getServerPort|hostName|"
    r"catboostEvaluate|sleep\w*|addressTo\w+|demangle|filesystem\w+|query\w*Id|connectionId|initialQuery\w*|"
    r"showCertificate|displayName|currentUser|user|serverUUID|uptime|version|tcpPort|buildId)\b",
    re.MULTILINE | re.IGNORECASE,
)


class ClickHouseStore:
    """Store protocol on ClickHouse. Made by :meth:`open`."""

    def __init__(self, engine: Engine, *, read_only: bool) -> None:
        self._engine = engine
        self._read_only = read_only
        self._layouts = layouts()
        self._writer = uuid.uuid4().hex
        self._append_lock = Lock()
        self._apply_lock = Lock()
        self._clock = Clock()
        self._announced_until = datetime.min.replace(tzinfo=UTC)
        self._owed: list[pa.Table] = []
        self._owed_since = datetime.max.replace(tzinfo=UTC)
        self._unfinished = False
        self._tidied = monotonic()

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> ClickHouseStore:
        """Connect; unless ``read_only`` bring the schema up to date and finish what a process that died had begun.

        ``url``: ``clickhousedb://user:password@host:8123/database``, or ``clickhousedb:////path?interface=chdb`` for
        the engine in this process. Raises StartupError: not reachable, refused, no such database, in use by another
        process, written by a newer version.
        """
        target = target_of(url)
        engine = Engine.open(target, read_only=read_only)
        try:
            _prepare_schema(engine, target, read_only)
            store = cls(engine, read_only=read_only)
            if not read_only:
                store._finish(store._log_rows())
        except BaseException:
            engine.close()
            raise
        return store

    # ---------------------------------------------------------------------------------- appending

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        batch = checked_batch(batch, signal)
        if not batch.num_rows:
            return Appended(stored=0, duplicates=0)
        with self._append_lock:
            if self._clock.now() - self._owed_since >= _ARRIVALS_WAIT:
                self._write_owed()
            fresh = self._without_duplicates(batch, signal)
            if fresh.num_rows:
                self._insert(fresh, signal)
        return Appended(stored=fresh.num_rows, duplicates=batch.num_rows - fresh.num_rows)

    def _insert(self, fresh: pa.Table, signal: SignalTable) -> None:
        now = self._clock.now()
        arrivals = arrivals_of(fresh, signal, now) if signal in ARRIVED else None
        if arrivals:
            self._announce(now)
        # What has no value costs the engine less when it is not named at all.
        filled = [name for name in fresh.column_names if fresh[name].null_count < fresh.num_rows]
        # Nothing in it is alike: no need to merge the block with itself first.
        settings = {"optimize_on_insert": 0}
        self._engine.insert(signal.table.name, with_time(fresh.select(filled), now), settings)
        if arrivals:
            self._owed.append(arrivals)
            self._owed_since = min(self._owed_since, now)
            if sum(arrivals.num_rows for arrivals in self._owed) >= _ARRIVALS_ROWS:
                with suppress(Transient):  # the spans are stored; the next append tries again
                    self._write_owed()

    def _write_owed(self) -> None:
        """The arrivals of spans that are stored, in one insert for several commits, which costs as much as for one.

        They wait for an append some time later or for somebody who asks for them. Should this process die first, they
        are made good like those of a commit that it died in: see ``_announce``."""
        if self._owed:
            self._engine.insert(trace_arrivals.name, pa.concat_tables(self._owed), {"optimize_on_insert": 0})
            self._owed.clear()
            self._owed_since = datetime.max.replace(tzinfo=UTC)

    def _show_arrivals(self) -> None:
        """Before a look at the arrivals: write those of every commit that has returned."""
        if self._owed:
            with self._append_lock:
                self._write_owed()

    def _shown(self, sql: str) -> str:
        """The same query, once what it may ask for is there."""
        if trace_arrivals.name in sql or SCOPED in sql:
            with suppress(Transient):  # who cannot write can still read
                self._show_arrivals()
        return sql

    def _announce(self, now: datetime) -> None:
        """Note that spans ingested from now on may stand without their arrivals, should this process die."""
        if now < self._announced_until:
            return
        # The old note is what speaks for those that have not been written.
        self._write_owed()
        self._write_log(f"appends-{self._writer}", json.dumps({"from": now.isoformat()}))
        self._announced_until = now + _ANNOUNCED
        others = [row for row in self._log_rows("appends-") if not row["id"].endswith(self._writer)]
        self._finish([row for row in others if now - row["at"] > _ABANDONED])

    def _without_duplicates(self, batch: pa.Table, signal: SignalTable) -> pa.Table:
        """The batch's rows that are not stored yet, the first of each key."""
        hashes = batch.column("content_hash")
        rows = f"{signal.table.name} WHERE {near(batch, signal)}"
        found = self._engine.read(f"SELECT content_hash FROM {rows} LIMIT {_LOOKED_THROUGH + 1} SETTINGS final = 0")
        if found.num_rows <= _LOOKED_THROUGH:
            suspects = pc.unique(hashes.filter(pc.is_in(hashes, found["content_hash"].combine_chunks())))
        else:
            suspects = pc.unique(hashes)
        known = batch.select(list(signal.key)).slice(0, 0)
        if len(suspects):
            known = self._engine.read(
                f"SELECT {', '.join(signal.key)} FROM {rows} AND content_hash IN ({_numbers(suspects)}) "
                "SETTINGS final = 0"
            )
        return without_known(batch, signal, known)

    # ---------------------------------------------------------------------------------- changing

    def apply(self, changes: Sequence[Change]) -> None:
        changes = [change for change in changes if isinstance(change, Delete) or change.rows]
        with self._apply_lock:
            if not changes:
                self.ping()
                return
            self._settle()
            if any(isinstance(change, Delete) and _table_of(change) == trace_arrivals.name for change in changes):
                self._show_arrivals()
            identity = f"change-{self._clock.number():020d}-{self._writer}"
            expecting = any(isinstance(change, Delete) and change.expect is not None for change in changes)
            if expecting:
                self._claim(identity)
            try:
                steps = self._steps(changes, identity)
                # One insert is atomic by itself.
                logged = len(steps) > 1
                if logged:
                    self._write_log(identity, encode(steps))
            except BaseException:
                if expecting:
                    self._drop_log(identity)
                raise
            self._unfinished = logged
            self._make(steps)
            if logged or expecting:
                self._drop_log(identity)
            self._unfinished = False
            self._tidy()

    def _steps(self, changes: Sequence[Change], identity: str) -> list[Step]:
        """What to do, with all that could be refused refused. Raises Conflict, Permanent."""
        steps: list[Step] = []
        for number, change in enumerate(changes):
            layout = self._layouts[change.table.name if not isinstance(change, Delete) else _table_of(change)]
            version = self._clock.number()
            if isinstance(change, Upsert | Accumulate):
                steps.append(insert_step(change, layout, version, f"{identity}-{number}"))
                continue
            where = condition(change)
            if change.expect is not None:
                keys = self._engine.read(matching_keys(change, layout))
                if keys.num_rows != change.expect:
                    raise Conflict(f"{keys.num_rows} rows of {layout.table} to delete, {change.expect} expected")
                where = keys_condition(layout, keys)
            steps.append(delete_step(layout, where, version))
        return steps

    def _make(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Insert):
                token = {} if step.token is None else {"insert_deduplication_token": step.token}
                self._engine.insert(step.table, step.rows, token)
            else:
                self._engine.write(step.sql)

    def _claim(self, identity: str) -> None:
        """Be the only process that folds: whoever finds another's row after writing its own gives way."""
        self._write_log(identity, "")
        others = [row for row in self._log_rows("change-") if row["id"] != identity]
        if not others:
            return
        abandoned = [row for row in others if self._clock.now() - row["at"] > _ABANDONED]
        self._finish(abandoned)
        self._drop_log(identity)
        raise Conflict("another process is changing the same tables")

    def _settle(self) -> None:
        """Finish what an earlier call could not."""
        if self._unfinished:
            self._finish([row for row in self._log_rows("change-") if row["id"].endswith(self._writer)])
            self._unfinished = False

    def _log_rows(self, prefix: str = "") -> list[dict[str, Any]]:
        where = f"startsWith(id, {quoted(prefix)})"
        rows: list[dict[str, Any]] = self._engine.read(
            f"SELECT id, at, body FROM {PENDING} WHERE {where} ORDER BY id"
        ).to_pylist()
        return rows

    def _finish(self, rows: Sequence[dict[str, Any]]) -> None:
        """Make the steps of these log rows again, oldest first."""
        for row in rows:
            if row["id"].startswith("appends-"):
                self._announce_missing(datetime.fromisoformat(json.loads(row["body"])["from"]))
                if not self._engine.embedded and self._clock.now() - row["at"] < _ABANDONED:
                    continue  # whoever wrote it may be alive
            elif row["body"]:
                self._make(decode(row["body"]))
            self._drop_log(row["id"])

    def _announce_missing(self, begin: datetime) -> None:
        """Write the arrivals that a process which died between the two inserts did not come to."""
        window = f"ingested_at BETWEEN {literal(begin)} AND {literal(begin + _ANNOUNCED)}"
        for signal, arrived in ARRIVED.items():
            self._engine.write(
                f"INSERT INTO {trace_arrivals.name} ({', '.join(trace_arrivals.columns.keys())}) "
                f"SELECT tenant, trace_id, ingested_at, count(), min({signal.time}), max({signal.time}) "
                f"FROM {signal.table.name} WHERE {window} AND {arrived} AND (tenant, trace_id, ingested_at) NOT IN "
                f"(SELECT tenant, trace_id, ingested_at FROM {trace_arrivals.name} WHERE {window}) "
                "GROUP BY tenant, trace_id, ingested_at SETTINGS final = 0"
            )

    def _write_log(self, identity: str, body: str) -> None:
        row = {"id": identity, "writer": self._writer, "at": self._clock.now(), "body": body}
        schema = pa.schema(
            [("id", pa.string()), ("writer", pa.string()), ("at", pa.timestamp("us", tz="UTC")), ("body", pa.string())]
        )
        self._engine.insert(PENDING, pa.Table.from_pylist([row], schema), {})

    def _drop_log(self, identity: str) -> None:
        self._engine.write(f"ALTER TABLE {PENDING} DROP PARTITION {quoted(identity)}")

    def _tidy(self) -> None:
        """Drop the minutes of trace_arrivals that hold nothing but what was removed."""
        if monotonic() - self._tidied < _TIDIED_SECONDS:
            return
        self._tidied = monotonic()
        name = trace_arrivals.name
        done = self._engine.read(
            "SELECT DISTINCT partition_id AS id FROM system.parts WHERE active AND database = currentDatabase() "
            f"AND table = '{name}' AND max_time < now() - INTERVAL 5 MINUTE "
            f"AND partition_id NOT IN (SELECT DISTINCT _partition_id FROM {name})"
        )
        for row in done.to_pylist():
            self._engine.write(f"ALTER TABLE {name} DROP PARTITION ID {quoted(row['id'])}")

    # ---------------------------------------------------------------------------------- forgetting

    def usage(self) -> Usage:
        signals = ", ".join(quoted(signal.table.name) for signal in SIGNAL_TABLES)
        parts = self._engine.read(
            f"SELECT if(table IN ({signals}), partition_id, '') AS day, sum(bytes_on_disk) AS bytes FROM system.parts "
            "WHERE active AND database = currentDatabase() GROUP BY day ORDER BY day"
        ).to_pylist()
        days = [(day, row["bytes"]) for row in parts if (day := _day_of(row["day"])) is not None]
        return Usage(
            sum(row["bytes"] for row in parts), [Period(day, day + timedelta(days=1), size) for day, size in days]
        )

    def prune(self, cutoff: Cutoff, *, dry_run: bool = False) -> Sequence[PrunedTable]:
        self._show_arrivals()
        if dry_run:
            return [PrunedTable(table=table.name, rows=self._count(table, where)) for table, where in expired(cutoff)]
        identity = f"prune-{self._clock.number():020d}-{self._writer}"
        self._write_log(identity, "")
        try:
            others = [row for row in self._log_rows("prune-") if row["id"] != identity]
            if any(self._clock.now() - row["at"] < _PRUNES_FOR for row in others):
                return []
            for row in others:
                self._drop_log(row["id"])
            return [self._prune_table(table, where, cutoff) for table, where in expired(cutoff)]
        finally:
            self._drop_log(identity)

    def _prune_table(self, table: Table, condition: ColumnElement[bool], cutoff: Cutoff) -> PrunedTable:
        """Drop whole days of a signal, which costs nothing, then delete what else the condition holds for."""
        layout = self._layouts[table.name]
        rows = partitions = 0
        if layout.signal is not None:
            for day, count in self._days_before(table, cutoff.before):
                self._engine.write(f"ALTER TABLE {table.name} DROP PARTITION ID {quoted(day)}")
                rows, partitions = rows + count, partitions + 1
        left = self._count(table, condition)
        if left:
            self._engine.write(delete_step(layout, compile_text(condition), self._clock.number()).sql)
            if layout.versioned:
                self._engine.write(_removed_for_good(layout))
        return PrunedTable(table=table.name, rows=rows + left, partitions=partitions)

    def _days_before(self, table: Table, before: datetime) -> list[tuple[str, int]]:
        found = self._engine.read(
            "SELECT partition_id AS day, sum(rows) AS rows FROM system.parts WHERE active AND "
            f"database = currentDatabase() AND table = {quoted(table.name)} GROUP BY day ORDER BY day"
        ).to_pylist()
        days = [(row["day"], row["rows"], _day_of(row["day"])) for row in found]
        return [(name, rows) for name, rows, day in days if day is not None and day + timedelta(days=1) <= before]

    def _count(self, table: Table, condition: ColumnElement[bool]) -> int:
        counted = self._engine.read(compile_text(select(func.count().label("n")).select_from(table).where(condition)))
        return int(counted["n"][0].as_py())

    # ---------------------------------------------------------------------------------- reading

    def select(
        self,
        statement: Select[Any],
        *,
        max_rows: int | None = None,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        if self._unfinished:
            with self._apply_lock:
                self._settle()
        sql = self._shown(compile_text(statement))
        found = self._engine.read(sql, max_rows=max_rows, timeout_seconds=timeout_seconds)
        with driver_errors():
            return _conform(found, statement)

    def select_text(self, sql: str, *, max_rows: int, timeout_seconds: float) -> pa.Table:
        self._check_harmless(sql)
        return conform(self._engine.read_any(self._shown(sql), max_rows=max_rows, timeout_seconds=timeout_seconds))

    def _check_harmless(self, sql: str) -> None:
        """Raise Permanent for anything but a query over this database's tables, as the engine itself reads it."""
        tree = self._engine.explain(f"SELECT * FROM (\n{sql}\n)")
        if functions := [name for name in _TABLE_FUNCTION.findall(tree) if name not in _OWN_FUNCTIONS]:
            raise Permanent(f"{functions[0]}() as a table is not allowed")
        if foreign := [name for name in _NAMED_TABLE.findall(tree) if "." in name]:
            raise Permanent(f"the table {foreign[0]} is not of this store")
        if outside := _OUTSIDE.search(tree):
            raise Permanent(f"the function {outside[1]} is not allowed")
        if re.search(r"^ *Set$", tree, re.MULTILINE):
            raise Permanent("SETTINGS are not allowed")

    def capabilities(self) -> Capabilities:
        return Capabilities(name="clickhouse", writable=not self._read_only)

    def ping(self) -> None:
        self._engine.read("SELECT 1")

    def close(self) -> None:
        with self._append_lock, self._apply_lock:
            if not self._read_only:
                with suppress(OtelDiagError):  # closed before, or nothing to say goodbye to
                    self._write_owed()
                    self._drop_log(f"appends-{self._writer}")
            self._engine.close()


class Clock:
    """This process's time, never twice the same and never going back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last = 0

    def number(self) -> int:
        """Nanoseconds since the epoch, in steps of at least a microsecond."""
        with self._lock:
            self._last = max(time_ns(), self._last + 1000)
            return self._last

    def now(self) -> datetime:
        seconds, nanos = divmod(self.number(), 10**9)
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=nanos // 1000)


def _day_of(partition: str) -> datetime | None:
    """The day a signal's partition is named after; None for the one of all other times, and for no signal's."""
    return datetime.strptime(partition, "%Y%m%d").replace(tzinfo=UTC) if len(partition) == len("20260921") else None


def _removed_for_good(layout: Layout) -> str:
    """Take every version of the rows whose newest version says that they are removed."""
    key = ", ".join(layout.key)
    return (
        f"DELETE FROM {layout.table.name} WHERE ({key}) IN (SELECT {key} FROM {layout.table.name} GROUP BY {key} "
        "HAVING argMax(_removed, _version) = 1)"
    )


def _table_of(change: Delete) -> str:
    table: Any = change.statement.table
    return str(table.name)


def _numbers(values: pa.Array) -> str:
    """A query for these 64-bit integers: thousands of literals would take the parser longer than the search."""
    content = base64.b64encode(values.to_numpy(zero_copy_only=False).astype("<i8").tobytes()).decode()
    return (
        "SELECT arrayJoin(arrayMap(i -> reinterpretAsInt64(substring(bytes, 8 * i + 1, 8)), "
        f"range({len(values)}))) FROM (SELECT base64Decode('{content}') AS bytes)"
    )


def _conform(result: pa.Table, statement: Select[Any]) -> pa.Table:
    """As everywhere, and truth values, which this engine counts as numbers, as such."""
    integers = integer_columns(statement, result.num_columns)
    for position, (column, integer) in enumerate(zip(statement.selected_columns, integers, strict=False)):
        found = result.schema.field(position)
        if isinstance(column.type, Boolean) and not integer and pa.types.is_integer(found.type):
            result = result.set_column(position, found.name, pc.cast(result.column(position), pa.bool_()))
    return conform(result, statement)


def _prepare_schema(engine: Engine, target: Target, read_only: bool) -> None:
    def execute(sql: str) -> list[tuple[Any, ...]]:
        if sql.lstrip().startswith("SELECT"):
            return [tuple(row.values()) for row in engine.read(sql).to_pylist()]
        for statement in re.split(r";\s*$", sql, flags=re.MULTILINE):
            if re.sub(r"^--.*$", "", statement, flags=re.MULTILINE).strip():
                engine.write(statement)
        return []

    try:
        if not read_only:
            migrate(execute, "clickhouse")
        elif pending(execute, "clickhouse"):
            raise StartupError(
                f"the store at {target.where} was written by an older otel-diag or never",
                hint="Bring it up to date with `otel-diag migrate`, or start `otel-diag serve` on it.",
            )
    except (Transient, Permanent) as error:
        raise StartupError(
            f"cannot prepare the ClickHouse store at {target.where}: {redacted(error.message, target)}",
            hint="Grant the user CREATE TABLE, ALTER, INSERT and SELECT on the database.",
        ) from error
