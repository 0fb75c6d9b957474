"""``python -m tests.receive.conformance``: runs every check of the list against a live server and prints the table."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.receive.checklist import CHECKLIST


def lines_of(test: str) -> list[int]:
    """Which lines a test checks: ``test_line_04_07_name`` checks 4 and 7."""
    found = re.search(r"test_line((?:_\d\d)+)", test)
    return [int(number) for number in found[1].strip("_").split("_")] if found else []


@dataclass
class Table:
    """A pytest plugin that keeps, by line, how many checks there were and which failed."""

    checks: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    failed: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for line in lines_of(report.nodeid):
            self.checks[line] += report.when == "call" and report.passed
            if not report.passed:
                self.failed[line].append(report.nodeid.partition("::")[2])

    def holds(self, line: int) -> bool:
        return self.checks[line] > 0 and not self.failed[line]

    def __str__(self) -> str:
        rows = [
            f"{line:>3}  {'pass' if self.holds(line) else 'FAIL'}  {self.checks[line]:>3} checks  {text}"
            for line, text in CHECKLIST.items()
        ]
        kept = sum(self.holds(line) for line in CHECKLIST)
        return "\n".join([*rows, f"{kept} of {len(CHECKLIST)}"])


def main() -> int:
    table = Table()
    tests = Path(__file__).with_name("test_conformance.py")
    code = pytest.main([str(tests), "-q", "--no-header", "-p", "no:cacheprovider"], plugins=[table])
    print(table)
    return int(code) or int(not all(map(table.holds, CHECKLIST)))


if __name__ == "__main__":
    sys.exit(main())
