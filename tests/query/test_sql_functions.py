"""SQL functions say what every other way in says: one diagnosis, one timeline, the same similar cases."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from mcp.client import Client
from sqlalchemy import select
from starlette.testclient import TestClient

from otel_diag.auth import Access
from otel_diag.config import Settings
from otel_diag.errors import BadInput
from otel_diag.model import Declared, Status
from otel_diag.present.cli import main
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.query import Key, Queries
from otel_diag.store.base import Store
from otel_diag.store.functions import FUNCTIONS
from otel_diag.store.schema import trace_arrivals
from otel_diag.worker import Worker
from tests.conftest import chdb_client
from tests.query.conftest import later
from tests.query.pipeline import NOW, Execution, healthy, send, send_bytes, send_logs

Work = Callable[[], None]

FAILED = Execution(2193, "refused", inference_ms=80)
SLOW = Execution(3000, inference_ms=6_000)
HEALTHY = 100
RUNNING = Execution(4000)
UNSEEN = 99_999
DECLARED = 7000

CAUSE = ("root_cause_type", "affected_service", "affected_operation", "evidence", "recommendation", "confidence")
SPAN = (
    "service",
    "operation",
    "duration_ms",
    "gap_after_ms",
    "status",
    "error_message",
    "is_anomaly",
    "anomaly_reason",
)
ANSWERS = ("identify_root_cause", "diagnose_execution_trace", "find_similar_traces")
CASE = ("similar_execution_id", "similarity_score", "status", "total_duration_ms", "failure_point")


@pytest.fixture
def stored(store: Store, queries: Queries, work: Work) -> Store:
    send(store, *healthy(21), FAILED, SLOW)
    send(store, *(Execution(2300 + n, "refused", started_at=NOW - timedelta(hours=1, minutes=n)) for n in range(6)))
    send_logs(store, RUNNING.announcements("runner", "router"))
    queries.declare_execution(Declared(DECLARED, Status.FAILED, NOW, NOW + timedelta(milliseconds=13)))
    work()
    return store


@dataclass
class Direct:
    """A client of its own, past the server, as the tenant of its session."""

    store: Store
    url: str
    client: Any = None

    def __call__(self, function: str, *arguments: int | str) -> list[dict[str, Any]]:
        found = next(known for known in FUNCTIONS if known.name == function)
        if self.store.capabilities().name == "clickhouse":
            self.store.select(select(trace_arrivals))  # other processes see these half a second later
            given = dict(zip(found.parameters, arguments, strict=False))
            values = ", ".join(f"{name} = {value!r}" for name, value in given.items())
            if self.client is None:
                self.client = chdb_client(self.url)
            rows = self.client.query(f"SELECT * FROM {function}({values})")
            return [dict(zip(rows.column_names, row, strict=True)) for row in rows.result_rows]
        values = ", ".join(repr(value) for value in arguments)
        table = self.store.select_text(f"SELECT * FROM {function}({values})", max_rows=1_000, timeout_seconds=30)
        rows_: list[dict[str, Any]] = table.to_pylist()
        return rows_


@pytest.fixture
def direct(store: Store, store_url: str) -> Iterator[Direct]:
    client = Direct(store, store_url)
    yield client
    if client.client is not None:
        client.client.close()


class Rest:
    def __init__(self, http: TestClient) -> None:
        self.http = http

    def sql(self, function: str, key: int | str) -> list[dict[str, Any]]:
        answer = self.http.post("/api/v1/sql", json={"statement": f"SELECT * FROM {function}({key!r})"})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]

    def diagnose(self, key: int) -> dict[str, Any]:
        answer = self.http.post("/api/v1/trace/diagnose", json={"execution_id": key})
        body: dict[str, Any] = answer.json()
        return body

    def timeline(self, key: int) -> list[dict[str, Any]]:
        body: list[dict[str, Any]] = self.http.get(f"/api/v1/trace/timeline/{key}").json().get("timeline", [])
        return body


@pytest.fixture
def rest(queries: Queries) -> Iterator[Rest]:
    app = build_app(lambda _: queries, Access(Settings()), ready=lambda: True, mcp=build_server(queries))
    with TestClient(app, base_url="http://127.0.0.1") as http:
        yield Rest(http)


def by_mcp(queries: Queries, key: int) -> dict[str, Any]:
    async def run() -> Any:
        async with Client(build_server(queries)) as client:
            return await client.call_tool("diagnose_execution", {"execution_id": key})

    found = asyncio.run(run())
    content: dict[str, Any] = {} if found.is_error else found.structured_content
    return content


def only(names: tuple[str, ...], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


def cause_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """As ``identify_root_cause`` gives it, but for what it says where there is none."""
    if not report or "error" in report:
        return []
    return only(CAUSE, [report["root_cause"] or dict.fromkeys(CAUSE)])


def test_the_same_question_has_one_answer_whoever_is_asked(
    stored: Store,
    queries: Queries,
    rest: Rest,
    direct: Direct,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    store_url: str,
) -> None:
    keys = {
        FAILED.execution_id: "root_cause",
        SLOW.execution_id: "root_cause",
        HEALTHY: "healthy",
        DECLARED: "root_cause",
        UNSEEN: None,
    }
    told = {key: {name: rest.sql(name, key) for name in ANSWERS} for key in keys}
    for key in (FAILED.execution_id, UNSEEN):
        for name, rows in told[key].items():
            names = SPAN if name == "diagnose_execution_trace" else tuple(rows[0]) if rows else ()
            assert only(names, direct(name, key)) == only(names, rows)

    # Others come, and averages move.
    send(stored, *healthy(10, first_id=500, inference_ms=5.0), Execution(2400, "refused"))

    judged = {}
    for key, verdict in keys.items():
        report = rest.diagnose(key)
        judged[key] = report.get("computed_at")
        assert report.get("verdict") == verdict
        assert only(SPAN, rest.timeline(key)) == only(SPAN, told[key]["diagnose_execution_trace"])
        for found in (report, by_mcp(queries, key)):
            assert agrees(found, told[key], judged[key])

    stored.close()
    monkeypatch.setenv("OTEL_DIAG_SETTLE_SECONDS", "0")
    for key in keys:
        printed = run_cli(monkeypatch, capsys, "diagnose", str(key), "--json", "--store", store_url)
        assert agrees(printed, told[key], judged[key])
    key = FAILED.execution_id
    by_sql = f"SELECT * FROM identify_root_cause({key})"
    answered = run_cli(monkeypatch, capsys, "sql", by_sql, "--json", "--store", store_url)
    assert [dict(zip(answered["columns"], row, strict=True)) for row in answered["rows"]] == told[key][
        "identify_root_cause"
    ]


def agrees(report: dict[str, Any], by_sql: dict[str, list[dict[str, Any]]], computed_at: str | None) -> bool:
    """Whether a report is the diagnosis of this time that SQL has told of. ``evidence`` is null where it names none."""
    named = [row if row["root_cause_type"] else {**row, "evidence": None} for row in by_sql["identify_root_cause"]]
    return (report.get("computed_at"), cause_of(report), only(CASE, report.get("similar_cases", []))) == (
        computed_at,
        named,
        by_sql["find_similar_traces"],
    )


def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["otel-diag", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    answer: dict[str, Any] = json.loads(out) if ended.value.code == 0 else {}
    return answer


def test_what_is_not_judged_says_how_to_have_it_judged(
    stored: Store, queries: Queries, rest: Rest, direct: Direct
) -> None:
    (cause,) = direct("identify_root_cause", HEALTHY)
    assert cause == dict.fromkeys(CAUSE) | {
        "evidence": f"not judged yet; to have it judged: otel-diag diagnose {HEALTHY}"
    }
    assert not any(row["is_anomaly"] for row in direct("diagnose_execution_trace", HEALTHY))
    assert direct("find_similar_traces", HEALTHY) == []
    rest.diagnose(HEALTHY)
    (cause,) = direct("identify_root_cause", HEALTHY)
    assert cause["evidence"].startswith("healthy: ")
    assert len(direct("find_similar_traces", HEALTHY)) == 5

    # Nor is what runs.
    key = RUNNING.execution_id
    spans = direct("diagnose_execution_trace", key)
    entries = queries.timeline(Key(execution_id=key)).timeline
    assert [(row["service"], row["operation"], row["status"]) for row in spans] == [
        (entry.service, entry.operation, "running") for entry in entries
    ]
    assert {row["completed_at"] for row in spans} == {row["duration_ms"] for row in spans} == {None}
    (cause,) = direct("identify_root_cause", key)
    assert cause["root_cause_type"] is None
    assert "otel-diag diagnose 4000" in cause["evidence"]
    assert "runs" in cause["evidence"]
    assert rest.sql("identify_root_cause", key) == [cause]
    assert direct("find_similar_traces", key) == []


def test_spans_that_were_not_judged_are_measured_against_other_executions(
    store: Store, settings: Settings, work: Work, direct: Direct
) -> None:
    send(store, *healthy(25))
    work()
    send(store, SLOW, replace(FAILED, execution_id=3001))
    spans = direct("diagnose_execution_trace", SLOW.execution_id)
    (inference,) = [row for row in spans if row["operation"] == "modal.inference"]
    assert inference["is_anomaly"]
    assert inference["anomaly_reason"] == "6000.0 ms, 75.2 times the average of 79.8 ms over 25 others"
    refused = direct("diagnose_execution_trace", 3001)
    assert {row["anomaly_reason"] for row in refused} == {"status failed: connection refused"}
    assert {row["gap_after_ms"] for row in spans} == {None}
    Worker(store, settings, clock=later).fold_quiet()
    # Its own spans, summarised by now, are none of the others.
    assert direct("diagnose_execution_trace", SLOW.execution_id) == spans


def test_the_newest_attempt_is_meant(store: Store, work: Work, queries: Queries, direct: Direct) -> None:
    send(store, replace(FAILED, started_at=NOW - timedelta(minutes=40)))
    work()
    assert len(direct("diagnose_execution_trace", FAILED.execution_id)) == 4
    again = replace(FAILED, fault="none", attempt=2)
    for settled in (False, True):
        if settled:
            work()
        else:
            send(store, again)
        spans = direct("diagnose_execution_trace", FAILED.execution_id)
        assert [row["status"] for row in spans] == ["completed"] * 6
    queries.diagnose(Key(execution_id=FAILED.execution_id))
    assert direct("identify_root_cause", FAILED.execution_id)[0]["evidence"].startswith("healthy")
    (first,) = direct("identify_root_cause_by_trace", FAILED.trace_id)
    assert first["root_cause_type"] == "CONNECTION_FAILURE", "an older attempt is found by its trace"


def test_spans_that_arrive_make_a_diagnosis_stale(stored: Store, settings: Settings, direct: Direct) -> None:
    queries, worker = Queries(stored, settings), Worker(stored, settings)  # by the clock that spans are stored by

    def work() -> None:
        while worker.step():
            pass

    part = Execution(2500, "dropped")
    runner, router, modal = part.requests_by_service()
    for request in (runner, router):
        send_bytes(stored, request)
    work()
    (before,) = direct("identify_root_cause", 2500)
    assert before["root_cause_type"] is not None
    send_bytes(stored, modal)
    (meanwhile,) = direct("identify_root_cause", 2500)
    assert meanwhile["evidence"].startswith("not judged yet")
    assert len(direct("diagnose_execution_trace", 2500)) == 6
    work()
    (after,) = direct("identify_root_cause", 2500)
    assert after["root_cause_type"] is not None
    cause = queries.diagnose(Key(execution_id=2500)).root_cause
    assert cause is not None
    assert after["evidence"] == cause.evidence


def test_a_span_belongs_to_the_execution_above_it(store: Store, work: Work, queries: Queries, direct: Direct) -> None:
    """One trace of two executions, of whose spans only the first of each names its own."""
    job = shared_trace()
    send_bytes(store, job)
    expected = {11: ["runner.execution", "call", "work"], 12: ["runner.execution", "call", "work"]}
    for _ in range(2):
        for key, operations in expected.items():
            assert [row["operation"] for row in direct("diagnose_execution_trace", key)] == operations
            entries = queries.timeline(Key(execution_id=key)).timeline
            assert [entry.operation for entry in entries] == operations
        whole = direct("diagnose_execution_trace_by_trace", "ab" * 16)
        assert [row["operation"] for row in whole] == [
            entry.operation for entry in queries.timeline(Key(trace_id="ab" * 16)).timeline
        ]
        assert [row["operation"] for row in whole] == ["job", *expected[11], *expected[12]]
        work()
    for key in expected:
        queries.diagnose(Key(execution_id=key))
        (cause,) = direct("identify_root_cause", key)
        assert not cause["evidence"].startswith("not judged")
    queries.diagnose(Key(trace_id="ab" * 16))
    (cause,) = direct("identify_root_cause_by_trace", "ab" * 16)
    assert cause["evidence"].startswith("healthy")


def shared_trace() -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "runner"
    spans = resource.scope_spans.add().spans
    begin = int((NOW - timedelta(minutes=20)).timestamp() * 1e9)

    def add(number: int, parent: int | None, name: str, at_ms: int, execution_id: int | None = None) -> None:
        span = spans.add(
            trace_id=b"\xab" * 16,
            span_id=number.to_bytes(8, "big"),
            parent_span_id=b"" if parent is None else parent.to_bytes(8, "big"),
            name=name,
            start_time_unix_nano=begin + at_ms * 10**6,
            end_time_unix_nano=begin + (at_ms + 5) * 10**6,
        )
        if execution_id is not None:
            span.attributes.add(key="execution.id").value.int_value = execution_id

    add(1, None, "job", 0)
    for first, at_ms, execution_id in ((10, 1, 11), (20, 3, 12)):
        add(first, 1, "runner.execution", at_ms * 10, execution_id)
        add(first + 1, first, "call", at_ms * 10 + 1)
        add(first + 2, first + 1, "work", at_ms * 10 + 2)
    return request.SerializeToString()


def test_nobody_reads_another_tenants_diagnosis(store: Store, settings: Settings, direct: Direct, work: Work) -> None:
    send(store, *healthy(3), FAILED)
    send(store, Execution(FAILED.execution_id), tenant="acme")
    work()
    mine = Queries(store, settings, clock=later)
    theirs = Queries(store, settings, tenant="acme", clock=later)
    statement = f"SELECT evidence FROM identify_root_cause({FAILED.execution_id})"
    assert mine.sql(statement).rows[0][0].startswith("router.POST could not reach")
    assert theirs.sql(statement).rows[0][0].startswith("healthy")
    assert theirs.sql("SELECT * FROM identify_root_cause(100)").rows == []
    spans = f"SELECT status FROM diagnose_execution_trace({FAILED.execution_id})"
    assert {row[0] for row in mine.sql(spans).rows} == {"failed"}
    assert {row[0] for row in theirs.sql(spans).rows} == {"completed"}
    for attempt in (
        "SELECT * FROM tenant_identify_root_cause('default', 2193, NULL)",
        "SELECT * FROM tenant_unit(of_tenant = 'default', of_execution = 2193, of_trace = NULL)",
        "SELECT * FROM identify_root_cause(2193, 'default')",
        "SELECT * FROM identify_root_cause(execution_id = 2193, of_tenant = 'default')",
        "SELECT identify_root_cause(2193)",
    ):
        with pytest.raises(BadInput):
            theirs.sql(attempt)


def test_by_trace_and_by_execution_are_the_same_and_other_counts_can_be_asked_for(
    stored: Store, queries: Queries, direct: Direct
) -> None:
    key = FAILED.execution_id
    for name in ANSWERS:
        assert direct(f"{name}_by_trace", FAILED.trace_id.upper()) == direct(name, key)
    assert direct("identify_root_cause_by_trace", "f" * 32) == []
    five = queries.sql(f"SELECT * FROM find_similar_traces({key})").rows
    assert len(five) == 5
    six = queries.sql(f'SELECT * FROM find_similar_traces({key}, "limit" := 6)').rows
    assert six[:5] == five
    assert len(six) == 6
    joined = queries.sql(
        f"SELECT count(*) FROM find_similar_traces({key}, 2) f JOIN trace_summaries t "
        "ON t.execution_id = f.similar_execution_id WHERE t.latest"
    )
    assert joined.rows == [[2]]
