"""What a process prints when its log is the only way out."""

from __future__ import annotations

import pytest
from opentelemetry.trace import SpanContext

from otel_diag_instrumentation.lines import MAX_LINE_BYTES, line

PRINTING = {"OTEL_TRACES_EXPORTER": "otel_diag_print"}

INPUTS = """
from opentelemetry import trace
from otel_diag_instrumentation import configure, traced, validated
configure("modal", service_version="abc")

@traced
def generate():
    trace.get_current_span().set_attribute("gen_ai.usage.output_tokens", 128)
    validated()

@traced("modal.inference")
def infer(error=None):
    generate()
    generate()
    if error:
        raise error

carrier = {
    "traceparent": "00-1a2b3c4d000000000000000000000001-00000000000000aa-01",
    "baggage": "execution.id=2193,model.id=llama-3-8b,region=us-east",
}
for error in (None, ValueError("too\\nlong"), TimeoutError()):
    try:
        infer(error, otel_context=carrier)
    except Exception:
        pass
"""


def fields_of(line: str) -> dict[str, str]:
    return dict(field.split("=", 1) for field in line.partition(" - ")[2].split(", "))


def test_an_input_prints_when_it_starts_is_good_and_ends(run) -> None:
    lines = run(INPUTS, **PRINTING).stdout.splitlines()
    heads = [line.partition(" - ")[0] for line in lines]
    start, good = "🔍 TRACE[1a2b3c4d]: Modal inference started", "✅ TRACE[1a2b3c4d]: Validation passed"
    assert heads[:4] == [start, good, good, "✅ TRACE[1a2b3c4d]: SUCCESS"]
    assert heads[7] == "❌ TRACE[1a2b3c4d]: FAILED"
    assert heads[11] == "❌ TRACE[1a2b3c4d]: TIMEOUT"

    started, ended, failed = (fields_of(lines[at]) for at in (0, 3, 7))
    assert list(started)[:3] == ["model", "region", "execution"]
    assert started["execution"] == "2193"
    assert started["trace"] == "1a2b3c4d000000000000000000000001"
    assert started["parent"] == "00000000000000aa"
    assert (started["kind"], started["service"], started["faas.coldstart"]) == ("server", "modal", "true")
    assert ended["tokens"] == "256", "what the spans below it used"
    assert started.items() <= ended.items(), "the last line says all that the first does"
    assert (failed["error"], failed["message"]) == ("ValueError", r'"too\nlong"')


def test_the_first_line_is_out_when_the_process_is_killed(run) -> None:
    killed = """
import os
from otel_diag_instrumentation import configure, traced
configure("modal")

@traced
def infer():
    os._exit(0)

infer()
"""
    (line,) = run(killed, **PRINTING).stdout.splitlines()
    assert "]: Modal inference started - trace=" in line


def test_what_the_program_prints_itself_stays_in_order(run) -> None:
    source = INPUTS.replace("    generate()\n    generate()", "    print('mine')")
    lines = run(source, **PRINTING, PYTHONUNBUFFERED="").stdout.splitlines()
    assert [line.partition("]: ")[2].partition(" - ")[0] or line for line in lines[:3]] == [
        "Modal inference started",
        "mine",
        "SUCCESS",
    ]


def test_an_sdk_that_somebody_else_set_up_prints_the_last_line(run) -> None:
    source = """
from importlib.metadata import entry_points
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
(named,) = entry_points(group="opentelemetry_traces_exporter", name="otel_diag_print")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(named.load()()))
with provider.get_tracer("t").start_as_current_span("outer"):
    with provider.get_tracer("t").start_as_current_span("inner"):
        pass
provider.shutdown()
"""
    (line,) = run(source).stdout.splitlines()
    assert "]: SUCCESS - duration=" in line
    assert fields_of(line)["name"] == "outer"


def test_a_closed_output_fails_nothing(run) -> None:
    assert (
        run("import os; os.close(1)\n" + INPUTS + "\nimport sys; sys.stderr.write('whole')", **PRINTING).stderr
        == "whole"
    )


@pytest.mark.parametrize("text", ["x" * 10_000, "\0" * 10_000, "\N{PILE OF POO}" * 10_000, '"' * 10_000])
def test_lines_are_bounded(text: str) -> None:
    fields = [("message", text), ("model", text), *((f"a.{number}", text) for number in range(100))]
    written = line("✅", SpanContext(1 << 127, 1, is_remote=False), "SUCCESS", fields)
    assert len(written.encode()) <= MAX_LINE_BYTES
    assert written.count("\n") == 1
    assert "message=" in written
    assert "a.1=" in written
