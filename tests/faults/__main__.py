"""``make faults``: kill -9 in rounds, a replay and a very long trace on every store; PostgreSQL stopped under load.

``python -m tests.faults --rounds 50 --stores duckdb postgres clickhouse --outage 60``. Exit code 1 on any violation.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.giant import giant
from tests.faults.kill import kill_rounds
from tests.faults.outage import outage
from tests.faults.replay import replay
from tests.faults.stores import empty_store

GIANT_SPANS = 1_000_000
"""Of one trace."""


def main(rounds: int, stores: list[str], outage_seconds: float, seed: int) -> bool:
    """Whether nothing was found, and the harness finds what is there to find."""
    results: list[tuple[bool, str, str]] = []

    def note(clean: bool, what: str, figures: object) -> None:
        results.append((clean, what, str(figures)))
        _say(f"{what}: {figures}")

    for misbehaviour, count in (("ack-first", "lost_spans"), ("torn", "torn"), ("twice", "duplicated")):
        # Not before an embedded store: its journal makes good what a dying process had half in the tables.
        with empty_store("postgres") as url:
            found = kill_rounds(url, 2, seed=seed, misbehaviour=misbehaviour)
        note(getattr(found, count) > 0, f"a receiver broken on purpose ({misbehaviour}) is caught", found)
    for store in stores:
        _say(f"{store}:")
        began = time.monotonic()
        with empty_store(store) as url:
            verdict = kill_rounds(url, rounds, seed=seed, say=_say)
        what = f"kill -9 on {store}, {verdict.rounds} rounds in {time.monotonic() - began:.0f} s"
        note(verdict.clean and verdict.rounds == rounds, what, verdict)
        with empty_store(store) as url:
            again = replay(url, requests_each=40)
        note(again.clean, f"replay of yesterday on {store}", again)
    if "postgres" in stores and outage_seconds:
        down = outage(outage_seconds, say=_say)
        note(down.clean, f"PostgreSQL down for {outage_seconds:.0f} s", down)
    for store in stores:
        large = giant(store, GIANT_SPANS)
        note(large.clean, f"one long trace on {store}", large)
    _say("")
    for clean, what, figures in results:
        _say(f"{'ok  ' if clean else 'FAIL'} {what}: {figures}")
    return all(clean for clean, _, _ in results)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--stores", nargs="+", default=["duckdb", "postgres", "clickhouse"])
    parser.add_argument("--outage", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    given = parser.parse_args()
    sys.exit(not main(given.rounds, given.stores, given.outage, given.seed))
