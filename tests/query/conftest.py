from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from otel_diag.config import Settings
from otel_diag.query import Queries
from otel_diag.store.base import Store
from otel_diag.worker import Worker

AT_ONCE = Settings(quiet_seconds=0.0, settle_seconds=0.0)
"""What has arrived is complete."""


@pytest.fixture
def settings() -> Settings:
    return AT_ONCE


@pytest.fixture
def queries(store: Store, settings: Settings) -> Queries:
    return Queries(store, settings, clock=later)


@pytest.fixture
def work(store: Store, settings: Settings) -> Callable[[], None]:
    """Let the worker do everything that is due."""
    return partial(work_on, store, settings)


def work_on(store: Store, settings: Settings = AT_ONCE) -> None:
    worker = Worker(store, settings, clock=later)
    while worker.step():
        pass


def later() -> datetime:
    """A clock that is ahead of every commit of this test run, so that everything has fallen quiet."""
    return datetime.now(UTC) + timedelta(seconds=1)
