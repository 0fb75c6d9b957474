"""PostgreSQL's partitions by time: which there must be, and how they come and go while others read and write.

A day near today has a partition of its own, farther days share one a year, and two at the ends take the times no clock
ever showed. There is no DEFAULT partition: with one, adding another would lock it against readers and writers and fail
when it held rows of the new range.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from otel_diag.store.retention import DAY, EARLIEST, LATEST, nanos_of
from otel_diag.store.schema import SignalTable

NEAR_DAYS: Final = 40
"""Days this close to today get a partition each; any other time shares its year's, so that no sender can make
thousands of them."""

_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**63

_LOCK: Final = 0x07E1_D1A7
"""Key of the advisory lock that lets one process add partitions at a time."""

_BOUND: Final = re.compile(r"^FOR VALUES FROM \('?(MINVALUE|-?\d+)'?\) TO \('?(MAXVALUE|-?\d+)'?\)$")

_PARTITIONS: Final = """
SELECT child.relname, pg_get_expr(child.relpartbound, child.oid), link.inhdetachpending
FROM pg_inherits link JOIN pg_class child ON child.oid = link.inhrelid
WHERE link.inhparent = to_regclass(%s)
"""

_LEFT_OVER: Final = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT relispartition AND relname ~ %s
"""


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Nanoseconds from ``first`` up to, not including, ``end``."""

    first: int
    end: int

    def bounds(self) -> str:
        first = "MINVALUE" if self.first == _LOWEST else str(self.first)
        return f"FROM ({first}) TO ({'MAXVALUE' if self.end == _HIGHEST else self.end})"

    def suffix(self) -> str:
        """What a partition is called after: the day, the days, or the end of time it lies at."""
        if self.first < EARLIEST:
            return "early"
        if self.end > LATEST:
            return "late"
        last = _date(self.end - 1)
        return _date(self.first) if last == _date(self.first) else f"{_date(self.first)}_{last}"


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    range: Range
    leaving: bool
    """Its removal has begun: no row can be added any more."""


def missing_ranges(times: Iterable[int], existing: Iterable[Range], now: datetime) -> list[Range]:
    """Ranges to add so that each of the times (nanoseconds) lies in one; none overlaps an existing one."""
    known = sorted(existing)
    added = []
    for time in sorted(set(times)):
        place = bisect_right(known, time, key=lambda found: found.first)
        if place and time < known[place - 1].end:
            continue
        wanted = _natural(time, now)
        first = max(wanted.first, known[place - 1].end) if place else wanted.first
        end = min(wanted.end, known[place].first) if place < len(known) else wanted.end
        known.insert(place, Range(first, end))
        added.append(known[place])
    return added


def _natural(time: int, now: datetime) -> Range:
    if time < EARLIEST:
        return Range(_LOWEST, EARLIEST)
    if time >= LATEST:
        return Range(LATEST, _HIGHEST)
    today = nanos_of(now) // DAY * DAY
    near = Range(today - NEAR_DAYS * DAY, today + (NEAR_DAYS + 1) * DAY)
    if near.first <= time < near.end:
        return Range(time // DAY * DAY, time // DAY * DAY + DAY)
    year = datetime.fromtimestamp(time // 10**9, UTC).year
    first, end = (nanos_of(datetime(number, 1, 1, tzinfo=UTC)) for number in (year, year + 1))
    return Range(first, min(end, near.first)) if time < near.first else Range(max(first, near.end), end)


def add_partitions(
    connection: psycopg.Connection[Any], signal: SignalTable, times: Iterable[int], now: datetime
) -> None:
    """Make the partitions that these times need, in the caller's transaction.

    A partition is made apart and then attached, which locks out neither readers nor writers of the table (CREATE ...
    PARTITION OF waits for every reader, and everybody waits behind it).
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    parent = signal.table.name
    existing = [partition.range for partition in partitions_of(connection, parent)]
    for wanted in missing_ranges(times, existing, now):
        name = f"{parent}_{wanted.suffix()}"
        connection.execute(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)")
        connection.execute(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES {wanted.bounds()}")


def partitions_of(connection: psycopg.Connection[Any], parent: str) -> Sequence[Partition]:
    """The partitions of a table, oldest first."""
    found = [
        Partition(name, _range(bound), leaving)
        for name, bound, leaving in connection.execute(_PARTITIONS, [parent]).fetchall()
    ]
    return sorted(found, key=lambda partition: partition.range)


def drop_partition(connection: psycopg.Connection[Any], parent: str, name: str) -> None:
    """Take a partition off its table and drop it. The connection is in autocommit mode.

    Detached concurrently: that waits for who reads the table now, and nobody waits for it. A process that dies between
    the steps leaves what :func:`finish_drops` completes.
    """
    connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY")
    connection.execute(f"DROP TABLE {name}")


def finish_drops(connection: psycopg.Connection[Any], parent: str) -> None:
    """Complete what a process that died had begun. The connection is in autocommit mode."""
    for partition in partitions_of(connection, parent):
        if partition.leaving:
            connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {partition.name} FINALIZE")
    names = connection.execute(_LEFT_OVER, [rf"^{parent}_(early|late|\d{{8}}(_\d{{8}})?)$"]).fetchall()
    for (name,) in names:
        connection.execute(f"DROP TABLE {name}")


def _range(bound: str) -> Range:
    ((first, end),) = _BOUND.findall(bound)
    return Range(_LOWEST if first == "MINVALUE" else int(first), _HIGHEST if end == "MAXVALUE" else int(end))


def _date(nanos: int) -> str:
    return datetime.fromtimestamp(nanos // 10**9, UTC).strftime("%Y%m%d")
