"""The SELECTs of the ledger as texts, for the SQL endpoint of the same store.

Plain SQL that every store reads alike; only a backslash within a name is written as the store wants it. Times are in
UTC, as the endpoint's sessions are. No tenant is named: whoever runs them sees their own rows only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from otel_diag.analyse.baseline import Baseline, Peer, Scope
from otel_diag.ask.guarded_sql import text_literal
from otel_diag.model import ANNOUNCED, EXCEPTION, MissingHop, Span, Trace

_SPAN: Final = (
    "span_id, parent_span_id, service, operation, kind, status, started_at, duration_ms, error_type, error_message"
)
_SPAN_OR_OPEN: Final = "span_id, service, operation, status, started_at"
_OPEN: Final = "span_id, service, attributes ->> 'span.name' AS operation, 'running' AS status, logged_at AS started_at"
_CLOCK: Final = "span_id, parent_span_id, service, kind, start_unix_nano, end_unix_nano"


@dataclass(frozen=True, slots=True)
class Selects:
    """``dialect``: as the store's capabilities name it."""

    dialect: str

    def spans(self, spans: Sequence[Span]) -> str:
        """These spans of one trace; those that run as they were announced."""
        stored = [span for span in spans if span.end_unix_nano is not None]
        announced = [span for span in spans if span.end_unix_nano is None]
        if not announced:
            return self._spans(_SPAN, stored)
        announcements = [*self._of(announced, "logged_unix_nano"), f"event_name = {self._text(ANNOUNCED)}"]
        running = _select(_OPEN, "log_records", announcements)
        if not stored:
            return running
        return f"{_select(_SPAN_OR_OPEN, 'trace_spans', self._of(stored, 'start_unix_nano'))} UNION ALL {running}"

    def clocks(self, spans: Sequence[Span]) -> str:
        """The exact times of these spans of one trace."""
        return self._spans(_CLOCK, spans)

    def first_spans(self, spans: Sequence[Span], limit: int) -> str:
        """The first spans of the trace that these are of."""
        return _select(_SPAN, "trace_spans", self._within(spans, "start_unix_nano"), "start_unix_nano", limit=limit)

    def durations(self, trace: Trace, baseline: Baseline, scope: Scope, chosen: Sequence[Peer]) -> str:
        """How long each of the chosen peers took: all, or those that made the same spans."""
        columns = "execution_id, trace_id, started_at, duration_ms"
        if len(chosen) == len(baseline.peers):
            return self._peers(columns, trace, scope, chosen)
        ids = ", ".join(sorted({self._text(peer.trace_id) for peer in chosen if peer.trace_id is not None}))
        conditions = [f"trace_id IN ({ids})", "status = 'completed'"]
        return _select(columns, "trace_summaries", conditions, "started_at DESC")

    def hop(self, trace: Trace, scope: Scope, peers: Sequence[Peer], hop: MissingHop) -> str:
        """Which of these peers have the hop."""
        pair = json.dumps([hop.caller, f"{hop.service}.{hop.operation}"], separators=(",", ":"))
        has = f"CASE WHEN position({self._text(pair)} IN CAST(hops AS TEXT)) > 0 THEN 1 ELSE 0 END AS has_hop"
        return self._peers(f"execution_id, trace_id, started_at, {has}", trace, scope, peers)

    def latencies(self, scope: Scope, service: str, operation: str) -> str:
        """The sketch of an operation's durations and self times, those of the execution itself among them."""
        conditions = [
            f"service = {self._text(service)}",
            f"operation = {self._text(operation)}",
            "status = 'completed'",
            f"bucket_start BETWEEN {_time(scope.since)} AND {_time(scope.until)}",
        ]
        if scope.model_id is not None and (service, operation) not in scope.any_model:
            conditions.append(f"model_id = {self._text(scope.model_id)}")
        columns = "measure, latency_bucket, sum(sample_count) AS samples, sum(sum_ms) AS total_ms"
        key = "measure, latency_bucket"
        return _select(columns, "operation_baselines", conditions, key, group=key)

    def declared(self, execution_id: int) -> str:
        """What the runner recorded."""
        columns = "execution_id, status, started_at, completed_at, error_message, trace_id, declared_at"
        return _select(columns, "executions", [f"execution_id = {execution_id}"])

    def exceptions(self, spans: Sequence[Span]) -> str:
        """The exceptions that were logged in these spans of one trace."""
        times = [event.unix_nano for span in spans for event in span.events[-span.logged :]]
        conditions = [
            f"trace_id = {self._text(spans[0].trace_id)}",
            f"span_id IN ({self._ids(spans)})",
            f"logged_unix_nano BETWEEN {min(times)} AND {max(times)}",
            f"position({self._text(EXCEPTION)} IN CAST(attributes AS TEXT)) > 0",
        ]
        columns = "span_id, service, severity, logged_at, body_text, attributes"
        return _select(columns, "log_records", conditions, "logged_unix_nano")

    def _spans(self, columns: str, spans: Sequence[Span]) -> str:
        return _select(columns, "trace_spans", self._of(spans, "start_unix_nano"), "start_unix_nano")

    def _of(self, spans: Sequence[Span], time: str) -> list[str]:
        return [*self._within(spans, time), f"span_id IN ({self._ids(spans)})"]

    def _within(self, spans: Sequence[Span], time: str) -> list[str]:
        """Their trace, and the times between which they lie: a store that is laid out by time reads little else."""
        starts = [span.start_unix_nano for span in spans]
        return [f"trace_id = {self._text(spans[0].trace_id)}", f"{time} BETWEEN {min(starts)} AND {max(starts)}"]

    def _peers(self, columns: str, trace: Trace, scope: Scope, peers: Sequence[Peer]) -> str:
        """The rows of these peers, chosen and ordered as ``Reader.peers`` did."""
        kin = {
            "root": [f"root_service = {self._text(scope.root[0])}", f"root_operation = {self._text(scope.root[1])}"],
            "job": [f"job_id = {self._text(scope.job_id or '')}"],
            "any": ["execution_id IS NOT NULL"],
        }
        conditions = [
            *kin[scope.kin],
            "status = 'completed'",
            "span_count > 0",
            f"started_at BETWEEN {_time(scope.since)} AND {_time(scope.until)}",
        ]
        order = "started_at DESC"
        if all(peer.complete for peer in peers):
            conditions.append("complete")
        if trace.trace_id is not None:
            conditions.append(f"trace_id <> {self._text(trace.trace_id)}")
        if trace.execution_id is not None:
            conditions.append(f"(execution_id IS NULL OR execution_id <> {trace.execution_id})")
        if scope.model_id is not None:
            same_model = f"model_id = {self._text(scope.model_id)}"
            if all(peer.model_id == scope.model_id for peer in peers):
                conditions.append(same_model)
            else:
                order = f"CASE WHEN {same_model} THEN 0 ELSE 1 END, {order}"
        return _select(columns, "trace_summaries", conditions, order, limit=len(peers))

    def _ids(self, spans: Iterable[Span]) -> str:
        return ", ".join(dict.fromkeys(self._text(span.span_id) for span in spans))

    def _text(self, value: str) -> str:
        return text_literal(value, self.dialect)


def _select(
    columns: str,
    table: str,
    conditions: Iterable[str],
    order: str | None = None,
    *,
    group: str | None = None,
    limit: int | None = None,
) -> str:
    parts = ["SELECT", columns, "FROM", table, "WHERE", " AND ".join(conditions)]
    parts += ["GROUP BY", group] if group is not None else []
    parts += ["ORDER BY", order] if order is not None else []
    parts += ["LIMIT", str(limit)] if limit is not None else []
    return " ".join(parts)


def _time(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"
