"""The house has one direction: receive -> decode -> store -> analyse -> query -> present. Imports must follow it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "otel_diag"

BASE = {"model", "errors"}
EVIDENCE = {"reader", "summaries", "diagnoses"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "model": set(),
    "errors": set(),
    "scratch": set(),
    "moments": set(),
    "without_pandas": set(),
    "config": {"errors"},
    "auth": {*BASE, "config"},
    "tls": {*BASE, "config"},
    "listen": {*BASE, "config", "tls"},
    "testing": {*BASE, "analyse"},
    "decode": BASE,
    "analyse": BASE,
    "ask": {*BASE, "moments"},
    "store": {*BASE, "config", "scratch"},
    "receive": {*BASE, "self_traces", "auth", "config", "decode", "scratch", "store", "tls", "without_pandas"},
    "self_traces": {*BASE, "__init__", "config", "delivery", "exporter", "store"},
    "reader": {*BASE, "analyse", "decode", "store"},
    "summaries": {*BASE, "analyse", "reader", "store"},
    "evidence": {*BASE, "analyse", "ask", "reader", "store"},
    "diagnoses": {*BASE, "analyse", "cohorts", "evidence", "reader", "store"},
    "confirmations": {*BASE, "analyse", "reader", "store"},
    "cohorts": {*BASE, "analyse", "decode", "reader", "store"},
    "worker": {*BASE, *EVIDENCE, "analyse", "config", "self_traces", "store"},
    "statements": {*BASE, "ask", "reader", "store"},
    "briefs": {*BASE, "analyse"},
    "questions": {*BASE, "analyse", "ask", "briefs", "reader", "statements", "store"},
    "query": {
        *BASE,
        *EVIDENCE,
        "analyse",
        "ask",
        "briefs",
        "cohorts",
        "config",
        "confirmations",
        "decode",
        "questions",
        "statements",
        "store",
    },
    "discovery": {"config", "tls"},
    "delivery": {*BASE, "decode", "store"},
    "exporter": {*BASE, "config", "delivery", "discovery", "store"},
    "pytest_plugin": {*BASE, "analyse", "decode", "present"},
    "metrics": {*BASE, "__init__", "config", "receive", "store", "worker"},
    "upkeep": {*BASE, "config", "store"},
    "server": {
        *BASE,
        "auth",
        "config",
        "discovery",
        "listen",
        "metrics",
        "present",
        "query",
        "receive",
        "self_traces",
        "store",
        "upkeep",
        "worker",
    },
    "app": {
        *BASE,
        "ask",
        "auth",
        "config",
        "decode",
        "delivery",
        "discovery",
        "present",
        "query",
        "server",
        "store",
        "tls",
        "upkeep",
        "worker",
    },
    "present": {*BASE, "auth", "config", "moments", "query", "__init__"},
}
ALSO = {"present/cli": {"app", "decode", "delivery", "discovery", "tls", "without_pandas"}}
"""The command line starts everything, so it alone among the presenters may reach the wiring."""

BACKENDS = ("duckdb", "postgres", "clickhouse")
MAY_NAME_BACKENDS = {"store", "config", "app"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[str]:
    """Rooms of otel_diag that a module imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "otel_diag"
                else [node.module or ""]
            )
        for name in names:
            if name == "otel_diag" or name.startswith("otel_diag."):
                second = name.split(".")[1] if "." in name else "__init__"
                known = (PACKAGE / second).is_dir() or (PACKAGE / f"{second}.py").is_file()
                yield second if known else "__init__"


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_house(path: Path) -> None:
    room = room_of(path)
    allowed = MAY_IMPORT[room] | {room}
    for place, extra in ALSO.items():
        if path.is_relative_to(PACKAGE / place):
            allowed |= extra
    assert set(imported_rooms(path)) <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_backend_is_named_outside_the_store(path: Path) -> None:
    if room_of(path) in MAY_NAME_BACKENDS:
        return
    named = {
        (node.lineno, backend)
        for node in ast.walk(ast.parse(path.read_text()))
        for backend in BACKENDS
        if isinstance(node, ast.Name | ast.Attribute | ast.ImportFrom | ast.Import)
        and backend in ast.unparse(node).lower()
    }
    assert not named
