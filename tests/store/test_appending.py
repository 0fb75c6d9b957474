from __future__ import annotations

import pyarrow as pa

from otel_diag.store.appending import near
from otel_diag.store.schema import SPANS


def test_times_no_clock_shows_do_not_widen_where_duplicates_are_looked_for() -> None:
    now = 1_790_000_000_000_000_000
    times = [now, now + 1_000, 0, -(2**63), 2**63 - 1]
    batch = pa.table({"start_unix_nano": pa.chunked_array([pa.array(times, pa.int64())])})
    ranges = near(batch, SPANS).strip("()").split(" OR ")
    assert f"start_unix_nano BETWEEN {now} AND {now + 1_000}" in ranges
    assert len(ranges) == 4
