"""Two tenants on one server: whatever one asks, over REST, MCP or SQL, it never sees what the other has sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from otel_diag.auth import Access
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.present.rest.guard import CALLER, OPEN_PATHS
from otel_diag.query import SQL_TABLES, Queries
from otel_diag.store.base import Store
from otel_diag.worker import Worker
from tests.access.tokens import bearer, known, routes_of, settings_with
from tests.decode import golden
from tests.present.otlp import request
from tests.receive.requests import as_json
from tests.receive.servers import running

TENANTS = ("alpha", "beta")
EXECUTIONS = {"alpha": 5001, "beta": 6001}
SHARED = 2193
"""Both have an execution of this number, with the same trace and span ids."""

SETTINGS = settings_with(*(known(name, name) for name in TENANTS), quiet_seconds=0.0, settle_seconds=0.0)
OTHER_SIGNALS = {
    "/v1/logs": golden.logs(),
    "/v1/metrics": golden.metrics(),
    "/v1development/profiles": golden.profiles(),
}
DECLARED = {"status": "failed", "started_at": "2026-11-21T15:00:00Z"}


def telemetry(tenant: str, execution_id: int) -> str:
    """A failed execution whose every name belongs to the tenant."""
    text = json.dumps(request(execution_id, failed=True))
    for name in ("runner", "router", "nightly", "execution", "route", "no answer"):
        text = text.replace(f'"{name}"', f'"{tenant}-{name}"')
    return text.replace("no answer", f"no {tenant}-answer")


def key(tenant: str) -> dict[str, Any]:
    return {"execution_id": EXECUTIONS[tenant]}


def trace(tenant: str) -> str:
    return f"{EXECUTIONS[tenant]:032x}"


def pair(tenant: str) -> dict[str, Any]:
    return {"left": key(tenant), "right": {"execution_id": SHARED}}


def questions(tenant: str) -> dict[tuple[str, str], tuple[str, Any]]:
    """A question about this tenant's data for every route: query string or body."""
    one = f"?execution_id={EXECUTIONS[tenant]}"
    return {
        ("POST", "/api/v1/trace/diagnose"): ("", key(tenant)),
        ("POST", "/api/v1/trace/diagnose/confirm"): ("", key(tenant)),
        ("GET", "/api/v1/trace/timeline"): (one, None),
        ("GET", "/api/v1/trace/timeline/{execution_id}"): ("", None),
        ("GET", "/api/v1/trace/summary"): (one, None),
        ("GET", "/api/v1/trace/summary/{execution_id}"): ("", None),
        ("GET", "/api/v1/trace/gaps"): (one, None),
        ("POST", "/api/v1/trace/query"): ("", {"query": "slowest operations in the last 24 hours"}),
        ("POST", "/api/v1/trace/compare"): ("", pair(tenant)),
        ("POST", "/api/v1/trace/compare-with-successful"): ("", key(tenant)),
        ("POST", "/api/v1/jobs/timeout-root-cause"): ("", key(tenant)),
        ("GET", "/api/v1/executions"): ("", None),
        ("GET", "/api/v1/failures"): ("", None),
        ("GET", "/api/v1/performance"): (f"?operation={tenant}-execution", None),
        ("GET", "/api/v1/services"): ("", None),
        ("GET", "/api/v1/operations"): ("", None),
        ("GET", "/api/v1/service-map"): ("", None),
        ("GET", "/api/v1/traces"): ("", None),
        ("GET", "/api/v1/traces/{trace_id}"): ("", None),
        ("POST", "/api/v1/sql"): ("", {"statement": "SELECT * FROM trace_spans"}),
    }


NOT_ABOUT_ONE_TENANT = {("GET", path) for path in (*OPEN_PATHS, "/metrics")} | {("HEAD", "/openapi.json")}
TESTED_APART = {("POST", "/mcp"), ("POST", "/api/v1/executions")}


@pytest.fixture
def http(store: Store) -> Iterator[TestClient]:
    """The application over a store into which both tenants have sent, and whose worker has done all that is due."""
    with running(store, SETTINGS) as receiver:
        for tenant in TENANTS:
            for execution_id in (EXECUTIONS[tenant], SHARED):
                headers = bearer(tenant) | {"Content-Type": "application/json"}
                body = telemetry(tenant, execution_id)
                assert httpx.post(f"{receiver.http}/v1/traces", content=body, headers=headers).status_code == 200
            for path, message in OTHER_SIGNALS.items():
                body = json.dumps(as_json(message)).replace('"router"', f'"{tenant}-router"')
                assert httpx.post(f"{receiver.http}{path}", content=body, headers=headers).status_code == 200
    worker = Worker(store, SETTINGS, clock=lambda: datetime.now(UTC) + timedelta(seconds=1))
    while worker.step():
        pass

    def queries_of(tenant: str) -> Queries:
        return Queries(store, SETTINGS, tenant=tenant)

    mcp = build_server(lambda: nullcontext(queries_of(CALLER.get())))
    app = build_app(queries_of, Access(SETTINGS), ready=lambda: True, mcp=mcp)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def sees(text: str) -> set[str]:
    """Whose data an answer holds: by names, and by the ids that only one of them has."""
    return {tenant for tenant in TENANTS if f"{tenant}-" in text or trace(tenant) in text}


