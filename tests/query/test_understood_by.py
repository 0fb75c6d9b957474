"""Who may read a question instead of the grammar: a model of the settings, or the caller. Over every way in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from starlette.testclient import TestClient

from otel_diag.ask.translate import Translator
from otel_diag.auth import Access
from otel_diag.config import Settings, settings_of
from otel_diag.errors import BadInput
from otel_diag.model import QueryAnswer
from otel_diag.present.cli import main
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.query import Queries
from otel_diag.store.base import Store
from otel_diag.store.open import open_store
from tests.ask.provider import MODEL, providing
from tests.query.conftest import later, work_on
from tests.query.pipeline import Execution, healthy, send

GERMAN = "wie oft fiel der Router je Region aus?"
PER_REGION = {"intent": "measure", "metric": "count", "group_by": ["region"], "statuses": ["failed"], "since": "7d"}
ENGLISH = "how many executions failed per region in the last 7 days"


MOMENT = later()


def moment() -> datetime:
    """The same for every question, so that windows are the same too."""
    return MOMENT


@pytest.fixture(scope="module")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("asked") / "store.duckdb"
    store = open_store(f"duckdb:///{file}")
    send(store, *healthy(5), Execution(2193, "refused"), Execution(2194, "died", region="eu-west"))
    work_on(store)
    store.close()
    return file


@pytest.fixture
def store(store_file: Path) -> Iterator[Store]:
    opened = open_store(f"duckdb:///{store_file}", read_only=True)
    yield opened
    opened.close()


class Model:
    """Fills in the form like this, and counts how often it is asked."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.shown: list[list[ModelMessage]] = []

    def __call__(self, messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        self.shown.append(messages)
        return ModelResponse(parts=[ToolCallPart("ask", self.answer)])


def asking(store: Store, model: Model) -> Queries:
    translator = Translator(FunctionModel(model, model_name="made-up-1"))
    return Queries(store, Settings(), clock=moment, translator=translator)


# ------------------------------------------------------------------------------------------ a model


def test_a_model_reads_what_the_grammar_does_not(store: Store) -> None:
    model = Model(**PER_REGION)
    answer = asking(store, model).ask(GERMAN)
    assert answer.understood is not None
    assert answer.understood.by == "model function:made-up-1"
    assert "Read by the model function:made-up-1, not by the grammar." in answer.message
    assert {row["region"]: row["sample_count"] for row in answer.results} == {"us-east": 1, "eu-west": 1}
    assert answer.sql_or_call is not None
    assert "SELECT" in answer.sql_or_call


def test_what_the_grammar_understands_is_not_sent(store: Store) -> None:
    model = Model(**PER_REGION)
    answer = asking(store, model).ask(ENGLISH)
    assert answer.understood is not None
    assert answer.understood.by == "grammar"
    assert "grammar" not in answer.message
    assert not model.shown


def test_a_model_reads_what_the_grammar_understands_in_part(store: Store) -> None:
    question = "p95 of modal.inference yday"
    plain = Queries(store, Settings(), clock=moment).ask(question)
    assert "'yday' was not understood and is ignored" in plain.message
    model = Model(intent="measure", metric="p95", operations=["modal.inference"], since="36h", until="12h")
    answer = asking(store, model).ask(question)
    assert answer.understood is not None
    assert answer.understood.by == "model function:made-up-1"
    assert answer.understood.window != (plain.understood and plain.understood.window)
    # Where the model fails, the part that was understood is answered, and both are said.
    failed = asking(store, Model(intent="x")).ask(question)
    assert failed.understood == plain.understood
    assert "The model function:made-up-1 gave nothing valid, twice: intent: Input should be" in failed.message
    assert failed.message.endswith("'yday' was not understood and is ignored")


def test_the_same_reading_has_the_same_answer(store: Store) -> None:
    by_grammar = Queries(store, Settings(), clock=moment).ask("where did 2193 lose time")
    by_model = asking(store, Model(intent="gaps", execution_ids=[2193])).ask("2193: wo blieb die Zeit?")
    assert by_model.understood is not None
    assert by_model.understood.by != "grammar"
    assert by_model.sql_or_call == by_grammar.sql_or_call == "find_trace_gaps(execution_id=2193)"
    assert by_model.results == by_grammar.results


def test_no_span_is_shown_to_the_model(store: Store) -> None:
    model = Model(**PER_REGION)
    asking(store, model).ask(GERMAN)
    shown = repr(model.shown)
    assert "hybrid_router_call" in shown  # a name
    assert "connection refused" not in shown
    assert "prompts/17.txt" not in shown
    assert Execution(2193, "refused").trace_id not in shown


def test_a_model_that_fails_leaves_the_refusal_of_the_grammar(store: Store) -> None:
    plain = Queries(store, Settings(), clock=moment).ask(GERMAN)
    answer = asking(store, Model(intent="measure")).ask(GERMAN)
    assert answer.understood is None
    assert answer.message == (
        f"{plain.message} The model function:made-up-1 gave nothing valid, twice: measure needs a metric: avg, min, "
        "max, p50, p75, p90, p95, p99, count, error_rate, timeout_rate, success_rate, throughput."
    )
    assert answer.suggestions == plain.suggestions


def test_a_model_that_cannot_be_asked_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    queries = Queries(store, Settings(ask_model="openai:gpt-5-mini"), clock=moment)
    assert queries.ask(GERMAN).message.endswith("cannot be asked: set OPENAI_API_KEY where otel-diag runs.")
    assert queries.ask(ENGLISH).understood is not None


def test_without_a_model_none_is_loaded(store_file: Path) -> None:
    script = (
        "import sys\nfrom otel_diag.config import Settings\nfrom otel_diag.query import Queries\n"
        "from otel_diag.store.open import open_store\n"
        f"queries = Queries(open_store('duckdb:///{store_file}', read_only=True), Settings())\n"
        f"assert queries.ask({GERMAN!r}).understood is None\nassert 'pydantic_ai' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["gpt-5-mini", "test", "openai:", "Open AI:x"])
def test_a_model_is_named_with_its_provider(name: str) -> None:
    with pytest.raises(BadInput, match="ask_model"):
        settings_of(ask_model=name)


# ------------------------------------------------------------------------------------------ the caller


def over_mcp(queries: Queries, arguments: dict[str, Any], mode: str = "auto") -> tuple[QueryAnswer, str]:
    async def call() -> Any:
        async with Client(build_server(queries), mode=mode) as client:
            return await client.call_tool("query_traces", arguments)

    result = anyio.run(call)
    assert not result.is_error, result.content
    return QueryAnswer.model_validate(result.structured_content), result.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_mcp_a_refusal_says_how_the_client_may_translate(store: Store, mode: str) -> None:
    queries = Queries(store, Settings(), clock=moment)
    refusal, text = over_mcp(queries, {"query": GERMAN}, mode)
    assert refusal.understood is None
    assert refusal.intent_fields["metric"].startswith("avg|min|max|")
    assert "Or give it as `intent`" in text
    assert "- group_by: list of service|operation" in text
    answer, _ = over_mcp(queries, {"query": GERMAN, "intent": PER_REGION}, mode)
    assert answer.understood is not None
    assert answer.understood.by == "client"
    assert "Read by the caller, not by the grammar." in answer.message
    assert {row["region"]: row["sample_count"] for row in answer.results} == {"us-east": 1, "eu-west": 1}


def test_over_mcp_an_intent_may_come_as_text(store: Store) -> None:
    answer, _ = over_mcp(Queries(store, Settings()), {"query": GERMAN, "intent": json.dumps(PER_REGION)})
    assert answer.understood is not None
    assert answer.understood.by == "client"


def test_a_model_is_asked_by_servers_too(store: Store) -> None:
    queries = asking(store, Model(**PER_REGION))
    answer, _ = over_mcp(queries, {"query": GERMAN})
    assert answer.understood is not None
    assert answer.understood.by == "model function:made-up-1"
    app = build_app(lambda _: queries, Access(Settings()), ready=lambda: True)
    with TestClient(app, base_url="http://127.0.0.1") as http:
        over_rest = http.post("/api/v1/trace/query", json={"query": GERMAN}).json()
    assert QueryAnswer.model_validate(over_rest) == answer


def test_a_rejected_intent_is_answered_with_what_was_wrong_and_asks_nobody_else(store: Store) -> None:
    model = Model(**PER_REGION)
    answer = asking(store, model).ask(GERMAN, intent=PER_REGION | {"metric": "p97"})
    assert answer.understood is None
    assert answer.message.startswith("The intent is not valid. metric: Input should be 'avg', 'min'")
    assert answer.intent_fields
    assert not model.shown
    # The question itself is one that the grammar understands.
    assert asking(store, model).ask(ENGLISH, intent={"intent": "x"}).suggestions == [ENGLISH]


def test_over_rest(store: Store) -> None:
    queries = Queries(store, Settings(), clock=moment)
    app = build_app(lambda _: queries, Access(Settings()), ready=lambda: True)
    with TestClient(app, base_url="http://127.0.0.1") as http:
        refused = http.post("/api/v1/trace/query", json={"query": GERMAN, "intent": {"intent": "measure", "sql": "x"}})
        assert refused.status_code == 200
        assert "There is no field 'sql'" in refused.json()["message"]
        answer = http.post("/api/v1/trace/query", json={"query": GERMAN, "intent": PER_REGION}).json()
    assert answer["understood"]["by"] == "client"
    assert answer["total_results"] == 2


# ------------------------------------------------------------------------------------------ the command line


@pytest.fixture
def cli(store_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("OTEL_DIAG_STORE", f"duckdb:///{store_file}")

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["otel-diag", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return run


def test_on_the_command_line_a_model_is_a_setting(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_DIAG_ASK_MODEL", MODEL)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with providing([PER_REGION]) as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        code, out = cli("ask", GERMAN, "--json")
    assert code == 0
    assert json.loads(out)["understood"]["by"] == f"model {MODEL}"
    assert len(json.loads(out)["results"]) == 2


def test_on_the_command_line_an_intent_is_an_option(cli: Any) -> None:
    code, out = cli("ask", GERMAN, "--intent", json.dumps(PER_REGION))
    assert code == 0
    assert "Read by the caller" in " ".join(out.split())
    code, out = cli("ask", GERMAN, "--intent", "[1]")
    assert code == 2
    assert "is not a JSON object" in out


def test_the_doctor_knows_whether_the_model_can_be_asked(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def checked() -> Any:
        return {check["name"]: check for check in json.loads(cli("doctor", "--json")[1])}

    assert "ask_model" not in checked()
    monkeypatch.setenv("OTEL_DIAG_ASK_MODEL", MODEL)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "OPENAI_API_KEY" in checked()["ask_model"]["to_do"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    assert checked()["ask_model"]["ok"]
