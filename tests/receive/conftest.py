from __future__ import annotations

from collections.abc import Iterator

import pytest

from otel_diag.store.base import Store
from otel_diag.store.open import open_store
from tests.receive.servers import Receiver, running, settings_for

MAX_REQUEST_BYTES = 1_000_000


@pytest.fixture
def embedded() -> Iterator[Store]:
    """An empty store in memory: these tests are about the protocols."""
    store = open_store("duckdb://")
    yield store
    store.close()


@pytest.fixture
def receiver(embedded: Store) -> Iterator[Receiver]:
    with running(embedded, settings_for(max_request_bytes=MAX_REQUEST_BYTES)) as receiver:
        yield receiver
