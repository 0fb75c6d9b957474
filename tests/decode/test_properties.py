"""What holds for every request, and for every sequence of bytes."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.requests import Decoded
from otel_diag.decode.rows import table_to_spans
from otel_diag.decode.traces import decode_traces
from otel_diag.errors import BadInput
from otel_diag.model import SPAN_SCHEMA
from tests.decode.otlp import decode, exported, flattened
from tests.decode.strategies import requests

TEXT_COLUMNS = [field.name for field in SPAN_SCHEMA if str(field.type) == "string"]
JSON_COLUMNS = ("attributes", "resource_attributes", "events", "links", "otlp_rest")

slow_to_generate = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


def decode_or_refuse(payload: bytes) -> Decoded | None:
    try:
        return decode_traces(payload, "default")
    except BadInput:
        return None


@slow_to_generate
@given(requests)
def test_a_request_survives_the_way_through_rows(request: ExportTraceServiceRequest) -> None:
    decoded = decode(request)
    assert decoded.reasons == {}
    decoded.batch.validate(full=True)
    assert flattened(exported(decoded)) == flattened(request.SerializeToString())


@slow_to_generate
@given(requests)
def test_every_row_can_be_stored_and_read(request: ExportTraceServiceRequest) -> None:
    decoded = decode(request)
    for row in decoded.batch.select(TEXT_COLUMNS).to_pylist():
        assert not any("\0" in text for text in row.values() if text)
        for name in JSON_COLUMNS:
            assert "\\u0000" not in (row[name] or "")
            json.loads(row[name] or "null", parse_constant=_no_constant)
    spans = table_to_spans(decoded.batch)
    assert [span.span_id for span in spans] == decoded.batch["span_id"].to_pylist()


def _no_constant(name: str) -> None:
    raise AssertionError(f"bare {name} in JSON")


@slow_to_generate
@given(requests)
def test_the_content_hash_depends_on_the_content_alone(request: ExportTraceServiceRequest) -> None:
    once = decode(request).batch["content_hash"].to_pylist()
    assert decode_traces(request.SerializeToString(), "other").batch["content_hash"].to_pylist() == once
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                span.flags ^= 1
    changed = decode(request).batch["content_hash"].to_pylist()
    assert all(new != old for new, old in zip(changed, once, strict=True))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_decoded_or_refused(payload: bytes) -> None:
    decode_or_refuse(payload)


@slow_to_generate
@given(requests, st.data())
def test_damaged_requests_are_decoded_or_refused(request: ExportTraceServiceRequest, data: st.DataObject) -> None:
    payload = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    decoded = decode_or_refuse(bytes(payload))
    if decoded is not None:
        decoded.batch.validate(full=True)


@given(
    st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "resourceSpans",
                        "resource",
                        "scopeSpans",
                        "spans",
                        "attributes",
                        "key",
                        "value",
                        "traceId",
                        "intValue",
                        "doubleValue",
                        "stringValue",
                        "kind",
                        "status",
                        "code",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps({"resourceSpans": value}).encode())
)
def test_arbitrary_json_is_decoded_or_refused(text: bytes) -> None:
    try:
        payload = json_to_request(text)
    except BadInput:
        return
    decode_traces(payload, "default")
