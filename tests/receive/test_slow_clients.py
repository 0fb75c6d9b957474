"""Clients that are slow, silent, many or malformed: they are ended, and who behaves beside them never notices."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from threading import Event, Thread
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_diag.listen import HEAD_BYTES, listening
from otel_diag.receive.http import faults
from otel_diag.receive.intake import Counters
from otel_diag.store.base import Store
from tests.receive.requests import request_of
from tests.receive.servers import TRACES, Receiver, Slow, running, settings_for

HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
DETAILS = "grpc-status-details-bin"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def exchange(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """What is answered first to these bytes: status, headers, body. The server has to close the connection."""
    with connect(port) as connection:
        connection.sendall(sent)
        return answer_on(connection)


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body[: int(headers["content-length"])]


def post(client: httpx.Client, receiver: Receiver) -> httpx.Response:
    body = request_of(1).SerializeToString()
    headers = {"content-type": "application/x-protobuf"}
    return client.post(f"{receiver.http}/v1/traces", content=body, headers=headers, timeout=20)


def ended(connection: socket.socket, drip: bytes) -> bool:
    """Whether the server ends a connection on which bytes trickle in for ever."""
    connection.settimeout(0.02)
    for _ in range(1_000):
        try:
            connection.sendall(drip)
            if connection.recv(65_536) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


BEGINNINGS = {
    "nothing": b"",
    "a head that never ends": HEAD,
    "a body that never ends": HEAD + b"Content-Length: 100000\r\n\r\nabc",
    "chunks that never end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


def test_a_hundred_slow_connections_are_ended_and_nobody_else_notices(embedded: Store) -> None:
    sent, answers, stop = 0, [], Event()
    with running(embedded, settings_for(head_seconds=2.0, body_seconds=2.0)) as receiver, ExitStack() as stack:

        def behave() -> None:
            with httpx.Client() as client:
                while not stop.is_set():
                    answers.append(post(client, receiver).status_code)

        honest = Thread(target=behave)
        honest.start()
        slow = []
        for beginning in [*BEGINNINGS.values()] * 25:
            connection = stack.enter_context(connect(receiver.http_port))
            connection.sendall(beginning)
            slow.append((connection, beginning))
        silent = [stack.enter_context(connect(receiver.grpc_port)) for _ in range(10)]
        with receiver.channel() as channel:
            channel.unary_unary(TRACES)(request_of(1).SerializeToString(), timeout=20)
        for connection, beginning in slow:
            drip = {b"": b"", HEAD: b"X-Y: z\r\n"}.get(beginning, b"1\r\nx\r\n" if b"chunked" in beginning else b"x")
            assert ended(connection, drip), beginning
        for connection in silent:
            assert ended(connection, b"")
        stop.set()
        honest.join()
        sent = len(answers)
    assert sent > 0
    assert set(answers) == {200}


@pytest.mark.parametrize(("what", "status"), [("a head that never ends", 408), ("a body that never ends", 503)])
def test_who_is_too_slow_is_told_as_a_status(embedded: Store, what: str, status: int) -> None:
    with running(embedded, settings_for(head_seconds=0.2, body_seconds=0.2)) as receiver:
        code, headers, body = exchange(receiver.http_port, BEGINNINGS[what])
        assert code == status
        assert "within 0.2 s" in Status.FromString(body).message
        assert ("retry-after" in headers) == (status == 503)


def test_a_call_whose_request_never_comes_is_ended_and_may_be_retried(embedded: Store) -> None:
    over = Event()

    def never() -> Iterator[bytes]:
        over.wait(20)
        yield b""

    with (
        running(embedded, settings_for(body_seconds=0.2)) as receiver,
        receiver.channel() as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.stream_unary(TRACES)(never(), timeout=20)
    over.set()
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    details = Status.FromString(dict(refused.value.trailing_metadata())[DETAILS]).details
    assert details[0].Is(RetryInfo.DESCRIPTOR)


def test_who_does_not_read_the_answer_is_cut_off() -> None:
    """Of an answer larger than every buffer on the way."""
    cut_off, stop = Event(), Event()

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for left in reversed(range(64)):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": left > 0})
        cut_off.set()

    bound = socket.create_server(("127.0.0.1", 0))

    async def serve() -> None:
        async with listening(large, bound, settings_for(body_seconds=0.2), faults(Counters())):
            await asyncio.to_thread(stop.wait)

    server = Thread(target=asyncio.run, args=(serve(),))
    server.start()
    with closing(connect(bound.getsockname()[1])) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert cut_off.wait(20)
    stop.set()
    server.join()


def test_an_idle_connection_is_closed(embedded: Store) -> None:
    with running(embedded, settings_for(idle_seconds=0.1)) as receiver, closing(connect(receiver.http_port)) as one:
        one.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        assert answer_on(one)[0] == 200


def test_a_connection_that_waits_for_its_next_request_is_not_called_slow(embedded: Store) -> None:
    with running(embedded, settings_for(head_seconds=0.5, body_seconds=0.5)) as receiver, httpx.Client() as client:
        before = post(client, receiver)
        time.sleep(0.7)
        after = post(client, receiver)
        assert (before.status_code, after.status_code) == (200, 200)
        assert client._transport._pool.connections[0]._connection._request_count == 2  # type: ignore[attr-defined]


def test_connections_over_the_cap_are_told_to_come_again(embedded: Store) -> None:
    with running(embedded, settings_for(max_connections=3)) as receiver:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(connect(receiver.http_port))
            code, headers, body = exchange(receiver.http_port, HEAD + b"Content-Length: 0\r\n\r\n")
            assert (code, headers["retry-after"]) == (503, "1")
            assert "too many connections" in Status.FromString(body).message
            held = [stack.enter_context(connect(receiver.http_port)) for _ in range(3)]
            beyond = stack.enter_context(connect(receiver.http_port))
            assert ended(beyond, b"")
            assert not ended_soon(held[0])
        with httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
            deadline = time.monotonic() + 20
            while post(client, receiver).status_code != 200:
                assert time.monotonic() < deadline


def ended_soon(connection: socket.socket) -> bool:
    connection.settimeout(0.1)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def test_calls_and_connections_over_the_cap_may_be_retried(embedded: Store) -> None:
    slow = Slow(embedded)
    payload = request_of(1).SerializeToString()
    with running(slow, settings_for(max_connections=1)) as receiver:  # type: ignore[arg-type]
        with receiver.channel() as channel:
            first = channel.unary_unary(TRACES).future(payload, timeout=30)
            assert slow.entered.wait(20)
            with pytest.raises(grpc.RpcError) as same_connection:
                channel.unary_unary(TRACES)(payload, timeout=20)
            with pytest.raises(grpc.RpcError) as other_connection, receiver.channel() as other:
                other.unary_unary(TRACES)(payload, timeout=20)
            slow.go_on.set()
            first.result()
        assert same_connection.value.code() == grpc.StatusCode.UNAVAILABLE
        assert DETAILS in dict(same_connection.value.trailing_metadata())
        assert other_connection.value.code() == grpc.StatusCode.UNAVAILABLE


MALFORMED = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "HTTP/2 on the HTTP port": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    "a bad request line": (b"POST\r\n\r\n", 400),
    "a bad header": (HEAD + b"Authorization : otd_secret\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a length that is none": (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    "no host": (b"POST /v1/traces HTTP/1.1\r\n\r\n", 400),
    "a bad chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 400),
    "an unknown transfer encoding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "a head too large": (HEAD + b"X: " + b"x" * HEAD_BYTES, 431),
    "a request line too long": (b"POST /" + b"x" * HEAD_BYTES, 431),
}


def test_malformed_http_is_answered_as_a_status(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    for what, (sent, status) in MALFORMED.items():
        code, headers, body = exchange(receiver.http_port, sent)
        assert (code, headers["content-type"]) == (status, "application/x-protobuf"), what
        assert Status.FromString(body).message, what
        assert b"secret" not in body
    assert "secret" not in caplog.text
    assert receiver.counters.refused.total() == len(MALFORMED) + 1  # HTTP/2 has gone on after its first answer
    with httpx.Client() as client:
        assert post(client, receiver).status_code == 200


def test_bodies_that_arrive_share_their_room(embedded: Store) -> None:
    with (
        running(embedded, settings_for(max_queued_bytes=1_000)) as receiver,
        closing(connect(receiver.http_port)) as one,
    ):
        one.sendall(HEAD + b"Content-Length: 2000\r\n\r\n" + b"x" * 900)
        body = b"x" * 500
        deadline = time.monotonic() + 20
        headers = {"content-type": "application/x-protobuf"}
        while (answer := httpx.post(f"{receiver.http}/v1/traces", content=body, headers=headers)).status_code != 503:
            assert time.monotonic() < deadline
        assert "arriving at once" in Status.FromString(answer.content).message


@pytest.mark.parametrize(
    ("origin", "status"), [("https://evil.example", 403), ("null", 403), ("http://localhost:1", 200)]
)
def test_pages_of_other_sites_cannot_send(receiver: Receiver, origin: str, status: int) -> None:
    headers = {"content-type": "application/json", "origin": origin}
    answer = httpx.post(f"{receiver.http}/v1/traces", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert ("other sites" in answer.text) == (status == 403)
