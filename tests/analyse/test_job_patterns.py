"""What failures of a job share: deadlines, the hop they never reach, since when; and nothing where nothing is."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from otel_diag.analyse.baseline import Peer
from otel_diag.analyse.jobs import deadline, failure_patterns, job_pattern, job_patterns, onset
from otel_diag.model import RootCauseType, Status
from otel_diag.testing import START


def peer(number: int, *, failed: bool = False, ms: float | None = 2_000.0, reached: bool = True) -> Peer:
    """One a minute, with its router unless it failed before."""
    elements = ("runner.execute", ".router.route") if reached else ("runner.execute",)
    return Peer(
        execution_id=number,
        trace_id=f"{number:032x}",
        status=Status.FAILED if failed else Status.COMPLETED,
        duration_ms=ms,
        elements=elements,
        hops=(("runner.execute", "router.route"),) if reached else (),
        model_id="m",
        region="r",
        service_version="2.0" if failed else "1.9",
        started_at=START + timedelta(minutes=number),
    )


def test_failures_that_end_together_had_a_deadline() -> None:
    rng = random.Random(1)
    failed = [peer(n, failed=True, ms=30_000 + rng.random() * 90) for n in range(8)]
    others = [peer(n, failed=True, ms=500 + 700 * n) for n in range(8, 12)]
    successful = [peer(n, ms=2_000 + 1_000 * rng.random()) for n in range(20, 60)]
    found = deadline([*failed, *others], successful)
    assert found is not None
    assert {one.execution_id for one in found.members} == set(range(8))
    assert found.words == "ended after 30.0 s each, as with a configured deadline"
    assert "8 of 8 ended after 30.0 s each" in job_pattern([*failed, *successful])
    patterns = {p.pattern: (p.count, p.total) for p in job_patterns([*failed, *others, *successful])}
    assert patterns[found.words] == (8, 12)


def test_failures_of_any_length_or_as_long_as_everything_else_had_none() -> None:
    assert deadline([peer(n, failed=True, ms=2_000 + 900 * n) for n in range(12)]) is None
    same = [peer(n, failed=True, ms=5_000) for n in range(8)]
    assert deadline(same, [peer(n, ms=5_010) for n in range(20, 60)]) is None
    assert deadline(same[:2]) is None
    assert deadline([peer(n, failed=True, ms=12) for n in range(8)]) is None
    assert deadline([]) is None


def test_since_when_a_job_fails() -> None:
    executions = [peer(n) for n in range(380)] + [peer(n, failed=n % 2 == 0) for n in range(380, 440)]
    found = onset(executions)
    assert found is not None
    assert found.moment == START + timedelta(minutes=380)
    assert found.words == "none of 380 failed before 18:20 UTC, 30 of 60 since"
    assert job_pattern(executions).endswith(found.words)
    # An early failure does not hide it, and days apart the date is said.
    executions[10] = peer(10, failed=True)
    executions[0] = replace(executions[0], started_at=START - timedelta(days=2))
    later = onset(executions)
    assert later is not None
    assert later.words == "1 of 380 failed before 2026-01-05 18:20 UTC, 30 of 60 since"


@pytest.mark.parametrize("seed", range(20))
def test_failures_all_along_have_no_beginning(seed: int) -> None:
    rng = random.Random(seed)
    assert onset([peer(n, failed=rng.random() < 0.2) for n in range(200)]) is None


def test_few_or_only_failures_have_no_beginning() -> None:
    assert onset([peer(0), peer(1), peer(2, failed=True)]) is None
    assert onset([peer(n, failed=True) for n in range(9)]) is None
    assert onset([peer(n) for n in range(9)]) is None
    assert onset([*(peer(n, failed=True) for n in range(30)), *(peer(n) for n in range(30, 90))]) is None


def test_a_hop_that_part_of_the_failures_never_reached_is_a_pattern() -> None:
    failed = [peer(n, failed=True, reached=n % 2 == 0) for n in range(6)]
    patterns = job_patterns([*failed, *(peer(n) for n in range(10, 30))])
    assert (patterns[0].pattern, patterns[0].count, patterns[0].total) == ("failed before reaching router.route", 3, 6)
    reached = job_patterns([*(peer(n, failed=True) for n in range(6)), *(peer(n) for n in range(10, 30))])
    assert all("before reaching" not in p.pattern for p in reached)


def test_one_version_among_others_is_named() -> None:
    executions = [*(peer(n, failed=True) for n in range(6)), *(peer(n) for n in range(10, 30))]
    assert "all in version 2.0" in job_pattern(executions)
    assert "version 2.0" in {p.pattern for p in job_patterns(executions)}
    assert "all in version" not in job_pattern([peer(n, failed=True) for n in range(6)])


def test_shares_of_cause_and_failing_element() -> None:
    timed_out = [
        replace(peer(n, failed=True), root_cause_type=RootCauseType.SERVICE_TIMEOUT, failure_point="router.route")
        for n in range(4)
    ]
    undiagnosed = [replace(peer(n, failed=True), failure_point="modal.infer") for n in range(4, 7)]
    patterns = {p.pattern: (p.count, p.total) for p in failure_patterns([*timed_out, *undiagnosed])}
    assert patterns["SERVICE_TIMEOUT at router.route"] == (4, 7)
    assert patterns["failed at modal.infer"] == (3, 7)


def test_error_texts_with_another_parameter_are_one_pattern() -> None:
    texts = [f"user {name} is unknown" for name in ("ann", "bob", "cid", "dan")]
    failures = [replace(peer(n, failed=True), error_message=text) for n, text in enumerate(texts)]
    assert ('error "user <*> is unknown"', 4) in {(p.pattern, p.count) for p in failure_patterns(failures)}
