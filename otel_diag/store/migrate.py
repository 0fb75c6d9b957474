"""Brings a database to the schema this version needs: forward-only numbered SQL files, the same way on every backend.

``sql/<backend>/NNNN_name.sql`` are applied in the order of their numbers, each once, and recorded in
``schema_migrations``, which the first of them creates. SQL functions have no number: whichever are not there as this
version has them are installed anew (``functions``). The caller runs :func:`migrate` inside a transaction and keeps
other processes out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from otel_diag.errors import StartupError
from otel_diag.store.functions import installations

Execute = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs SQL without parameters, one or many statements, and returns the rows of the last (none: empty)."""

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_TABLE_EXISTS = """
SELECT count(*) FROM information_schema.tables
WHERE table_schema = {schema} AND table_name = 'schema_migrations'
"""

_CURRENT_SCHEMA = {"clickhouse": "currentDatabase()"}
"""Where it is not ``current_schema()``."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


@cache
def migrations(backend: str) -> tuple[Migration, ...]:
    """What ships for this backend, in order. The versions are 1, 2, 3 ... without a gap (a test sees to it)."""
    directory = files("otel_diag.store").joinpath("sql", backend)
    found = [
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in directory.iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


def migrate(execute: Execute, backend: str) -> tuple[Migration, ...]:
    """Apply what is missing and return it, then install SQL functions whose text is another.

    Raises StartupError when the database is newer than this version.
    """
    missing = pending(execute, backend)
    for migration in missing:
        execute(migration.sql)
        # Version and name come from a file name that matched _FILE_NAME: nothing to quote.
        execute(
            "INSERT INTO schema_migrations (version, name, applied_at) "  # noqa: S608
            f"VALUES ({migration.version}, '{migration.name}', CURRENT_TIMESTAMP)"
        )
    known = {name: digest for name, digest in execute("SELECT name, digest FROM sql_functions")}  # noqa: C416
    for installation, note in installations(backend, known):
        execute(installation)
        execute(note)
    return missing


def pending(execute: Execute, backend: str) -> tuple[Migration, ...]:
    """What is not applied yet. Raises StartupError when the database is newer than this version."""
    available = migrations(backend)
    version = _applied_version(execute, _CURRENT_SCHEMA.get(backend, "current_schema()"))
    if version > available[-1].version:
        raise StartupError(
            f"the store has schema version {version}, this otel-diag knows {available[-1].version} at most",
            hint="A newer otel-diag has upgraded the store: install that version, or point --store elsewhere.",
        )
    return tuple(migration for migration in available if migration.version > version)


def _applied_version(execute: Execute, schema: str) -> int:
    if not execute(_TABLE_EXISTS.format(schema=schema))[0][0]:
        return 0
    return int(execute("SELECT coalesce(max(version), 0) FROM schema_migrations")[0][0])
