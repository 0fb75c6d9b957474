"""Files of spans: every format is recognised, what is broken is named, and the rest goes on."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode.otlp_json import json_to_request
from otel_diag.present.cli.files import BATCH_SPANS, Broken, Skipped, Spans, batches, read_parts
from tests.present.otlp import request

LINE = json.dumps(request(1)).encode()
LOGS = b'{"resourceLogs":[{}]}'


def parts_of(data: bytes) -> list[Any]:
    return list(read_parts(io.BytesIO(data)))


def spans_of(parts: list[Any]) -> list[int]:
    return [part.spans for part in parts if isinstance(part, Spans)]


def delimited(*messages: bytes) -> bytes:
    out = bytearray()
    for message in messages:
        length = len(message)
        while length >= 0x80:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        out.append(length)
        out += message
    return bytes(out)


PROTOBUF = json_to_request(LINE)


@pytest.mark.parametrize(
    ("data", "spans"),
    [
        (LINE, [2]),
        (LINE + b"\n" + LINE + b"\n", [2, 2]),
        (b"\xef\xbb\xbf" + LINE + b"\r\n\r\n" + LINE, [2, 2]),
        (b"\n" + LINE, [2]),
        (json.dumps(request(1), indent=2).encode(), [2]),
        (PROTOBUF, [2]),
        (PROTOBUF + PROTOBUF, [4]),
        (delimited(PROTOBUF, PROTOBUF, PROTOBUF), [2, 2, 2]),
        (b"", []),
        (b"\n\n", []),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_formats_are_recognised(data: bytes, spans: list[int], compress: Any) -> None:
    parts = parts_of(compress(data))
    assert spans_of(parts) == spans
    assert len(parts) == len(spans)
    for part in parts:
        assert ExportTraceServiceRequest.FromString(part.payload).resource_spans


def test_a_broken_line_is_named_and_the_rest_goes_on() -> None:
    parts = parts_of(b"\n".join([LINE, b'{"resourceSpans": [', LOGS, b'{"a":1}', b'{"resourceSpans": 7}', LINE]))
    assert spans_of(parts) == [2, 2]
    assert Skipped("logs") in parts
    broken = [part for part in parts if isinstance(part, Broken)]
    assert [part.where for part in broken] == ["line 2", "line 4", "line 5"]
    assert all(part.reason for part in broken)


def test_a_cut_off_archive_gives_what_is_before_the_cut() -> None:
    lines = b"\n".join(json.dumps(request(number)).encode() for number in range(2_000))
    parts = parts_of(gzip.compress(lines)[:-200])
    assert len(spans_of(parts)) > 100
    assert isinstance(parts[-1], Broken)
    assert "cut off" in parts[-1].reason


def test_a_broken_message_of_a_dump_is_named() -> None:
    parts = parts_of(delimited(PROTOBUF, b"\xff\xff", PROTOBUF) + b"\x40\x00")
    assert spans_of(parts) == [2, 2]
    assert [part.where for part in parts if isinstance(part, Broken)] == ["message 2", "message 4"]


def test_other_data_is_told() -> None:
    (part,) = parts_of(b"hello, world")
    assert isinstance(part, Broken)
    assert "neither" in part.reason


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda data: PROTOBUF + data))
def test_any_bytes_are_read_or_named(data: bytes) -> None:
    for part in parts_of(data):
        assert isinstance(part, Spans | Skipped | Broken)


@given(st.lists(st.integers(0, 3_000), max_size=12))
def test_batches_carry_every_request_once(sizes: list[int]) -> None:
    requests = [Spans(bytes([number]), size) for number, size in enumerate(sizes)]
    joined = list(batches(requests))
    assert b"".join(part.payload for part in joined) == b"".join(part.payload for part in requests)
    assert sum(part.spans for part in joined) == sum(sizes)
    assert all(part.spans <= BATCH_SPANS for part in joined)
