"""Asking a running server gives the very answers and errors of the service behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from otel_diag.errors import BadInput, NotFound, OtelDiagError, Permanent, Transient, Unsupported
from otel_diag.model import Confirmation, Declared, RootCauseType, Status
from otel_diag.present.client import RemoteQueries
from otel_diag.query import Filters, Key
from tests.present.answers import EXECUTION, NOW, TRACE, OneIncident

KEY = Key(execution_id=EXECUTION)
FILTERS = Filters(status="failed", region="us-east", since=datetime(2026, 11, 1, tzinfo=UTC), until=NOW)

CALLS: list[Callable[[Any], Any]] = [
    lambda q: q.diagnose(KEY, "gaps"),
    lambda q: q.diagnose(Key(trace_id=TRACE)),
    lambda q: q.timeline(KEY),
    lambda q: q.summary(KEY),
    lambda q: q.timeout_root_cause(job_id="nightly"),
    lambda q: q.timeout_root_cause(execution_id=EXECUTION),
    lambda q: q.compare_with_successful(KEY),
    lambda q: q.compare(KEY, Key(trace_id=TRACE)),
    lambda q: q.recent_failures(3, FILTERS),
    lambda q: q.performance(FILTERS),
    lambda q: q.trace_gaps(KEY),
    lambda q: q.search(FILTERS, limit=2, offset=4),
    lambda q: q.services(NOW),
    lambda q: q.operations("runner", NOW),
    lambda q: q.service_map(NOW),
    lambda q: q.trace_ids(after="0", limit=7),
    lambda q: q.raw_trace(TRACE),
    lambda q: q.raw_trace(TRACE, after="ab", limit=9),
    lambda q: q.confirm(Key(execution_id=EXECUTION), Confirmation()),
    lambda q: q.confirm(Key(trace_id=TRACE), Confirmation(False, RootCauseType.RATE_LIMITED, "a", "b", "why", "kim")),
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_a_server_answers_as_its_service_does(
    remote: RemoteQueries, incident: OneIncident, call: Callable[[Any], Any]
) -> None:
    there, here = call(remote), call(incident)
    assert there == here
    over_the_wire, direct = incident.asked
    assert over_the_wire == direct


def test_not_a_number_becomes_null(remote: RemoteQueries) -> None:
    assert remote.ask("slowest", EXECUTION).results[0]["p99_ms"] is None
    assert remote.sql("SELECT 1", max_rows=5, validate_only=True).rows == [[None]]


def test_what_the_caller_understood_arrives(remote: RemoteQueries, incident: OneIncident) -> None:
    remote.ask("slowest", intent={"intent": "slowest", "limit": 3})
    assert incident.asked == [("ask", "slowest", None, {"intent": "slowest", "limit": 3})]


def test_a_recorded_execution_arrives_whole(remote: RemoteQueries, incident: OneIncident) -> None:
    declared = Declared(
        execution_id=7, status=Status.FAILED, started_at=NOW, completed_at=NOW, job_id="j", trace_id=TRACE
    )
    remote.declare_execution(declared)
    assert incident.declared == [declared]


@pytest.mark.parametrize("kind", [NotFound, BadInput, Transient, Unsupported, Permanent])
def test_errors_arrive_as_themselves(remote: RemoteQueries, incident: OneIncident, kind: type[OtelDiagError]) -> None:
    incident.error = kind("what happened", hint="what to do")
    with pytest.raises(kind) as raised:
        remote.services()
    assert (type(raised.value), raised.value.message, raised.value.hint) == (kind, "what happened", "what to do")


def test_a_server_that_is_gone_is_transient() -> None:
    with RemoteQueries("http://127.0.0.1:9") as remote, pytest.raises(Transient) as raised:
        remote.services()
    assert "127.0.0.1:9" in raised.value.message
    assert "doctor" in raised.value.hint


def test_another_program_on_the_port_is_told() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever).start()
        with RemoteQueries(f"http://127.0.0.1:{other.server_port}") as remote, pytest.raises(Permanent) as raised:
            remote.services()
        other.shutdown()
    assert "answered 501 without saying why" in raised.value.message
