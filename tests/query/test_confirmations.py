"""Outcome memory: what people say of a verdict is kept, offered to similar failures, and changes no verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.config import Settings
from otel_diag.errors import BadInput, NotFound
from otel_diag.model import Confirmation, Report, RootCauseType
from otel_diag.query import Key, Queries
from otel_diag.store.base import Store
from otel_diag.store.retention import Cutoff
from tests.query.conftest import later
from tests.query.pipeline import Execution, healthy, send, send_bytes

Work = Callable[[], None]

FIRST, AGAIN, OTHER, DIED = Execution(2101, "refused"), Execution(2193, "refused"), Execution(2102, "dropped"), 2194
NOTE = "the modal app was not deployed; deployed it"


@pytest.fixture
def stored(store: Store, work: Work) -> Store:
    send(store, *healthy(5), FIRST, AGAIN, OTHER, Execution(DIED, "died"))
    work()
    return store


def worded(execution: Execution, text: str) -> bytes:
    """Its spans, with these words for each failure."""
    request = ExportTraceServiceRequest.FromString(execution.request())
    for span in (span for part in request.resource_spans for span in part.scope_spans[0].spans):
        if span.status.code == 2:
            span.status.message = text
    return request.SerializeToString()


def judged(report: Report) -> Report:
    """Without what is looked up at each call."""
    return report.model_copy(update={"confirmed_causes": [], "recommendations": [], "similar_cases": []})


def test_a_confirmed_cause_is_offered_to_the_same_failure(stored: Store, queries: Queries) -> None:
    before = queries.diagnose(Key(execution_id=2193))
    assert before.confirmed_causes == []
    kept = queries.confirm(Key(execution_id=2101), Confirmation(note=NOTE, by="kim"))
    assert (kept.root_cause_type, kept.affected_service) == (RootCauseType.CONNECTION_FAILURE, "router")
    after = queries.diagnose(Key(execution_id=2193))
    assert judged(after) == judged(before)
    (cause,) = after.confirmed_causes
    assert (cause.execution_id, cause.trace_id, cause.note, cause.by) == (2101, FIRST.trace_id, NOTE, "kim")
    assert cause.matches == ["failure", "root_cause"]
    assert cause.similarity_score == 1.0
    assert any("execution 2101 as CONNECTION_FAILURE at router.POST" in text for text in after.recommendations)
    assert not any(NOTE in text for text in after.recommendations)
    for unlike in (DIED, 2102, 100):
        assert queries.diagnose(Key(execution_id=unlike)).confirmed_causes == []
    (own,) = queries.diagnose(Key(execution_id=2101)).confirmed_causes
    assert own.matches[0] == "itself"


def test_a_similar_one_with_the_same_cause_is_offered_whatever_its_text_says(
    store: Store, queries: Queries, work: Work
) -> None:
    send(store, *healthy(5))
    send_bytes(store, worded(Execution(1, "refused"), "connection refused by host a"))
    send_bytes(store, worded(Execution(2, "refused"), "could not connect: refused"))
    work()
    queries.confirm(Key(execution_id=1), Confirmation(note=NOTE))
    (cause,) = queries.diagnose(Key(execution_id=2)).confirmed_causes
    assert cause.matches == ["root_cause"]


def test_numbers_and_ids_do_not_tell_failures_apart(store: Store, queries: Queries, work: Work) -> None:
    for number in (17, 18):
        send_bytes(store, worded(Execution(number, "died"), f"prompt file prompts/{number}.txt does not exist"))
    work()
    queries.confirm(Key(execution_id=17), Confirmation(note="the bucket was not mounted"))
    (cause,) = queries.diagnose(Key(execution_id=18)).confirmed_causes
    assert cause.matches[0] == "failure"


def test_a_verdict_may_have_been_wrong(stored: Store, queries: Queries) -> None:
    said = Confirmation(
        confirmed=False, root_cause_type=RootCauseType.CONFIGURATION_ERROR, affected_service="router", note=NOTE
    )
    queries.confirm(Key(execution_id=2101), said)
    (cause,) = queries.diagnose(Key(execution_id=2193)).confirmed_causes
    assert not cause.confirmed
    assert (cause.root_cause_type, cause.affected_service) == (RootCauseType.CONFIGURATION_ERROR, "router")
    assert cause.affected_operation is None
    assert "root_cause" in cause.matches, "as judged, it is the same"


def test_said_again_it_replaces(stored: Store, queries: Queries) -> None:
    for note in ("first", "second"):
        queries.confirm(Key(execution_id=2101), Confirmation(note=note))
    (cause,) = queries.diagnose(Key(execution_id=2193)).confirmed_causes
    assert cause.note == "second"
    assert queries.sql("SELECT count(*) FROM confirmed_causes").rows == [[1]]


def test_what_cannot_be_confirmed_is_told(stored: Store, queries: Queries) -> None:
    with pytest.raises(BadInput, match="healthy: there is no root cause"):
        queries.confirm(Key(execution_id=100), Confirmation())
    with pytest.raises(BadInput, match="more than 2,000"):
        queries.confirm(Key(execution_id=2101), Confirmation(note="x" * 2_001))
    with pytest.raises(NotFound):
        queries.confirm(Key(execution_id=9), Confirmation())
    slow = queries.confirm(Key(execution_id=100), Confirmation(note="it was slow all the same"))
    assert slow.root_cause_type is None


def test_another_tenant_sees_nothing_of_it(stored: Store, settings: Settings, queries: Queries, work: Work) -> None:
    send(stored, AGAIN, tenant="other")
    work()
    queries.confirm(Key(execution_id=2101), Confirmation(note=NOTE))
    other = Queries(stored, settings, tenant="other", clock=later)
    assert other.diagnose(Key(execution_id=2193)).confirmed_causes == []
    assert other.sql("SELECT count(*) FROM confirmed_causes").rows == [[0]]


def test_it_outlives_the_spans_it_was_about(stored: Store, queries: Queries, work: Work) -> None:
    queries.confirm(Key(execution_id=2101), Confirmation(note=NOTE))
    now = datetime.now(UTC)
    stored.prune(Cutoff(before=now + timedelta(days=2), now=now + timedelta(days=2)))
    with pytest.raises(NotFound):
        queries.diagnose(Key(execution_id=2101))
    send(stored, replace(AGAIN, execution_id=2300))
    work()
    (cause,) = queries.diagnose(Key(execution_id=2300)).confirmed_causes
    assert cause.note == NOTE
