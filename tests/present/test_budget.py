"""Whatever a trace holds, what a language model gets of it is bounded, and says how much there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.root_cause import diagnose
from otel_diag.analyse.timeline import gap_report, marks_of
from otel_diag.model import (
    Answer,
    Comparison,
    ExecutionAnalysis,
    ExecutionBrief,
    Failure,
    FailurePattern,
    GapReport,
    JobAnalysis,
    NextStep,
    QueryAnswer,
    RecentFailures,
    Report,
    SpanBrief,
    Status,
    Timeline,
    TimelineEntry,
)
from otel_diag.present import budget, render
from otel_diag.present.mcp.server import build_server
from otel_diag.testing import TraceBuilder
from tests.conftest import fuzzed
from tests.present.answers import BRIEF, NOW, OneIncident

LONG = "Ein sehr langer Name 🐘 " * 300


def long_timeline(spans: int, words: str) -> Timeline:
    entries = [
        TimelineEntry(
            service=f"service {n}",
            operation=f"{n} {words}",
            start_ms=n,
            end_ms=n + 1.0,
            duration_ms=1.0,
            status=Status.FAILED if n == spans - 1 else Status.COMPLETED,
            error_message=words if n == spans - 1 else None,
            depth=n,
            critical=n % 3 == 0,
            span_id=f"{n:016x}",
            is_anomaly=n % 50 == 7,
            anomaly_reason=words if n % 50 == 7 else None,
        )
        for n in range(spans)
    ]
    return Timeline(execution_id=1, trace_id="a" * 32, total_spans=spans, spans_examined=spans, timeline=entries)


def gaps(spans: int, words: str) -> GapReport:
    examined = Examined(broken_trace(min(spans, 400), words))
    report = gap_report(examined, Baseline(), marks_of(examined, Baseline()))
    orphans = [f"{n:016x}" for n in range(10_000)]
    return report.model_copy(update={"spans": long_timeline(spans, words).timeline, "orphans": orphans})


def broken_trace(spans: int, words: str) -> Any:
    trace = TraceBuilder(execution_id=7)
    root = trace.root("runner", f"execute {words}", ms=100_000)
    for n in range(spans):
        child = root.child(f"step {n} {words}", at=20 * n, ms=10)
        if n % 3 == 0:
            child.fail("ValueError", f"{n} {words}")
        elif n % 3 == 1:
            child.child(f"lost {words}", ms=5).drop().child(f"orphan {n}", ms=1)
    root.fail("RuntimeError", words)
    return trace.build()


def report(spans: int, words: str) -> Report:
    found = diagnose(broken_trace(min(spans, 400), words), Baseline(), now=NOW)
    steps = [NextStep(tool="find_timeout_root_cause", arguments={"job_id": words}, why=words)]
    times = {f"service {n} {words}": float(n) for n in range(spans)}
    return found.model_copy(update={"timing_breakdown": times, "next_steps": steps})


def job(spans: int, words: str) -> JobAnalysis:
    brief = SpanBrief(service=words, operation=words, status=Status.FAILED, duration_ms=1.0, error_message=words)
    one = ExecutionAnalysis(
        execution_id=1,
        trace_id="a" * 32,
        region=words,
        model=words,
        status=Status.FAILED,
        duration_ms=1.0,
        span_count=spans,
        spans=[brief] * 10,
    )
    return JobAnalysis(
        job_id=words, total_executions=spans, failed_executions=spans, analysis=[one] * 20, pattern=words
    )


def comparison(spans: int, words: str) -> Comparison:
    brief = ExecutionBrief(**BRIEF.model_dump() | {"error_message": words, "job_id": words, "region": words})
    return Comparison(
        failed_execution=brief, similar_successful=[brief] * 3, differences=[words] * spans, first_divergence=None
    )


def failures(spans: int, words: str) -> RecentFailures:
    one = Failure(
        id=1,
        job_id=words,
        region=words,
        model_id=words,
        status=Status.FAILED,
        error_message=words,
        root_cause_type=None,
    )
    pattern = FailurePattern(pattern=words, count=spans, total=spans, example_ids=["a" * 32] * 5)
    return RecentFailures(total_failures=spans, since=NOW, failures=[one] * 100, patterns=[pattern] * 20)


def question(spans: int, words: str) -> QueryAnswer:
    row = long_timeline(1, words).timeline[0].model_dump(mode="json")
    return QueryAnswer(
        query=words,
        understood=None,
        message=words,
        results=[row] * spans,
        total_results=spans,
        sql_or_call=words * 3,
        suggestions=[words] * 20,
    )


ANSWERS: list[tuple[Callable[[int, str], Answer], Callable[..., str]]] = [
    (report, lambda answer: render.report(answer, long_timeline(300, LONG))),
    (job, render.job),
    (comparison, render.comparison),
    (failures, render.failures),
    (gaps, render.gaps),
    (question, render.query_answer),
]


def json_tokens(answer: Answer) -> int:
    return budget.tokens(budget.structured(answer).model_dump_json())


@pytest.mark.parametrize(("make", "write"), ANSWERS, ids=lambda made: getattr(made, "__name__", ""))
@pytest.mark.parametrize("words", ["short", LONG])
def test_no_answer_is_larger_than_its_budget(
    make: Callable[[int, str], Answer], write: Callable[..., str], words: str
) -> None:
    answer = make(3_000, words)
    assert budget.tokens(answer.model_dump_json()) > budget.STRUCTURED_TOKENS or make is failures
    assert json_tokens(answer) <= budget.STRUCTURED_TOKENS
    if make is report:
        text = budget.markdown(render.report, answer, long_timeline(3_000, words))
    else:
        text = budget.markdown(write, answer)
    assert budget.tokens(text) <= budget.MARKDOWN_TOKENS


def test_what_is_left_out_is_said_and_what_failed_is_kept() -> None:
    answer = budget.structured(gaps(5_000, "step"))
    assert answer.totals["orphans"] == 10_000
    assert answer.totals["spans"] == 5_000
    assert any(span.status is Status.FAILED for span in answer.spans)
    assert [span.start_ms for span in answer.spans] == sorted(span.start_ms for span in answer.spans)
    assert "9995 more of 10000" in budget.markdown(render.gaps, gaps(5_000, "step"))


def test_a_small_answer_stays_as_it_is() -> None:
    answer = failures(1, "short").model_copy(update={"failures": [], "patterns": []})
    assert budget.structured(answer) is answer


def test_a_step_that_would_have_to_be_cut_is_left_out() -> None:
    answer = budget.structured(report(3_000, LONG))
    assert answer.next_steps == []
    assert len(answer.timing_breakdown) < answer.totals["timing_breakdown"] == 3_000


TEXTS = st.one_of(st.text(max_size=40), st.sampled_from([LONG, "\x00" * 4_000, "🐘" * 4_000, "`|<" * 2_000]))


@fuzzed
@given(st.sampled_from([make for make, _ in ANSWERS]), st.integers(1, 400), TEXTS)
def test_any_answer_about_anything_is_within_its_budget(
    make: Callable[[int, str], Answer], spans: int, words: str
) -> None:
    answer = make(spans, words)
    assert json_tokens(answer) <= budget.STRUCTURED_TOKENS
    beside = [long_timeline(spans, words)] if make is report else []
    write = {report: render.report}.get(make) or dict(ANSWERS)[make]
    assert budget.tokens(budget.markdown(write, answer, *beside)) <= budget.MARKDOWN_TOKENS


@pytest.mark.anyio
async def test_a_tool_answers_within_its_budget() -> None:
    incident = OneIncident()
    incident.overrides["trace_gaps"] = gaps(5_000, LONG)
    async with Client(build_server(incident)) as client:
        result = await client.call_tool("find_trace_gaps", {"execution_id": 2193})
    (content,) = result.content
    assert budget.tokens(content.text) <= budget.MARKDOWN_TOKENS
    assert budget.tokens(json.dumps(result.structured_content)) <= 2 * budget.STRUCTURED_TOKENS
    assert result.structured_content["totals"]["spans"] == 5_000
