"""What the tables are on ClickHouse: their DDL, made from ``schema.metadata`` for one server or for a cluster.

``sql/clickhouse/NNNN_*.sql`` is what :func:`migration_sql` makes for the tables and columns that the file of this
number adds on DuckDB; ``python -m otel_diag.store.clickhouse_tables`` writes them, and a test compares.

Every table removes what is superseded while it merges, and every read asks for the merged state (``final = 1``):

- signals replace rows alike in their key, so what was sent twice is seen once;
- sketches (Accumulate) sum rows alike in theirs;
- all others keep, for each key, the row of the highest ``_version``, and none when that row says ``_removed``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import JSON, TIMESTAMP, BigInteger, Boolean, Column, Double, Integer, Table, Text
from sqlalchemy.types import TypeEngine

from otel_diag.model import ANNOUNCED
from otel_diag.store.functions import texts
from otel_diag.store.schema import SIGNAL_TABLES, SignalTable, metadata, open_spans, trace_arrivals

PENDING: Final = "pending_changes"
"""The redo log: see ``clickhouse_changes``."""

VERSIONING: Final = (
    "_put UInt64 EPHEMERAL 0",
    "_version UInt64 MATERIALIZED if(_put = 0, toUInt64(toUnixTimestamp64Nano(now64(9))), _put)",
    "_removed UInt8 MATERIALIZED 0",
)
"""What only this backend has. Written as ``_put``; no ``SELECT *`` shows any of them."""

FIRST_DAY: Final = 1_420_070_400 * 10**9
END_OF_DAYS: Final = 2_524_608_000 * 10**9
"""Nanoseconds of 2015 and of 2050: times before and after lie in one partition, named 0. On disk so: never change."""

_TYPES: Final[dict[type[TypeEngine[Any]], str]] = {
    Text: "String",
    JSON: "String",
    BigInteger: "Int64",
    Integer: "Int32",
    Double: "Float64",
    Boolean: "Bool",
    TIMESTAMP: "DateTime64(6, 'UTC')",
}

_FEW_VALUES: Final = frozenset(
    (
        *("tenant", "service", "service_version", "operation", "kind", "status", "error_type", "model_id", "region"),
        *("scope_name", "scope_version", "model_provider", "operation_type"),
        *("severity", "severity_text", "event_name"),
        *("metric", "unit", "description", "temporality"),
        *("sample_type", "sample_unit", "period_type", "period_unit"),
        *("root_service", "root_operation", "measure", "engine_version", "verdict", "root_cause_type"),
        *("affected_service", "affected_operation"),
    )
)
"""Text columns whose values repeat: stored as numbers into a dictionary."""

_SEARCHED: Final = {
    "trace_id": "bloom_filter(0.01)",
    "execution_id": "bloom_filter(0.01)",
    "started_at": "minmax",
    "ingested_at": "minmax",
}
"""Data-skipping indexes of signals, for the columns that they have of these."""

_KEYLESS: Final = {trace_arrivals.name: ("tenant", "trace_id", "ingested_at")}
"""What tells rows apart in a table that has no primary key."""

_ARRIVALS_PARTITION: Final = "toStartOfMinute(ingested_at)"
"""What was removed goes by the minute, whole."""

_SIGNAL_SETTINGS: Final = (
    # Statistics of every column take an eighth of an insert's time, and nothing here is planned by them.
    "auto_statistics_types = ''",
    # Merging a row once costs as much as inserting it: many parts at a time, so that it happens seldom. Parts lie one
    # after the other in time, so that a search opens few of them.
    "min_parts_to_merge_at_once = 40",
    # And not with the result of the last time each time: by default three rows are merged for one that comes.
    "merge_selector_base = 50",
    # A lot is one file, not two for each column.
    "min_bytes_for_wide_part = 268435456",
)

_PENDING_ENGINE: Final = "ReplacingMergeTree(at)"


NOTHING: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table lies on ClickHouse. ``summed``: its rows are added up by key."""

    table: Table
    key: tuple[str, ...]
    signal: SignalTable | None = None
    summed: bool = False
    partition: str = ""

    @property
    def versioned(self) -> bool:
        return self.signal is None and not self.summed


@dataclass(frozen=True, slots=True)
class Cluster:
    """Names as the servers' configuration has them; ``database`` must exist on every server.

    ``retention_days``: signals that are older go by themselves; 0: they stay.
    """

    name: str
    database: str = "default"
    retention_days: int = 0


def layouts() -> dict[str, Layout]:
    """Every table's layout by its name, in the order of the schema."""
    signals = {signal.table.name: signal for signal in SIGNAL_TABLES}
    return {table.name: _layout(table, signals.get(table.name)) for table in metadata.tables.values()}


def _layout(table: Table, signal: SignalTable | None) -> Layout:
    if signal is not None:
        return Layout(table, signal.key, signal=signal, partition=day_of(signal.time))
    key = _KEYLESS.get(table.name) or tuple(column.name for column in table.primary_key)
    summed = "sample_count" in table.columns and "latency_bucket" in key
    return Layout(table, key, summed=summed, partition=_ARRIVALS_PARTITION if table is trace_arrivals else "")


