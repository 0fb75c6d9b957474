from __future__ import annotations

import asyncio

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_diag_instrumentation import current_route, route


def test_a_route_records_choice_health_candidates_and_wait(spans: InMemorySpanExporter) -> None:
    with route("hybrid_router_call", candidates=("a", "b"), queue_time_ms=12.5) as routing:
        assert routing.choose("b", healthy=False) == "b"
    (span,) = spans.get_finished_spans()
    assert span.name == "hybrid_router_call"
    assert dict(span.attributes or {}) == {
        "router.candidates": ("a", "b"),
        "queue.time_ms": 12.5,
        "router.provider": "b",
        "router.provider_healthy": False,
    }


def test_a_decorated_function_finds_its_route(spans: InMemorySpanExporter) -> None:
    @route()
    async def pick() -> str:
        routing = current_route()
        assert routing is not None
        routing.queued(3)
        return routing.choose("a")

    assert asyncio.run(pick()) == "a"
    assert current_route() is None
    assert dict(spans.get_finished_spans()[0].attributes or {}) == {"router.provider": "a", "queue.time_ms": 3.0}
