"""Sketches, templates, skew, gaps and summaries."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.analyse.baseline import (
    Baseline,
    OperationStats,
    bucket_upper_ms,
    decode_element,
    encode_element,
    latency_bucket,
)
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.gaps import find_gaps
from otel_diag.analyse.performance import merged_window, window
from otel_diag.analyse.skew import estimate_skew
from otel_diag.analyse.summary import rollup_rows, summarise
from otel_diag.analyse.timeline import gap_report, marks_of, timeline
from otel_diag.analyse.tree import build_tree
from otel_diag.model import Status
from otel_diag.testing import START, TraceBuilder, baseline_of


@given(st.floats(1e-6, 1e12))
def test_a_latency_lies_in_its_bucket(ms: float) -> None:
    bucket = latency_bucket(ms)
    assert bucket_upper_ms(bucket - 1) * (1 - 1e-9) <= ms <= bucket_upper_ms(bucket) * (1 + 1e-9)


def test_zero_and_powers_of_two_have_fixed_buckets() -> None:
    assert [latency_bucket(ms) for ms in (0, -1, 1, 2, 1024)] == [-1000, -1000, 0, 16, 160]


def test_percentiles_are_within_their_promise() -> None:
    values = sorted(random.Random(1).lognormvariate(3, 1) for _ in range(2_000))
    stats = OperationStats.of(values)
    assert stats.mean_ms == pytest.approx(sum(values) / 2_000)
    for q in (0.05, 0.5, 0.95, 0.99):
        assert stats.percentile(q) == pytest.approx(values[int(q * 1_999)], rel=0.03)


def test_leaving_one_execution_out() -> None:
    one, all_of_them = OperationStats.of([5.0, 700.0]), OperationStats.of([5.0, 700.0, 6.0, 7.0])
    rest = all_of_them.minus(one)
    assert rest.count == 2
    assert rest.percentile(1.0) < 10
    assert rest.sum_ms == pytest.approx(13)


@given(st.integers(0, 40), st.from_regex(r"[a-z][a-z.\- ]{0,20}", fullmatch=True))
def test_elements_keep_their_depth(depth: int, element: str) -> None:
    assert decode_element(encode_element(depth, element)) == (depth, element)


def calls(seed: int, *, skew: float = 0.0) -> TraceBuilder:
    ms = random.Random(seed).uniform(90, 110)
    trace = TraceBuilder(execution_id=seed, model_id="m")
    root = trace.root("alpha", "go", ms=2 * ms)
    root.call("beta", "serve", at=5, ms=ms, send=3, back=4).child("think", at=5, ms=50)
    trace.skew["beta"] = skew
    return trace


@pytest.mark.parametrize("skew", [-7_200_000.0, -3_000.0, 2_500.0])
def test_skew_is_found_within_its_bound(skew: float) -> None:
    tree = build_tree(calls(1, skew=skew).build().spans)
    (offset,) = estimate_skew(tree).offsets.values()
    assert abs(offset.offset_ns / 1e6 - skew) <= offset.bound_ns / 1e6 + 0.001
    assert offset.bound_ns == pytest.approx(3.5e6, rel=0.01)


def test_clocks_that_agree_are_left_alone() -> None:
    tree = build_tree(calls(1).build().spans)
    estimated = estimate_skew(tree)
    assert estimated.max_ms == 0
    assert [start for start, _ in estimated.times] == [s.start_unix_nano for s in tree.spans]


def test_a_reply_nobody_heard_is_a_return_gap() -> None:
    trace = TraceBuilder()
    server = trace.root("alpha", "go", ms=80_000).call("beta", "serve", at=5, ms=1_000)
    assert server.caller is not None
    server.caller.lasting(70_000)
    tree = build_tree(trace.build().spans)
    gaps = find_gaps(tree, estimate_skew(tree), Baseline())
    returned = next(g for g in gaps if g.kind == "return")
    assert returned.gap_ms == pytest.approx(68_999)
    assert (returned.caller, returned.callee, returned.is_anomaly) == ("alpha.call serve", "beta.serve", True)


def test_parallel_and_nested_children_make_no_gap() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=100)
    root.child("one", at=0, ms=60).child("inner", at=0, ms=60)
    root.child("two", at=10, ms=40)
    root.child("three", at=60, ms=40)
    tree = build_tree(trace.build().spans)
    assert find_gaps(tree, estimate_skew(tree), Baseline()) == ()


def test_idle_time_lies_between_one_child_and_the_next() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=10_000)
    one, two = root.child("one", at=0, ms=1_000), root.child("two", at=9_000, ms=1_000)
    examined = Examined(trace.build())
    report = gap_report(examined, Baseline(), marks_of(examined, Baseline()))
    (gap,) = report.gaps
    assert (gap.kind, gap.gap_ms, gap.after_span, gap.before_span) == ("idle", 8_000, one.span_id, two.span_id)
    assert gap.is_anomaly
    assert next(e for e in report.spans if e.span_id == one.span_id).gap_after_ms == 8_000


def test_the_timeline_says_what_is_unusual_with_figures() -> None:
    slow = calls(99)
    think = next(d for d in slow.drafts if d.operation == "think").lasting(400)
    examined = Examined(slow.build())
    entries = timeline(examined, marks_of(examined, baseline_of(calls(i).build() for i in range(30))))
    entry = next(e for e in entries if e.span_id == think.span_id)
    assert entry.is_anomaly
    assert entry.anomaly_reason == "400.0 ms, 8.0 times the average of 50.0 ms over 30 others"
    assert [e.depth for e in entries] == [0, 1, 2, 3]


def test_summaries_do_not_depend_on_order_and_notice_change() -> None:
    trace = calls(1).build()
    again = type(trace)(tuple(reversed(trace.spans)), trace.execution_id, trace.trace_id)
    assert summarise(trace) == summarise(again)
    other = calls(2).build()
    assert summarise(trace).signature == summarise(other).signature
    assert summarise(trace).content_key != summarise(other).content_key
    assert summarise(trace).hops == (("alpha.call serve", "beta.serve"),)
    assert -(2**63) <= summarise(trace).signature < 2**63


def test_an_error_handled_by_a_parent_that_succeeds_is_no_failure() -> None:
    trace = calls(1)
    trace.drafts[-1].fail("Oops", "handled")
    summary = summarise(trace.build())
    assert (summary.status, summary.failed_spans, summary.failure_point) == (Status.COMPLETED, 1, None)


def test_the_failure_point_is_the_deepest_error_that_reached_the_root() -> None:
    trace = calls(1)
    for draft in trace.drafts:
        draft.fail("Oops", "it broke")
    summary = summarise(trace.build())
    assert (summary.status, summary.failure_point) == (Status.FAILED, "beta.think")


def test_without_a_root_the_worst_evidence_counts() -> None:
    trace = calls(1)
    trace.drafts[1].drop()
    trace.drafts[0].drop()
    trace.drafts[2].time_out()
    summary = summarise(trace.build())
    assert (summary.status, summary.complete) == (Status.TIMEOUT, False)


def test_an_execution_without_spans_is_what_its_runner_recorded() -> None:
    summary = summarise(TraceBuilder(job_id="j").declare(Status.FAILED, ms=13, message="bang").build())
    assert (summary.status, summary.duration_ms, summary.error_message, summary.job_id) == (
        Status.FAILED,
        pytest.approx(13),
        "bang",
        "j",
    )


def test_rollups_hold_each_span_once_per_measure() -> None:
    rows = rollup_rows(calls(1).build(), lambda span: span.service == "beta")
    assert sum(count for key, (count, _) in rows.items() if key[6] == "duration") == 2
    own = {key[2]: total for key, (_, total) in rows.items() if key[6] == "self"}
    assert own["think"] == pytest.approx(50)
    assert {key[0] for key in rows} == {datetime(2026, 1, 5, 12, tzinfo=UTC)}
    assert {key[3] for key in rows} == {"m"}


def test_exact_and_merged_windows_agree() -> None:
    durations = [float(ms) for ms in range(10, 500)]
    exact = window(START, START, ["completed"] * 480 + ["timeout"] * 10, durations)
    merged = merged_window(
        START,
        START,
        {("completed",): OperationStats.of(durations[:480]), ("timeout",): OperationStats.of(durations[480:])},
    )
    assert exact.success_rate == merged.success_rate == 480 / 490
    assert exact.p95_duration_sec == pytest.approx(merged.p95_duration_sec, rel=0.03)
    assert window(START, START, [], []).success_rate is None


def test_a_few_past_incidents_do_not_hide_the_next() -> None:
    usual = OperationStats.of([100.0 + n for n in range(25)])
    with_incidents = OperationStats.of([*(100.0 + n for n in range(25)), 5_600.0])
    assert with_incidents.limit_ms() < 2 * usual.limit_ms()
    # What happens in every tenth execution is no incident.
    bimodal = OperationStats.of([*(100.0 + n % 25 for n in range(90)), *(5_600.0 for _ in range(10))])
    assert bimodal.limit_ms() > 5_600.0
