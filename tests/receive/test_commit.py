"""Group commit: what is shared, what is bounded, and who hears of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from threading import Event

import pyarrow as pa
import pytest

from otel_diag.config import Settings
from otel_diag.decode.requests import Decoded
from otel_diag.decode.traces import decode_traces
from otel_diag.errors import Permanent, Transient
from otel_diag.receive.commit import GroupCommit
from otel_diag.store.base import Appended, Store
from otel_diag.store.schema import SPANS, SignalTable
from tests.receive.requests import request_of


class Gated:
    """Passes batches on to a store; holds the first until told, and fails as told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.entered, self.open = Event(), Event()
        self.sizes: list[int] = []
        self.poison: str | None = None
        self.down = False

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        self.entered.set()
        assert self.open.wait(20)
        self.sizes.append(batch.num_rows)
        if self.down:
            raise Transient("the database is down")
        if self.poison in batch["trace_id"].to_pylist():
            raise Permanent("cannot store that")
        return self.store.append(batch, signal)


@pytest.fixture
def gated(embedded: Store) -> Gated:
    return Gated(embedded)


@pytest.fixture
def commits(gated: Gated) -> Iterator[GroupCommit]:
    commits = GroupCommit(gated, Settings(commit_spans=100))  # type: ignore[arg-type]
    yield commits
    gated.open.set()
    commits.close()


def decoded(spans: int) -> Decoded:
    return decode_traces(request_of(spans).SerializeToString(), "default")


def submit(commits: GroupCommit, request: Decoded) -> Future[None]:
    return commits.submit([request])[0]


def submit_behind_a_running_commit(commits: GroupCommit, gated: Gated, requests: list[Decoded]) -> list[Future[None]]:
    """Submit while an earlier commit runs, then let it go on."""
    first = submit(commits, decoded(1))
    assert gated.entered.wait(20)
    waiting = commits.submit(requests)
    gated.open.set()
    assert first.exception(20) is None or gated.down
    return waiting


def test_requests_that_wait_share_a_commit(commits: GroupCommit, gated: Gated) -> None:
    for request in submit_behind_a_running_commit(commits, gated, [decoded(3) for _ in range(4)]):
        request.result(20)
    assert gated.sizes == [1, 12]


def test_a_commit_is_bounded_but_takes_a_large_request_whole(commits: GroupCommit, gated: Gated) -> None:
    for request in submit_behind_a_running_commit(commits, gated, [decoded(60), decoded(60), decoded(150)]):
        request.result(20)
    assert gated.sizes == [1, 60, 60, 150]


def test_one_poisoned_request_fails_alone(commits: GroupCommit, gated: Gated) -> None:
    requests = [decoded(2) for _ in range(3)]
    gated.poison = requests[1].batch["trace_id"][0].as_py()
    outcomes = [request.exception(20) for request in submit_behind_a_running_commit(commits, gated, requests)]
    assert [type(outcome) for outcome in outcomes] == [type(None), Permanent, type(None)]


def test_a_transient_failure_is_told_to_all_and_passes(commits: GroupCommit, gated: Gated) -> None:
    gated.down = True
    for request in submit_behind_a_running_commit(commits, gated, [decoded(1), decoded(1)]):
        assert isinstance(request.exception(20), Transient)
    gated.down = False
    submit(commits, decoded(1)).result(20)


def test_a_full_queue_refuses(gated: Gated) -> None:
    request = decoded(10)
    commits = GroupCommit(gated, Settings(max_queued_bytes=request.bytes * 2))  # type: ignore[arg-type]
    accepted = commits.submit([request, request])
    assert isinstance(submit(commits, request).exception(20), Transient)
    gated.open.set()
    for committed in accepted:
        committed.result(20)
    submit(commits, request).result(20)
    commits.close()


def test_close_commits_what_waits_and_refuses_the_rest(commits: GroupCommit, gated: Gated) -> None:
    waiting = [submit(commits, decoded(1)) for _ in range(3)]
    gated.open.set()
    commits.close()
    assert all(request.done() and request.exception() is None for request in waiting)
    assert isinstance(submit(commits, decoded(1)).exception(20), Transient)
    commits.close()


def test_a_caller_that_goes_away_takes_nobody_with_it(commits: GroupCommit, gated: Gated) -> None:
    first = submit(commits, decoded(1))
    assert gated.entered.wait(20)
    leaving, staying = submit(commits, decoded(2)), submit(commits, decoded(3))
    leaving.cancel()
    gated.open.set()
    for request in (first, staying):
        request.result(20)
    assert gated.sizes == [1, 5]
