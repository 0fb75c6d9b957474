"""Full load with continuous read-back: memory and file descriptors of ``serve`` must stay where they are.

``python -m tests.faults.soak --minutes 10 --store duckdb``; ``make soak``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread

import httpx
import psutil

from benchmarks.ingest import Sent, generate
from tests.faults.server import Server, serving
from tests.faults.stores import empty_store, open_files, resident_bytes

MIB = 1024 * 1024
MAX_RSS = 1024 * MIB
MIN_RATE = 20_000
"""Spans a second: fewer are no full load."""

MAX_RISE = 1.10
"""Of the last third of the run over the middle third."""


@dataclass(frozen=True)
class Sample:
    rss: int
    helpers: int
    """RSS of the processes that decode for it."""
    files: int
    spans: int
    """Acknowledged so far."""
    reads: int


@dataclass(frozen=True)
class Soak:
    samples: Sequence[Sample]
    """One a second."""
    refused: int

    @property
    def rate(self) -> float:
        return self.samples[-1].spans / len(self.samples)

    @property
    def rise(self) -> float:
        return self._rise([sample.rss for sample in self.samples])

    @property
    def files_rise(self) -> float:
        return self._rise([sample.files for sample in self.samples])

    @staticmethod
    def _rise(values: Sequence[int]) -> float:
        third = len(values) // 3
        return statistics.mean(values[2 * third :]) / statistics.mean(values[third : 2 * third])

    @property
    def clean(self) -> bool:
        bounded = max(sample.rss for sample in self.samples) < MAX_RSS
        return bounded and self.rise <= MAX_RISE and self.files_rise <= MAX_RISE and self.rate >= MIN_RATE

    def __str__(self) -> str:
        last = self.samples[-1]
        rss, helpers, files = (
            max(getattr(sample, name) for sample in self.samples) for name in ("rss", "helpers", "files")
        )
        return (
            f"{last.spans:,} spans in {len(self.samples)} s, {self.rate:,.0f} a second, {self.refused} told to come "
            f"again, {last.reads:,} reads; RSS highest {rss // MIB} MiB, last third {self.rise - 1:+.1%} on the middle "
            f"third, decoding processes {helpers // MIB} MiB; files {files}, {self.files_rise - 1:+.1%}"
        )


def soak(name: str, seconds: int, connections: int = 8) -> Soak:
    """Prints a line a minute."""
    samples: list[Sample] = []
    over = Event()
    reads = [0]
    sent = Sent()
    with empty_store(name) as url, serving(url) as server:
        reader = Thread(target=_read, args=(server, reads, over), daemon=True)
        sender = Thread(target=generate, args=(server.http_port, connections, seconds), kwargs={"sent": sent})
        reader.start()
        sender.start()
        began = time.monotonic()
        while len(samples) < seconds:
            time.sleep(max(0.0, began + len(samples) + 1 - time.monotonic()))
            helpers = sum(child.memory_info().rss for child in psutil.Process(server.pid).children())
            samples.append(Sample(resident_bytes(server.pid), helpers, open_files(server.pid), sent.acked, reads[0]))
            if len(samples) % 60 == 0:
                _say(len(samples) // 60, samples[-60:])
        sender.join()
        over.set()
        reader.join()
        return Soak(samples, sent.refused)


def _read(server: Server, reads: list[int], over: Event) -> None:
    """What people and models ask, over and over."""
    base = f"http://127.0.0.1:{server.port}/api/v1"
    with httpx.Client(timeout=60) as client:
        while not over.is_set():
            with suppress(httpx.TransportError):
                client.get(f"{base}/failures/recent")
                client.post(f"{base}/sql", json={"statement": "SELECT count(*), max(ingested_at) FROM trace_spans"})
                newest = client.post(
                    f"{base}/sql", json={"statement": "SELECT trace_id FROM trace_summaries ORDER BY folded_at LIMIT 1"}
                ).json()
                for (trace_id,) in newest.get("rows", ()):
                    client.post(f"{base}/trace/diagnose", json={"trace_id": trace_id})
                reads[0] += 4
            over.wait(0.2)


def _say(minute: int, samples: Sequence[Sample]) -> None:
    rss = [sample.rss // MIB for sample in samples]
    print(
        f"minute {minute:2}: RSS {min(rss)}-{max(rss)} MiB, files {max(sample.files for sample in samples)}, "
        f"{(samples[-1].spans - samples[0].spans) / max(1, len(samples) - 1):,.0f} spans/s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--store", default="duckdb")
    given = parser.parse_args()
    result = soak(given.store, round(60 * given.minutes))
    print(f"{'flat' if result.clean else 'NOT FLAT'} on {given.store}: {result}")
    sys.exit(not result.clean)
