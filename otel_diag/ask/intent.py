"""What a question means, as data: the only thing the query service executes.

An :class:`Intent` is complete: names are resolved against what the store has seen, times are absolute UTC, and
whatever was assumed or not found is said in ``notes``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal

from otel_diag.model import RootCauseType, Status

ALL_TIME: Final = datetime(1971, 1, 1, tzinfo=UTC)
"""``Window.since`` of a window without a beginning: the earliest time a stored span can have."""


class IntentName(StrEnum):
    """What is asked for. The first six are about given executions, the others about a window of time."""

    DIAGNOSE = "diagnose"
    SIMILAR = "similar"
    COMPARE = "compare"
    """One id: with its nearest successful peers. Two: with each other."""
    GAPS = "gaps"
    TIMELINE = "timeline"
    SUMMARY = "summary"
    JOB_PATTERN = "job_pattern"
    """What the failures of a job have in common; without a job, those of everything that passes the filters."""
    ERROR_CHANGES = "error_changes"
    """Error texts that are new, gone or more frequent than in the window of the same length before."""
    LIST_FAILURES = "list_failures"
    SEARCH = "search"
    MEASURE = "measure"
    """One ``metric``, for each combination of ``group_by``; with ``baseline``, in both windows."""
    SLOWEST = "slowest"
    """Single executions or spans by duration, or operations by average duration, in ``order``."""
    PERFORMANCE = "performance"
    LIST_NAMES = "list_names"
    """The distinct values of ``group_by[0]``."""


class Metric(StrEnum):
    """Durations are in milliseconds, rates are shares in 0..1, throughput is per second."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    P50 = "p50"
    P75 = "p75"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    COUNT = "count"
    ERROR_RATE = "error_rate"
    TIMEOUT_RATE = "timeout_rate"
    SUCCESS_RATE = "success_rate"
    THROUGHPUT = "throughput"


RATES: Final = (Metric.ERROR_RATE, Metric.TIMEOUT_RATE, Metric.SUCCESS_RATE)
FAILURES: Final = (Status.FAILED, Status.TIMEOUT)


class Dimension(StrEnum):
    """What things can be filtered or grouped by. HOUR and DAY are UTC buckets of the start; ERROR is the message."""

    SERVICE = "service"
    OPERATION = "operation"
    MODEL = "model"
    REGION = "region"
    JOB = "job"
    STATUS = "status"
    ROOT_CAUSE = "root_cause"
    ERROR = "error"
    HOUR = "hour"
    DAY = "day"


Target = Literal["executions", "spans", "operations"]
Order = Literal["desc", "asc"]


@dataclass(frozen=True, slots=True)
class Window:
    """``since`` <= start < ``until``, both UTC. ``explicit`` is False for a default nobody asked for."""

    since: datetime
    until: datetime
    label: str
    explicit: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """All fields must hold; within a field any value may. Empty or None: not filtered.

    An operation that was never seen may be ``service.operation``. ``text`` is looked for in error messages, without
    regard to case. Durations are milliseconds, both ends included.
    """

    services: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    root_causes: tuple[RootCauseType, ...] = ()
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    text: str | None = None


def natural_target(filters: Filters, group_by: Collection[Dimension]) -> Target:
    """What is meant where nobody says: spans where a service or an operation is spoken of, else executions.

    Root causes are known of executions alone.
    """
    if filters.root_causes or Dimension.ROOT_CAUSE in group_by:
        return "executions"
    narrowed = filters.services or filters.operations or {Dimension.SERVICE, Dimension.OPERATION}.intersection(group_by)
    return "spans" if narrowed else "executions"


@dataclass(frozen=True, slots=True)
class Intent:
    """A question, understood. ``window`` is None where time does not matter (a given execution or job, names).

    ``ignored``: words that meant nothing to who read it.
    """

    name: IntentName
    target: Target = "executions"
    metric: Metric | None = None
    filters: Filters = Filters()
    group_by: tuple[Dimension, ...] = ()
    order: Order | None = None
    limit: int | None = None
    window: Window | None = None
    baseline: Window | None = None
    execution_ids: tuple[int, ...] = ()
    trace_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def compare_previous(self) -> bool:
        return self.baseline is not None


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """What stood in the way, and questions near to it that do work as they stand."""

    message: str
    suggestions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """Names seen in the store. Names may hold spaces and any punctuation."""

    services: Collection[str] = field(default_factory=frozenset)
    operations: Collection[str] = field(default_factory=frozenset)
    models: Collection[str] = field(default_factory=frozenset)
    regions: Collection[str] = field(default_factory=frozenset)
    jobs: Collection[str] = field(default_factory=frozenset)

    def by_dimension(self) -> tuple[tuple[Dimension, Collection[str]], ...]:
        """The dimensions that have names, the likeliest meaning of a bare word first."""
        return (
            (Dimension.SERVICE, self.services),
            (Dimension.OPERATION, self.operations),
            (Dimension.MODEL, self.models),
            (Dimension.REGION, self.regions),
            (Dimension.JOB, self.jobs),
        )
