from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_diag_instrumentation import Exchange, call, current_route, route


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


def test_retries_are_counted_linked_and_told_by_the_route(spans: InMemorySpanExporter) -> None:
    def refused() -> None:
        with call("modal", "POST", "http://b/x", retry_of=exchanges[-1]) as exchange:
            exchanges.append(exchange)
            raise ConnectionRefusedError

    exchanges: list[Exchange] = []
    with route() as routing:
        routing.choose("a")
        with call("modal", "POST", "http://a/x", retry_of=None) as exchange:
            exchange.status(503)
        exchanges.append(exchange)
        routing.choose("b")
        with pytest.raises(ConnectionRefusedError):
            refused()
        routing.choose("c")
        with call("modal", "POST", "http://c/x", retry_of=exchanges[-1]) as exchange:
            exchange.status(200)
    first, second, third, routed = spans.get_finished_spans()
    counts = [(span.attributes or {}).get("http.request.resend_count") for span in (first, second, third)]
    assert counts == [None, 1, 2]
    linked = [[link.context.span_id for link in span.links] for span in (first, second, third)]
    assert linked == [[], [first.context.span_id], [second.context.span_id]]
    assert [(event.name, dict(event.attributes or {})) for event in routed.events] == [
        ("router.retry", {"router.provider": "a", "error.type": "503", "http.request.resend_count": 1}),
        (
            "router.retry",
            {"router.provider": "b", "error.type": "ConnectionRefusedError", "http.request.resend_count": 2},
        ),
    ]
    assert (routed.attributes or {})["router.provider"] == "c"


def test_a_retry_of_what_did_not_fail_outside_a_route(spans: InMemorySpanExporter) -> None:
    with call("modal", "GET", "http://a/x") as polled:
        polled.status(202)
    with call("modal", "GET", "http://a/x", retry_of=polled) as again:
        again.status(200)
    assert polled.error_type is None
    first, second = spans.get_finished_spans()
    assert (second.attributes or {})["http.request.resend_count"] == 1
    assert [link.context.span_id for link in second.links] == [first.context.span_id]


def test_a_retry_inside_a_route_of_an_exchange_before_it(spans: InMemorySpanExporter) -> None:
    with call("modal", "GET", "http://a/x") as before:
        before.status(200)
    with route(), call("modal", "GET", "http://a/x", retry_of=before):
        pass
    (event,) = spans.get_finished_spans()[-1].events
    assert dict(event.attributes or {}) == {"http.request.resend_count": 1}
