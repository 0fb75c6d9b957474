"""What attributes mean: typed columns and span status."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_diag.decode.semconv import ALIASES
from otel_diag.model import SPAN_SCHEMA, UNKNOWN_SERVICE
from tests.decode.otlp import decode

KINDS = {"server": 2, "client": 3}


def any_value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=str(value))


def row_of(
    *attributes: tuple[str, object],
    resource: tuple[tuple[str, object], ...] = (),
    kind: str = "client",
    code: int = 0,
    message: str = "",
    exceptions: tuple[dict[str, str], ...] = (),
) -> dict[str, Any]:
    """The row of a single span. Attributes are pairs, so that one can be repeated."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in resource:
        group.resource.attributes.add(key=key, value=any_value(value))
    span = group.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="op", kind=KINDS[kind])
    for key, value in attributes:
        span.attributes.add(key=key, value=any_value(value))
    span.status.code = code
    span.status.message = message
    for exception in exceptions:
        event = span.events.add(name="exception")
        for key, text in exception.items():
            event.attributes.add(key=key, value=any_value(text))
    row: dict[str, Any] = decode(request).batch.to_pylist()[0]
    return row


def test_the_alias_table_fills_columns_of_the_schema() -> None:
    for name, column in ALIASES.items():
        assert SPAN_SCHEMA.field(name).type == column.type


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2193, 2193),
        ("2193", 2193),
        ("-7", -7),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        (str(2**63), None),
        ("9" * 19, None),
        ("9" * 30, None),
        ("0x10", None),
        ("12.5", None),
        (" 12", None),
        ("", None),
        (2193.0, None),
        (True, None),
    ],
)
def test_execution_id_is_an_integer_or_decimal_text(value: object, expected: int | None) -> None:
    assert row_of(("execution.id", value))["execution_id"] == expected


def test_an_attempt_past_32_bits_is_no_attempt() -> None:
    assert row_of(("execution.attempt", 3))["attempt"] == 3
    assert row_of(("execution.attempt", 2**31))["attempt"] is None


@pytest.mark.parametrize(
    ("column", "attribute", "value", "expected"),
    [
        ("job_id", "job.id", "nightly", "nightly"),
        ("job_id", "job.id", 42, "42"),
        ("model_id", "modal.model", "llama", "llama"),
        ("model_id", "llm.model_name", "llama", "llama"),
        ("region", "cloud.region", "us-east-1", "us-east-1"),
        ("service_version", "vcs.ref.head.revision", "abc", "abc"),
        ("model_provider", "gen_ai.system", "openai", "openai"),
        ("operation_type", "openinference.span.kind", "LLM", "LLM"),
        ("conversation_id", "session.id", "s1", "s1"),
        ("input_tokens", "gen_ai.usage.prompt_tokens", 12, 12),
        ("output_tokens", "llm.token_count.completion", 13, 13),
        ("cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens", 14, 14),
        ("cost_usd", "llm.cost.total", 0.5, 0.5),
        ("ttft_ms", "gen_ai.response.time_to_first_chunk", 0.25, 250.0),
        ("queue_time_ms", "queue.time_ms", 7, 7.0),
        ("inference_time_ms", "inference.time_ms", "12.5", 12.5),
        ("queue_time_ms", "queue.time_ms", float("nan"), None),
    ],
)
def test_columns_are_read_from_their_aliases(column: str, attribute: str, value: object, expected: object) -> None:
    assert row_of((attribute, value))[column] == expected


def test_order_of_preference() -> None:
    both = (("gen_ai.request.model", "second"), ("model.id", "first"))
    assert row_of(*both)["model_id"] == "first"
    assert row_of(("gen_ai.request.model", "second"), ("model.id", ""))["model_id"] == "second"
    assert row_of(("region", "own"), resource=(("region", "inherited"),))["region"] == "own"
    assert row_of(resource=(("cloud.region", "inherited"),))["region"] == "inherited"
    assert row_of(("cloud.region", "own"), resource=(("region", "inherited"),))["region"] == "own"
    assert row_of(("job.id", "one"), ("job.id", "two"))["job_id"] == "one"


def test_service_comes_from_the_resource() -> None:
    assert row_of(resource=(("service.name", "router"),))["service"] == "router"
    assert row_of(("service.name", "x"))["service"] == UNKNOWN_SERVICE
    assert row_of(resource=(("service.name", ""),))["service"] == UNKNOWN_SERVICE


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("completed", {}),
        ("failed", {"code": 2}),
        ("completed", {"code": 1, "attributes": [("http.response.status_code", 500)]}),
        ("failed", {"kind": "server", "attributes": [("http.response.status_code", 500)]}),
        ("completed", {"kind": "server", "attributes": [("http.response.status_code", 404)]}),
        ("failed", {"kind": "client", "attributes": [("http.status_code", 404)]}),
        ("failed", {"kind": "client", "attributes": [("rpc.grpc.status_code", 13)]}),
        ("completed", {"kind": "client", "attributes": [("rpc.grpc.status_code", 0)]}),
        ("completed", {"kind": "server", "attributes": [("rpc.grpc.status_code", 5)]}),
        ("failed", {"kind": "client", "attributes": [("rpc.response.status_code", "NOT_FOUND")]}),
        ("timeout", {"kind": "client", "attributes": [("http.response.status_code", 504)]}),
        ("timeout", {"kind": "client", "attributes": [("http.response.status_code", 408)]}),
        ("timeout", {"kind": "client", "attributes": [("rpc.grpc.status_code", 4)]}),
        ("timeout", {"kind": "client", "attributes": [("rpc.response.status_code", "DEADLINE_EXCEEDED")]}),
        ("timeout", {"code": 2, "attributes": [("error.type", "504")]}),
        ("timeout", {"code": 2, "attributes": [("error.type", "asyncio.TimeoutError")]}),
        ("timeout", {"code": 2, "message": "context deadline exceeded"}),
        ("timeout", {"code": 2, "message": "upstream request timeout"}),
        ("timeout", {"code": 2, "message": "Timed out after 300 s"}),
        ("timeout", {"code": 2, "exceptions": ({"exception.type": "httpx.ReadTimeout"},)}),
        ("timeout", {"code": 2, "exceptions": ({"exception.message": "the read operation timed out"},)}),
        ("failed", {"code": 2, "message": "invalid timeout value: -1"}),
        ("failed", {"code": 2, "exceptions": ({"exception.type": "ValueError", "exception.message": "bad timeout"},)}),
        ("completed", {"exceptions": ({"exception.type": "TimeoutError"},)}),
    ],
)
def test_status(expected: str, arguments: dict[str, Any]) -> None:
    others = {name: value for name, value in arguments.items() if name != "attributes"}
    assert row_of(*arguments.get("attributes", ()), **others)["status"] == expected


def test_the_last_exception_explains_the_error() -> None:
    row = row_of(
        code=2,
        message="status text",
        exceptions=(
            {"exception.type": "FirstError", "exception.message": "first"},
            {"exception.type": "LastError", "exception.message": "last"},
        ),
    )
    assert (row["error_type"], row["error_message"]) == ("LastError", "last")
    row = row_of(("error.type", "Named"), code=2, message="status text")
    assert (row["error_type"], row["error_message"]) == ("Named", "status text")