def check_routes(http: TestClient) -> None:
    assert routes_of(http.app) == questions("alpha").keys() | NOT_ABOUT_ONE_TENANT | TESTED_APART  # type: ignore[arg-type]
    for about in TENANTS:
        for (method, path), (query, body) in questions(about).items():
            url = path.replace("{execution_id}", str(EXECUTIONS[about])).replace("{trace_id}", trace(about)) + query
            for caller in TENANTS:
                response = http.request(method, url, json=body, headers=bearer(caller))
                asked = json.dumps([url, body])
                seen = sees(response.text) if caller == about else sees(response.text) - sees(asked)
                assert seen <= {caller}, (caller, method, url, response.text)
                if caller == about:
                    assert response.status_code == 200, response.text
                    assert seen == {caller}, (method, url, response.text)


TOOLS = {
    "diagnose_execution": key,
    "find_timeout_root_cause": lambda tenant: {"job_id": f"{tenant}-nightly"},
    "compare_with_successful": key,
    "get_recent_failures": lambda _: {},
    "analyze_performance": lambda tenant: {"operation": f"{tenant}-execution"},
    "find_trace_gaps": key,
    "query_traces": lambda _: {"query": "slowest operations in the last 24 hours"},
}


def rpc(http: TestClient, caller: str, method: str, **parameters: Any) -> dict[str, Any]:
    headers = bearer(caller) | {"Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    response = http.post("/mcp", json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["result"]
    return answer


def check_tools(http: TestClient) -> None:
    assert {tool["name"] for tool in rpc(http, "alpha", "tools/list")["tools"]} == TOOLS.keys()
    for about in TENANTS:
        for tool, arguments in TOOLS.items():
            asked = arguments(about)
            for caller in TENANTS:
                text = json.dumps(rpc(http, caller, "tools/call", name=tool, arguments=asked))
                seen = sees(text) if caller == about else sees(text) - sees(json.dumps(asked))
                assert seen <= {caller}, (caller, tool, text)
                if caller == about:
                    assert seen == {caller}, (tool, text)


def test_every_route_and_every_tool_answers_with_the_callers_data_only(http: TestClient) -> None:
    check_routes(http)
    check_tools(http)


STATEMENTS = [
    *(f"SELECT * FROM {table}" for table in SQL_TABLES),
    "SELECT * FROM trace_spans WHERE tenant = 'alpha'",
    "SELECT * FROM trace_spans AS tenant",
    "SELECT a.service FROM trace_spans a JOIN trace_summaries b ON a.trace_id = b.trace_id",
    "WITH trace_summaries AS (SELECT service FROM trace_spans) SELECT * FROM trace_summaries",
    "SELECT (SELECT max(service) FROM trace_spans) AS newest",
    "SELECT service FROM trace_spans UNION ALL SELECT root_service FROM trace_summaries",
]


ALWAYS_FILLED = ("trace_spans", "trace_summaries", "log_records", "metric_points", "profile_samples")


def test_sql_and_ids_that_both_use_are_each_ones_own(http: TestClient) -> None:
    for statement in STATEMENTS:
        answer = http.post("/api/v1/sql", json={"statement": statement}, headers=bearer("beta"))
        assert answer.status_code == 200, answer.text
        assert sees(answer.text) <= {"beta"}
        if statement.endswith(ALWAYS_FILLED) and "alpha" not in statement:
            assert sees(answer.text) == {"beta"}, statement

    for tenant in TENANTS:
        diagnosed = http.post("/api/v1/trace/diagnose", json={"execution_id": SHARED}, headers=bearer(tenant))
        raw = http.get(f"/api/v1/traces/{SHARED:032x}", headers=bearer(tenant))
        assert (diagnosed.status_code, raw.status_code) == (200, 200)
        assert sees(diagnosed.text + raw.text) == {tenant}

    recorded = DECLARED | {"execution_id": 7, "error_message": "alpha-error"}
    assert http.post("/api/v1/executions", json=recorded, headers=bearer("alpha")).status_code == 201
    of_it = {"json": {"execution_id": 7}}
    assert "alpha-error" in http.post("/api/v1/trace/diagnose", **of_it, headers=bearer("alpha")).text
    assert http.post("/api/v1/trace/diagnose", **of_it, headers=bearer("beta")).status_code == 404
