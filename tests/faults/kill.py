"""Rounds of kill -9 under load, and what the store holds after each."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.clients import Ledger, load
from tests.faults.read_back import Contents, contents
from tests.faults.server import serving

_DRAIN_SECONDS = 60.0
_EXIT_SECONDS = 10.0


@dataclass
class Verdict:
    """Counts of what must not be, over all rounds; each is of requests but ``lost_spans``."""

    rounds: int = 0
    acknowledged_spans: int = 0
    stored_spans: int = 0
    retried: int = 0
    lost_spans: int = 0
    torn: int = 0
    duplicated: int = 0
    forgotten: int = 0
    dropped: int = 0
    stuck: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not any((self.lost_spans, self.torn, self.duplicated, self.forgotten, self.dropped, self.stuck))

    def add(self, ledger: Ledger, acknowledged: set[str], found: Contents, *, at_rest: bool = False) -> None:
        """Judge what was read back; ``acknowledged`` is what had been acknowledged before.

        ``at_rest``: a server has started since the last kill, and ended. What one that was killed still had to say
        about spans it had stored is said by the next; a trace nobody will ever summarise is found at the end too."""
        lost = Ledger(acknowledged=acknowledged - found.spans.keys()).spans
        self.acknowledged_spans = Ledger(acknowledged=acknowledged).spans
        self.stored_spans = sum(found.rows.values())
        self.retried = sum(ledger.answers.values()) - ledger.answers["OK"]
        self.lost_spans = max(self.lost_spans, lost)
        self.torn = max(self.torn, len(found.torn))
        self.duplicated = max(self.duplicated, len(found.duplicated))
        if at_rest:
            self.forgotten = len(found.forgotten)
        self.dropped = len(ledger.dropped)
        self.answers = dict(ledger.answers)

    def __str__(self) -> str:
        return (
            f"acknowledged {self.acknowledged_spans:,} stored {self.stored_spans:,} spans, {self.retried:,} retries: "
            f"lost {self.lost_spans:,} torn {self.torn} duplicated {self.duplicated} forgotten {self.forgotten} "
            f"dropped {self.dropped} stuck {self.stuck}"
        )


def kill_rounds(
    store: str,
    rounds: int,
    *,
    seed: int = 1,
    misbehaviour: str = "",
    load_seconds: tuple[float, float] = (0.3, 2.0),
    last: signal.Signals = signal.SIGTERM,
    say: Callable[[str], None] = lambda line: None,
) -> Verdict:
    """Kill, read the store in a fresh process, start again while the clients go on; after the last round, a SIGTERM
    (``last``) under load, a start, and the clients finish what they have begun."""
    draw = random.Random(seed)
    verdict = Verdict()
    with serving(store, misbehaviour) as server, load(server.grpc_port, server.http_port) as running:
        for number in range(1, rounds + 2):
            began = time.monotonic()
            _until_acknowledged(running.ledger)
            time.sleep(draw.uniform(*load_seconds))
            how = last if number > rounds else signal.SIGKILL
            took = server.end(how)
            acknowledged = set(running.ledger.acknowledged)
            verdict.add(running.ledger, acknowledged, contents(store))
            if took > _EXIT_SECONDS:
                verdict.stuck += 1
            restarted = time.monotonic()
            server.start()
            verdict.rounds = min(number, rounds)
            seconds = f"{time.monotonic() - began:.1f} s, restart {time.monotonic() - restarted:.1f} s"
            say(f"round {number:2}, {how.name}: {verdict} ({seconds})")
        if not running.drain(_DRAIN_SECONDS):
            verdict.stuck += 1
        server.end(signal.SIGTERM)
        verdict.add(running.ledger, set(running.ledger.acknowledged), contents(store), at_rest=True)
        if running.ledger.sent != running.ledger.acknowledged:
            verdict.stuck += 1
    say(f"at the end: {verdict}")
    return verdict


def _until_acknowledged(ledger: Ledger) -> None:
    """The restarted server has taken something: a kill before that would show nothing."""
    before = len(ledger.acknowledged)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while len(ledger.acknowledged) == before and time.monotonic() < deadline:
        time.sleep(0.01)
