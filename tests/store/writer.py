"""A process that appends one batch after the other and says so: ``writer.py URL FIRST_TRACE TRACES``.

Prints the number of each trace once its batch is acknowledged; the parent kills it at some point.
"""

from __future__ import annotations

import sys

from otel_diag.store.open import open_store
from tests.store.batches import trace_batch

SPANS = 40

if __name__ == "__main__":
    url, first, traces = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    store = open_store(url)
    for trace in range(first, first + traces):
        store.append(trace_batch(trace, SPANS))
        print(trace, flush=True)
    store.close()
