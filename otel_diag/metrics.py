"""The server's own figures for Prometheus: what receiver, commits and worker have counted, read at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import otel_diag
from otel_diag.config import Settings, embedded_path
from otel_diag.errors import OtelDiagError
from otel_diag.receive.commit import CommitCounters, GroupCommit
from otel_diag.receive.inbox import NOTHING, Inbox
from otel_diag.receive.intake import Counters, Intake
from otel_diag.store.base import Store
from otel_diag.worker import Backlog, Worker, WorkerCounters, backlog

BACKLOG_SECONDS: Final = 5.0
SIZE_SECONDS: Final = 60.0
"""What is asked of the store is not asked again for so long."""

T = TypeVar("T")


def registry_of(
    intake: Intake, commits: GroupCommit, inbox: Inbox | None, worker: Worker, store: Store, settings: Settings
) -> CollectorRegistry:
    """The metrics of one server. Collecting asks the store, so it may block for a second; it raises nothing."""
    registry = CollectorRegistry()
    file = embedded_path(settings.store)
    waiting = _Remembered(lambda: backlog(store, datetime.now(UTC)), BACKLOG_SECONDS)
    # To count the rows of an embedded store takes its time; its file says enough.
    size = _Remembered(lambda: file.stat().st_size if file and file.is_file() else store.usage().bytes, SIZE_SECONDS)
    registry.register(_Server(intake, commits, inbox, worker, store.capabilities().name, waiting, size))
    ProcessCollector(registry=registry)
    return registry


class _Remembered(Generic[T]):
    """What is asked of the store, and not again for ``seconds``; None while the store does not say."""

    def __init__(self, ask: Callable[[], T], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._fresh_until = 0.0
        self._answer: T | None = None

    def __call__(self) -> T | None:
        if time.monotonic() >= self._fresh_until:
            try:
                self._answer = self._ask()
            except (OtelDiagError, OSError):
                self._answer = None
            self._fresh_until = time.monotonic() + self._seconds
        return self._answer


@dataclass(frozen=True, slots=True, eq=False)
class _Server(Collector):
    intake: Intake
    commits: GroupCommit
    inbox: Inbox | None
    worker: Worker
    backend: str
    waiting: _Remembered[Backlog]
    size: _Remembered[int]

    def describe(self) -> list[Metric]:
        """Nothing, lest registering asks the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        build = {"version": otel_diag.__version__, "store": self.backend}
        yield InfoMetricFamily("otel_diag_build", "Version and kind of store.", build)
        yield from _received(self.intake.counters)
        yield from _committed(self.commits.counters)
        requests, size = self.intake.waiting
        yield _gauge("queue_requests", "Requests that were read and not answered yet.", requests)
        yield _gauge("queue_bytes", "Their bytes, as sent.", size)
        yield _gauge("commit_queue_bytes", "Decoded records that wait for their commit.", self.commits.queued_bytes)
        held = self.inbox.held if self.inbox else NOTHING
        yield _gauge("journal_records", "Records that are durable and not in the tables yet.", held.rows)
        yield _gauge("journal_bytes", "Their bytes, decoded.", held.bytes)
        yield _gauge("journal_failing", "1 while the tables do not take them.", int(held.failing))
        yield from _worked(self.worker.counters)
        waiting = self.waiting()
        yield _gauge("store_up", "1 when the store said within a second what waits in it.", int(waiting is not None))
        if waiting is not None:
            yield _gauge("waiting_traces", "Traces with spans that no summary has seen.", waiting.traces)
            yield _gauge("lag_seconds", "How long ago the oldest of these spans was stored.", waiting.seconds)
        stored = self.size()
        if stored is not None:
            yield _gauge("store_bytes", "What the store takes up.", stored)


def _received(seen: Counters) -> Iterator[Metric]:
    # Copied before they are walked through: another thread adds keys.
    yield _counters("requests", "Export requests.", ("signal", "protocol"), dict(seen.requests).items())
    yield _counter("request_bytes", "Bytes of their bodies, as sent.", seen.body_bytes)
    yield _counters(
        "requests_refused", "Requests answered with an error, by gRPC status.", ("code",), _by_one(seen.refused)
    )
    yield _counters("records_accepted", "Records acknowledged, duplicates too.", ("signal",), _by_one(seen.records))
    yield _counters("records_rejected", "Records left out, by reason.", ("reason",), _by_one(seen.rejected))
    yield _counter("texts_sanitised", "Texts in which invalid UTF-8 was replaced.", seen.sanitised)
    yield _counters("truncations", "Attributes and values too large to be kept.", ("what",), _by_one(seen.truncated))
    yield _counter("decode_seconds", "Time spent decoding.", seen.decode_seconds)
    yield _histogram(seen.ack_seconds)


def _committed(seen: CommitCounters) -> Iterator[Metric]:
    yield _counter("records_stored", "Records written.", seen.stored)
    yield _counter("records_duplicated", "Records that were stored already.", seen.duplicates)
    yield _counter("commit_failures", "Requests whose commit failed.", seen.failures)
    yield _histogram(seen.seconds)
    yield _histogram(seen.records)


def _worked(seen: WorkerCounters) -> Iterator[Metric]:
    yield _counter("traces_folded", "Traces summarised, again after late spans.", seen.folded_traces)
    yield _counter("executions_diagnosed", "Executions that the worker diagnosed.", seen.diagnosed)
    yield _counter("worker_conflicts", "Steps repeated because another worker was first.", seen.conflicts)
    yield _counter("worker_failures", "Steps repeated because the store failed.", seen.failures)
    yield _counter("worker_given_up", "Traces left alone after an error that the log describes.", seen.given_up)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"otel_diag_{name}", text, value)


def _counters(name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = CounterMetricFamily(f"otel_diag_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _by_one(values: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
    return [((key,), value) for key, value in dict(values).items()]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"otel_diag_{name}", text, value)


def _histogram(seen: Histogram) -> Metric:
    (family,) = seen.collect()
    # When it was made says nothing that the start of the process does not.
    family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return family
