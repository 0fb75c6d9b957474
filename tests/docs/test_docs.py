"""The documentation says what the program does: nothing is missing, nothing is invented, and the examples run."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from mcp.client import Client
from starlette.testclient import TestClient
from typer.testing import CliRunner

from otel_diag.ask.form import IntentForm
from otel_diag.ask.intent import Dimension, IntentName, Metric
from otel_diag.auth import Access
from otel_diag.config import Settings
from otel_diag.model import RootCauseType
from otel_diag.present.cli.commands import app as cli
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.query import SQL_TABLES, Queries
from otel_diag.store.base import Store
from otel_diag.store.functions import FUNCTIONS
from otel_diag.store.open import open_store
from otel_diag.store.schema import metadata, views
from tests.store.test_functions import CLIENTS

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("sample.jsonl.gz")
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/**/*.md")})
PAGES += [ROOT / "instrumentation" / "README.md"]
PAGES += [ROOT / "collector-config" / "README.md", ROOT / "tests" / "collector" / "distribution" / "README.md"]

NOT_RUN = ("serve", "demo", "mcp", "doctor")
"""Commands that keep running, or whose answer depends on the machine."""

COMMANDS: dict[str, Any] = {}
"""By what follows ``otel-diag``; those of a group by both words."""
for _name, _command in typer.main.get_command(cli).commands.items():  # type: ignore[attr-defined]
    for _under, _inner in getattr(_command, "commands", {"": _command}).items():
        COMMANDS[f"{_name} {_under}".strip()] = _inner


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def sections(text: str, level: int) -> dict[str, str]:
    """What stands under each heading of this level whose title is code, by that code."""
    parts = re.split(rf"^#{{{level}}} (.+)$", without_fences(text), flags=re.MULTILINE)
    return {title.strip("`"): body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title[0] == "`"}


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, headers and rules aside."""
    lines = [line for line in without_fences(text).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]


def coded(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def fences(text: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def examples(text: str, program: str, *languages: str) -> list[list[str]]:
    """The command lines of this program in the fences, without what a shell makes of them."""
    lines = [
        line.removeprefix("$ ")
        for body in fences(text, *languages)
        for line in body.replace("\\\n", " ").splitlines()
        if "sh" in languages or line.startswith("$ ")
    ]
    words = [re.split(r" [|>&]", line)[0] for line in lines if re.match(rf"(\S*=\S* )*(\S*/)?{program} ", line)]
    split = [shlex.split(line, comments=True) for line in words]
    return [line[next(i for i, word in enumerate(line) if word.endswith(program)) :] for line in split]


# ---------------------------------------------------------------------------------- nothing missing, nothing invented


def test_every_command_is_documented_and_exists() -> None:
    assert sections(page("cli.md"), 2).keys() == {f"otel-diag {name}" for name in COMMANDS}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_documented_and_exists(name: str) -> None:
    documented = {option for row in rows(sections(page("cli.md"), 2)[f"otel-diag {name}"]) for option in coded(row[0])}
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("-")}
    assert documented == options - {"--help"}


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    documented = {coded(row[0])[0]: row for row in rows(page("settings.md").partition("## File")[0])}
    assert list(documented) == list(Settings.model_fields)
    for name, setting in Settings.model_fields.items():
        _, variables, default, _ = documented[name]
        assert f"OTEL_DIAG_{name.upper()}" in coded(variables)
        if setting.default_factory is None:
            assert coded(default) == ([] if setting.default is None else [str(setting.default)])


def test_every_mcp_tool_and_prompt_is_documented_with_its_fields() -> None:
    async def listed() -> tuple[list[Any], list[Any]]:
        async with Client(build_server(_no_queries)) as client:
            return (await client.list_tools()).tools, (await client.list_prompts()).prompts

    tools, prompts = anyio.run(listed)
    text = page("mcp.md")
    documented = sections(text, 3)
    assert documented.keys() == {tool.name for tool in tools}
    for tool in tools:
        said = re.sub(r"\([^)]*\)", "", documented[tool.name].partition("\n## ")[0])
        _, taken, answered = re.split(r"^- (?:Input|Answer):", said, flags=re.MULTILINE)
        assert set(coded(taken)) == tool.input_schema["properties"].keys(), tool.name
        assert set(coded(answered)) == tool.output_schema["properties"].keys(), tool.name
    assert [prompt.name for prompt in prompts] == [coded(text.partition("## Prompt")[2])[0]]

    size = sum(
        len(json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), separators=(",", ":")).encode())
        for tool in tools
    )
    said_tokens = int(re.findall(r"seven tools: ([\d,]+) tokens", text)[0].replace(",", ""))
    assert math.ceil(size / 3) == pytest.approx(said_tokens, rel=0.05)


