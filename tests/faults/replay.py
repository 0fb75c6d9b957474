"""Yesterday's batches sent again, to a server that was started since."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from tests.faults.clients import Ledger, load
from tests.faults.read_back import Contents, contents
from tests.faults.server import Server, serving

_FOLD_SECONDS = 60.0


@dataclass(frozen=True)
class Replay:
    """What the store held after the batches, and after the same batches again."""

    sent_spans: int
    once: Contents
    twice: Contents

    @property
    def clean(self) -> bool:
        return sum(self.once.rows.values()) == self.sent_spans and self.once == self.twice and not self.once.waiting

    def __str__(self) -> str:
        once, twice = (sum(found.rows.values()) for found in (self.once, self.twice))
        return (
            f"sent {self.sent_spans:,} spans twice: stored {once:,}, then {twice:,}; "
            f"in the latency sketches {self.once.samples:,}, then {self.twice.samples:,}"
        )


def replay(store: str, requests_each: int) -> Replay:
    """Eight senders send so many requests each; all is summarised; server and senders start again and do the same."""
    found = []
    for _ in range(2):
        with serving(store) as server:
            with load(server.grpc_port, server.http_port, days_old=1, most=requests_each) as running:
                running.finish()
            _until_summarised(server, running.ledger)
            server.end(signal.SIGTERM)
        found.append(contents(store))
    return Replay(running.ledger.spans, *found)


def _until_summarised(server: Server, ledger: Ledger) -> None:
    deadline = time.monotonic() + _FOLD_SECONDS
    while server.count("trace_summaries") < len(ledger.sent) and time.monotonic() < deadline:
        time.sleep(0.1)
