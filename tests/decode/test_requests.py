"""Several requests decoded in one call: each gets what it would have got alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode import records
from otel_diag.decode.requests import Decoded
from otel_diag.decode.traces import TRACES, decode_traces
from otel_diag.errors import BadInput
from tests.decode.strategies import requests

GARBAGE = b"\xff garbage"


def request_of(resource_size: int, spans: int, first_id: int = 1) -> bytes:
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    resource.resource.attributes.add(key="filler").value.string_value = "x" * resource_size
    scope = resource.scope_spans.add()
    for number in range(first_id, first_id + spans):
        scope.spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"), name=f"span {number}")
    payload: bytes = message.SerializeToString()
    return payload


@given(st.lists(requests, max_size=4), st.integers(0, 4))
def test_together_as_alone(messages: list[ExportTraceServiceRequest], bad_at: int) -> None:
    payloads = [message.SerializeToString() for message in messages]
    payloads.insert(bad_at, GARBAGE)
    tenants = [f"tenant {number}" for number in range(len(payloads))]
    for payload, tenant, together in zip(payloads, tenants, TRACES.decode(payloads, tenants), strict=True):
        if payload is GARBAGE:
            assert isinstance(together, BadInput)
            continue
        alone = decode_traces(payload, tenant)
        assert isinstance(together, Decoded)
        assert together.batch.to_pylist() == alone.batch.to_pylist()
        assert (together.records, together.reasons) == (alone.records, alone.reasons)


def test_one_that_asks_for_too_much_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_EXPANDED_BYTES", 10_000)
    greedy, modest = request_of(2_000, spans=10), request_of(2_000, spans=3)
    outcomes = TRACES.decode([modest, greedy, modest], ["default"] * 3)
    assert [type(outcome) for outcome in outcomes] == [Decoded, BadInput, Decoded]
