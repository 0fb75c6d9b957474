"""Keeps the store within its bounds: what is too old, or more than fits, goes once an hour."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from otel_diag.config import Settings
from otel_diag.errors import OtelDiagError
from otel_diag.model import PrunedStore, PrunedTable
from otel_diag.store.base import Store
from otel_diag.store.retention import Cutoff, before_for_size

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
STOP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a store may hold. None: any age, any size."""

    max_age: timedelta | None = None
    max_bytes: int | None = None

    @staticmethod
    def of(settings: Settings) -> Bounds:
        days, size = settings.retention_days, settings.retention_bytes
        return Bounds(timedelta(days=days) if days else None, size or None)

    @property
    def any(self) -> bool:
        return self.max_age is not None or self.max_bytes is not None


def prune(store: Store, bounds: Bounds, now: datetime, *, dry_run: bool = False) -> PrunedStore:
    """Remove what the bounds exclude, or with ``dry_run`` say what that is. Raises Transient, Permanent."""
    usage = store.usage()
    before = None if bounds.max_age is None else now - bounds.max_age
    if bounds.max_bytes is not None and (fitting := before_for_size(usage, bounds.max_bytes, now)) is not None:
        before = fitting if before is None else max(before, fitting)
    if before is None:
        tables: Sequence[PrunedTable] = ()
    else:
        tables = store.prune(Cutoff(before, now), dry_run=dry_run)
    return PrunedStore(
        before=before,
        dry_run=dry_run,
        tables=list(tables),
        bytes_before=usage.bytes,
        bytes_after=None if dry_run else store.usage().bytes,
    )


class Upkeep:
    """A thread that prunes at once and then every hour, when the settings bound the store."""

    def __init__(self, store: Store, settings: Settings, *, clock: Callable[[], datetime] | None = None) -> None:
        self._store = store
        self._bounds = Bounds.of(settings)
        self._now = clock or (lambda: datetime.now(UTC))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-diag-upkeep", daemon=True)

    def start(self) -> None:
        if self._bounds.any:
            self._thread.start()

    def stop(self) -> None:
        """End soon. What is under way breaks off when the store is closed, and the next process goes on with it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def step(self) -> PrunedStore:
        """Prune once, by whole days of age: their partitions are dropped, which costs next to nothing."""
        now = self._now()
        bounds = self._bounds
        if bounds.max_age is not None:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            bounds = replace(bounds, max_age=bounds.max_age + (now - midnight))
        return prune(self._store, bounds, now)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pruned = self.step()
            except OtelDiagError as error:
                log.warning("what is too old waits for the store: %s", error)
            else:
                if any(table.rows for table in pruned.tables):
                    went = ", ".join(f"{table.rows} {table.table}" for table in pruned.tables if table.rows)
                    log.info("removed what was older than %s: %s", pruned.before, went)
            self._stopping.wait(EVERY_SECONDS)