def day_of(time: str) -> str:
    """The partition of a row: its day as a number like 20260921, or 0 for a time that no clock shows."""
    seconds = f"intDiv({time}, 1000000000)"
    sane = f"{time} >= {FIRST_DAY} AND {time} < {END_OF_DAYS}"
    return f"if({sane}, toYYYYMMDD(toDateTime({seconds}, 'UTC')), 0)"


def _moment(time: str) -> str:
    """When it happened, or when it came where no clock shows such a time."""
    sane = f"{time} >= {FIRST_DAY} AND {time} < {END_OF_DAYS}"
    return f"if({sane}, toDateTime(intDiv({time}, 1000000000), 'UTC'), toDateTime(ingested_at, 'UTC'))"


def create_table(layout: Layout, without: Collection[str] = ()) -> str:
    """CREATE TABLE for one server, ``without`` the columns that a later file adds."""
    return _create(layout, layout.table.name, "", _engine(layout), without=without)


def add_columns(name: str, cluster: str, columns: Sequence[Column[Any]]) -> str:
    """ALTER TABLE that adds what is not there yet."""
    added = ", ".join(f"ADD COLUMN IF NOT EXISTS {_column(column)}" for column in columns)
    return f"ALTER TABLE {name}{cluster} {added};"


def create_open_spans(cluster: str = "") -> str:
    """CREATE VIEW of the announced spans that have not come.

    The traces that have announcements come first: the engine keeps the ids on the right side of NOT IN in memory.
    """
    announced = f"event_name = '{ANNOUNCED}' AND trace_id IS NOT NULL AND span_id IS NOT NULL"
    kinds = "[2, 3, 4, 5], ['server', 'client', 'producer', 'consumer'], 'internal'"
    computed = {
        "parent_span_id": "nullIf(JSONExtractString(attributes, 'span.parent_id'), '')",
        "operation": "JSONExtractString(attributes, 'span.name')",
        "kind": f"transform(JSONExtractInt(attributes, 'span.kind'), {kinds})",
        "started_at": "logged_at",
        "start_unix_nano": "logged_unix_nano",
        **{
            column: f"JSONExtract(attributes, '{name}', 'Nullable(String)')"
            for column, name in (("job_id", "job.id"), ("model_id", "model.id"), ("region", "region"))
        },
    }
    columns = [
        f"{computed[column.name]} AS {column.name}" if column.name in computed else column.name
        for column in open_spans.columns
    ]
    body = ",\n".join(f"    {column}" for column in columns)
    return (  # only names from the schema
        f"CREATE VIEW IF NOT EXISTS {open_spans.name}{cluster} AS\nSELECT\n{body}\nFROM log_records\n"  # noqa: S608
        f"WHERE {announced}\n    AND (tenant, trace_id, span_id) NOT IN (\n"
        "        SELECT tenant, trace_id, span_id FROM trace_spans\n"
        f"        WHERE trace_id IN (SELECT trace_id FROM log_records WHERE {announced})\n    );"
    )


def cluster_tables(cluster: Cluster) -> list[str]:
    """The statements for a cluster: for each table a replicated one on every shard, and a distributed one above it.

    A trace's spans and arrivals, and all rows of one key, lie on one shard, so that what replaces one another meets.
    """
    statements = []
    added = columns_added()
    on_cluster = f" ON CLUSTER {_quoted(cluster.name)}"
    for layout in layouts().values():
        name = layout.table.name
        engine = _replicated(_engine(layout), f"{cluster.database}.{name}_local")
        statements.append(_create(layout, f"{name}_local", on_cluster, engine, cluster.retention_days))
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {name}{on_cluster} AS {cluster.database}.{name}_local\n"
            f"ENGINE = Distributed({_quoted(cluster.name)}, {_quoted(cluster.database)}, {_quoted(name + '_local')}, "
            f"{_sharding(layout)});"
        )
        if name in added:  # by what an older version of these statements made
            columns = [layout.table.columns[column] for column in added[name]]
            statements += [add_columns(table, on_cluster, columns) for table in (f"{name}_local", name)]
    log = _replicated(_PENDING_ENGINE, f"{cluster.database}.{PENDING}")
    statements.append(_pending_changes(on_cluster, log))
    statements.append(create_open_spans(on_cluster))
    statements += [
        re.sub(r"^CREATE OR REPLACE VIEW (\w+)", rf"\g<0>{on_cluster}", text, count=1, flags=re.MULTILINE).strip()
        for text in texts("clickhouse").values()
    ]
    return statements


def migration_sql(names: Sequence[str], added: Mapping[str, Sequence[str]] = NOTHING) -> str:
    """What a migration file says that creates these tables and views, and adds these columns to older tables."""
    later = columns_added()
    made = {name: create_table(layout, later.get(name, ())) for name, layout in layouts().items()}
    made[open_spans.name] = create_open_spans()
    statements = [
        add_columns(table, "", [metadata.tables[table].columns[name] for name in columns])
        for table, columns in added.items()
    ]
    statements += [made[name] for name in names]
    if "schema_migrations" in names:
        statements.append(_pending_changes("", _PENDING_ENGINE))
    head = "-- Made by `python -m otel_diag.store.clickhouse_tables` from otel_diag/store/schema.py.\n"
    return head + "".join(f"\n{statement}\n" for statement in statements)


