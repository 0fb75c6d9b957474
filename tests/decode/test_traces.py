"""Rows as the schema describes them, one rule at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode import records
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.requests import Decoded
from otel_diag.decode.traces import decode_traces
from otel_diag.errors import BadInput
from otel_diag.model import SPAN_SCHEMA
from tests.decode.otlp import decode, exported, flattened

START = 1_790_000_000_123_456_789
CONTENT_HASH = 1469443574740291273


def request_of(**span: Any) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    fields = {"trace_id": b"t" * 16, "span_id": b"s" * 8, **span}
    request.resource_spans.add().scope_spans.add().spans.add(**fields)
    return request


def row_of(**span: Any) -> dict[str, Any]:
    row: dict[str, Any] = decode(request_of(**span)).batch.to_pylist()[0]
    return row


def test_an_empty_request_gives_an_empty_batch() -> None:
    for payload in (b"", ExportTraceServiceRequest(resource_spans=[{}]).SerializeToString()):
        decoded = decode_traces(payload, "default")
        assert decoded.batch.schema == SPAN_SCHEMA
        assert (decoded.batch.num_rows, decoded.records, decoded.rejected, decoded.message) == (0, 0, 0, "")


def test_times() -> None:
    row = row_of(start_time_unix_nano=START, end_time_unix_nano=START + 1_500_001)
    assert row["duration_ms"] == 1.500001
    assert row["started_at"] == datetime.fromtimestamp(START // 10**9, UTC).replace(microsecond=123456)
    assert (row["start_unix_nano"], row["end_unix_nano"]) == (START, START + 1_500_001)


@pytest.mark.parametrize(("start", "end"), [(START, START - 1), (0, START), (START, 0), (START, 2**64 - 1)])
def test_impossible_durations_are_null_and_the_raw_times_kept(start: int, end: int) -> None:
    request = request_of(start_time_unix_nano=start, end_time_unix_nano=end)
    decoded = decode(request)
    row = decoded.batch.to_pylist()[0]
    assert row["duration_ms"] is None
    assert (row["start_unix_nano"] % 2**64, row["end_unix_nano"] % 2**64) == (start, end)
    assert flattened(exported(decoded)) == flattened(request.SerializeToString())


def test_times_out_of_range_have_no_timestamp() -> None:
    row = row_of(start_time_unix_nano=0, end_time_unix_nano=2**64 - 1)
    assert (row["started_at"], row["completed_at"]) == (None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trace_id", b""),
        ("trace_id", bytes(16)),
        ("trace_id", b"t" * 15),
        ("trace_id", b"t" * 17),
        ("span_id", b""),
        ("span_id", bytes(8)),
        ("span_id", b"s" * 9),
        ("parent_span_id", b"p" * 3),
    ],
)
def test_a_span_with_a_bad_id_is_rejected_alone(field: str, value: bytes) -> None:
    request = request_of(**{field: value})
    spans = request.resource_spans[0].scope_spans[0].spans
    spans.add(trace_id=b"T" * 16, span_id=b"S" * 8, name="good").attributes.add(key="k").value.int_value = 1
    decoded = decode(request)
    assert (decoded.records, decoded.rejected) == (2, 1)
    assert field in decoded.message
    assert decoded.batch["operation"].to_pylist() == ["good"]
    assert decoded.batch["attributes"].to_pylist() == ['{"k":1}']


def test_absent_texts_are_null() -> None:
    row = row_of()
    absent = ("parent_span_id", "trace_state", "status_message", "scope_name", "scope_version", "events", "links")
    assert {name: row[name] for name in absent} == dict.fromkeys(absent)
    assert row["otlp_rest"] is None
    assert (row["attributes"], row["resource_attributes"], row["operation"]) == ("{}", "{}", "")


def test_attributes_as_json() -> None:
    request = request_of()
    attributes = request.resource_spans[0].scope_spans[0].spans[0].attributes
    attributes.add(key="text").value.string_value = 'a "quoted"\nline\0'
    attributes.add(key="int").value.int_value = -(2**63)
    attributes.add(key="whole").value.double_value = 3.0
    attributes.add(key="nan").value.double_value = float("nan")
    attributes.add(key="yes").value.bool_value = True
    attributes.add(key="raw").value.bytes_value = b"\0\xff"
    attributes.add(key="$money").value.string_value = "x"
    attributes.add(key="none")
    attributes.add(key="list").value.array_value.values.add().double_value = 1e300
    attributes.add(key="map").value.kvlist_value.values.add(key="$k").value.int_value = 1
    attributes.add(key="int").value.string_value = "again"
    text = decode(request).batch["attributes"][0].as_py()
    assert text == (
        '{"text":"a \\"quoted\\"\\nline\u241b\u2400","int":-9223372036854775808,"whole":3.0,"nan":{"$double":"NaN"},'
        '"yes":true,"raw":{"$bytes":"AP8="},"$$money":"x","none":null,"list":[1e+300],"map":{"$$k":1},'
        '"$duplicates":[[10,"int","again"]]}'
    )


def test_events_and_links_as_json() -> None:
    request = request_of()
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.events.add(name="e", time_unix_nano=2**64 - 1).attributes.add(key="k").value.string_value = "v"
    span.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, trace_state="a=b", flags=1)
    row = decode(request).batch.to_pylist()[0]
    assert json.loads(row["events"]) == [{"name": "e", "time_unix_nano": 2**64 - 1, "attributes": {"k": "v"}}]
    assert json.loads(row["links"]) == [
        {"trace_id": "01" * 16, "span_id": "02" * 8, "attributes": {}, "trace_state": "a=b", "flags": 1}
    ]


def test_one_bad_text_does_not_drop_a_batch() -> None:
    payload = request_of(name="XYZ").SerializeToString().replace(b"XYZ", b"a\xffb")
    decoded = decode_traces(payload, "default")
    assert decoded.batch["operation"].to_pylist() == ["a\ufffdb"]
    assert decoded.sanitised == 1
    assert "UTF-8" in decoded.message
    assert decoded.rejected == 0


def nested(depth: int) -> bytes:
    request = request_of()
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(depth):
        value = value.array_value.values.add()
    value.int_value = 1
    payload: bytes = request.SerializeToString()
    return payload


def test_nested_values_up_to_the_limit_of_protobuf() -> None:
    text = decode_traces(nested(40), "default").batch["attributes"][0].as_py()
    assert text == '{"deep":' + "[" * 40 + "1" + "]" * 40 + "}"


@pytest.mark.parametrize("depth", [60, 2_000])
def test_values_nested_too_deeply_are_bad_input(depth: int) -> None:
    # Made by hand: protobuf itself cannot write what it will not read.
    value = b"\x18\x01"
    for _ in range(depth):
        item = b"\x0a" + _varint(len(value)) + value
        value = b"\x2a" + _varint(len(item)) + item
    attribute = b"\x0a\x01k\x12" + _varint(len(value)) + value
    payload = _wrapped(_wrapped(_wrapped(b"\x4a" + _varint(len(attribute)) + attribute, 2), 2), 1)
    with pytest.raises(BadInput):
        decode_traces(payload, "default")


def _wrapped(message: bytes, field: int) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(message)) + message


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


@pytest.mark.parametrize("depth", [60, 100_000])
def test_json_nested_too_deeply_is_bad_input(depth: int) -> None:
    value = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    text = '{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":' + value + "}]}}]}"
    with pytest.raises(BadInput, match="nested"):
        json_to_request(text.encode())


def test_a_large_resource_repeated_for_every_span_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_EXPANDED_BYTES", 10_000)
    request = request_of()
    group = request.resource_spans[0]
    group.resource.attributes.add(key="big").value.string_value = "x" * 1_000
    decode(request)
    for number in range(1, 20):
        group.scope_spans[0].spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"))
    with pytest.raises(BadInput, match="resource attributes"):
        decode(request)


def test_the_content_hash_is_the_same_on_every_platform_and_version() -> None:
    """Stored hashes decide what is a duplicate: with another number, a retry is stored again after an upgrade."""
    request = request_of(name="op", kind=2, start_time_unix_nano=START, end_time_unix_nano=START + 1)
    attributes = request.resource_spans[0].scope_spans[0].spans[0].attributes
    attributes.add(key="text").value.string_value = "one"
    attributes.add(key="map").value.kvlist_value.values.add(key="k").value.bool_value = True
    attributes.add(key="integer").value.int_value = 1
    assert _only_hash(decode(request)) == CONTENT_HASH
    attributes.add(key="double").value.double_value = 1.0
    assert _only_hash(decode(request)) != CONTENT_HASH


def _only_hash(decoded: Decoded) -> int:
    (value,) = decoded.batch["content_hash"].to_pylist()
    return int(value)
