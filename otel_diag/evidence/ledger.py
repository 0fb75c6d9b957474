"""The claims of a report, each with the SELECT that shows the rows it rests on. Pure: nothing is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from otel_diag.analyse.root_cause import Context
from otel_diag.analyse.skew import ClockOffset, tightest_calls
from otel_diag.ask.guarded_sql import MAX_SQL
from otel_diag.evidence.selects import Selects
from otel_diag.model import NANOS_PER_MS, Claim, MissingHop, Report, Span

MAX_CLAIMS: Final = 20
MAX_IDS: Final = 20
_MAX_OF_A_KIND: Final = 5
_LONGEST: Final = 1_000


def claims_of(ctx: Context, report: Report, dialect: str) -> list[Claim]:
    """All claims, the decisive one first, then what it was compared with, then what else was found."""
    book = _Book(ctx, report, Selects(dialect))
    found = [
        *book.cause(),
        *book.declared(),
        *book.logged(),
        *book.missing_hops(),
        *book.durations(),
        *book.latencies(),
        *book.clocks(),
        *book.findings(),
    ]
    return [claim for claim in found if len(claim.query) <= MAX_SQL]


@dataclass(frozen=True, slots=True)
class _Book:
    ctx: Context
    report: Report
    selects: Selects

    def cause(self) -> Iterator[Claim]:
        cause = self.report.root_cause
        if cause is None:
            return
        spans = self._spans(cause.evidence_spans)
        if spans:
            yield self._about(cause.evidence, spans)
            return
        hop = next((hop for hop in self.ctx.missing if hop.detail == cause.evidence), None)
        declared = self.ctx.trace.declared
        if hop is not None and (query := self._hop_query(hop)) is not None:
            yield _claim(cause.evidence, query)
        elif declared is not None:
            yield _claim(cause.evidence, self.selects.declared(declared.execution_id))
        elif self.ctx.tree.spans:
            yield _claim(cause.evidence, self.selects.first_spans(self.ctx.tree.spans, MAX_IDS))

    def findings(self) -> Iterator[Claim]:
        """What was found beside the cause, as far as it is about spans; absent hops have claims of their own."""
        told = {self.report.root_cause.evidence} if self.report.root_cause else set()
        for finding in self.report.findings:
            spans = self._spans(finding.span_ids)
            if spans and finding.anomaly.partition(": ")[2] not in told:
                yield self._about(f"{finding.service}.{finding.operation}: {finding.anomaly}", spans)

    def declared(self) -> Iterator[Claim]:
        said = self.ctx.trace.declared
        if said is None:
            return
        took = (said.completed_at - said.started_at).total_seconds() * 1e3 if said.completed_at is not None else None
        after = f" after {took:,.0f} ms" if took is not None else ""
        words = f": {said.error_message[:200]}" if said.error_message else ""
        yield _claim(f"the runner recorded {said.status.value}{after}{words}", self.selects.declared(said.execution_id))

    def logged(self) -> Iterator[Claim]:
        spans = [span for span in self.ctx.tree.spans if span.logged]
        if spans:
            first = spans[0]
            words = f"{first.service}.{first.operation} failed without words"
            others = f", as did {len(spans) - 1} other spans" if len(spans) > 1 else ""
            said = f"{words}{others}; logged in it: {(first.error_message or 'an exception without a message')[:200]}"
            cited = spans[:MAX_IDS]
            yield _claim(said, self.selects.exceptions(cited), cited, len(spans))

    def missing_hops(self) -> Iterator[Claim]:
        told = self.report.root_cause
        for hop in self.ctx.missing[:_MAX_OF_A_KIND]:
            query = self._hop_query(hop)
            if query is None or (told is not None and told.evidence == hop.detail and not told.evidence_spans):
                continue
            share = f"; {hop.share_of_peers:.0%} of {len(self.ctx.baseline.peers)} successful peers have it"
            yield _claim(hop.detail if "peers" in hop.detail else hop.detail + share, query)

    def durations(self) -> Iterator[Claim]:
        baseline, scope = self.ctx.baseline, self.ctx.baseline.scope
        alike = baseline.peers_like({span.element for span in self.ctx.tree.spans})
        took = [peer.duration_ms for peer in alike if peer.duration_ms is not None]
        if scope is None or not took or not self.ctx.wall_ms:
            return
        limit = self.ctx.duration_limit_ms
        same = "" if len(alike) == len(baseline.peers) else " with the same spans"
        slow = f"; more than {limit:,.0f} ms counts as slow" if limit is not None else ""
        yield _claim(
            f"it took {self.ctx.whole_ms:,.0f} ms; {_counted(took, 'comparable successful execution')}{same} took "
            f"{median(took):,.0f} ms at the median, {max(took):,.0f} ms at most{slow}",
            self.selects.durations(self.ctx.trace, baseline, scope, alike),
        )

    def latencies(self) -> Iterator[Claim]:
        """What is usual of the operations that the cause and the findings are about."""
        baseline, scope = self.ctx.baseline, self.ctx.baseline.scope
        cause = self.report.root_cause
        named = [(cause.affected_service, cause.affected_operation)] if cause else []
        named += [(finding.service, finding.operation) for finding in self.report.findings]
        known = [name for name in dict.fromkeys(named) if name in baseline.operations]
        for service, operation in known[:_MAX_OF_A_KIND]:
            stats = baseline.operations[service, operation]
            if scope is None or not stats.count:
                continue
            own = baseline.self_stats(service, operation)
            itself = f", {own.percentile(0.5):,.1f} ms of it itself" if own is not None else ""
            widened = scope.model_id is None or (service, operation) in scope.any_model
            of_model = "" if widened else f" of {scope.model_id}"
            yield _claim(
                f"{service}.{operation} usually takes {stats.percentile(0.5):,.1f} ms{itself}: the median of "
                f"{stats.count:,} other completed calls{of_model} from {scope.since:%d %b} to {scope.until:%d %b %Y}",
                self.selects.latencies(scope, service, operation),
            )

    def clocks(self) -> Iterator[Claim]:
        """Clocks that differ, and those that the cause depends on, the largest difference first."""
        hop = self.report.root_cause.hop if self.report.root_cause else None
        between = {hop.caller, hop.callee} if hop else set()
        offsets = [
            offset
            for offset in self.ctx.skew.offsets.values()
            if abs(offset.offset_ns) >= NANOS_PER_MS or {offset.caller[0], offset.callee[0]} == between
        ]
        offsets.sort(key=lambda offset: (-abs(offset.offset_ns), offset.caller, offset.callee))
        for offset in offsets[:_MAX_OF_A_KIND]:
            spans = [span for span in tightest_calls(self.ctx.tree, offset) if span.end_unix_nano is not None]
            if spans:
                yield _claim(_clock(offset), self.selects.clocks(spans), spans)

    def _about(self, said: str, spans: Sequence[Span]) -> Claim:
        cited = spans[:MAX_IDS]
        return _claim(said, self.selects.spans(cited), cited, len(spans))

    def _hop_query(self, hop: MissingHop) -> str | None:
        baseline, scope = self.ctx.baseline, self.ctx.baseline.scope
        if scope is None or hop.share_of_peers is None:
            return None
        return self.selects.hop(self.ctx.trace, scope, baseline.peers, hop)

    def _spans(self, span_ids: Iterable[str]) -> list[Span]:
        known = self.ctx.spans_by_id
        return [known[span_id] for span_id in dict.fromkeys(span_ids) if span_id in known]


def _claim(said: str, query: str, spans: Sequence[Span] = (), total: int | None = None) -> Claim:
    return Claim(
        claim=said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…",
        span_ids=[span.span_id for span in spans],
        total_spans=len(spans) if total is None else total,
        query=query,
    )


def _clock(offset: ClockOffset) -> str:
    caller, callee = offset.caller[0], offset.callee[0]
    bound = f"{offset.bound_ns / NANOS_PER_MS:,.0f} ms"
    calls = _counted(range(offset.calls), "call")
    if not offset.offset_ns:
        return f"the clocks of {caller} and {callee} agree to within {bound}, as far as {calls} between them can tell"
    ahead = f"{offset.offset_ns / NANOS_PER_MS:+,.0f} ms"
    return f"the clock of {callee} is {ahead} against {caller}, give or take {bound}, by {calls} between them"


def _counted(items: Sequence[object], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"
