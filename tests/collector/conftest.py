"""The Collectors, if they are built; a test that needs one is skipped otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.collector import binary


@pytest.fixture(scope="session")
def collector() -> Path:
    return built("main")


@pytest.fixture(scope="session")
def log_collector() -> Path:
    """The one with the receiver file_log."""
    return built("logs")


def built(name: str) -> Path:
    found = binary.path(name)
    if not found.exists():
        pytest.skip(f"no Collector: {binary.why_not() or 'run `make collector`'}")
    return found
