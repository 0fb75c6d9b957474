"""The REST API: every answer, every error in one form, and who may call."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest
from starlette.testclient import TestClient

from otel_diag.errors import NotFound, OtelDiagError, Permanent, Transient, Unsupported
from otel_diag.model import Confirmation, Report, RootCauseType, Status
from otel_diag.query import Filters, Key
from tests.present.answers import EXECUTION, TRACE, OneIncident

BY_EXECUTION = Key(execution_id=EXECUTION)
BY_TRACE = Key(trace_id=TRACE)


def error_of(response: Any) -> dict[str, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "hint"}
    error: dict[str, str] = body["error"]
    return error


def test_diagnose_answers_with_every_field_of_the_report(http: TestClient) -> None:
    response = http.post("/api/v1/trace/diagnose", json={"execution_id": EXECUTION, "analysis_type": "root_cause"})
    assert response.status_code == 200
    assert set(response.json()) == set(Report.model_fields)
    assert response.json()["root_cause"]["root_cause_type"] == "NETWORK_TIMEOUT"
    assert response.json()["analysis_type"] == "root_cause"


@pytest.mark.parametrize(
    ("method", "path", "body", "asked"),
    [
        ("POST", "trace/diagnose", {"execution_id": EXECUTION}, ("diagnose", BY_EXECUTION, "full")),
        ("POST", "trace/diagnose", {"trace_id": TRACE.upper()}, ("diagnose", BY_TRACE, "full")),
        ("GET", f"trace/timeline/{EXECUTION}", None, ("timeline", BY_EXECUTION)),
        ("GET", f"trace/timeline?trace_id={TRACE}", None, ("timeline", BY_TRACE)),
        ("GET", f"trace/summary/{EXECUTION}", None, ("summary", BY_EXECUTION)),
        ("GET", f"trace/summary?trace_id={TRACE}", None, ("summary", BY_TRACE)),
        ("GET", f"trace/gaps?execution_id={EXECUTION}", None, ("trace_gaps", BY_EXECUTION)),
        ("POST", "trace/query", {"query": "slowest today"}, ("ask", "slowest today", None, None)),
        (
            "POST",
            "trace/compare",
            {"left": {"execution_id": EXECUTION}, "right": {"trace_id": TRACE}},
            ("compare", BY_EXECUTION, BY_TRACE),
        ),
        (
            "POST",
            "trace/compare-with-successful",
            {"execution_id": EXECUTION},
            ("compare_with_successful", BY_EXECUTION),
        ),
        ("POST", "jobs/timeout-root-cause", {"job_id": "nightly"}, ("timeout_root_cause", "nightly", None)),
        ("GET", "executions?limit=5&offset=10", None, ("search", Filters(), 5, 10)),
        (
            "GET",
            "failures?status=failed&region=eu",
            None,
            ("recent_failures", 10, Filters(status="failed", region="eu")),
        ),
        ("GET", "performance?operation=x", None, ("performance", Filters(operation="x"))),
        ("GET", "services", None, ("services", None)),
        ("GET", "operations?service=runner", None, ("operations", "runner", None)),
        ("GET", "service-map", None, ("service_map", None)),
        ("GET", "traces", None, ("trace_ids", "", 1_000)),
        ("GET", f"traces/{TRACE}", None, ("raw_trace", BY_TRACE, "", None)),
        ("GET", f"traces/{TRACE}?after=ab&limit=9", None, ("raw_trace", BY_TRACE, "ab", 9)),
        ("POST", "sql", {"statement": "SELECT 1", "max_rows": 3}, ("sql", "SELECT 1", 3, False)),
        (
            "POST",
            "trace/diagnose/confirm",
            {"execution_id": EXECUTION, "confirmed": False, "root_cause_type": "RATE_LIMITED", "note": "why"},
            ("confirm", BY_EXECUTION, Confirmation(False, RootCauseType.RATE_LIMITED, note="why")),
        ),
    ],
)
def test_every_route_asks_the_query_service(
    http: TestClient, incident: OneIncident, method: str, path: str, body: Any, asked: tuple[Any, ...]
) -> None:
    response = http.request(method, f"/api/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    assert incident.asked == [asked]


def test_an_execution_can_be_recorded_without_spans(http: TestClient, incident: OneIncident) -> None:
    body = {
        "execution_id": 7,
        "status": "failed",
        "started_at": "2026-11-21T12:00:00+01:00",
        "completed_at": "2026-11-21T12:00:00.013+01:00",
        "job_id": "nightly",
        "error_message": "died",
    }
    response = http.post("/api/v1/executions", json=body)
    assert (response.status_code, response.json()) == (201, {"execution_id": 7})
    (declared,) = incident.declared
    assert (declared.execution_id, declared.status, declared.job_id) == (7, Status.FAILED, "nightly")
    assert declared.started_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "trace/diagnose", {}, "exactly one"),
        ("POST", "trace/diagnose", {"execution_id": 1, "trace_id": TRACE}, "exactly one"),
        ("POST", "trace/diagnose", {"execution_id": 2**63}, "execution_id"),
        ("POST", "trace/diagnose", {"execution_id": 1, "analysis": "full"}, "analysis"),
        ("POST", "trace/diagnose", {"execution_id": 1, "analysis_type": "half"}, "analysis_type"),
        ("POST", "trace/diagnose", {"trace_id": "xyz"}, "32 hexadecimal"),
        ("GET", "trace/timeline", None, "exactly one"),
        ("GET", "trace/timeline/abc", None, "execution_id"),
        ("GET", "failures?since=soon", None, "not a time"),
        ("GET", "failures?since=999999w", None, "not a time"),
        ("GET", "failures?status=broken", None, "not known"),
        ("GET", "failures?root_cause_type=X", None, "not known"),
        ("GET", "failures?limit=0", None, "limit"),
        ("GET", "performance?since=1h&until=2h", None, "after until"),
        ("GET", "traces/nope", None, "32 hexadecimal"),
        ("POST", "jobs/timeout-root-cause", {}, "exactly one"),
        ("POST", "executions", {"execution_id": 1, "status": "gone", "started_at": "2026-01-01T00:00:00Z"}, "status"),
        (
            "POST",
            "executions",
            {"execution_id": 1, "status": "failed", "started_at": "2026-01-01T00:00:00"},
            "timezone",
        ),
        ("POST", "sql", {"statement": "DELETE FROM trace_spans"}, "only one SELECT"),
        ("POST", "trace/diagnose/confirm", {"note": "why"}, "exactly one"),
        ("POST", "trace/diagnose/confirm", {"execution_id": 1, "note": "x" * 2_001}, "note"),
        ("POST", "trace/diagnose/confirm", {"execution_id": 1, "root_cause_type": "BAD_LUCK"}, "root_cause_type"),
    ],
)
def test_wrong_input_is_refused_and_named(http: TestClient, method: str, path: str, body: Any, says: str) -> None:
    response = http.request(method, f"/api/v1/{path}", json=body)
    assert response.status_code == 422
    error = error_of(response)
    assert error["code"] == "bad_input"
    assert says in error["message"]
    assert error["hint"]


def test_text_that_is_no_json_is_a_bad_request(http: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = http.post("/api/v1/trace/diagnose", content=b'{"execution_id":', headers=headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == "bad_json"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("x", hint="h"), 404, "not_found"),
        (Transient("x", hint="h"), 503, "unavailable"),
        (Unsupported("x", hint="h"), 501, "unsupported"),
        (Permanent("x", hint="h"), 500, "failed"),
    ],
)
def test_errors_of_the_service_have_their_status(
    http: TestClient, incident: OneIncident, error: OtelDiagError, status: int, code: str
) -> None:
    incident.error = error
    response = http.get("/api/v1/services")
    assert response.status_code == status
    assert error_of(response) == {"code": code, "message": "x", "hint": "h"}
    assert ("retry-after" in response.headers) == (status == 503)


def test_an_unknown_execution_offers_the_nearest(http: TestClient) -> None:
    response = http.get("/api/v1/trace/timeline/1")
    assert response.status_code == 404
    assert "2192, 2193" in error_of(response)["hint"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("GET", "/nothing", 404), ("GET", "/api/v1/trace/diagnose", 405)],
)
def test_the_frameworks_errors_have_the_same_form(http: TestClient, method: str, path: str, status: int) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    assert error_of(response)["hint"]


def test_a_bug_is_an_error_without_its_details(http: TestClient, incident: OneIncident) -> None:
    incident.error = RuntimeError("secret")
    response = http.get("/api/v1/services")
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal"
    assert "secret" not in response.text


@pytest.mark.parametrize(("path", "body"), [("trace/query", {"query": "slowest"}), ("sql", {"statement": "SELECT 1"})])
def test_json_never_holds_nan_or_infinity(http: TestClient, path: str, body: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    response = http.post(f"/api/v1/{path}", json=body)
    assert response.status_code == 200
    json.loads(response.text, parse_constant=refuse)


def test_health_and_readiness(http: TestClient, incident: OneIncident) -> None:
    assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == 200
    incident.error = Transient("down")
    response = http.get("/readyz")
    assert response.status_code == 503
    assert error_of(response)["code"] == "not_ready"
    assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/services", "/readyz", "/docs", "/mcp"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:4319", "", "["])
def test_an_unknown_host_is_refused_everywhere(http: TestClient, path: str, host: str) -> None:
    response = http.get(path, headers={"Host": host})
    assert response.status_code == 421
    assert error_of(response)["code"] == "unknown_host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:4319", "LOCALHOST", "[::1]:4319"])
def test_loopback_names_are_known(http: TestClient, host: str) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_pages_of_other_sites_are_refused(http: TestClient, incident: OneIncident, origin: str) -> None:
    for path in ("/mcp", "/api/v1/sql"):
        response = http.post(path, json={"statement": "SELECT 1"}, headers={"Origin": origin})
        assert response.status_code == 403
        assert error_of(response)["code"] == "foreign_origin"
    assert not incident.asked


def test_own_pages_are_welcome(http: TestClient) -> None:
    assert http.get("/api/v1/services", headers={"Origin": "http://localhost:4319"}).status_code == 200


def test_openapi_describes_every_route_and_its_errors(http: TestClient) -> None:
    described = http.get("/openapi.json").json()
    routes = {path: operation for path, methods in described["paths"].items() for operation in methods.values()}
    assert "/api/v1/trace/diagnose" in routes
    for path, operation in routes.items():
        assert operation["summary"], path
        if path.startswith("/api/"):
            assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith(
                "ErrorAnswer"
            )


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [(b"no HTTP\r\n\r\n", 400, "bad_request"), (b"GET /" + b"x" * 70_000, 431, "request_header_fields_too_large")],
)
def test_malformed_http_is_told_in_the_same_form(url: str, sent: bytes, status: int, code: str) -> None:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(sent)
        head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body)["error"]["code"] == code


def test_the_page_that_describes_the_api_loads_nothing_from_elsewhere(http: TestClient) -> None:
    response = http.get("/docs")
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "<script" not in response.text
    assert set(re.findall(r"""(?:href|src)=["']?([^"'>\s]+)""", response.text)) >= {"/openapi.json", "#Report"}
    assert not re.search(r"""(?:href|src)=["']?(?:https?:)?//""", response.text)
    for path in http.get("/openapi.json").json()["paths"]:
        assert path in response.text
    for name in re.findall(r'href="#([^"]+)"', response.text):
        assert f'id="{name}"' in response.text
