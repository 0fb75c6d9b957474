"""Too many attributes, too long values: cut, counted, told, and cut alike when the request comes again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from otel_diag.decode.bounds import Limits
from otel_diag.decode.requests import Decoded
from otel_diag.decode.rows import table_to_spans
from otel_diag.decode.traces import TRACES
from tests.decode.otlp import exported
from tests.decode.strategies import requests

LIMITS = Limits(attributes=10, value_bytes=1024)


def request(**fields: Any) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    scope.spans.add(**{"trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "route"} | fields)
    return message


def decoded(message: ExportTraceServiceRequest, limits: Limits = LIMITS) -> Decoded:
    outcome = TRACES.decode([message.SerializeToString()], ["default"], limits)[0]
    assert isinstance(outcome, Decoded)
    return outcome


def numbered(count: int) -> list[KeyValue]:
    return [KeyValue(key=f"key.{number}", value=AnyValue(int_value=number)) for number in range(count)]


def test_the_first_attributes_are_kept_and_the_others_counted_where_otlp_counts_them() -> None:
    message = request(attributes=numbered(100), dropped_attributes_count=7)
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.events.add(name="retry", attributes=numbered(11))
    span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8, attributes=numbered(12))
    message.resource_spans[0].resource.attributes.extend(numbered(13))
    message.resource_spans[0].scope_spans[0].scope.attributes.extend(numbered(14))
    outcome = decoded(message)
    (row,) = outcome.batch.to_pylist()
    assert list(json.loads(row["attributes"])) == [f"key.{number}" for number in range(10)]
    rest = json.loads(row["otlp_rest"])
    assert rest["dropped_attributes_count"] == 97
    assert rest["resource"]["dropped_attributes_count"] == 3
    assert rest["scope"]["dropped_attributes_count"] == 4
    assert json.loads(row["events"])[0]["dropped_attributes_count"] == 1
    assert json.loads(row["links"])[0]["dropped_attributes_count"] == 2
    assert outcome.truncated == {"attributes dropped, beyond the first 10": 100}
    assert "100 attributes dropped, beyond the first 10" in outcome.message
    assert outcome.rejected == 0


def test_a_span_tells_that_something_of_it_was_cut_or_dropped() -> None:
    for shift in range(3):
        for value in (
            AnyValue(string_value=LONG),
            AnyValue(bytes_value=b"b" * (5_000 + shift)),
            AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="item")] * 1_000)),
            AnyValue(kvlist_value=KeyValueList(values=numbered(500))),
        ):
            message = request(attributes=[KeyValue(key="k", value=value)])
            assert truncated_and_dropped(message) == (True, 0)
    event = request()
    event.resource_spans[0].scope_spans[0].spans[0].events.add(attributes=[KeyValue(key="k", value=value)])
    assert truncated_and_dropped(event) == (True, 0)
    resource = request()
    resource.resource_spans[0].resource.attributes.add(key="k").value.string_value = LONG
    assert truncated_and_dropped(resource) == (True, 0)
    dropped = request(attributes=numbered(12), dropped_events_count=3, dropped_links_count=4)
    assert truncated_and_dropped(dropped) == (False, 9)
    assert truncated_and_dropped(request(name="cut by otel-diag", attributes=numbered(2))) == (False, 0)


def truncated_and_dropped(message: ExportTraceServiceRequest) -> tuple[bool, int]:
    (span,) = table_to_spans(decoded(message).batch)
    return span.truncated, span.dropped


LONG = "ü" * 5_000
NESTED = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=LONG), AnyValue(int_value=1)]))
DEEP = KeyValue(key=LONG, value=AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="inner", value=NESTED)])))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (AnyValue(string_value=LONG), "10000 bytes"),
        (AnyValue(bytes_value=b"x" * 5_000), "$bytes"),
        (NESTED, "10000 bytes"),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)] * 5_000)), "5000 items"),
        (AnyValue(kvlist_value=KeyValueList(values=numbered(5_000))), "otel_diag.truncated"),
        (AnyValue(kvlist_value=KeyValueList(values=[DEEP])), "1 items"),
    ],
    ids=["text", "bytes", "text in an array", "array", "list", "deep"],
)
def test_a_long_value_is_cut_and_says_so(value: AnyValue, shown: str) -> None:
    message = request(attributes=[KeyValue(key="before", value=AnyValue(int_value=1)), KeyValue(key="v", value=value)])
    outcome = decoded(message)
    (row,) = outcome.batch.to_pylist()
    attributes = json.loads(row["attributes"])
    assert attributes["before"] == 1
    assert shown in json.dumps(attributes["v"])
    assert len(row["attributes"].encode()) < 2 * LIMITS.value_bytes
    assert outcome.truncated == {"values cut to 1024 bytes": 1}
    # What was cut here passes the next receiver with the same limits as it is.
    again = TRACES.decode([exported(outcome)], ["default"], LIMITS)[0]
    assert isinstance(again, Decoded)
    assert again.truncated == {}
    assert again.batch["content_hash"] == outcome.batch["content_hash"]


def test_texts_beside_attributes_are_cut_too() -> None:
    outcome = decoded(request(name=LONG, trace_state=LONG, attributes=[KeyValue(key=LONG)]))
    (row,) = outcome.batch.to_pylist()
    for text in (row["operation"], row["trace_state"], *json.loads(row["attributes"])):
        assert text.endswith("[cut by otel-diag: 10000 bytes]")
        assert len(text.encode()) <= LIMITS.value_bytes
    assert outcome.truncated == {"values cut to 1024 bytes": 3}


def test_each_request_of_several_is_told_its_own() -> None:
    messages = [request(), request(name=LONG), request(attributes=numbered(12)), request(attributes=numbered(10))]
    outcomes = TRACES.decode([m.SerializeToString() for m in messages], ["default"] * 4, LIMITS)
    assert [isinstance(outcome, Decoded) and list(outcome.truncated.values()) for outcome in outcomes] == [
        [],
        [1],
        [2],
        [],
    ]


@given(requests)
def test_what_is_small_is_left_alone(message: ExportTraceServiceRequest) -> None:
    limited, free = decoded(message), TRACES.decode_one(message.SerializeToString(), "default")
    assert limited.batch.equals(free.batch)
    assert limited.truncated == {}


@given(requests)
def test_tight_limits_leave_valid_rows(message: ExportTraceServiceRequest) -> None:
    tight = Limits(attributes=1, value_bytes=1024)
    for group in message.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                span.attributes.add(key="long").value.string_value = LONG
    outcome = decoded(message, tight)
    outcome.batch.validate(full=True)
    assert all(len(json.loads(text)) == 1 for text in outcome.batch["attributes"].to_pylist())
