"""PostgreSQL stopped under load and started again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.clients import load
from tests.faults.kill import Verdict
from tests.faults.read_back import contents
from tests.faults.server import serving
from tests.faults.stores import own_postgres, resident_bytes, start_postgres, stop_postgres

MIB = 1024 * 1024
MAX_GROWTH_BYTES = 256 * MIB
"""``max_queued_bytes`` by default: what may wait for the database."""

_RECOVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Outage:
    """``recovered_seconds``: from the database's return to the first new acknowledgement."""

    stored: Verdict
    refusals: dict[str, int]
    unhinted: dict[str, int]
    rss_before: int
    rss_highest: int
    recovered_seconds: float

    @property
    def clean(self) -> bool:
        """Nothing lost, memory bounded, every refusal with a hint, and it recovered by itself."""
        grown = self.rss_highest - self.rss_before
        return (
            self.stored.clean
            and bool(self.refusals)
            and not self.unhinted
            and grown <= MAX_GROWTH_BYTES
            and self.recovered_seconds <= _RECOVERY_SECONDS
        )

    def __str__(self) -> str:
        refusals = ", ".join(f"{count:,} x {said}" for said, count in sorted(self.refusals.items()))
        return (
            f"refused with a hint {refusals or 'nothing'}, without {sum(self.unhinted.values())}; RSS "
            f"{self.rss_before // MIB} -> {self.rss_highest // MIB} MiB; back {self.recovered_seconds:.1f} s after the "
            f"database; {self.stored}"
        )


def outage(seconds: float, say: Callable[[str], None] = lambda line: None) -> Outage:
    with own_postgres() as postgres:
        url = postgres.get_uri()
        with serving(url) as server, load(server.grpc_port, server.http_port) as running:
            ledger = running.ledger
            _until(lambda: len(ledger.acknowledged) >= 100)
            before = dict(ledger.answers)
            rss = [resident_bytes(server.pid)]
            stop_postgres(postgres)
            stopped = time.monotonic()
            say(f"PostgreSQL stopped with {len(ledger.acknowledged):,} requests acknowledged")
            while time.monotonic() - stopped < seconds:
                time.sleep(min(1.0, seconds))
                rss.append(resident_bytes(server.pid))
            down = len(ledger.acknowledged)
            start_postgres(postgres)
            started = time.monotonic()
            _until(lambda: len(ledger.acknowledged) > down)
            recovered = time.monotonic() - started
            say(f"PostgreSQL started after {started - stopped:.0f} s; first acknowledgement {recovered:.1f} s later")
            rss.append(resident_bytes(server.pid))
            verdict = Verdict(rounds=1)
            if not running.drain(_RECOVERY_SECONDS):
                verdict.stuck += 1
            rss.append(resident_bytes(server.pid))
            server.end(signal.SIGTERM)
            verdict.add(ledger, set(ledger.acknowledged), contents(url))
            refusals = {said: count - before.get(said, 0) for said, count in ledger.answers.items() if said != "OK"}
            return Outage(
                stored=verdict,
                refusals=refusals,
                unhinted=dict(ledger.unhinted),
                rss_before=rss[0],
                rss_highest=max(rss),
                recovered_seconds=recovered,
            )


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2 * _RECOVERY_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
