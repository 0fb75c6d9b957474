"""The OTLP server checklist, one test a line, against a live server. ``LINE`` numbers are the checklist's."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from sqlalchemy import select

from otel_diag.config import Settings
from otel_diag.store.base import Appended, Store
from otel_diag.store.schema import SPANS, SignalTable, trace_spans
from tests.receive.conftest import MAX_REQUEST_BYTES
from tests.receive.requests import START, request_of
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


def details(status: Status, kind: Any) -> list[Any]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


def as_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """OTLP/JSON of one of our requests: hex ids instead of base64."""
    data: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    for group in data["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for key in ("traceId", "spanId"):
                    span[key] = base64.b64decode(span[key]).hex()
    return data


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


def test_line_43_an_unforeseen_error_may_be_retried() -> None:
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


def test_line_54_one_payload_four_ways(receiver: Receiver, embedded: Store) -> None:
    """All four give the same rows: the second and later ones are duplicates of the first."""
    request = request_of(4, padding=3)
    binary, text = request.SerializeToString(), json.dumps(as_json(request)).encode()
    call(receiver, binary)
    first = stored(embedded)
    assert post(receiver, binary).status_code == 200
    assert post(receiver, text, JSON).status_code == 200
    assert post(receiver, gzip.compress(text), JSON, content_encoding="gzip").status_code == 200
    assert stored(embedded).equals(first)
    assert first.num_rows == 4
    assert receiver.counters.accepted == 16
