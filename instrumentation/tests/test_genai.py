from __future__ import annotations

from collections.abc import Generator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from otel_diag_instrumentation import execution, generation, record_usage


def test_a_generation_follows_the_conventions(spans: InMemorySpanExporter) -> None:
    with execution(4), generation(model="llama-3-8b", provider="vllm", conversation_id="c-1") as answer:
        for _ in range(3):
            answer.first_token()
        answer.usage(input_tokens=12, output_tokens=80, cache_read_input_tokens=8, cache_creation_input_tokens=0)
        answer.finish("stop", response_model="llama-3-8b-instruct")
    span, _ = spans.get_finished_spans()
    assert (span.name, span.kind) == ("chat llama-3-8b", SpanKind.CLIENT)
    attributes = dict(span.attributes or {})
    assert attributes.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert attributes == {
        "execution.id": 4,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.conversation.id": "c-1",
        "gen_ai.request.model": "llama-3-8b",
        "gen_ai.response.model": "llama-3-8b-instruct",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 80,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.cache_creation.input_tokens": 0,
    }


def test_the_first_token_counts_once(spans: InMemorySpanExporter) -> None:
    with generation(model="m", provider="p") as answer:
        answer.first_token()
        first = (getattr(answer.span, "attributes", None) or {})["gen_ai.response.time_to_first_chunk"]
        answer.first_token()
    assert (spans.get_finished_spans()[0].attributes or {})["gen_ai.response.time_to_first_chunk"] == first


def test_a_decorated_stream_records_its_usage(spans: InMemorySpanExporter) -> None:
    @generation("text_completion", model="m", provider="p")
    def stream() -> Generator[str, None, None]:
        yield "a"
        yield "b"
        record_usage(output_tokens=2)

    assert list(stream()) == ["a", "b"]
    (span,) = spans.get_finished_spans()
    assert span.name == "text_completion m"
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "p",
        "gen_ai.request.model": "m",
        "gen_ai.usage.output_tokens": 2,
    }


def test_usage_outside_any_span_is_no_error(spans: InMemorySpanExporter) -> None:
    record_usage(input_tokens=1)
    assert spans.get_finished_spans() == ()


def test_a_model_that_fails_is_a_failed_span(spans: InMemorySpanExporter) -> None:
    with pytest.raises(MemoryError), generation(model="m", provider="p"):
        raise MemoryError("CUDA out of memory")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "MemoryError"
