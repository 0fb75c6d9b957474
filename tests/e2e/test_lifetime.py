"""Several servers in front of one database; data that comes and goes while they run."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.processes import Server, command, execution, serving, until

SPANS = 5


@contextmanager
def load(server: Server, first: int) -> Iterator[set[str]]:
    """Sends traces, one after the other, until the block or the server ends; yields those that were acknowledged."""
    acknowledged: set[str] = set()
    over = threading.Event()

    def send() -> None:
        number = first
        while not over.is_set():
            number += 1
            trace_id = f"{number:032x}"
            try:
                response = server.send(execution(number, trace_id, SPANS))
            except httpx.TransportError:
                return  # the server is gone
            if response.status_code == 200:
                acknowledged.add(trace_id)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield acknowledged
    finally:
        over.set()
        sender.join()


def spans_by_trace(server: Server) -> dict[str, int]:
    return dict(server.rows("SELECT trace_id, count(*) FROM trace_spans GROUP BY trace_id"))  # type: ignore[arg-type]


def counted(server: Server) -> int:
    """Spans in the latency sketches."""
    ((samples,),) = server.rows("SELECT coalesce(sum(sample_count), 0) FROM operation_rollups")
    return int(samples)


def folded(server: Server) -> bool:
    return server.rows("SELECT count(*) FROM trace_arrivals") == [[0]]


def test_servers_share_a_database_and_one_may_die(postgres_url: str) -> None:
    same = execution(3, f"{3:032x}", SPANS)
    with serving(postgres_url) as first, serving(postgres_url) as second:
        with load(first, 1_000_000) as to_first, load(second, 2_000_000) as to_second:
            for server in (first, second, first):
                assert server.send(same).status_code == 200
            assert first.diagnosis(3)["root_cause"] == second.diagnosis(3)["root_cause"]
            until(lambda: len(to_first) >= 40 and len(to_second) >= 40)
            first.process.kill()
            first.process.wait()
            some = len(to_second)
            until(lambda: len(to_second) >= some + 20)
        assert second.send(same).status_code == 200
        until(lambda: folded(second))
        stored = spans_by_trace(second)
        assert to_first | to_second <= stored.keys()
        assert set(stored.values()) == {SPANS}
        assert counted(second) == second.span_count() == SPANS * len(stored)
        assert second.diagnosis(int(max(to_first), 16))["root_cause"]


def days_old(request: dict[str, Any], days: int) -> dict[str, Any]:
    old = copy.deepcopy(request)
    for span in old["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("startTimeUnixNano", "endTimeUnixNano"):
            span[name] = str(int(span[name]) - days * 86_400 * 10**9)
    return old


def test_a_server_forgets_what_it_may_not_keep_and_nobody_does_it_behind_its_back(tmp_path: Path) -> None:
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    with serving(store) as server:
        for number, days in ((1, 40), (2, 0)):
            assert server.send(days_old(execution(number, f"{number:032x}", SPANS), days)).status_code == 200
        until(lambda: folded(server))
        refused = command("prune", "--older-than", "30d", "--store", store)
        assert refused.returncode == 4
        assert "retention_days" in refused.stderr
        assert server.span_count() == 2 * SPANS
    with serving(store, OTEL_DIAG_RETENTION_DAYS="30") as server:
        until(lambda: server.rows("SELECT count(*) FROM trace_summaries") == [[1]])
        assert server.span_count() == SPANS
        assert server.diagnosis(2)["root_cause"]
