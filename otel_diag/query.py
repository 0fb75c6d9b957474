"""The one service behind MCP, REST and the command line: every question is answered here, once.

A :class:`Queries` belongs to one tenant; nothing it returns comes from another. Methods raise NotFound (with the
nearest ids), BadInput, Transient; they never print and know no protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from otel_diag.errors import BadInput
from otel_diag.model import (
    AnalysisType,
    Comparison,
    Declared,
    GapReport,
    JobAnalysis,
    OperationInfo,
    Performance,
    QueryAnswer,
    RecentFailures,
    Report,
    SearchPage,
    ServiceInfo,
    ServiceMap,
    SqlResult,
    Timeline,
    TraceDiff,
    TraceSummary,
)


@dataclass(frozen=True, slots=True)
class Key:
    """What to look at: an execution or a trace, exactly one of them."""

    execution_id: int | None = None
    trace_id: str | None = None

    def __post_init__(self) -> None:
        if (self.execution_id is None) == (self.trace_id is None):
            raise BadInput("give exactly one of execution_id and trace_id")


@dataclass(frozen=True, slots=True)
class Filters:
    """Narrows a set of executions. None: any. ``service`` / ``operation`` match executions that touch them."""

    status: str | None = None
    job_id: str | None = None
    model_id: str | None = None
    region: str | None = None
    service: str | None = None
    operation: str | None = None
    root_cause_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Queries:
    def diagnose(self, key: Key, analysis_type: AnalysisType = "full") -> Report: ...
    def timeline(self, key: Key) -> Timeline: ...
    def summary(self, key: Key) -> TraceSummary: ...
    def timeout_root_cause(self, *, job_id: str | None = None, execution_id: int | None = None) -> JobAnalysis: ...
    def compare_with_successful(self, key: Key) -> Comparison: ...
    def compare(self, left: Key, right: Key) -> TraceDiff: ...
    def recent_failures(self, limit: int = 10, filters: Filters = Filters()) -> RecentFailures: ...
    def performance(self, filters: Filters = Filters()) -> Performance: ...
    def trace_gaps(self, key: Key) -> GapReport: ...
    def ask(self, query: str, execution_id: int | None = None) -> QueryAnswer: ...
    def search(self, filters: Filters, *, limit: int = 50, offset: int = 0) -> SearchPage: ...
    def services(self, since: datetime | None = None) -> list[ServiceInfo]: ...
    def operations(self, service: str | None = None, since: datetime | None = None) -> list[OperationInfo]: ...
    def service_map(self, since: datetime | None = None) -> ServiceMap: ...
    def raw_trace(self, trace_id: str) -> Mapping[str, Any]: ...
    def declare_execution(self, declared: Declared) -> None: ...
    def sql(self, statement: str, *, max_rows: int | None = None, validate_only: bool = False) -> SqlResult: ...
