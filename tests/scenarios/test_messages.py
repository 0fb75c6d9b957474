"""Work that a message sets off and nobody waits for: the root has answered by then, and knows nothing of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.root_cause import diagnose
from otel_diag.analyse.summary import summarise
from otel_diag.model import Status
from otel_diag.testing import START, SpanDraft, TraceBuilder, baseline_of

NOW = START + timedelta(hours=1)
NOTHING_KNOWN = Baseline()

How = Literal["child", "link", "server"]


class Images:
    """An upload is answered after 40 ms, and its images are made by a worker that a message reaches."""

    def __init__(self, number: int = 0, how: How = "child", model_ms: float = 600, late_ms: float = 0) -> None:
        self.trace = TraceBuilder(execution_id=number)
        self.root = self.trace.root("api", "POST /images", ms=40, kind="server")
        self.send = self.root.child("send images", at=20, ms=5, kind="producer")
        self.work = self._delivered(40 + late_ms, how, 100 + model_ms + number % 7)
        self.model = self.work.child("denoise", at=50, ms=model_ms + number % 7)

    def _delivered(self, at: float, how: How, ms: float) -> SpanDraft:
        parent = None if how == "link" else self.send
        kind = "server" if how == "server" else "consumer"
        work = self.trace.add("worker", "process images", at, ms, kind, parent)
        return work.link(self.send) if how == "link" else work

    def fails(self) -> Images:
        self.model.fail("ImageError", "the sampler diverged")
        self.work.fail("ImageError", "the sampler diverged")
        return self

    def again(self) -> SpanDraft:
        return self._delivered(self.work.end + 500, "child", 700)

    def found(self, baseline: Baseline = NOTHING_KNOWN) -> tuple[str, str | None, Status]:
        """What is wrong and where, and how the execution ended, which its summary says as well."""
        trace = self.trace.build()
        report = diagnose(trace, baseline, now=NOW)
        assert summarise(trace).status == report.status
        cause = report.root_cause
        if cause is None:
            return report.verdict, None, report.status
        return cause.root_cause_type.value, f"{cause.affected_service}.{cause.affected_operation}", report.status


@pytest.fixture(scope="module")
def usual() -> Baseline:
    return baseline_of(Images(number).trace.build() for number in range(25))


@pytest.mark.parametrize("how", ["child", "link", "server"])
def test_what_fails_after_the_answer_is_the_failure(how: How) -> None:
    images = Images(how=how).fails()
    assert images.found() == ("SERVICE_ERROR", "worker.denoise", Status.FAILED)
    assert summarise(images.trace.build()).failure_point == "worker.denoise"
    assert Images(how=how).found() == ("healthy", None, Status.COMPLETED)


def test_a_time_out_there_is_one_of_the_execution() -> None:
    images = Images()
    images.model.time_out()
    images.work.time_out()
    assert images.found()[2] == Status.TIMEOUT


def test_a_message_that_is_delivered_again_with_success_has_done_its_work() -> None:
    images = Images().fails()
    images.again()
    assert images.found() == ("healthy", None, Status.COMPLETED)


def test_work_that_sends_itself_again_has_been_done_when_that_succeeds() -> None:
    images = Images().fails()
    send = images.work.child("send images", at=650, ms=5, kind="producer")
    once_more = images.trace.add("worker", "process images", images.work.end + 900, 700, "consumer", send)
    assert images.found() == ("healthy", None, Status.COMPLETED)
    once_more.fail("ImageError", "the sampler diverged")
    assert images.found()[0] == "SERVICE_ERROR"


def test_work_that_was_announced_and_has_not_ended_runs_still_and_is_lost_when_nothing_is_heard_of_it() -> None:
    images = Images()
    images.model.never_finish()
    images.work.never_finish()
    trace = images.trace.build()
    soon = diagnose(trace, NOTHING_KNOWN, now=START + timedelta(seconds=30))
    assert (soon.verdict, soon.status) == ("inconclusive", Status.RUNNING)
    assert images.found() == ("MODAL_EXECUTION_FAILURE", "worker.process images", Status.RUNNING)


def test_who_waits_for_the_reply_may_get_over_its_failure() -> None:
    images = Images().fails()
    images.root.child("wait for reply", at=30, ms=images.work.end - 29)
    images.root.lasting(images.work.end + 50)
    assert images.found() == ("healthy", None, Status.COMPLETED)


def test_a_failure_while_the_root_still_runs_may_have_been_handled_there() -> None:
    images = Images().fails()
    images.root.lasting(5_000)
    assert images.found() == ("healthy", None, Status.COMPLETED)


def test_its_time_counts_as_it_does_in_the_baseline(usual: Baseline) -> None:
    slow = Images(model_ms=9_000)
    assert slow.found(usual) == ("PERFORMANCE_DEGRADATION", "worker.denoise", Status.COMPLETED)
    assert Images(model_ms=610).found(usual) == ("healthy", None, Status.COMPLETED)


def test_its_cold_start_is_one(usual: Baseline) -> None:
    images = Images(model_ms=600)
    images.work.child("download model", at=10, ms=12_000)
    images.work.lasting(12_700)
    images.model.start += 12_000
    assert images.found(usual) == ("COLD_START", "worker.download model", Status.COMPLETED)


def test_a_consumer_whose_clock_is_ahead_is_not_late(usual: Baseline) -> None:
    images = Images()
    images.trace.skew["worker"] = 8_000
    assert images.found(usual) == ("healthy", None, Status.COMPLETED)
    assert Images(late_ms=60_000).found(usual)[0] == "QUEUE_DELAY"
