"""Lines of a log as spans: what the helpers print comes back as it was, and what others print is understood."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.trace import SpanContext

from otel_diag.decode.modal_logs import Said, Told, executions, read_line, time_of
from otel_diag.decode.printed import decode_logs
from otel_diag.decode.requests import Decoded
from otel_diag_instrumentation.lines import line
from tests.conftest import fuzzed

TRACE = 0x1A2B3C4D_00000000_00000000_00000001
SPAN = 0xAB
NOON = 1_795_348_800_000_000_000
SECOND = 10**9


def read(*texts: str, **times: int) -> list[Said]:
    return [said for text in texts if (said := read_line(text, **times)) is not None]


def told(*texts: str, **times: int) -> list[Told]:
    return executions(read(*texts, **times))


def written(text: str, *fields: tuple[str, Any]) -> str:
    return line("✅", SpanContext(TRACE, SPAN, is_remote=False), text, fields)


values = st.text(max_size=60) | st.sampled_from(
    ["1", "007", "true", "NaN", "1e3", "", "a, model=b", "TRACE[deadbeef]: SUCCESS - duration=1s", "\ud800", "\x1b[31m"]
)
exact_values = values | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)


@given(
    texts=st.fixed_dictionaries(
        dict.fromkeys(("model", "region", "job", "name", "service", "error", "message"), values)
    ),
    others=st.dictionaries(
        st.sampled_from(["a.b", "http.route", "x-y.z"]), exact_values | st.lists(values, max_size=3)
    ),
)
def test_whatever_is_written_is_read(texts: dict[str, str], others: dict[str, Any]) -> None:
    text = written("FAILED", *texts.items(), *others.items())
    assert text.count("\n") == 1
    (said,) = read(f"2026-11-22 10:00:00,123 INFO [ta-01] {text}")
    assert (said.digits, said.fields) == ("1a2b3c4d", {**texts, **others})
    (one,) = executions([said])
    assert one.message == texts["message"] or not texts["message"]
    one.span().SerializeToString()


def test_a_line_that_says_its_ids_stands_for_itself() -> None:
    ids = [("trace", f"{TRACE:032x}"), ("span", f"{SPAN:016x}"), ("parent", "0000000000000009"), ("start", NOON)]
    end = written("SUCCESS", ("duration", "1.520000001s"), ("tokens", 128), ("validated", "0.5s"), ("model", "m"), *ids)
    (one,) = told(end, at=5)
    assert (one.trace_id, one.span_id, one.parent_id) == (f"{TRACE:032x}", f"{SPAN:016x}", "0000000000000009")
    assert (one.start, one.end, one.whole) == (NOON, NOON + 1_520_000_001, True)
    assert one.event == ("validation.passed", NOON + SECOND // 2, {})
    assert one.attributes["gen_ai.usage.output_tokens"] == 128
    start = written("Modal inference started", ("model", "m"), *ids)
    assert told(start, end) == [replace(one, line=1)]
    (alone,) = told(start)
    assert (alone.end, alone.span_id, alone.start) == (None, one.span_id, NOON)


OLD = (
    "🔍 TRACE[1a2b3c4d]: Modal inference started - model=llama-3-8b, region=us-east",
    "✅ TRACE[1a2b3c4d]: Validation passed",
    "✅ TRACE[1a2b3c4d]: SUCCESS - duration=1.52s, tokens=128",
)

PREFIXES = {
    "iso": "2026-11-22T12:00:00Z ",
    "offset": "[2026-11-22T13:00:00+01:00] ",
    "comma": "2026-11-22 12:00:00,000 INFO modal [ta-01KX] ",
    "seconds": "1795348800 ",
    "fraction": "[1795348800.000] ",
    "millis": "ts=1795348800000 INFO ",
    "nanos": "1795348800000000000 ",
    "colour": "\x1b[32m2026-11-22 12:00:00\x1b[0m \x1b[1mINFO\x1b[0m ",
    "container": "ta-1234567890 stdout 2026-11-22T12:00:00.000000000Z F ",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("emoji", [True, False], ids=["emoji", "bare"])
def test_old_lines_behind_any_prefix(prefix: str, emoji: bool) -> None:
    (one,) = told(*(prefix + (text if emoji else text[2:]) for text in OLD))
    assert (one.trace_id, one.name, one.failed, one.whole) == (
        "1a2b3c4d".ljust(32, "0"),
        "modal.inference",
        False,
        True,
    )
    assert (one.start, one.end) == (NOON - 1_520_000_000, NOON)
    assert one.event == ("validation.passed", NOON, {})
    expected = {"model.id": "llama-3-8b", "region": "us-east", "gen_ai.usage.output_tokens": 128}
    assert one.attributes == {**expected, "otel_diag.recovered": "modal-logs"}


def test_lines_as_modal_itself_shows_them() -> None:
    """``modal app logs --timestamps --show-container-id``: its client writes them here."""
    pytest.importorskip("modal", reason="Modal's client is not installed")
    from modal._output.rich import LineBufferedOutput
    from modal_proto.api_pb2 import TaskLogs

    shown: list[str] = []
    output = LineBufferedOutput(shown.append, True)
    for number, text in enumerate(OLD):
        output.write(TaskLogs(data=f"{text}\nloading\r\n", timestamp=NOON / SECOND + number), prefix="ta-01KX fu-7")
    (one,) = told(*"".join(shown).splitlines())
    assert one.whole
    assert one.end == NOON + 2 * SECOND
    assert one.event == ("validation.passed", NOON + SECOND, {})


def test_lines_inside_json_logs() -> None:
    wrapped = [json.dumps({"level": "info", "time": "2026-11-22T12:00:00Z", "message": text}) for text in OLD]
    assert told(*wrapped) == told(*OLD, at=NOON)


def test_a_time_of_the_record_counts_more_than_the_text_and_that_more_than_when_it_was_seen() -> None:
    (said,) = read(PREFIXES["iso"] + OLD[0], at=7, seen=8)
    assert said.at == 7
    assert read(PREFIXES["iso"] + OLD[0], seen=8)[0].at == NOON
    assert read(OLD[0], seen=8)[0].at == 8


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("FAILED - error=OutOfMemoryError, duration=2s", "OutOfMemoryError", ""),
        (
            "FAILED - error=OutOfMemoryError: CUDA, out of memory, duration=2s",
            "OutOfMemoryError",
            "CUDA, out of memory",
        ),
        ("FAILED - error=KeyError, message=no model, sorry", "KeyError", "no model, sorry"),
        (
            "FAILED - torch.cuda.OutOfMemoryError: CUDA out of memory (duration=2s)",
            "torch.cuda.OutOfMemoryError",
            "CUDA out of memory",
        ),
        ("FAILED: ValueError: too long", "ValueError", "too long"),
        ("ERROR - something broke", "", "something broke"),
        ("Modal inference failed - error_type=ValueError", "ValueError", ""),
        ("Modal inference failed to start - no GPU", "", "no GPU"),
        ("TIMEOUT - duration=300s", "timeout", ""),
        ("TIMEOUT - error=FunctionTimeoutError, duration=300s", "FunctionTimeoutError", ""),
        ("Timed out after 300s", "timeout", ""),
    ],
)
def test_failures_as_people_write_them(text: str, error: str, message: str) -> None:
    (one,) = told(f"❌ TRACE[1a2b3c4d]: {text}", at=NOON)
    assert (one.failed, one.attributes.get("error.type", ""), one.message) == (True, error, message)
    assert one.end == NOON


def test_executions_side_by_side_and_one_after_the_other_with_the_same_digits() -> None:
    def texts(digits: str, model: str, tokens: int) -> list[str]:
        return [
            f"TRACE[{digits}]: Modal inference started - model={model}",
            f"TRACE[{digits}]: Validation passed",
            f"TRACE[{digits}]: SUCCESS - duration=1s, tokens={tokens}",
        ]

    a, b, c = texts("aaaaaaaa", "a", 1), texts("bbbbbbbb", "b", 2), texts("aaaaaaaa", "c", 3)
    order = [a[0], b[0], c[0], b[1], a[1], b[2], c[1], a[2], c[2]]
    found = executions(said for at, text in enumerate(order, NOON) for said in read(text, at=at))
    assert [(one.attributes["model.id"], one.attributes["gen_ai.usage.output_tokens"]) for one in found] == [
        ("b", 2),
        ("a", 1),
        ("c", 3),
    ]
    assert [one.event and one.event[1] - NOON for one in found] == [3, 4, 6]
    assert all(one.whole for one in found)
    assert len({one.span_id for one in found}) == 3


def test_each_half_alone_has_the_ids_of_the_pair() -> None:
    (start,), (end,), (pair,) = told(OLD[0], at=NOON), told(OLD[2], at=NOON), told(*OLD, at=NOON)
    assert (start.trace_id, start.span_id) == (end.trace_id, end.span_id) == (pair.trace_id, pair.span_id)
    assert (start.end, end.start, end.end) == (None, NOON - 1_520_000_000, NOON)
    assert not start.whole
    assert not end.whole


def test_what_refused_an_input() -> None:
    (one,) = told(OLD[0], "❌ TRACE[1a2b3c4d]: Validation failed - error=ValueError, message=too long", at=NOON)
    assert one.event == ("validation.failed", NOON, {"error.type": "ValueError", "exception.message": "too long"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TRACE[1a2b3c4]: SUCCESS - duration=1s",
        "TRACE[00000000]: SUCCESS - duration=1s",
        "TRACE[1a2b3c4d]: loading weights - gpu=A10G",
        "TRACE: SUCCESS",
        '{"TRACE[": ',
    ],
)
def test_other_lines_are_passed_over(text: str) -> None:
    assert read_line(text) is None


@pytest.mark.parametrize(
    "field", ["trace=xyz", "span=0000000000000000", "start=-5", f"start={'9' * 30}", "duration=1e9s"]
)
def test_wrong_fields_are_no_worse_than_none(field: str) -> None:
    (one,) = told(f"TRACE[1a2b3c4d]: SUCCESS - {field}", at=NOON)
    (plain,) = told("TRACE[1a2b3c4d]: SUCCESS", at=NOON)
    assert (one.trace_id, one.span_id, one.start, one.end) == (plain.trace_id, plain.span_id, plain.start, plain.end)


def test_digits_that_are_no_number() -> None:
    (one,) = told("TRACE[1a2b3c4d]: SUCCESS - span=0012345678901234, model=007, batch.size=8, gpu=1e3")
    assert one.span_id == "0012345678901234"
    assert {"model.id": "007", "batch.size": 8, "gpu": 1000.0}.items() <= one.attributes.items()


def test_what_stands_far_out_in_a_line_is_not_read() -> None:
    assert read_line("x" * 16_000 + OLD[2]) is not None
    assert read_line("x" * 17_000 + OLD[2]) is None


def test_impossible_times_are_none() -> None:
    assert time_of("2026-13-45 99:00:00 x") is None
    assert time_of("99999999999 x") is None


parts = st.sampled_from(
    [
        *("TRACE[1a2b3c4d]: ", "TRACE[ffffffff]", "SUCCESS", "FAILED", "TIMEOUT", "started", "Validation passed"),
        *(" - ", ", ", "=", '"', "[", "]", "\\", "\n", "\x1b[", "{", "}", "2026-11-22 10:00:00", "1795348800", "\0"),
        *(
            "duration=",
            "start=",
            "span=",
            "trace=",
            "error=",
            "1.5s",
            "9" * 400,
            "-1",
            "ab" * 8,
            "ab" * 16,
            "a.b=[1,[2]]",
        ),
    ]
)
logs = st.lists(parts | st.text(max_size=8), max_size=20).map("".join)


@fuzzed
@given(st.lists(logs, max_size=8), st.integers(0, 2**64 - 1))
def test_any_lines_are_read_or_passed_over(texts: list[str], at: int) -> None:
    request = ExportLogsServiceRequest()
    for text in texts:
        for one in told(text, at=at):
            assert one.end is None or one.span().end_time_unix_nano >= one.start
        record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=at)
        record.body.string_value = text.encode(errors="replace").decode()
    (outcome,) = decode_logs([request.SerializeToString()], ["default"])
    assert isinstance(outcome, Decoded)
    assert outcome.batch.num_rows >= len(texts)
    for decoded in (outcome, outcome.told):
        if decoded is not None:
            decoded.batch.validate(full=True)
            assert not decoded.rejected
