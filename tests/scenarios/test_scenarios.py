"""The list of spec/2, "what the engine must get right": every scenario on random systems, and its healthy twins."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import islice
from random import Random

import pytest

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.root_cause import diagnose
from otel_diag.model import Report, RootCauseType, Status, Trace
from otel_diag.testing import START, TraceBuilder, baseline_of
from tests.scenarios import score
from tests.scenarios.generate import NAMES, cases

NOW = START + timedelta(hours=1)
SEEDS = range(5)
AT_LEAST = 4
"""Of the cases of a scenario, one a seed, so many are diagnosed right: type, service and operation."""
MORE_SEEDS = range(100, 106)
RIGHT = 0.92
FALSE_ALARMS = 0.03


NOTHING_KNOWN = Baseline()


def judged(trace: Trace, baseline: Baseline = NOTHING_KNOWN, *, still_arriving: bool = False) -> Report:
    return diagnose(trace, baseline, now=NOW, still_arriving=still_arriving)


def found(report: Report) -> tuple[str, tuple[str, str] | None]:
    cause = report.root_cause
    if cause is None:
        return report.verdict, None
    return cause.root_cause_type.value, (cause.affected_service, cause.affected_operation)


@pytest.mark.parametrize("name", NAMES)
def test_names_type_service_and_operation(name: str) -> None:
    results = [score.judged(case) for case in cases(SEEDS, [name])]
    right = sum(one.right for one in results)
    assert len(results) > len(SEEDS) // 2
    assert right * len(SEEDS) >= AT_LEAST * len(results), "\n".join(score.wrong_cases(results, 2))


def test_is_right_nearly_always_and_seldom_raises_a_false_alarm() -> None:
    rates = score.rates([score.judged(case) for case in cases(MORE_SEEDS)])
    assert rates.cases > 200
    assert rates.right >= RIGHT
    assert rates.false_alarms <= FALSE_ALARMS


@pytest.mark.parametrize("name", NAMES)
def test_does_not_depend_on_the_order_of_spans(name: str) -> None:
    one = next(cases(range(3, 20), [name]))
    shuffled = list(one.trace.spans)
    Random(name).shuffle(shuffled)
    again = replace(one, trace=replace(one.trace, spans=tuple(shuffled)))
    assert score.judged(one).report == score.judged(again).report


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything(name: str) -> None:
    one, other = islice(cases(range(3, 20), [name]), 2)
    again = next(cases([one.seed], [name]))
    assert (one.trace, one.label) == (again.trace, again.label)
    assert one.trace != other.trace


def three_services(*, called: bool = True, exported: bool = True) -> TraceBuilder:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=200)
    root.client("SELECT", at=1, ms=3).set(**{"db.system": "x"})
    if called:
        beta = root.call("beta", "serve", at=10, ms=100)
        work = beta.child("think", at=5, ms=50)
        if not exported:
            beta.drop()
            work.drop()
    return trace


@pytest.mark.parametrize(
    ("called", "still_arriving", "kind", "words"),
    [
        (False, False, RootCauseType.MISSING_SERVICE, "never called"),
        (True, False, RootCauseType.INCOMPLETE_TRACE, "no span of beta.serve came"),
        (True, True, RootCauseType.INCOMPLETE_TRACE, "still arriving"),
    ],
)
def test_tells_three_kinds_of_absence_apart(
    called: bool, still_arriving: bool, kind: RootCauseType, words: str
) -> None:
    baseline = baseline_of(three_services().build() for _ in range(25))
    report = judged(three_services(called=called, exported=False).build(), baseline, still_arriving=still_arriving)
    assert report.root_cause is not None
    assert report.root_cause.root_cause_type == kind
    assert (report.root_cause.affected_service, report.root_cause.affected_operation) == ("beta", "serve")
    assert words in report.root_cause.evidence
    assert report.timing_breakdown["beta"] == "missing"


def test_a_failed_call_whose_far_end_still_arrives_is_not_judged_as_lost() -> None:
    baseline = baseline_of(three_services().build() for _ in range(25))
    trace = three_services(exported=False)
    call = next(d for d in trace.drafts if d.operation == "call serve").time_out()
    trace.drafts[0].time_out()
    assert call.kind == "client"
    arriving = judged(trace.build(), baseline, still_arriving=True)
    settled = judged(trace.build(), baseline)
    assert found(arriving)[0] == "INCOMPLETE_TRACE"
    assert found(settled) == ("NETWORK_TIMEOUT", ("alpha", "call serve"))


def test_reports_skew_with_a_bound_and_leaves_raw_times_alone() -> None:
    trace = three_services()
    trace.skew["beta"] = 3_000
    report = judged(trace.build())
    assert report.verdict == "healthy"
    assert report.data_quality.max_skew_ms == pytest.approx(3_000, abs=5)
    assert 0 < report.data_quality.skew_bound_ms < 5
    assert any("beta" in note for note in report.data_quality.notes)


def test_without_spans_the_runners_record_is_judged() -> None:
    baseline = baseline_of(three_services().build() for _ in range(25))
    declared = (
        TraceBuilder().declare(Status.FAILED, ms=13, message="environment variable ROUTER_URL is not set").build()
    )
    report = judged(declared, baseline)
    assert found(report) == ("CONFIGURATION_ERROR", ("alpha", "go"))
    assert "13 ms" in report.root_cause.evidence  # type: ignore[union-attr]


def test_a_failure_only_the_runner_knows_wins_over_completed_spans() -> None:
    trace = three_services().declare(Status.FAILED, ms=200).build()
    report = judged(trace)
    assert report.status == Status.FAILED
    assert report.verdict == "inconclusive"


def test_a_linked_consumer_counts_as_caused_by_its_producer() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "publish", ms=900)
    send = root.child("send", at=1, ms=800, kind="producer").fail("Err", "consumer failed")
    root.fail("Err", "consumer failed")
    trace.add("beta", "consume", 5, 600, "consumer", None).link(send).fail("Oops", "it broke")
    assert found(judged(trace.build())) == ("SERVICE_ERROR", ("beta", "consume"))


def test_an_error_after_the_deadline_is_a_symptom() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=10_010).time_out()
    beta = root.call("beta", "serve", at=5, ms=14_000)
    beta.fail("ZeroDivisionError", "no client left to serve")
    assert beta.caller is not None
    beta.caller.lasting(10_000).time_out()
    assert found(judged(trace.build())) == ("SERVICE_TIMEOUT", ("beta", "serve"))


def test_a_deeper_shorter_deadline_is_the_cause() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=2_100).time_out(message="504")
    beta = root.call("beta", "serve", at=5, ms=2_020).time_out(message="gamma did not answer")
    beta.caller.time_out(message="504 from beta")  # type: ignore[union-attr]
    gamma = beta.call("gamma", "infer", at=5, ms=9_000)
    gamma.caller.lasting(2_000).time_out()  # type: ignore[union-attr]
    assert found(judged(trace.build())) == ("SERVICE_TIMEOUT", ("gamma", "infer"))


def test_an_error_long_after_a_handled_one_is_its_own() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=500).fail("ZeroDivisionError", "division by zero")
    root.client("GET cache", at=5, ms=2).fail("CacheMiss", "no entry")
    assert found(judged(trace.build())) == ("SERVICE_ERROR", ("alpha", "go"))
    root.lasting(8)
    assert found(judged(trace.build())) == ("DEPENDENCY_FAILURE", ("alpha", "GET cache"))


def test_a_cold_start_explains_the_timeout_it_causes() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=30_010).time_out()
    beta = root.call("beta", "infer", at=5, ms=33_000, send=2).set(**{"faas.coldstart": True})
    beta.caller.lasting(30_000).time_out()  # type: ignore[union-attr]
    load = beta.child("load model", at=1, ms=28_000)
    assert found(judged(trace.build())) == ("COLD_START", ("beta", "infer"))
    load.lasting(300)
    beta.child("generate", at=400, ms=32_000)
    assert found(judged(trace.build())) == ("SERVICE_TIMEOUT", ("beta", "generate"))


def test_of_parallel_failures_the_first_explains_the_rest() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=120).fail("ExceptionGroup", "unhandled errors in a TaskGroup")
    root.client("SELECT", at=1, ms=2)
    root.child("slow leg", at=5, ms=110).fail("CancelledError", "")
    root.child("bad leg", at=5, ms=50).fail("ZeroDivisionError", "division by zero")
    assert found(judged(trace.build())) == ("SERVICE_ERROR", ("alpha", "bad leg"))


def test_confidence_follows_its_formula() -> None:
    def failing() -> TraceBuilder:
        trace = three_services()
        for draft in trace.drafts:
            draft.fail("Oops", "it broke")
        return trace

    def confidence(report: Report) -> float:
        assert report.root_cause is not None
        return report.root_cause.confidence

    baseline = baseline_of(three_services().build() for _ in range(25))
    strength = 0.8  # of an error inside a service
    assert confidence(judged(failing().build())) == pytest.approx(0.985 - 0.25 * 0.2)
    assert confidence(judged(failing().build(), still_arriving=True)) == pytest.approx(
        0.985 - 0.25 * (1 - strength * 0.8), abs=1e-3
    )
    assert confidence(judged(failing().build(), baseline)) == pytest.approx(0.985 - 0.25 * 0.2 * 0.6)
    orphaned = failing()
    orphaned.drafts[-2].drop()
    assert confidence(judged(orphaned.build())) == pytest.approx(0.985 - 0.25 * (1 - strength * 0.9), abs=1e-3)


def test_an_event_in_sentry_is_found_and_changes_no_verdict() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=500).fail("ZeroDivisionError", "division by zero")
    before = judged(trace.build())
    root.set(**{"sentry.event_id": "0" * 31 + "7"})
    after = judged(trace.build())
    assert after.root_cause == before.root_cause
    (event,) = [found for found in after.findings if found not in before.findings]
    assert (event.service, event.operation) == ("alpha", "go")
    assert "0" * 31 + "7" in event.anomaly
    assert event.span_ids == [trace.build().spans[0].span_id]


def test_an_execution_that_runs_is_judged_only_when_nothing_was_heard_of_it_for_long() -> None:
    trace = TraceBuilder()
    trace.root("alpha", "go", ms=5).never_finish()
    baseline = baseline_of(three_services().build() for _ in range(25))
    for minutes, verdict in ((4, "inconclusive"), (6, "root_cause")):
        report = diagnose(trace.build(), baseline, now=START + timedelta(minutes=minutes))
        assert (report.status, report.verdict) == (Status.RUNNING, verdict)
    assert found(report) == ("MODAL_EXECUTION_FAILURE", ("alpha", "go"))


def test_a_declared_constant_is_said_to_be_one() -> None:
    report = judged(three_services().build())
    assert report.data_quality.thresholds == "constants"
    assert any("5 s" in note and "120 s" in note for note in report.data_quality.notes)


def test_an_answer_is_not_heard_where_nobody_makes_client_spans_either() -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "execute", ms=240_000).time_out()
    route = trace.add("beta", "route", 2_000, 82_000, "server", root)
    report = judged(trace.build())
    assert found(report) == ("NETWORK_TIMEOUT", ("beta", "route"))
    assert report.root_cause.hop is not None  # type: ignore[union-attr]
    assert "another 156,000 ms" in report.root_cause.evidence  # type: ignore[union-attr]
    route.lasting(245_000)
    assert found(judged(trace.build())) == ("SERVICE_TIMEOUT", ("beta", "route"))
    # It worked by itself after a short call: that answer was heard.
    route.lasting(500)
    root.child("compute", at=2_510, ms=237_000)
    assert found(judged(trace.build())) == ("SERVICE_TIMEOUT", ("alpha", "compute"))


@pytest.mark.parametrize(
    ("peer", "kind"),
    [
        ("api.payments.com", "DEPENDENCY_FAILURE"),
        ("https://storage.example.io:443/v1", "DEPENDENCY_FAILURE"),
        ("billing", "NETWORK_TIMEOUT"),
        ("billing.default.svc.cluster.local", "NETWORK_TIMEOUT"),
        ("acme--app-infer.modal.run", "NETWORK_TIMEOUT"),
        ("10.0.0.7:8000", "NETWORK_TIMEOUT"),
    ],
)
def test_a_silent_third_party_is_a_dependency_and_a_silent_service_of_ours_was_not_reached(
    peer: str, kind: str
) -> None:
    trace = TraceBuilder()
    root = trace.root("alpha", "go", ms=30_010).time_out()
    root.client("POST", at=5, ms=30_000, peer=peer).time_out()
    assert found(judged(trace.build())) == (kind, ("alpha", "POST"))


def test_kinds_of_work_under_one_root_operation_have_their_own_usual_times() -> None:
    def gateway(callee: str, ms: float) -> TraceBuilder:
        trace = TraceBuilder()
        trace.root("gateway", "/*", ms=ms + 4).call(callee, "work", at=1, ms=ms)
        return trace

    usual = [gateway(callee, ms).build() for _ in range(30) for callee, ms in (("quick", 20), ("slow", 4_000))]
    report = judged(gateway("quick", 400).build(), baseline_of(usual))
    assert found(report) == ("PERFORMANCE_DEGRADATION", ("quick", "work"))
    assert judged(gateway("slow", 4_100).build(), baseline_of(usual)).verdict == "healthy"


def shop(lost: str | None = None) -> TraceBuilder:
    """Three services called in turn by client spans of one name; ``lost``: failed, and its spans not exported."""
    trace = TraceBuilder()
    root = trace.root("web", "GET /", ms=320, kind="server")
    for place, service in enumerate(("users", "stock", "prices")):
        server = root.call(service, f"GET /{service}", at=5 + 100 * place, ms=80, name="HTTP GET")
        server.child(f"SELECT {service}", at=10, ms=30)
        assert server.caller is not None
        server.caller.set(**{"server.address": f"{service}.default.svc"})
        if service == lost:
            server.caller.fail("500", None, **{"http.response.status_code": 500})
            root.fail("HttpError", "the answer was 500")
            trace.drafts[-2].drop()
            trace.drafts[-1].drop()
    return trace


SHOP = baseline_of(shop().build() for _ in range(25))


@pytest.mark.parametrize("service", ["users", "stock", "prices"])
def test_the_spans_that_never_came_are_those_of_the_service_that_the_failed_call_names(service: str) -> None:
    report = judged(shop(lost=service).build(), SHOP)
    assert found(report) == ("INCOMPLETE_TRACE", (service, f"GET /{service}"))


def routed(error_type: str, message: str, *, ms: float, code: int | None = None) -> Report:
    """A call that failed without a span of its far end, which usually takes 100 ms."""
    trace = three_services(exported=False)
    call = next(d for d in trace.drafts if d.operation == "call serve").lasting(ms).fail(error_type, message)
    if code is not None:
        call.set(**{"http.response.status_code": code})
    trace.drafts[0].fail(error_type, message)
    return judged(trace.build(), baseline_of(three_services().build() for _ in range(25)))


@pytest.mark.parametrize(
    ("error_type", "message", "ms", "code"),
    [
        ("httpx.HTTPStatusError", "Client error '401 Unauthorized'", 20, 401),
        ("HTTPError", "no access", 90, 403),
        ("httpx.ProxyError", "407 Proxy Authentication Required", 90, None),
        ("modal.exception.AuthError", "the client was not let in", 30, None),
        ("TypeError", "Object of type ndarray is not JSON serializable", 1, None),
        ("RuntimeError", "Cannot send a request, as the client has been closed.", 1, None),
    ],
)
def test_a_call_that_was_turned_away_or_never_made_is_the_callers(
    error_type: str, message: str, ms: float, code: int | None
) -> None:
    assert found(routed(error_type, message, ms=ms, code=code)) == ("SERVICE_ERROR", ("alpha", "call serve"))


def test_a_call_that_was_at_work_lacks_its_spans() -> None:
    lacks = ("INCOMPLETE_TRACE", ("beta", "serve"))
    assert found(routed("RemoteError", "it broke over there after 403 ms", ms=95)) == lacks
    assert found(routed("RemoteError", "it broke over there", ms=95)) == lacks
    assert found(routed("HTTPError", "500", ms=5, code=500)) == lacks


def test_the_absence_of_what_was_called_explains_a_failure_without_a_word() -> None:
    trace = three_services(exported=False)
    trace.drafts[0].fail()
    baseline = baseline_of(three_services().build() for _ in range(25))
    assert found(judged(trace.build(), baseline)) == ("INCOMPLETE_TRACE", ("beta", "serve"))
    trace.drafts[0].fail("ValueError", "the sum is wrong")
    assert found(judged(trace.build(), baseline)) == ("SERVICE_ERROR", ("alpha", "go"))


def test_a_pause_before_a_call_is_made_again_is_nobodys_work() -> None:
    def tried(*, retried: bool, pause_ms: float) -> TraceBuilder:
        trace = TraceBuilder()
        root = trace.root("web", "GET /", ms=120 + pause_ms)
        if retried:
            root.client("HTTP GET", at=5, ms=2, peer="stock").fail("ConnectionResetError", "reset by peer")
        root.client("HTTP GET", at=10 + pause_ms, ms=100, peer="stock")
        return trace

    baseline = baseline_of(tried(retried=False, pause_ms=n % 3).build() for n in range(25))
    assert judged(tried(retried=True, pause_ms=200).build(), baseline).verdict == "healthy"
    assert found(judged(tried(retried=False, pause_ms=200).build(), baseline)) == (
        "PERFORMANCE_DEGRADATION",
        ("web", "GET /"),
    )


def test_one_slow_call_of_many_side_by_side_is_found_whatever_their_name_is_shared_with() -> None:
    """Three calls of one name to different services, two of which have spans: no spread in common, one on the path."""

    def prices(number: int, slow_ms: float = 0.0) -> TraceBuilder:
        trace = TraceBuilder()
        root = trace.root("web", "GET /prices", ms=240 + number % 7 + slow_ms)
        for service, ms in (("rates", 40), ("taxes", 60)):
            root.call(service, f"GET /{service}", at=10, ms=ms + number % 5, name="GET")
        root.client("GET", at=10, ms=200 + number % 7 + slow_ms, peer="partner.example.com")
        return trace

    baseline = baseline_of(prices(number).build() for number in range(25))
    assert judged(prices(3).build(), baseline).verdict == "healthy"
    assert found(judged(prices(3, 4_000).build(), baseline)) == ("PERFORMANCE_DEGRADATION", ("web", "GET"))


def test_a_call_whose_far_end_was_not_exported_is_not_slow_for_that() -> None:
    def fan_out(*, lost: bool) -> TraceBuilder:
        trace = TraceBuilder()
        root = trace.root("planner", "plan", ms=300)
        for number in range(20):
            embed = root.call("embedder", "POST /embed", at=5, ms=200 + number, name="embed")
            if lost and number == 19:
                embed.drop()
        return trace

    baseline = baseline_of(fan_out(lost=False).build() for _ in range(25))
    assert judged(fan_out(lost=True).build(), baseline).verdict == "healthy"


def test_one_slow_leaf_of_a_wide_fan_out_is_found() -> None:
    def fan_out(slow_ms: float = 0.0) -> TraceBuilder:
        trace = TraceBuilder()
        root = trace.root("planner", "plan", ms=300 + slow_ms)
        for number in range(40):
            ms = 160 + number + (slow_ms if number == 7 else 0)
            root.call("embedder", "POST /embed", at=5, ms=ms, name="embed")
        return trace

    baseline = baseline_of(fan_out().build() for _ in range(25))
    assert judged(fan_out().build(), baseline).verdict == "healthy"
    assert found(judged(fan_out(6_000).build(), baseline)) == (
        "PERFORMANCE_DEGRADATION",
        ("embedder", "POST /embed"),
    )


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        ({"http.response.status_code": 422}, "VALIDATION_ERROR"),
        ({"rpc.grpc.status_code": 3}, "VALIDATION_ERROR"),
        ({"http.response.status_code": 500}, "SERVICE_ERROR"),
        ({"http.response.status_code": 404}, "SERVICE_ERROR"),
    ],
)
def test_what_a_service_answers_tells_whether_its_error_was_of_the_input(answered: dict[str, int], kind: str) -> None:
    trace = TraceBuilder()
    root = trace.root("web", "POST /embed", ms=100)
    server = root.call("embedder", "POST /embed", at=5, ms=50)
    leaf = server.child("tokenize", at=5, ms=3).fail("ValueError", "sequence of 9,000 where 512 is the most")
    for span in (server, server.caller, root):
        assert span is not None
        span.fail(None, "tokenize failed: sequence of 9,000 where 512 is the most").set(**answered)
    assert found(judged(trace.build())) == (kind, ("embedder", leaf.operation))


def test_a_worker_that_died_is_a_lost_container_on_modal_only() -> None:
    def died(service: str) -> tuple[str, tuple[str, str] | None]:
        trace = TraceBuilder()
        root = trace.root("web", "POST /score", ms=100).fail("ActorDiedError", "worker process has died")
        server = root.call(service, "score", at=5, ms=50).fail("ActorDiedError", "worker process has died")
        assert server.caller is not None
        server.caller.fail("ActorDiedError", "worker process has died")
        return found(judged(trace.build()))

    assert died("scorer") == ("SERVICE_ERROR", ("scorer", "score"))
    assert died("modal-scorer") == ("MODAL_EXECUTION_FAILURE", ("modal-scorer", "score"))


def test_what_timed_out_by_itself_is_not_said_to_have_worked_meanwhile() -> None:
    trace = TraceBuilder()
    root = trace.root("web", "POST /train", ms=30_000).time_out()
    root.child("barrier", at=5, ms=29_990).time_out()
    evidence = judged(trace.build()).root_cause.evidence  # type: ignore[union-attr]
    assert evidence.startswith("web.barrier gave up after 29,990 ms")
