"""What is too old to be kept: one rule for every engine, and the arithmetic of age and size.

A row's age is the age of what it tells about: a span's start, not its arrival. Where the sender's clock cannot be
believed (before the year 2000, or more than a day ahead), the arrival counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, and_, or_, select, tuple_

from otel_diag.store.schema import (
    SIGNAL_TABLES,
    diagnoses,
    execution_rollups,
    executions,
    operation_baselines,
    operation_rollups,
    trace_arrivals,
    trace_summaries,
)

DAY: Final = 86_400 * 10**9
"""Nanoseconds."""

EARLIEST: Final = 946_684_800 * 10**9
LATEST: Final = 4_102_444_800 * 10**9
"""The first instants of 2000 and 2100: no span was recorded outside."""

_CLOCK_SLACK: Final = timedelta(days=1)

SKETCHES_KEPT: Final = timedelta(days=400)
"""Latency sketches are small and hold no span: they stay long enough to compare with last year's month."""

_SKETCHES: Final = (operation_rollups, execution_rollups, operation_baselines)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Rows older than ``before`` go. ``now`` judges which clocks can be believed; both in UTC."""

    before: datetime
    now: datetime

    @property
    def nanos(self) -> int:
        return nanos_of(self.before)

    @property
    def trusted_until(self) -> int:
        """Starts after this (nanoseconds) come from a clock that is fast."""
        return nanos_of(self.now + _CLOCK_SLACK)


@dataclass(frozen=True, slots=True)
class Period:
    """Bytes of the rows whose time lies in ``first`` .. ``end`` (of one day, or less)."""

    first: datetime
    end: datetime
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store takes up. ``bytes``: all of it; ``periods``: the signals, oldest first, as far as they can go."""

    bytes: int
    periods: Sequence[Period]


def nanos_of(moment: datetime) -> int:
    """Nanoseconds since the epoch, exact to the microsecond."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def before_for_size(usage: Usage, max_bytes: int, now: datetime) -> datetime | None:
    """The end of the oldest periods without which the rest fits into ``max_bytes``; None when all of it does.

    The newest period stays whatever the limit, and what clocks ahead of ``now`` put into the future.
    """
    excess = usage.bytes - max_bytes
    before = None
    past = [period for period in usage.periods if period.first <= now]
    for period in past[:-1]:
        if excess <= 0:
            break
        before = period.end
        excess -= period.bytes
    return before


def aged(time: Column[Any], arrived: Column[Any], cutoff: Cutoff) -> ColumnElement[bool]:
    """Whether a row is too old. ``time``: int64 nanoseconds; ``arrived``: when it came, a timestamp."""
    doubtful = or_(time < EARLIEST, time > cutoff.trusted_until)
    return or_(time.between(EARLIEST, cutoff.nanos - 1), and_(doubtful, arrived < cutoff.before))


def expired(cutoff: Cutoff) -> list[tuple[Table, ColumnElement[bool]]]:
    """What goes, table by table, in the order in which it must go.

    Spans first: a summary without spans is answered as such, a span without summary would not be found. Diagnoses
    before the summaries that tell which they are. Sketches last: a summary that went later would be subtracted from
    one that is gone.
    """
    sketches = min(cutoff.before, cutoff.now - SKETCHES_KEPT)
    arrivals, summaries = trace_arrivals.c, trace_summaries.c
    forgotten = aged(summaries.max_start_unix_nano, summaries.folded_until, cutoff)
    units = tuple_(diagnoses.c.tenant, diagnoses.c.unit_id)
    of_forgotten = units.in_(select(summaries.tenant, summaries.unit_id).where(forgotten))
    return [
        *(
            (signal.table, aged(signal.table.c[signal.time], signal.table.c.ingested_at, cutoff))
            for signal in SIGNAL_TABLES
        ),
        (trace_arrivals, aged(arrivals.max_start_unix_nano, arrivals.ingested_at, cutoff)),
        (diagnoses, or_(of_forgotten, diagnoses.c.computed_at < cutoff.before)),
        (trace_summaries, forgotten),
        (executions, executions.c.started_at < cutoff.before),
        *(
            (table, table.c.bucket_start < sketches)
            for table in (operation_rollups, execution_rollups, operation_baselines)
        ),
    ]
