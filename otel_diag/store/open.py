"""From a store's URL to the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from otel_diag.errors import StartupError
from otel_diag.store.base import Store
from otel_diag.store.journal import journal_directory, replay, segments

_EXAMPLES = (
    "duckdb:////absolute/path.duckdb, duckdb:///relative.duckdb, postgresql://user@host/database "
    "or clickhousedb://user@host:8123/database"
)


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the store behind a SQLAlchemy-style URL and bring its schema up to date, unless ``read_only``.

    ``duckdb://`` alone is an empty store in memory. What a process that died left in the journal of an embedded store
    is stored first. Raises StartupError, with a hint and without the password.
    """
    store = _opened(url, read_only)
    journal = journal_directory(url)
    if journal is None or not segments(journal):
        return store
    # The store is ours: whoever wrote the journal is gone.
    try:
        if read_only:
            store.close()
            store = _opened(url, read_only=False)
        replay(journal, store)
        if read_only:
            store.close()
            store = _opened(url, read_only)
    except BaseException:
        store.close()
        raise
    return store


def _opened(url: str, read_only: bool) -> Store:
    """Each store's module is loaded when there is one to open: the drivers take a tenth of a second each."""
    scheme, separator, rest = url.partition("://")
    backend = scheme.partition("+")[0]
    if separator and backend == "duckdb":
        from otel_diag.store.duckdb import DuckDBStore, path_in

        return DuckDBStore.open(path_in(rest), read_only=read_only)
    if separator and backend in ("postgresql", "postgres"):
        from otel_diag.store.postgres import PostgresStore

        return PostgresStore.open(url, read_only=read_only)
    if separator and backend in ("clickhouse", "clickhousedb"):
        return _clickhouse(url, read_only)
    wrong = f"begins with {scheme}://, which is no store" if separator else "has no scheme"
    raise StartupError(f"the store URL {wrong}", hint=f"It looks like {_EXAMPLES}.")


def _clickhouse(url: str, read_only: bool) -> Store:
    with needed_for_clickhouse():
        from otel_diag.store.clickhouse import ClickHouseStore
    return ClickHouseStore.open(url, read_only=read_only)


@contextmanager
def needed_for_clickhouse() -> Iterator[None]:
    """Around imports that whoever stores elsewhere can do without: packages that may be missing, and take a while."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise StartupError(
            f"ClickHouse needs the package {error.name}", hint="Install it: pip install 'otel-diag[clickhouse]'."
        ) from error
