"""Every claim of a report can be checked: its query runs as it stands and shows the rows. What was not read is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import compress, repeat
from random import Random
from statistics import median
from typing import Any

import pytest

from otel_diag.config import Settings
from otel_diag.decode.wires import WIRES
from otel_diag.evidence.ledger import MAX_CLAIMS, MAX_IDS
from otel_diag.model import Claim, Declared, Report, Status, Trace
from otel_diag.query import Key, Queries
from otel_diag.receive.intake import SIGNALS
from otel_diag.store.base import Store
from otel_diag.testing import TraceBuilder
from tests.decode.golden import GOLDEN, TRACE_ID
from tests.query.pipeline import NOW, Execution, healthy, send, send_bytes, send_logs
from tests.query.stored_traces import keep
from tests.query.test_logged_exceptions import MESSAGE, exception_in, without_words
from tests.scenarios import generate
from tests.scenarios.cases import Made, NotHere, world
from tests.scenarios.worlds import World
from tests.store.batches import NOW_NANOS, batch_of, span, span_id

Work = Callable[[], None]

PEERS = 25
ENOUGH = 12


def rows_of(queries: Queries, claim: Claim) -> list[dict[str, Any]]:
    """What the query of a claim shows, as somebody who runs it sees it."""
    answer = queries.sql(claim.query)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def check(queries: Queries, report: Report, which: Sequence[bool] | None = None) -> None:
    assert report.evidence_ledger or report.verdict != "root_cause"
    assert len(report.evidence_ledger) <= MAX_CLAIMS
    assert report.total_claims >= len(report.evidence_ledger)
    for claim in compress(report.evidence_ledger, which or repeat(True)):
        rows = rows_of(queries, claim)
        assert rows, claim
        assert len(claim.span_ids) == min(claim.total_spans, MAX_IDS), claim
        assert {*claim.span_ids} <= {row.get("span_id") for row in rows}, claim


def the(report: Report, words: str) -> Claim:
    (found,) = [claim for claim in report.evidence_ledger if words in claim.claim]
    return found


def happens(system: World, name: str) -> Made | None:
    """A scenario in this system, if it has what it takes."""
    with suppress(NotHere):
        return generate.SCENARIOS[name](system, Random(name))
    return None


def test_every_claim_of_every_scenario_shows_its_rows(store: Store, queries: Queries, work: Work) -> None:
    system = world(4, 0)
    usual = [system.healthy(Random(number)) for number in range(PEERS)]
    traces = {name: made.trace for name in generate.SCENARIOS if (made := happens(system, name)) is not None}
    assert len(traces) > 50
    keep(store, queries, [*usual, *traces.values()])
    work()
    seen: Counter[str] = Counter()
    for name, trace in traces.items():
        report = queries.diagnose(Key(execution_id=trace.execution_id))
        # The decisive claim of each, and enough of every kind: a query costs ten milliseconds.
        kinds = [claim.query.partition(" WHERE ")[0] for claim in report.evidence_ledger]
        check(queries, report, [at == 0 or seen[kind] < ENOUGH for at, kind in enumerate(kinds)])
        seen.update(kinds)
        if report.root_cause is not None:
            first = report.evidence_ledger[0]
            assert first.claim == report.root_cause.evidence, name
            assert first.span_ids == list(dict.fromkeys(report.root_cause.evidence_spans))[:MAX_IDS], name


def test_what_is_usual_is_shown_by_the_executions_it_was_compared_with(
    store: Store, queries: Queries, work: Work
) -> None:
    usual = healthy(PEERS)
    strange = [
        replace(usual[0], execution_id=500, model_id="another"),
        replace(usual[0], execution_id=501, started_at=NOW - timedelta(days=9)),
        Execution(502, "refused"),
    ]
    send(store, *usual, *strange, Execution(2193, "refused"), Execution(2193, "refused", attempt=2))
    work()
    report = queries.diagnose(Key(execution_id=2193))
    whole = the(report, "it took")
    rows = rows_of(queries, whole)
    assert {row["execution_id"] for row in rows} == {one.execution_id for one in usual}
    assert (
        f"{PEERS} comparable successful executions took {median(r['duration_ms'] for r in rows):,.0f} ms" in whole.claim
    )
    own = rows_of(queries, the(queries.diagnose(Key(execution_id=100)), "it took"))
    assert {row["execution_id"] for row in own} == {one.execution_id for one in usual} - {100}
    hop = the(report, "modal.modal.function")
    assert sum(row["has_hop"] for row in rows_of(queries, hop)) == PEERS
    assert f"100% of {PEERS} successful peers" in hop.claim
    latency = the(report, "router.POST usually takes")
    samples = [row["samples"] for row in rows_of(queries, latency) if row["measure"] == "duration"]
    assert sum(samples) == PEERS
    assert f"{PEERS} other completed calls of llama3.2-1b" in latency.claim


def test_too_few_of_its_model_are_shown_before_those_of_others(store: Store, queries: Queries, work: Work) -> None:
    send(store, *healthy(3, 100), *healthy(30, 200, model_id="another"), Execution(2193, "refused"))
    work()
    report = queries.diagnose(Key(execution_id=2193))
    shown = [row["execution_id"] for row in rows_of(queries, the(report, "it took"))]
    assert len(shown) == 33
    assert {*shown[:3]} == {100, 101, 102}
    latency = the(report, "router.POST usually takes")
    assert sum(r["samples"] for r in rows_of(queries, latency) if r["measure"] == "duration") == 33
    assert "llama" not in latency.claim


def test_names_with_quotes_and_backslashes_are_found(store: Store, queries: Queries, work: Work) -> None:
    def run(execution_id: int, *, fails: bool = False) -> TraceBuilder:
        trace = TraceBuilder(execution_id=execution_id, job_id="it's", model_id="a\\b", started_at=NOW)
        root = trace.root("it's", "C:\\new 'run'\n--", ms=100 + execution_id)
        if not fails:
            root.call("ß\\'; DROP", "%_go", at=5, ms=50)
        return trace if not fails else (root.fail("ValueError", "boom"), trace)[1]

    keep(store, queries, [*(run(n).build() for n in range(1, 26)), run(99, fails=True).build()])
    work()
    report = queries.diagnose(Key(execution_id=99))
    check(queries, report)
    assert sum(row["has_hop"] for row in rows_of(queries, the(report, "successful peers"))) == PEERS
    assert len(rows_of(queries, the(report, "it took"))) == PEERS


def test_the_clocks_that_differ_are_shown_by_the_calls_that_bound_them(
    store: Store, queries: Queries, work: Work
) -> None:
    trace = TraceBuilder(execution_id=7, started_at=NOW)
    root = trace.root("runner", "go", ms=900)
    calls = [root.call("router", "route", at=100.0 * n, ms=50, send=5 + n, back=9 - n) for n in range(5)]
    trace.skew["router"] = 3_000
    keep(store, queries, [trace.build()])
    work()
    claim = the(queries.diagnose(Key(execution_id=7)), "the clock of router is")
    assert "against runner, give or take 5 ms, by 5 calls" in claim.claim
    fastest, answered = calls[0], calls[4]
    assert {*claim.span_ids} == {s.span_id for call in (fastest, answered) for s in (call, call.caller) if s}
    rows = {row["span_id"]: row for row in rows_of(queries, claim)}
    ahead = [
        (rows[call.span_id][at] - rows[call.caller.span_id][at]) / 1e6  # type: ignore[union-attr]
        for call, at in ((answered, "end_unix_nano"), (fastest, "start_unix_nano"))
    ]
    assert ahead == pytest.approx([2_995.0, 3_005.0])


def test_what_the_runner_recorded_and_what_was_logged_is_shown(store: Store, queries: Queries, work: Work) -> None:
    spans, failed = without_words(Execution(2193, "refused"))
    send_bytes(store, spans)
    send_logs(store, exception_in(failed))
    queries.declare_execution(
        Declared(2193, Status.FAILED, NOW - timedelta(minutes=30), NOW, error_message="it's over")
    )
    work()
    report = queries.diagnose(Key(execution_id=2193))
    check(queries, report)
    assert [row["error_message"] for row in rows_of(queries, the(report, "the runner recorded failed"))] == [
        "it's over"
    ]
    logged = the(report, "logged in it")
    assert MESSAGE in logged.claim
    (row,) = rows_of(queries, logged)
    assert row["span_id"] == failed.span_id.hex()
    assert not any("log record" in said for said in report.not_examined)


def test_a_ledger_is_that_of_the_judgement(store: Store, queries: Queries, work: Work) -> None:
    send(store, Execution(2193, "refused"), *healthy(PEERS))
    work()
    first = queries.diagnose(Key(execution_id=2193))
    send(store, *healthy(PEERS, first_id=3_000))
    work()
    again = queries.diagnose(Key(execution_id=2193))
    assert again.evidence_ledger == first.evidence_ledger
    assert again.not_examined == first.not_examined


def test_a_long_trace_has_a_short_ledger_and_totals(store: Store, settings: Settings, queries: Queries) -> None:
    failed = [
        span(1, n, parent_span_id=span_id(0), service=f"s{n}", operation="leaf", status="failed", error_message=f"e{n}")
        for n in range(1, 200)
    ]
    retried = [
        span(
            1,
            n,
            parent_span_id=span_id(0),
            kind="client",
            operation="POST",
            status="failed",
            error_message="refused",
            start_unix_nano=NOW_NANOS + n * 10**9,
            end_unix_nano=NOW_NANOS + n * 10**9 + 10**6,
        )
        for n in range(200, 260)
    ]
    end = NOW_NANOS + 261 * 10**9
    root = span(1, 0, execution_id=5, status="failed", error_message="refused", end_unix_nano=end)
    store.append(batch_of([root, *failed, *retried]))
    report = queries.diagnose(Key(execution_id=5))
    check(queries, report)
    assert len(report.evidence_ledger) == MAX_CLAIMS < report.total_claims
    assert report.evidence_ledger[0].total_spans == 60
    assert len(report.model_dump_json()) < 60_000


def test_says_what_was_left_out_of_a_long_trace(store: Store) -> None:
    queries = Queries(store, Settings(settle_seconds=3_600, max_trace_spans=50))
    rows = [span(1, n, parent_span_id=span_id(0) if n else None, execution_id=5) for n in range(400)]
    store.append(batch_of(rows))
    said = queries.diagnose(Key(execution_id=5)).not_examined
    assert any(s.startswith("not read: 355 of 400 spans; the 45") for s in said)
    assert any(s.startswith("not here yet: spans that may follow the newest of 45") for s in said)


def test_says_what_else_is_stored(store: Store, queries: Queries, work: Work) -> None:
    def attempt(number: int) -> Trace:
        trace = TraceBuilder(execution_id=7, trace_id=f"{number:08x}" * 4, started_at=NOW)
        trace.root("runner", "go", ms=100).child("work", ms=20)
        trace.add("lone", "beat", 5, 1, "internal", None).never_finish()
        built = trace.build()
        return replace(built, spans=tuple(replace(one, dropped=3, trace_state="ot=th:c;rv:1") for one in built.spans))

    first, second = attempt(1), attempt(2)
    keep(store, queries, [first, second])
    work()
    report = queries.diagnose(Key(trace_id=second.trace_id))
    said = "\n".join(report.not_examined)
    for words in (
        "not read: 1 other trace of execution 7",
        "6 attributes, events and links of 2 spans",
        "what 1 span did that began and did not end",
        "not compared: 1 clock with the others, for want of a call between: lone",
        "beyond the 25 % of traces",
        "no comparable successful execution from",
    ):
        assert words in said
    assert "not here yet" not in said
    assert "max_value_bytes" not in said


def test_says_which_other_signals_were_not_read(store: Store, queries: Queries, work: Work) -> None:
    for signal in SIGNALS:
        request = GOLDEN[signal.name]().SerializeToString()
        store.append(WIRES[signal.name].decode_one(request, "default").batch, signal.table)
    work()
    said = queries.diagnose(Key(trace_id=TRACE_ID.hex())).not_examined
    assert "not read: 1 of 1 log record of this trace; 1 of all are of severity error or above" in said
    assert "not read: 7 metric points of router from while it ran" in said
    assert "not read: 1 profile sample of this trace" in said


def test_says_of_how_many_its_peers_are_the_newest(store: Store, queries: Queries, work: Work) -> None:
    def run(execution_id: int, *, fails: bool = False) -> Trace:
        trace = TraceBuilder(execution_id=execution_id, started_at=NOW - timedelta(minutes=execution_id))
        root = trace.root("runner", "go", ms=100)
        return (root.fail("ValueError", "boom").trace if fails else trace).build()

    keep(store, queries, [*(run(n) for n in range(1, 111)), run(999, fails=True)])
    work()
    report = queries.diagnose(Key(execution_id=999))
    assert "not compared: 10 of 110 completed executions that began with runner.go" in "\n".join(report.not_examined)
    assert len(rows_of(queries, the(report, "it took"))) == 100
