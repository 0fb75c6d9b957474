"""``otel-diag`` with a store that misbehaves: ``python -m tests.faults.launch HOW COMMAND ...``.

It shows that the harness sees what it looks for (``ack-first``, ``torn``, ``twice``), and it plays the slow database.
Nothing of it is in the product.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import otel_diag.app
from otel_diag.present.cli import main
from otel_diag.store.base import Appended, Store
from otel_diag.store.open import open_store


class Misbehaving:
    """The store behind it, but for ``append``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class AckFirst(Misbehaving):
    """Says stored and stores a second later, as receivers with a queue in memory do."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._later: queue.SimpleQueue[tuple[float, tuple[Any, ...]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def append(self, batch: pa.Table, *signal: Any) -> Appended:
        self._later.put((time.monotonic() + 1, (batch, *signal)))
        return Appended(batch.num_rows, 0)

    def _run(self) -> None:
        while True:
            due, call = self._later.get()
            time.sleep(max(0.0, due - time.monotonic()))
            self.store.append(*call)


class Torn(Misbehaving):
    """Commits a batch in pieces."""

    def append(self, batch: pa.Table, *signal: Any) -> Appended:
        for start in range(0, batch.num_rows, 50):
            self.store.append(batch.slice(start, 50), *signal)
            time.sleep(0.02)
        return Appended(batch.num_rows, 0)


class Twice(Misbehaving):
    """Does not know again what it has stored."""

    def append(self, batch: pa.Table, *signal: Any) -> Appended:
        self.store.append(batch, *signal)
        column = batch.schema.get_field_index("content_hash")
        changed = pc.bit_wise_xor(batch["content_hash"], pa.scalar(1, pa.int64()))
        return self.store.append(batch.set_column(column, batch.schema.field(column), changed), *signal)


class Slow(Misbehaving):
    """Takes two seconds for every transaction."""

    def append(self, batch: pa.Table, *signal: Any) -> Appended:
        time.sleep(2)
        return self.store.append(batch, *signal)


MISBEHAVIOURS = {"ack-first": AckFirst, "torn": Torn, "twice": Twice, "slow": Slow}

if __name__ == "__main__":
    how = MISBEHAVIOURS[sys.argv.pop(1)]
    otel_diag.app.open_store = lambda *given, **named: how(open_store(*given, **named))  # type: ignore[attr-defined]
    main()