def _engine(layout: Layout) -> str:
    if layout.summed:
        return "SummingMergeTree"
    return "ReplacingMergeTree" if layout.signal else "ReplacingMergeTree(_version, _removed)"


def _replicated(engine: str, path: str) -> str:
    name, _, arguments = engine.removesuffix(")").partition("(")
    where = f"'/clickhouse/tables/{{shard}}/{path}', '{{replica}}'"
    return f"Replicated{name}({where}{', ' + arguments if arguments else ''})"


def _create(
    layout: Layout, name: str, cluster: str, engine: str, retention_days: int = 0, without: Collection[str] = ()
) -> str:
    lines = [_column(column) for column in layout.table.columns if column.name not in without]
    if layout.versioned:
        lines += VERSIONING
    if layout.signal is not None:
        lines += [
            f"INDEX by_{column} {column} TYPE {kind} GRANULARITY 1"
            for column, kind in _SEARCHED.items()
            if column in layout.table.columns
        ]
    body = ",\n".join(f"    {line}" for line in lines)
    parts = [f"CREATE TABLE IF NOT EXISTS {name}{cluster} (\n{body}\n)", f"ENGINE = {engine}"]
    if layout.partition:
        parts.append(f"PARTITION BY {layout.partition}")
    parts.append(f"ORDER BY ({', '.join(_order(layout))})")
    if layout.signal is not None and retention_days:
        parts.append(f"TTL {_moment(layout.signal.time)} + INTERVAL {retention_days} DAY")
    if settings := _settings(layout, replicated=bool(cluster)):
        parts.append(f"SETTINGS {', '.join(settings)}")
    return "\n".join(parts) + ";"


def _order(layout: Layout) -> list[str]:
    if layout.signal is None:
        return list(layout.key)
    # By time first: windows and bounds read little, and sorting compares numbers. Rows alike are alike in time.
    return [layout.signal.time, *(name for name in layout.key if name != layout.signal.time)]


def _settings(layout: Layout, *, replicated: bool) -> list[str]:
    if layout.summed and not replicated:
        # A step of the redo log that is made twice is dropped by its token; on replicated tables that is the default.
        return ["non_replicated_deduplication_window = 1000"]
    return list(_SIGNAL_SETTINGS) if layout.signal else []


def _column(column: Column[Any]) -> str:
    name = _TYPES[type(column.type)]
    if column.nullable:
        name = f"Nullable({name})"
    if isinstance(column.type, Text) and column.name in _FEW_VALUES:
        name = f"LowCardinality({name})"
    codec = " CODEC(ZSTD(1))" if isinstance(column.type, JSON) else ""
    return f"{column.name} {name}{codec}"


def _sharding(layout: Layout) -> str:
    names = ("tenant", "trace_id") if "trace_id" in layout.key else layout.key
    return f"cityHash64({', '.join(names)})"


def _pending_changes(cluster: str, engine: str) -> str:
    """Each change is a partition of its own: dropped whole, at once, when it is done."""
    return (
        f"CREATE TABLE IF NOT EXISTS {PENDING}{cluster} (\n"
        "    id String,\n    writer String,\n    at DateTime64(6, 'UTC'),\n    body String CODEC(ZSTD(1))\n)\n"
        f"ENGINE = {engine}\nPARTITION BY id\nORDER BY id;"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def generated_files() -> dict[str, str]:
    """The migration files by name, one for each of the embedded store's."""
    made = {}
    for name, sql in _embedded_files().items():
        tables: Sequence[str] = re.findall(r"CREATE (?:TABLE|VIEW) (\w+)", sql)
        made[name] = migration_sql(tables, _columns_added_by(sql))
    return made


def columns_added() -> dict[str, list[str]]:
    """By table, the columns that later files than the one which creates it add."""
    added: dict[str, list[str]] = {}
    for sql in _embedded_files().values():
        for table, columns in _columns_added_by(sql).items():
            added.setdefault(table, []).extend(columns)
    return added


def _columns_added_by(sql: str) -> dict[str, list[str]]:
    added: dict[str, list[str]] = {}
    for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", sql):
        added.setdefault(table, []).append(column)
    return added


def _embedded_files() -> dict[str, str]:
    directory = files("otel_diag.store").joinpath("sql", "duckdb")
    found = [file for file in directory.iterdir() if file.name.endswith(".sql")]
    return {file.name: file.read_text("utf-8") for file in sorted(found, key=lambda file: file.name)}


if __name__ == "__main__":
    directory = Path(__file__).parent / "sql" / "clickhouse"
    directory.mkdir(exist_ok=True)
    for name, sql in generated_files().items():
        (directory / name).write_text(sql)