def test_every_endpoint_is_documented_with_what_it_takes() -> None:
    described = build_app(_no_queries, Access(Settings()), ready=lambda: True).openapi()
    bodies = described["components"]["schemas"]
    text = page("api.md")
    filters = set(coded(text.partition("**filters** are")[2].partition("all\n")[0]))
    documented = {coded(row[0])[0]: row for row in rows(text) if re.match(r"`(GET|POST) /", row[0])}
    endpoints = {
        f"{method.upper()} {path}": operation
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }
    assert documented.keys() == endpoints.keys() - {"POST /api/v1/sql"}  # it has a section of its own
    for name, operation in endpoints.items():
        taken = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            taken |= bodies[reference.rpartition("/")[2]]["properties"].keys()
        said = documented[name][1] if name in documented else text.partition("## SQL")[2]
        assert taken <= {*coded(said), *(filters if said.startswith("filters") else ())}, name


def test_every_field_of_an_intent_is_documented_and_exists() -> None:
    table = page("api.md").partition("## Intents")[2].partition("\n## ")[0]
    assert {field for row in rows(table) for field in coded(row[0])} == IntentForm.model_fields.keys()
    words = {word for row in rows(table) for word in coded(row[1])}
    for vocabulary in (IntentName, Metric, Dimension):
        assert words >= set(vocabulary)


def test_every_root_cause_type_is_documented_in_order_of_precedence() -> None:
    table = page("diagnosis.md").partition("## Root cause types")[2].partition("\n## ")[0]
    assert [coded(row[0])[0] for row in rows(table)] == list(RootCauseType)


TABLES = {**metadata.tables, **views.tables}


def test_every_table_is_documented() -> None:
    text = page("tables.md")
    assert all(f"`{name}`" in text for name in TABLES)
    offered = page("api.md").partition("over these tables:")[2].partition("(")[0]
    assert sorted(coded(offered)) == sorted(SQL_TABLES)


@pytest.mark.parametrize("name", sections(page("tables.md"), 2))
def test_every_column_is_documented_and_exists(name: str) -> None:
    columns = {column for row in rows(sections(page("tables.md"), 2)[name]) for column in coded(row[0])}
    assert columns == {column.name for column in TABLES[name].columns}


def test_every_sql_function_is_documented_with_its_columns() -> None:
    text = page("sql.md")
    assert {function.name for function in FUNCTIONS} == {
        name.partition("(")[0] for row in rows(text.partition("\n## ")[0]) for name in coded(" ".join(row[:2]))
    }
    for name, body in sections(text, 2).items():
        columns = {column for row in rows(body.partition("\n## ")[0]) for column in coded(row[0])}
        assert all(columns == set(f.columns) for f in FUNCTIONS if f.name in (name, f"{name}_by_trace")), name


