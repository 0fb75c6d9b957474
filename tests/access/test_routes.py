"""Every route and every OTLP path against every kind of token. The routes are the application's own: a new one that is
not among those that are open or that add to the store needs the role ``read``."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import cast

import grpc
import httpx
import pytest
from google.protobuf.json_format import Parse
from google.rpc.status_pb2 import Status
from starlette.testclient import TestClient

from otel_diag.auth import Access
from otel_diag.present.mcp.server import build_server
from otel_diag.present.rest.app import build_app
from otel_diag.query import Queries
from otel_diag.receive.intake import SIGNALS, Signal
from otel_diag.store.base import Store
from otel_diag.store.open import open_store
from tests.access.tokens import BOTH, INGEST, READ, bearer, known, routes_of, settings_with
from tests.present.answers import EXECUTION, TRACE, OneIncident
from tests.receive.servers import Receiver, running

TOKENS = (known("sender", roles=INGEST), known("asker", roles=READ), known("both", roles=BOTH))
HEADERS = {"nobody": {}, "stranger": bearer("stranger"), **{token.name: bearer(token.name) for token in TOKENS}}

OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/docs"), ("GET", "/openapi.json"), ("HEAD", "/openapi.json")}
WRITES = {("POST", "/api/v1/executions"), ("POST", "/api/v1/trace/diagnose/confirm")}
QUESTIONS = {
    ("POST", path)
    for path in (
        "/api/v1/trace/diagnose",
        "/api/v1/trace/query",
        "/api/v1/trace/compare",
        "/api/v1/trace/compare-with-successful",
        "/api/v1/jobs/timeout-root-cause",
        "/api/v1/sql",
        "/mcp",
    )
}
"""What is asked with POST."""

_INCIDENT = cast(Queries, OneIncident())
APP = build_app(
    lambda _: _INCIDENT,
    Access(settings_with(*TOKENS)),
    ready=lambda: True,
    mcp=build_server(lambda: _INCIDENT),  # type: ignore[arg-type,return-value]
)
ROUTES = routes_of(APP)


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with TestClient(APP, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def test_every_route_that_does_not_only_read_is_known_here() -> None:
    assert {route for route in ROUTES if route[0] not in ("GET", "HEAD")} == WRITES | QUESTIONS
    assert OPEN <= ROUTES


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
@pytest.mark.parametrize("who", HEADERS)
def test_a_route_admits_who_has_its_role(http: TestClient, method: str, path: str, who: str) -> None:
    needed = {"both", "sender" if (method, path) in WRITES else "asker"}
    path = path.replace("{execution_id}", str(EXECUTION)).replace("{trace_id}", TRACE)
    response = http.request(method, path, headers=HEADERS[who])
    if (method, path) in OPEN or who in needed:
        assert response.status_code not in (401, 403)
        return
    if who in ("nobody", "stranger"):
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert response.json()["error"]["code"] == "unauthenticated"
    else:
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "forbidden"
    assert response.json()["error"]["hint"]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/nothing", "/api/v1/services/", "//api/v1/services", "/docs/x"])
def test_what_does_not_exist_needs_a_token_too(http: TestClient, path: str) -> None:
    assert http.get(path).status_code == 401
    assert http.get(path, headers=bearer("asker")).status_code in (200, 404)


def test_an_unknown_host_is_refused_whatever_the_token(http: TestClient) -> None:
    response = http.get("/api/v1/services", headers=bearer("asker") | {"Host": "evil.example"})
    assert response.json()["error"]["code"] == "unknown_host"


# --------------------------------------------------------------------------------------------------
# OTLP


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    store: Store = open_store("duckdb://")
    with running(store, settings_with(*TOKENS)) as receiver:
        yield receiver
    store.close()


EXPECTED = {
    "nobody": (401, grpc.StatusCode.UNAUTHENTICATED),
    "stranger": (401, grpc.StatusCode.UNAUTHENTICATED),
    "asker": (403, grpc.StatusCode.PERMISSION_DENIED),
    "sender": (200, grpc.StatusCode.OK),
    "both": (200, grpc.StatusCode.OK),
}


@pytest.mark.parametrize("who", HEADERS)
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.path)
@pytest.mark.parametrize("media_type", ["application/x-protobuf", "application/json"])
def test_otlp_over_http_admits_senders(receiver: Receiver, signal: Signal, media_type: str, who: str) -> None:
    body = b"{}" if media_type.endswith("json") else b""
    headers = HEADERS[who] | {"Content-Type": media_type}
    response = httpx.post(receiver.http + signal.path, content=body, headers=headers)
    http_status, code = EXPECTED[who]
    assert response.status_code == http_status
    if http_status != 200:
        as_json = response.headers["Content-Type"] == "application/json"
        status = Parse(response.text, Status()) if as_json else Status.FromString(response.content)
        assert (status.code, bool(status.message)) == (code.value[0], True)
    assert ("WWW-Authenticate" in response.headers) == (http_status == 401)


@pytest.mark.parametrize("who", HEADERS)
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.path)
def test_otlp_over_grpc_admits_senders(receiver: Receiver, signal: Signal, who: str) -> None:
    metadata = [(name.lower(), value) for name, value in HEADERS[who].items()]
    with receiver.channel() as channel:
        call = channel.unary_unary(f"/{signal.grpc_service}/Export").future(b"", metadata=metadata, timeout=20)
        code = call.code()
        trailing = dict(call.trailing_metadata() or ())
    assert code == EXPECTED[who][1]
    if code is not grpc.StatusCode.OK:
        assert Status.FromString(trailing["grpc-status-details-bin"]).code == code.value[0]


def test_paths_and_methods_are_not_told_to_strangers(receiver: Receiver) -> None:
    for method, path in (("GET", "/v1/traces"), ("POST", "/v1/nothing"), ("POST", "/")):
        assert httpx.request(method, receiver.http + path).status_code == 401


def test_who_is_refused_over_grpc_is_refused_before_the_request_is_read(receiver: Receiver) -> None:
    answered = Event()

    def never_sent() -> Iterator[bytes]:
        answered.wait(30)
        yield b""

    with receiver.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(f"/{SIGNALS[0].grpc_service}/Export")(never_sent(), timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    answered.set()
