"""What is wrong with the data of a trace itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.skew import Skew
from otel_diag.analyse.tree import Tree
from otel_diag.model import NANOS_PER_MS, DataQuality, Span

MAX_IDS: Final = 50
LATE_MS: Final = 10_000.0
"""A span that comes this long after it has ended, and after the first of its trace, is late: the default of
``settle_seconds``, after which a trace is judged."""

_FIRST_NANO: Final = 31_536_000 * 10**9
_LAST_NANO: Final = 9_183_110_400 * 10**9


def data_quality(
    tree: Tree,
    skew: Skew,
    baseline: Baseline,
    *,
    left_out: int = 0,
    still_arriving: bool = False,
    notes: Sequence[str] = (),
) -> DataQuality:
    """Flags with span ids, each list cut at 50, with totals of those that were; notes say where spans were left out."""
    spans = tree.spans
    lists = {
        "orphans": [spans[i].span_id for i in tree.orphans],
        "cycles_broken": [spans[i].span_id for i in tree.cycles_broken],
        "duplicate_span_ids": list(tree.duplicates),
        "end_before_start": [
            s.span_id for s in spans if s.end_unix_nano is not None and s.end_unix_nano < s.start_unix_nano
        ],
        "out_of_range_times": [s.span_id for s in spans if not _FIRST_NANO <= s.start_unix_nano < _LAST_NANO],
        "running_spans": [s.span_id for s in spans if s.end_unix_nano is None],
        "truncated": [s.span_id for s in spans if s.truncated],
    }
    delays = _late(spans)
    lists["late"] = list(delays)
    examined = (
        f"{len(spans):,} of {len(spans) + left_out:,} spans were examined: those that failed, roots, entries and the "
        "longest, with the spans above them. Counts and gaps are of these; an orphan may hang below one left out."
    )
    skewed = [
        f"the clock of {o.callee[0]} is {_signed(o.offset_ns)} ms against {o.caller[0]}, "
        f"give or take {o.bound_ns / 1e6:,.0f} ms"
        for o in skew.offsets.values()
        if abs(o.offset_ns) >= 1_000_000
    ]
    return DataQuality(
        spans=len(spans) + left_out,
        spans_examined=len(spans),
        roots=len(tree.roots),
        missing_root=bool(spans) and len(tree.orphans) == len(tree.roots),
        late_max_ms=max(delays.values(), default=0.0),
        still_arriving=still_arriving,
        max_skew_ms=skew.max_ms,
        skew_bound_ms=skew.max_bound_ms,
        baseline_executions=len(baseline.peers),
        thresholds="baseline" if baseline.is_learned else "constants",
        notes=[*([examined] if left_out else ()), *notes, *_first(skewed)],
        totals={name: len(ids) for name, ids in lists.items() if len(ids) > MAX_IDS},
        **{name: _first(ids) for name, ids in lists.items()},
    )


def _late(spans: Sequence[Span]) -> dict[str, float]:
    """Late spans and how late each was, in ms."""
    arrivals = [(s, s.ingested_at.timestamp() * 1e3) for s in spans if s.ingested_at is not None]
    first = min((came for _, came in arrivals), default=0.0)
    delays = {s.span_id: came - max(first, (s.end_unix_nano or 0) / NANOS_PER_MS) for s, came in arrivals}
    return {span_id: delay for span_id, delay in delays.items() if delay > LATE_MS}


def _first(items: Iterable[str]) -> list[str]:
    return list(items)[:MAX_IDS]


def _signed(ns: int) -> str:
    return f"{ns / 1e6:+,.0f}"