# ---------------------------------------------------------------------------------- links and examples hold


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", without_fences(path.read_text("utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(path.read_text("utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_data_examples_parse(path: Path) -> None:
    text = path.read_text("utf-8")
    for body in fences(text, "json"):
        json.loads(body)
    for body in fences(text, "toml"):
        example = tomllib.loads(body)
        assert example.keys() <= Settings.model_fields.keys()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_command_examples_name_commands_and_options_that_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    shown = examples(text, "otel-diag", "sh", "bash", "shell") + examples(text, "otel-diag", "", "console")
    for _, name, *arguments in shown:
        if name in ("--help", "--version", "COMMAND"):
            continue
        if name not in COMMANDS and arguments:
            name = f"{name} {arguments.pop(0)}"
        assert name in COMMANDS, name
        options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        given = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
        assert given <= options | {"--help"}, (name, given - options)


@pytest.fixture
def stored_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sample in a store that is the default one, and beside the working directory's ``sample.jsonl.gz``."""
    url = f"duckdb:///{tmp_path / 'store.duckdb'}"
    monkeypatch.setenv("OTEL_DIAG_STORE", url)
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, tmp_path / "sample.jsonl.gz")
    import_sample(url)
    return url


def import_sample(url: str) -> None:
    result = CliRunner().invoke(cli, ["import", str(SAMPLE), "--store", url])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("path", [p for p in GUIDES if examples(p.read_text(), "otel-diag", "sh")], ids=name_of)
def test_command_examples_run(path: Path, stored_sample: str) -> None:
    for _, *arguments in examples(path.read_text("utf-8"), "otel-diag", "sh"):
        if arguments[0] in NOT_RUN:
            continue
        if arguments[0] == "ask" and "--json" not in arguments:
            arguments.append("--json")
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        if arguments[0] == "ask":
            assert json.loads(result.stdout)["understood"] is not None, arguments


@pytest.mark.parametrize("path", [p for p in GUIDES if examples(p.read_text(), "curl", "sh")], ids=name_of)
def test_request_examples_succeed(path: Path, stored_sample: str) -> None:
    store = open_store(stored_sample)
    try:
        app = build_app(lambda _: _queries(store), Access(Settings()), ready=lambda: True)
        with TestClient(app, base_url="http://127.0.0.1:4319") as server:
            for _, *arguments in examples(path.read_text("utf-8"), "curl", "sh"):
                *given, url = arguments
                method, body = ("POST", given[given.index("--json") + 1]) if "--json" in given else ("GET", None)
                response = server.request(method, url, content=body, headers={"Content-Type": "application/json"})
                assert response.is_success, (arguments, response.text)
    finally:
        store.close()


def test_the_diagnosis_that_the_guide_explains_is_the_one_that_is_given(stored_sample: str) -> None:
    shown = fences(page("guide.md").partition("## Read a diagnosis")[2], "")[0]
    result = CliRunner().invoke(cli, ["diagnose", "2193", "--json"])
    cause = json.loads(result.stdout)["root_cause"]
    words = " ".join(shown.split())
    assert cause["root_cause_type"] in words
    assert f"{cause['affected_service']}.{cause['affected_operation']}" in words
    assert cause["evidence"] in words
    assert cause["recommendation"] in words
    assert all(span in words for span in cause["evidence_spans"])


@pytest.fixture
def sample_queries(store_url: str) -> Iterator[Queries]:
    import_sample(store_url)
    store = open_store(store_url)
    yield _queries(store)
    store.close()


def test_sql_examples_run_on_every_store(sample_queries: Queries) -> None:
    statements = [body for path in GUIDES for body in fences(path.read_text("utf-8"), "sql")]
    assert statements
    for statement in statements:
        assert sample_queries.sql(statement).columns


@pytest.mark.parametrize("shell", CLIENTS)
def test_examples_of_each_shell_run_there(shell: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    urls = {
        "duckdb": f"duckdb:///{tmp_path / 'store.duckdb'}",
        "clickhouse": f"clickhousedb:///{tmp_path / 'clickhouse'}?interface=chdb",
    }
    url = urls.get(shell) or request.getfixturevalue("postgres_url")
    import_sample(url)
    bodies = fences(page("sql.md"), "psql" if shell == "postgres" else shell)
    statements = [statement for body in bodies for statement in body.split(";\n") if statement.strip()]
    assert len(statements) > 1
    for statement in statements:
        assert CLIENTS[shell](url, statement)


def _queries(store: Store) -> Queries:
    return Queries(store, Settings())


def _no_queries(_: str = "") -> Any:
    """What describes itself needs no data."""
    return None
