"""What the instrumentation helpers cost: microseconds of CPU a span, beside the bare SDK, and milliseconds to import.

Usage: instrumentation.py [SPANS]

The bare SDK is what one would write by hand: ``start_span`` with the same attributes, ``attach``, the same later
attributes, ``detach``, ``end``. Where a helper also writes or reads baggage and headers, "all by hand" has the SDK's
own functions and propagators do that too; it does the same work, so the target is measured against it. All sides run
in one thread, in turn, round by round, without an exporter and with the garbage collector off; figures are the median
of the rounds, ``above`` the median of their differences. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from otel_diag_instrumentation import (
    call,
    configure,
    continue_trace,
    execution,
    generation,
    inject,
    route,
    traced,
)

LIMIT_US: Final = 15.0
LIMIT_MS: Final = 20.0
ROUNDS: Final = 15
ANNOUNCED: Final = 2_000
ANNOUNCE: Final = "otel_diag_instrumentation.announce"
IMPORTS: Final = 15

EXECUTION: Final[dict[str, AttributeValue]] = {
    "execution.id": 2193,
    "job.id": "job-7",
    "model.id": "llama3.2-1b",
    "region": "us-east",
    "execution.attempt": 1,
}
URL: Final = "http://router.internal:8080/v1/route"
CLIENT: Final = {
    "http.request.method": "POST",
    "url.full": URL,
    "server.address": "router.internal",
    "server.port": 8080,
    "service.peer.name": "router",
}
SERVER: Final = {
    "http.request.method": "POST",
    "url.path": "/v1/route",
    "url.scheme": "http",
    "http.route": "/v1/route",
    "server.address": "router.internal",
    "server.port": 8080,
}
FUNCTION: Final[dict[str, AttributeValue]] = {
    "modal.app": "inference",
    "modal.function": "infer",
    "faas.coldstart": False,
}
MODEL: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "llama-3-8b",
    "gen_ai.provider.name": "vllm",
}

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """One helper, and the same by hand, in the context it is usually found in.

    ``all_by_hand`` writes or reads baggage and headers as the helper does; None where there are none.
    """

    name: str
    context: Context
    helper: Work
    bare: Work
    all_by_hand: Work | None = None


def by_hand(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, AttributeValue],
    later: Mapping[str, AttributeValue] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    before: Callable[[], Context | None] = lambda: None,
    inside: Work = lambda: None,
) -> Work:
    """A span of the SDK. ``before`` makes its parent context, ``inside`` runs while it is current."""

    def work() -> None:
        context = before()
        span = tracer.start_span(name, context, kind, attributes)
        token = attach(trace.set_span_in_context(span, context))
        try:
            inside()
            for key, value in (later or {}).items():
                span.set_attribute(key, value)
        finally:
            detach(token)
            span.end()

    return work


def in_baggage() -> Context:
    context = get_current()
    for key, value in EXECUTION.items():
        context = baggage.set_baggage(key, str(value), context)
    return context


@traced
def inside_an_input() -> Context:
    """The context of a traced call: what is traced in it leaves the flush of spans to it."""
    return get_current()


def pairs(tracer: Tracer) -> list[Pair]:
    status = {"http.response.status_code": 200}
    chosen: dict[str, AttributeValue] = {"router.provider": "modal", "router.provider_healthy": True}
    usage = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 80}

    def run_execution() -> None:
        with execution(2193, job_id="job-7", model_id="llama3.2-1b", region="us-east", attempt=1):
            pass

    def run_route() -> None:
        with route("hybrid_router_call", candidates=("modal", "spot")) as routing:
            routing.choose("modal", healthy=True)

    def run_call() -> None:
        with call("router", "POST", URL) as exchange:
            exchange.status(200)

    def run_continue() -> None:
        with continue_trace(headers, "POST /v1/route", method="POST", path="/v1/route", route="/v1/route") as exchange:
            exchange.status(200)

    def run_generation() -> None:
        with generation(model="llama-3-8b", provider="vllm") as answer:
            answer.usage(input_tokens=12, output_tokens=80)

    @traced("modal.inference", app="inference")
    def infer(**_: object) -> None:
        pass

    with execution(2193, job_id="job-7", model_id="llama3.2-1b", region="us-east", attempt=1):
        running = get_current()
        headers = {"host": "router.internal:8080", "accept": "*/*", "content-length": "17", **inject()}
    outside, in_input = Context(), inside_an_input(otel_context=headers)

    def extracted() -> Context:
        return propagate.extract(headers)

    def injected() -> None:
        propagate.inject({})

    def bare(name: str, attributes: Mapping[str, AttributeValue], *rest: Any, **more: Any) -> Work:
        return by_hand(tracer, name, {**EXECUTION, **attributes}, *rest, **more)

    client: tuple[Any, ...] = ("POST", CLIENT, status, SpanKind.CLIENT)
    server: tuple[Any, ...] = ("POST /v1/route", SERVER, status, SpanKind.SERVER)
    remote: tuple[Any, ...] = ("modal.inference", FUNCTION, {}, SpanKind.SERVER)
    return [
        Pair("execution", outside, run_execution, bare("e", {}), bare("e", {}, before=in_baggage)),
        Pair("route", running, run_route, bare("route", {"router.candidates": ["modal", "spot"]}, chosen)),
        Pair("call", running, run_call, bare(*client), bare(*client, inside=injected)),
        Pair("continue_trace", outside, run_continue, bare(*server), bare(*server, before=extracted)),
        Pair("@traced", in_input, infer, bare("modal.inference", FUNCTION)),
        Pair(
            "@traced, otel_context",
            in_input,
            lambda: infer(otel_context=headers),
            bare(*remote),
            bare(*remote, before=extracted),
        ),
        Pair("generation", running, run_generation, bare("chat llama-3-8b", MODEL, usage, SpanKind.CLIENT)),
    ]


def once(work: Work, spans: int) -> float:
    """CPU microseconds of this thread a run."""
    begun = time.thread_time()
    for _ in range(spans):
        work()
    return (time.thread_time() - begun) / spans * 1e6


def in_turn(context: Context, works: Sequence[Work], spans: int) -> list[list[float]]:
    """Microseconds a span of each, round by round."""
    token = attach(context)
    gc.collect()
    gc.disable()
    try:
        for work in works:
            once(work, spans // 4)
        rounds = [[once(work, spans) for work in works] for _ in range(ROUNDS)]
    finally:
        gc.enable()
        detach(token)
    return [list(each) for each in zip(*rounds, strict=True)]


def above(values: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(value - bare for value, bare in zip(values, base, strict=True))


def helpers(tracer: Tracer, spans: int) -> bool:
    print(f"{'us of CPU a span':<26}{'helper':>8}{'bare span':>12}{'above':>8}{'all by hand':>14}{'above':>8}")
    met = True
    for pair in pairs(tracer):
        works = [pair.helper, pair.bare] + ([pair.all_by_hand] if pair.all_by_hand else [])
        helper, *others = in_turn(pair.context, works, spans)
        line = f"{pair.name:<26}{statistics.median(helper):>8.1f}"
        for width, values in zip((12, 14), others, strict=False):
            line += f"{statistics.median(values):>{width}.1f}{above(helper, values):>8.1f}"
        print(line, flush=True)
        met &= above(helper, others[-1]) <= LIMIT_US
    return met


class _Encode(LogRecordExporter):
    """Does what the OTLP exporter does, but for sending."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        encode_logs(batch).SerializeToString()
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        pass


