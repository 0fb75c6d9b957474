"""What the product says to bad input, unknown ids and a place it cannot start in."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import anyio
import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from mcp.client import Client

from tests.e2e.processes import ANY_PORTS, Server, command, execution, serving, stdio_server

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
INVALID_ARGUMENT = 3
PROTOBUF, JSON = "application/x-protobuf", "application/json"
UNKNOWN = 999_999_999


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (PROTOBUF, b"\xff\xff\xff\xff"),
        (PROTOBUF, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        (PROTOBUF, b"no protobuf"),
        (JSON, b'{"resourceSpans": ['),
        (JSON, b'{"resourceSpans": 7}'),
        (JSON, b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 1}]}]}]}'),
        (JSON, b"\xff"),
    ],
)
def test_an_undecodable_http_request_is_refused_whole(server: Server, content_type: str, body: bytes) -> None:
    before = server.span_count()
    response = httpx.post(f"{server.otlp_http}/v1/traces", content=body, headers={"Content-Type": content_type})
    assert (response.status_code, response.headers["Content-Type"]) == (400, content_type)
    if content_type == JSON:
        status = response.json()
        assert status["code"] == INVALID_ARGUMENT
        assert status["message"]
    else:
        check(Status.FromString(response.content))
    assert server.span_count() == before


@pytest.mark.parametrize("body", [b"\xff\xff\xff\xff", b"no protobuf", b"\x0a\x05\x00"])
def test_an_undecodable_grpc_request_is_refused_whole(server: Server, body: bytes) -> None:
    before = server.span_count()
    channel = grpc.insecure_channel(server.otlp_grpc.removeprefix("http://"))
    with channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(EXPORT)(body, timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    check(Status.FromString(details))
    assert server.span_count() == before


def check(status: Status) -> None:
    assert status.code == INVALID_ARGUMENT
    assert status.message
    bad = BadRequest()
    assert status.details[0].Unpack(bad)
    assert bad.field_violations[0].description


def test_an_unknown_execution_is_said_to_be_unknown_with_the_nearest(server: Server) -> None:
    assert server.send(execution(UNKNOWN - 1, "ab" * 16)).is_success
    server.diagnosis(UNKNOWN - 1)
    nearest = str(UNKNOWN - 1)

    response = httpx.post(f"{server.url}/api/v1/trace/diagnose", json={"execution_id": UNKNOWN})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "not_found")
    assert str(UNKNOWN) in error["message"]
    assert nearest in error["hint"]

    done = command("diagnose", UNKNOWN, "--store", server.store)
    assert (done.returncode, done.stdout) == (3, "")
    assert str(UNKNOWN) in done.stderr
    assert nearest in done.stderr
    assert_one_line(done.stderr)

    for way in (server.mcp, stdio_server(server.store)):
        result = anyio.run(diagnose, way, UNKNOWN)
        assert result.is_error
        assert str(UNKNOWN) in result.content[0].text
        assert nearest in result.content[0].text


async def diagnose(place: Any, execution_id: int) -> Any:
    async with Client(place) as client:
        return await client.call_tool("diagnose_execution", {"execution_id": execution_id})


@pytest.mark.parametrize("option", ["--grpc-port", "--http-port", "--port"])
def test_a_taken_port_is_named(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        done = command("serve", "--store", f"duckdb:///{tmp_path / 'store.duckdb'}", *ANY_PORTS, option, number)
    assert (done.returncode, done.stdout) == (4, "")
    assert number in done.stderr
    assert option in done.stderr
    assert_one_line(done.stderr)


def test_a_store_that_is_held_is_named_with_its_holder(tmp_path: Path) -> None:
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    with serving(store) as server:
        done = command("serve", "--store", store, *ANY_PORTS)
        assert (done.returncode, done.stdout) == (4, "")
        assert str(server.process.pid) in done.stderr
        assert_one_line(done.stderr)


@pytest.mark.parametrize("words", [["serve", *ANY_PORTS], ["diagnose", "1"]])
def test_a_database_that_is_down_is_one_line(words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = command(*words, "--store", f"postgresql://somebody:s3cret@127.0.0.1:{port}/spans")
    assert (done.returncode, done.stdout) == (4, "")
    assert f":{port}/spans" in done.stderr or "refused" in done.stderr
    assert "s3cret" not in done.stderr
    assert_one_line(done.stderr)


def assert_one_line(said: str) -> None:
    """One line that says what is wrong, at most one that says what to do, and no traceback."""
    error, *hint = said.splitlines()
    assert error.startswith("error: ")
    assert [line[:6] for line in hint] in ([], ["hint: "])
