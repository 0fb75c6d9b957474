"""Labelled executions: what goes wrong in real systems, on random systems, and what only looks like it.

The modules by topic fill the register when they are imported here. The seed decides everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.scenarios import faults_absence, faults_errors, faults_mixed, faults_network, faults_time, twins
from tests.scenarios.cases import HEALTHY, SCENARIOS, Case, case

TOPICS = (faults_errors, faults_network, faults_time, faults_absence, faults_mixed, twins)
NAMES = (*SCENARIOS, *HEALTHY)


def cases(seeds: Iterable[int], names: Iterable[str] = NAMES) -> Iterator[Case]:
    """Every scenario once with each seed, as far as it can happen in a world of the seed."""
    names = tuple(names)
    for seed in seeds:
        for name in names:
            made = case(name, seed)
            if made is not None:
                yield made
