"""One call of a language model, as OpenTelemetry's GenAI conventions have it. Messages are never recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation.spans import ActiveSpan, Scope
from otel_diag_instrumentation.vocabulary import (
    GEN_AI_CONVERSATION_ID,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
    GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    GEN_AI_USAGE_INPUT_TOKENS,
    GEN_AI_USAGE_OUTPUT_TOKENS,
)


class Generation:
    """One call of a model, and its span."""

    __slots__ = ("_begun", "_waiting", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._begun = time.perf_counter()
        self._waiting = True

    def first_token(self) -> None:
        """Records how long the first token took, in seconds; to be called at every token, only the first counts."""
        if self._waiting:
            self._waiting = False
            self.span.set_attribute(GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, time.perf_counter() - self._begun)

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_input_tokens: int | None = None,
        cache_creation_input_tokens: int | None = None,
    ) -> None:
        """Records the tokens of the call; those of the cache are part of the input tokens."""
        _write_usage(self.span, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens)

    def finish(self, reason: str, response_model: str | None = None) -> None:
        """Records why the model stopped (``stop``, ``length``), and which model answered where that is another one."""
        self.span.set_attribute(GEN_AI_RESPONSE_FINISH_REASONS, [reason])
        if response_model is not None:
            self.span.set_attribute(GEN_AI_RESPONSE_MODEL, response_model)


def generation(
    operation: str = "chat", *, model: str, provider: str, conversation_id: str | None = None
) -> Scope[Generation]:
    """The span of one call of a model, named ``chat llama-3-8b``.

    ``operation`` is one of the conventions' (``chat``, ``text_completion``, ``embeddings``), ``provider`` who serves
    the model (``openai``, ``vllm``). A context manager that yields the :class:`Generation`, or a decorator of any kind
    of function, in which :func:`record_usage` tells the tokens.
    """
    attributes: dict[str, AttributeValue] = {
        GEN_AI_OPERATION_NAME: operation,
        GEN_AI_REQUEST_MODEL: model,
        GEN_AI_PROVIDER_NAME: provider,
    }
    if conversation_id is not None:
        attributes[GEN_AI_CONVERSATION_ID] = conversation_id

    def open_scope(_arguments: Mapping[str, Any]) -> tuple[Generation, ActiveSpan]:
        opened = ActiveSpan(f"{operation} {model}", None, SpanKind.CLIENT, attributes)
        return Generation(opened.span), opened

    return Scope(open_scope)


def record_usage(
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cache_read_input_tokens: int | None = None,
    cache_creation_input_tokens: int | None = None,
) -> None:
    """Records the tokens of a model call on the current span, whoever has opened it."""
    span = trace.get_current_span()
    _write_usage(span, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens)


def _write_usage(
    span: Span,
    input_tokens: int | None,
    output_tokens: int | None,
    cache_read_input_tokens: int | None,
    cache_creation_input_tokens: int | None,
) -> None:
    counted = {
        GEN_AI_USAGE_INPUT_TOKENS: input_tokens,
        GEN_AI_USAGE_OUTPUT_TOKENS: output_tokens,
        GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: cache_read_input_tokens,
        GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: cache_creation_input_tokens,
    }
    span.set_attributes({key: tokens for key, tokens in counted.items() if tokens is not None})
