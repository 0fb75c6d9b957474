"""A process that dies in the middle of writing to ClickHouse: ``dying.py URL (apply|append) WRITES``.

It makes that many writes of the last call and is gone before the next (9), or after the call (0), without a word to
anybody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete

from otel_diag.store.base import Accumulate, Delete, Upsert
from otel_diag.store.clickhouse import ClickHouseStore
from otel_diag.store.schema import executions, operation_rollups, trace_arrivals
from tests.store.batches import trace_batch, trace_id
from tests.store.changed import execution, rollup


def dying_after(store: ClickHouseStore, writes: int) -> None:
    left = [writes]

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any) -> None:
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            write(*arguments)

        return act

    engine: Any = store._engine
    engine.insert, engine.write = counted(engine.insert), counted(engine.write)


if __name__ == "__main__":
    url, call, writes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = ClickHouseStore.open(url)
    store.append(trace_batch(1, 3))
    store.apply([Upsert(executions, [execution(1)]), Accumulate(operation_rollups, [rollup("a", 1, 0.5)])])
    dying_after(store, writes)
    if call == "append":
        store.append(trace_batch(2, 5))
    else:
        store.apply(
            [
                Delete(delete(executions).where(executions.c.execution_id == 1), expect=1),
                Upsert(executions, [execution(1, job_id="new"), execution(2)]),
                Accumulate(operation_rollups, [rollup("a", 10, 0.25), rollup("b", 2, 1.0)]),
                Delete(delete(trace_arrivals).where(trace_arrivals.c.trace_id == trace_id(1)), expect=1),
            ]
        )
    os._exit(0)
