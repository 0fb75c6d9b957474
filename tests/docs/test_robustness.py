"""Whatever docs/robustness.md promises, the test or target that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "robustness.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| fault |", "| input |"))]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_row_names_what_shows_it(row: str) -> None:
    shown = row.split(" | ")[-1]
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown)
    targets = re.findall(r"`make (\w+)`", shown)
    assert tests or targets
    for path, name in tests:
        assert name in functions(ROOT / path)
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