def announced(spans: int) -> bool:
    """A span of a provider that announces what stays open, beside the same span of one that does not."""
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(_Encode()))
    announcer = import_module(ANNOUNCE).Announcer(logs)
    announcing, silent = TracerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    announcing.add_span_processor(announcer)
    tracers = [provider.get_tracer("bench") for provider in (announcing, silent)]
    short, bare = in_turn(Context(), [by_hand(tracer, "span", EXECUTION) for tracer in tracers], spans)
    over = above(short, bare)
    print(
        f"{'span, not announced yet':<26}{statistics.median(short):>8.1f}{statistics.median(bare):>12.1f}{over:>8.1f}"
    )
    open_spans = [tracers[0].start_span("span", attributes=EXECUTION) for _ in range(ANNOUNCED)]
    begun = time.process_time()
    announcer.announce_all()
    each = (time.process_time() - begun) / len(open_spans) * 1e6
    print(f"{'announcement of one':<26}{each:>8.1f}")
    return over <= LIMIT_US


SDK: Final = "opentelemetry.propagate, opentelemetry.sdk.resources, opentelemetry.sdk.trace.export"
IMPORT: Final = f"""
import time
import {SDK}
begun = time.process_time()
import otel_diag_instrumentation
print((time.process_time() - begun) * 1000)
"""


def import_ms() -> float:
    """CPU milliseconds to import the package in a process that has imported the SDK; the median of several."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORT]
    return statistics.median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(IMPORTS)
    )


def main() -> None:
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    os.environ["OTEL_TRACES_EXPORTER"] = "none"
    configure("bench")
    cheap = helpers(TracerProvider(shutdown_on_exit=False).get_tracer("bench"), spans)
    if find_spec(ANNOUNCE):
        cheap &= announced(spans)
    took = import_ms()
    print(f"\nown import, above the SDK's: {took:.1f} ms of CPU")
    print(f"every helper at most {LIMIT_US:.0f} us above the SDK by hand: {'yes' if cheap else 'NO'}")
    print(f"import under {LIMIT_MS:.0f} ms: {'yes' if took < LIMIT_MS else 'NO'}")
    sys.exit(not (cheap and took < LIMIT_MS))


if __name__ == "__main__":
    main()
