"""Headers beside other global propagators, and the time a carrier takes along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_diag_instrumentation import execution, extract, inject, traced


class Foreign(TextMapPropagator):
    """Writes a header of its own, and takes ``baggage`` for itself, as Sentry's does."""

    def extract(self, carrier, context=None, getter=default_getter):
        return context or Context()

    def inject(self, carrier, context=None, setter=default_setter):
        setter.set(carrier, "foreign-trace", "1")
        setter.set(carrier, "baggage", "foreign-key=1")

    @property
    def fields(self):
        return {"foreign-trace", "baggage"}


class NoSecrets(W3CBaggagePropagator):
    """Keeps one key at home."""

    def inject(self, carrier, context=None, setter=default_setter):
        super().inject(carrier, baggage.remove_baggage("secret", context), setter)


@pytest.fixture
def use() -> Iterator[object]:
    before = propagate.get_global_textmap()
    yield propagate.set_global_textmap
    propagate.set_global_textmap(before)


def carried(context: Context) -> tuple[bool, object]:
    return trace.get_current_span(context).get_span_context().is_remote, baggage.get_baggage("execution.id", context)


def test_another_global_propagator_does_not_lose_the_execution(spans: InMemorySpanExporter, use) -> None:
    use(Foreign())
    with execution(5):
        headers = inject()
    assert headers["foreign-trace"] == "1"
    assert headers["baggage"] == "foreign-key=1,execution.id=5"
    assert carried(extract(headers)) == (True, "5")


def test_one_that_writes_our_baggage_too_does_not_double_it(spans: InMemorySpanExporter, use) -> None:
    use(CompositePropagator([Foreign(), W3CBaggagePropagator()]))
    with execution(5):
        assert inject()["baggage"] == "execution.id=5"


def test_otel_propagators_decides_alone(spans: InMemorySpanExporter, use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "foreign")
    use(Foreign())
    with execution(5):
        assert inject() == {"foreign-trace": "1", "baggage": "foreign-key=1"}
    assert extract({"traceparent": f"00-{1:032x}-{1:016x}-01", "baggage": "execution.id=5"}) == {}


def test_a_propagator_of_the_same_headers_keeps_its_say(spans: InMemorySpanExporter, use) -> None:
    use(CompositePropagator([TraceContextTextMapPropagator(), NoSecrets()]))
    token = attach(baggage.set_baggage("secret", "s"))
    try:
        with execution(5):
            assert inject()["baggage"] == "execution.id=5"
    finally:
        detach(token)


def test_what_the_baggage_holds_may_be_anything(spans: InMemorySpanExporter) -> None:
    token = attach(baggage.set_baggage("odd", ["x"]))
    try:
        with execution(5):
            headers = inject()
    finally:
        detach(token)
    assert headers["baggage"] == "execution.id=5,odd=%5B%27x%27%5D"


def test_nothing_of_the_current_context_gets_into_a_request_without_headers(spans: InMemorySpanExporter) -> None:
    with execution(5):
        assert extract({"accept": "*/*"}) == {}


@traced
def work() -> None:
    pass


def test_the_time_in_the_queue(spans: InMemorySpanExporter) -> None:
    with execution(5):
        carrier = inject(timed=True)
    carrier["otel-diag-sent-unix-nano"] = str(int(carrier["otel-diag-sent-unix-nano"]) - 2_000_000_000)
    work(otel_context=carrier)
    span = spans.get_finished_spans()[-1]
    waited_ms = (span.attributes or {})["queue.time_ms"]
    assert isinstance(waited_ms, float)
    assert waited_ms >= 2000


@pytest.mark.parametrize("sent", [None, "soon", "9000000000000000000", str(10**30)])
def test_a_carrier_without_a_time_or_with_one_to_come_tells_of_no_queue(
    spans: InMemorySpanExporter, sent: str | None
) -> None:
    work(
        otel_context={"traceparent": f"00-{1:032x}-{1:016x}-01"} | ({"otel-diag-sent-unix-nano": sent} if sent else {})
    )
    (span,) = spans.get_finished_spans()
    assert "queue.time_ms" not in (span.attributes or {})
