"""What the stores without a unique key do alike when they append: find duplicates, note which traces came."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from otel_diag.model import ANNOUNCED, EXCEPTION
from otel_diag.store.schema import LOG_RECORDS, SPANS, SignalTable, trace_arrivals

HOUR_NANOS: Final = 3_600_000_000_000
_MAX_RANGES: Final = 16


def near(batch: pa.Table, signal: SignalTable) -> str:
    """A condition on the signal's time that holds for every row of the batch and little else.

    Ranges rather than the least and greatest time: a single row with time 0 must not have the whole table read.
    """
    times = pc.unique(batch.column(signal.time))
    times = times.take(pc.sort_indices(times))
    gaps = pc.subtract(times.slice(1), times.slice(0, len(times) - 1))
    # A gap past 64 bits wraps around to a negative number.
    cuts = pc.indices_nonzero(pc.or_(pc.greater(gaps, HOUR_NANOS), pc.less(gaps, 0))).to_pylist()
    if len(cuts) >= _MAX_RANGES:
        cuts = []
    firsts, lasts = [0, *(cut + 1 for cut in cuts)], [*cuts, len(times) - 1]
    ranges = [(times[a].as_py(), times[b].as_py()) for a, b in zip(firsts, lasts, strict=True)]
    return "(" + " OR ".join(f"{signal.time} BETWEEN {first} AND {last}" for first, last in ranges) + ")"


def without_known(batch: pa.Table, signal: SignalTable, known: pa.Table) -> pa.Table:
    """The batch's rows whose key is not in ``known``, the first of each key. ``known`` has the columns of the key."""
    if not known.num_rows and pc.count_distinct(batch.column("content_hash")).as_py() == batch.num_rows:
        return batch
    key = list(signal.key)
    keys = batch.select(key)
    numbered = keys.append_column("row", pa.array(range(batch.num_rows), pa.int64()))
    first = numbered.group_by(key).aggregate([("row", "min")])
    rows = first.join(known.cast(keys.schema), keys=key, join_type="left anti").column("row_min")
    return batch.take(rows.take(pc.sort_indices(rows)))


def with_time(rows: pa.Table, now: datetime) -> pa.Table:
    """The rows with their ``ingested_at``."""
    times = pa.repeat(pa.scalar(now, pa.timestamp("us", tz="UTC")), rows.num_rows)
    return rows.append_column("ingested_at", times)


ARRIVED: Final[dict[SignalTable, str]] = {
    SPANS: "TRUE",
    LOG_RECORDS: f"(event_name = '{ANNOUNCED}' OR CAST(attributes AS text) LIKE '%{EXCEPTION}%') "
    "AND trace_id IS NOT NULL AND span_id IS NOT NULL",
}
"""By signal, the SQL condition of the rows that say something of a span: the worker is to look at their traces."""


def arrivals_of(rows: pa.Table, signal: SignalTable, now: datetime) -> pa.Table:
    """The rows of ``trace_arrivals`` for rows of a signal in ARRIVED that are stored: one for each trace.

    Grouped here: for an engine, planning the same takes longer than the grouping.
    """
    if signal is LOG_RECORDS:
        announced = pc.fill_null(pc.equal(rows["event_name"], ANNOUNCED), False)
        telling = rows.filter(pc.or_(announced, pc.match_substring(rows["attributes"], EXCEPTION)))
        named = telling.select(["tenant", "trace_id", "span_id", signal.time]).drop_null()
        rows = named.cast(pa.schema([field.with_nullable(False) for field in named.schema]))
    grouped = rows.group_by(["tenant", "trace_id"], use_threads=False).aggregate(
        [([], "count_all"), (signal.time, "min"), (signal.time, "max")]
    )
    names = [column.name for column in trace_arrivals.columns if column.name != "ingested_at"]
    return with_time(grouped.rename_columns(names), now)
