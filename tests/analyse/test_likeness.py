"""Similar executions, comparisons, and what failures share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.analyse.baseline import Peer
from otel_diag.analyse.compare import Compared, compare
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.jobs import failure_patterns, job_pattern
from otel_diag.analyse.similar import nearest_names, rank_similar, similarity
from otel_diag.analyse.summary import summarise
from otel_diag.analyse.templates import error_template
from otel_diag.model import RootCauseType, Status, Trace
from otel_diag.testing import TraceBuilder

_SEQUENCES = st.lists(st.sampled_from(["a.x", ".b.y", "..c.z"]), max_size=12)


@given(_SEQUENCES, _SEQUENCES)
def test_similarity_is_a_symmetric_share(a: list[str], b: list[str]) -> None:
    assert similarity(a, a) == 1.0
    assert 0.0 <= similarity(a, b) == similarity(b, a) <= 1.0


def test_the_same_spans_in_another_shape_are_less_alike() -> None:
    assert similarity(["a.x", ".b.y", "..c.z"], ["a.x", ".b.y", ".c.z"]) == pytest.approx(2 / 3)


def run(execution_id: int = 1, *, routed: bool = True, model: str = "m", region: str = "r") -> Trace:
    trace = TraceBuilder(execution_id=execution_id, model_id=model, region=region, job_id="j")
    if not routed:
        trace.root("runner", "execute", ms=12 + execution_id).fail("Boom", f"boom at {execution_id}")
        return trace.build()
    root = trace.root("runner", "execute", ms=2_500).set(**{"router.provider": "p1"})
    root.call("router", "route", at=5, ms=2_400)
    return trace.build()


def peer(trace: Trace) -> Peer:
    return summarise(trace).as_peer()


def test_same_model_and_region_come_first() -> None:
    candidates = [peer(run(2, model="other")), peer(run(3, region="elsewhere")), peer(run(4))]
    ranked = rank_similar(summarise(run(1)), candidates, limit=2)
    assert [p.execution_id for p, _ in ranked] == [4, 3]
    assert rank_similar(summarise(run(1)), [peer(run(5, routed=False))], limit=5) == []


def test_names_nearest_to_a_wrong_one() -> None:
    assert nearest_names("nightly-evl", ["daily", "nightly-eval", "x"], limit=1) == ["nightly-eval"]


def test_a_comparison_speaks_with_figures() -> None:
    found = compare(Examined(run(1, routed=False)), Examined(run(2)))
    words, divergence, score = found.differences, found.first_divergence, found.similarity
    assert "no router span" in words
    assert "13 ms against 2,500 ms" in words
    assert "failed against completed (boom at 1)" in words
    assert any("router.provider is absent against p1" in w for w in words)
    assert divergence is not None
    assert (divergence.kind, divergence.element) == ("status", "runner.execute")
    assert 0 < score < 0.7


def test_equal_executions_do_not_differ() -> None:
    assert compare(Examined(run(1)), Examined(run(2))) == Compared([], None, 1.0, [])


def test_a_missing_span_is_the_first_divergence() -> None:
    shorter = run(1)
    shorter = replace(shorter, spans=tuple(s for s in shorter.spans if s.service == "runner"))
    divergence = compare(Examined(shorter), Examined(run(2))).first_divergence
    assert divergence is not None
    assert (divergence.kind, divergence.element) == ("missing", "router.route")


def test_a_job_says_how_its_executions_failed() -> None:
    failed = [peer(run(i, routed=False)) for i in range(4)]
    successful = [peer(run(i)) for i in range(10, 14)]
    assert job_pattern([*failed, *successful]).startswith(
        "4 of 8 failed in 12-15 ms with no router span: runner never reached router"
    )
    assert job_pattern(failed).startswith("4 of 4 failed in 12-15 ms: runner called no other service")
    assert job_pattern(successful) == "none of 4 failed"
    assert job_pattern([]) == "no executions"


def test_a_job_says_where_its_failures_lie() -> None:
    failed = [replace(peer(run(i, routed=False)), region="us") for i in range(3)]
    assert "all in region us" in job_pattern([*failed, peer(run(9))])


def test_patterns_across_jobs() -> None:
    failures = [
        replace(peer(run(i, routed=False)), root_cause_type=RootCauseType.RATE_LIMITED, failure_point="router.route")
        for i in range(3)
    ]
    odd = replace(peer(run(9, routed=False)), region="eu", job_id="k", error_message="else", model_id="n")
    found = {p.pattern: (p.count, p.total) for p in failure_patterns([*failures, odd])}
    assert found["RATE_LIMITED at router.route"] == (3, 4)
    assert found['error "boom at <*>"'] == (3, 4)
    assert found["region r"] == (3, 4)
    assert all("eu" not in pattern for pattern in found)


def test_error_templates_drop_what_varies() -> None:
    assert error_template("job 17 of 0xff at 'x'") == error_template("job 3 of 0xa0 at 'y'")
    assert error_template(None) is None


def test_running_executions_are_neither() -> None:
    running = replace(peer(run(1)), status=Status.RUNNING)
    assert job_pattern([running]) == "none of 1 failed, 1 still running"
