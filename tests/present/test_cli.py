"""The command line against a real store: what people read, what scripts read, how it fails."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.cells import cell_len
from rich.console import Console

from otel_diag.model import (
    Comparison,
    GapReport,
    JobAnalysis,
    NextStep,
    Performance,
    QueryAnswer,
    RecentFailures,
    Report,
    TraceDiff,
)
from otel_diag.present.cli import main, views
from otel_diag.present.cli.transfer import trace_ids
from tests.present.otlp import request
from tests.present.test_render import INJECTION, Hostile

FAILED = 2193
HEALTHY = range(2194, 2204)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """``otel-diag`` in this process, on a store of its own."""

    def __init__(self, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.store = store
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str | int | Path) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["otel-diag", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int | None)
        return Ended(code or 0, captured.out, captured.err)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    monkeypatch.setenv("OTEL_DIAG_STORE", store)
    return Cli(store, monkeypatch, capsys)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """One failed and ten healthy executions."""
    path = tmp_path / "spans.jsonl"
    requests = [request(FAILED, failed=True), *(request(number) for number in HEALTHY)]
    path.write_text("".join(json.dumps(one) + "\n" for one in requests))
    return path


@pytest.fixture
def filled(cli: Cli, lines: Path) -> Cli:
    assert cli("import", lines).code == 0
    return cli


@pytest.mark.parametrize(
    ("words", "model", "shows"),
    [
        (["diagnose", FAILED], Report, [f"execution {FAILED}", "runner.execution", "30.1 s", "evidence"]),
        (["diagnose", FAILED, "--evidence"], Report, ["SELECT span_id", "FROM trace_spans", "Not examined"]),
        (["diagnose", f"{FAILED:032x}"], Report, [f"execution {FAILED}"]),
        (["diagnose", "--job-id", "nightly"], JobAnalysis, ["1 of 11 executions failed"]),
        (["failures"], RecentFailures, ["1 failure since", "no answer within 30 s"]),
        (["compare", FAILED], Comparison, ["First divergence", "Differences"]),
        (["compare", FAILED, HEALTHY[0]], TraceDiff, ["similar", "Differences"]),
        (["gaps", FAILED], GapReport, ["30.0 s", "router.route"]),
        (["perf", "--since", "2h"], Performance, ["total", "11", "p95"]),
        (["ask", "slowest", "operations", "today"], QueryAnswer, ["router", "route"]),
    ],
)
def test_every_question_reads_well_and_parses(filled: Cli, words: list[Any], model: Any, shows: list[str]) -> None:
    read = filled(*words)
    assert read.code == 0, read.err
    for text in shows:
        assert text in read.out
    parsed = filled(*words, "--json")
    assert parsed.code == 0
    model.model_validate_json(parsed.out)


def test_a_confirmed_cause_is_kept_and_shown(filled: Cli) -> None:
    said = filled("confirm", FAILED, "--note", "the proxy cut it", "--by", "kim")
    assert said.code == 0, said.err
    assert "execution 2193, " in said.out
    wrong = filled("confirm", FAILED, "--wrong", "--type", "RATE_LIMITED", "--service", "router", "--json").json()
    assert (wrong["confirmed"], wrong["root_cause_type"], wrong["note"]) == (False, "RATE_LIMITED", None)
    shown = filled("diagnose", FAILED).out
    assert "Confirmed before" in shown
    assert "the verdict was wrong, RATE_LIMITED at router" in shown
    assert filled("confirm", 1).code == 3
    assert filled("confirm", FAILED, "--type", "BAD_LUCK").code == 2


def test_next_steps_are_commands_that_run(filled: Cli) -> None:
    steps = [
        NextStep.model_validate(step)
        for words in (
            ["diagnose", FAILED],
            ["failures"],
            ["perf"],
            ["gaps", FAILED],
            ["diagnose", "--job-id", "nightly"],
        )
        for step in filled(*words, "--json").json()["next_steps"]
    ]
    assert steps
    for step in steps:
        ended = filled(*shlex.split(views.command_line(step))[1:])
        assert ended.code == 0, (step, ended.err)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["diagnose", "1"], 3, str(FAILED)),
        (["diagnose", "--job-id", "nihgtly"], 3, "nightly"),
        (["export", "--trace-id", "f" * 32], 3, "not in the store"),
        (["diagnose", "xyz"], 2, "execution id (an integer) or a trace id"),
        (["diagnose"], 2, "KEY or --job-id"),
        (["failures", "--since", "soon"], 2, "24h"),
        (["failures", "--limit", "0"], 2, "limit"),
        (["export"], 2, "exactly one"),
        (["nonsense"], 2, "nonsense"),
        (["import", "/nowhere.jsonl"], 2, "nowhere"),
        (["serve", "--port", "99999"], 2, "port"),
        (["failures", "--store", "postgresql://x@127.0.0.1:9/y"], 4, "127.0.0.1"),
        (["prune", "--compact", "--store", "postgresql://x@127.0.0.1:9/y"], 6, "only a DuckDB file"),
        (["prune"], 2, "--older-than"),
        (["prune", "--max-size", "much"], 2, "20GB"),
        (["prune", "--older-than", "old"], 2, "24h"),
        (["prune", "--compact", "--dry-run"], 2, "exclude"),
        (["export", "--all", "-o", "/nowhere/x.jsonl"], 1, "No such file"),
    ],
)
def test_failures_have_their_own_exit_codes(filled: Cli, words: list[str], code: int, says: str) -> None:
    ended = filled(*words)
    assert ended.code == code
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_without_a_store_it_says_what_to_do(cli: Cli) -> None:
    ended = cli("failures")
    assert ended.code == 4
    assert "hint: " in ended.err


@pytest.mark.parametrize("words", [["failures"], ["prune", "--older-than", "1d"]])
def test_a_question_makes_no_tables(cli: Cli, postgres_url: str, words: list[str]) -> None:
    ended = cli(*words, "--store", postgres_url)
    assert ended.code == 4
    assert "there is no store in the database yet" in ended.err
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_what_is_old_is_shown_and_then_removed(filled: Cli) -> None:
    shown = filled("prune", "--older-than", "0s", "--max-size", "1.5GiB", "--dry-run", "--json").json()
    counts = {table["table"]: table["rows"] for table in shown["tables"]}
    assert counts["trace_spans"] > 20
    assert filled("diagnose", str(FAILED)).code == 0
    assert f"{counts['trace_spans']} " in filled("prune", "--older-than", "0s", "--compact").out
    assert filled("diagnose", str(FAILED)).code == 3
    again = filled("prune", "--max-size", "1.5GiB", "--json").json()
    assert (again["before"], again["tables"]) == (None, [])


def test_what_is_imported_is_counted_and_never_twice(cli: Cli, lines: Path, tmp_path: Path) -> None:
    first = cli("import", lines, "--json").json()[0]
    assert (first["spans"], first["stored"], first["duplicates"], first["rejected"]) == (22, 22, 0, {})
    again = cli("import", lines)
    assert again.code == 0
    assert "22" in again.out.splitlines()[2]
    bad = request(9)
    bad["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = "abcd"
    mixed = tmp_path / "mixed.jsonl.gz"
    mixed.write_bytes(gzip.compress(b"\n".join([json.dumps(bad).encode(), b"{", b'{"resourceMetrics":[]}'])))
    ended = cli("import", mixed, lines, "--json")
    assert ended.code == 5
    counted, duplicates = ended.json()
    assert counted["spans"] == counted["stored"] + counted["duplicates"] + sum(counted["rejected"].values()) == 2
    assert sum(counted["rejected"].values()) == 1
    assert counted["skipped"] == {"metrics": 1}
    assert [part["where"] for part in counted["broken"]] == ["line 2"]
    assert (duplicates["spans"], duplicates["duplicates"]) == (22, 22)
    told = cli("import", mixed).out
    assert "line 2 unreadable" in told
    assert "metrics skipped" in told


def spans_in(text: str) -> list[Any]:
    """Every span with its resource and scope, in an order of its own."""
    return sorted(
        (
            [span, part["resource"], scope["scope"]]
            for line in text.splitlines()
            for part in json.loads(line)["resourceSpans"]
            for scope in part["scopeSpans"]
            for span in scope["spans"]
        ),
        key=lambda found: str(found[0]["spanId"]),
    )


def test_what_is_exported_equals_what_was_imported(filled: Cli, lines: Path, tmp_path: Path) -> None:
    wanted = spans_in(lines.read_text())
    assert spans_in(_binary(filled, "export", "--all")) == wanted
    archive = tmp_path / "out.jsonl.gz"
    ended = filled("export", "--all", "-o", archive, "--json")
    assert ended.json() == {"file": str(archive), "traces": 11}
    assert spans_in(gzip.decompress(archive.read_bytes()).decode()) == wanted
    one = [found for found in wanted if int(found[0]["traceId"], 16) == FAILED]
    assert spans_in(_binary(filled, "export", "--execution-id", FAILED)) == one
    assert spans_in(_binary(filled, "export", "--trace-id", f"{FAILED:032X}")) == one


def _binary(cli: Cli, *words: Any) -> str:
    ended = cli(*words)
    assert ended.code == 0, ended.err
    return ended.out


def test_every_page_of_trace_ids_is_exported() -> None:
    stored = [f"{number:032x}" for number in range(7)]

    class Paged:
        def trace_ids(self, *, after: str) -> list[str]:
            return [trace_id for trace_id in stored if trace_id > after][:2]

    paged: Any = Paged()
    assert list(trace_ids(paged)) == stored


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_doctor_names_who_holds_a_port(filled: Cli, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRPC_PORT", "HTTP_PORT", "PORT"):
        monkeypatch.setenv(f"OTEL_DIAG_{name}", "0")
    well = filled("doctor", "--json")
    assert well.code == 0
    assert {check["name"] for check in well.json()} == {"Python", "server", "store", "disk"}
    assert all(check["ok"] for check in well.json())
    monkeypatch.setenv("OTEL_DIAG_PORT", str(taken))
    ill = filled("doctor")
    assert ill.code == 5
    assert f"port {taken}" in ill.out
    assert "choose another port" in ill.out


def test_migrate_creates_the_store(cli: Cli) -> None:
    assert cli("migrate", "--json").json() == {"schema": "up to date"}
    assert cli("failures").code == 0


def test_version(cli: Cli) -> None:
    assert cli("--version").out.startswith("otel-diag 0.")


def drawn(view: Any, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, force_terminal=False).print(view)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["report", "job", "comparison", "failures", "performance", "gaps", "query_answer"])
def test_views_fit_the_terminal_and_hold_hostile_text(name: str, width: int) -> None:
    hostile: Any = Hostile()
    answers = {
        "report": lambda: views.report(hostile.diagnose(None), hostile.timeline(None), evidence=True),
        "job": lambda: views.job(hostile.timeout_root_cause()),
        "comparison": lambda: views.comparison(hostile.compare_with_successful(None)),
        "failures": lambda: views.failures(hostile.recent_failures()),
        "performance": lambda: views.performance(hostile.performance()),
        "gaps": lambda: views.gaps(hostile.trace_gaps(None)),
        "query_answer": lambda: views.query_answer(hostile.ask("x")),
    }
    text = drawn(answers[name](), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[31m" in text or name == "performance", "markup of the text was interpreted"
    assert INJECTION not in text
