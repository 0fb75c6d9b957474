"""How often the engine is right.

``python -m tests.scenarios.score --seed 1 --worlds 30 [--show 5] [--scenario NAME]``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from otel_diag.analyse.root_cause import diagnose
from otel_diag.model import Report, Span, Trace
from otel_diag.testing import START
from tests.scenarios.cases import HEALTHY, Case
from tests.scenarios.generate import NAMES, cases

NOW = START + timedelta(hours=1)
BINS = 5
SHOWN_SPANS = 60
ALIKE = 3


@dataclass(frozen=True)
class Judged:
    case: Case
    report: Report

    @property
    def type_right(self) -> bool:
        return self.case.label.type_fits(self.report)

    @property
    def right(self) -> bool:
        return self.case.label.fits(self.report)

    @property
    def answer(self) -> str:
        cause = self.report.root_cause
        return self.report.verdict if cause is None else cause.root_cause_type.value

    @property
    def place(self) -> str:
        cause = self.report.root_cause
        return "" if cause is None else f"{cause.affected_service} | {cause.affected_operation}"


@dataclass(frozen=True)
class Rates:
    """Shares, 0..1. ``false_alarms``: of executions labelled healthy that were given a root cause."""

    cases: int
    right: float
    false_alarms: float


def judged(case: Case) -> Judged:
    return Judged(case, diagnose(case.trace, case.baseline, now=NOW, still_arriving=case.still_arriving))


def rates(results: Sequence[Judged]) -> Rates:
    fine = [one for one in results if one.case.label.type is None]
    faulty = [one for one in results if one.case.label.type is not None]
    alarms = sum(one.report.root_cause is not None for one in fine)
    return Rates(len(results), sum(one.right for one in faulty) / max(len(faulty), 1), alarms / max(len(fine), 1))


def table(results: Sequence[Judged]) -> Iterator[str]:
    yield f"{'scenario':44} {'cases':>5} {'type':>6} {'all':>6}  commonest wrong answer"
    by_name: dict[str, list[Judged]] = defaultdict(list)
    for one in results:
        by_name[one.case.scenario].append(one)
    for name, found in by_name.items():
        wrong = Counter(one.answer if not one.type_right else "(another place)" for one in found if not one.right)
        worst = ", ".join(f"{answer} x{count}" for answer, count in wrong.most_common(2))
        mark = " " if name in HEALTHY else "*"
        yield f"{mark} {name:42} {share_line(found)}  {worst}"


def breakdown(results: Sequence[Judged]) -> Iterator[str]:
    """Rightness by what the label says, and by how many peers were known."""
    by_group: dict[tuple[int, str], list[Judged]] = defaultdict(list)
    for one in results:
        kind = one.case.label.type
        by_group[0, "healthy" if kind is None else kind.value].append(one)
        peers = one.case.peers
        by_group[1 + peers, f"{peers} peers"].append(one)
    yield f"{'label, peers':44} {'cases':>5} {'type':>6} {'all':>6}"
    for (_, name), found in sorted(by_group.items()):
        yield f"  {name:42} {share_line(found)}"


def share_line(found: Sequence[Judged]) -> str:
    typed = sum(one.type_right for one in found) / len(found)
    return f"{len(found):5} {typed:6.0%} {sum(one.right for one in found) / len(found):6.0%}"


def reliability(results: Sequence[Judged]) -> Iterator[str]:
    """Confidence against how often it was right, for the answers that name a root cause."""
    named = [one for one in results if one.report.root_cause is not None]
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for one in named:
        assert one.report.root_cause is not None
        confidence = one.report.root_cause.confidence
        bins[min(int(confidence * BINS * 2), BINS * 2 - 1)].append((confidence, one.right))
    error = 0.0
    yield f"{'confidence':>12} {'answers':>8} {'said':>6} {'right':>6}"
    for bucket, found in sorted(bins.items()):
        said = sum(confidence for confidence, _ in found) / len(found)
        right = sum(is_right for _, is_right in found) / len(found)
        error += abs(said - right) * len(found) / len(named)
        low = bucket / (BINS * 2)
        yield f"  {low:.1f} to {low + 0.1:.1f} {len(found):8} {said:6.2f} {right:6.2f}"
    yield f"expected calibration error {error:.3f}"


def tree(trace: Trace) -> Iterator[str]:
    """Spans as an indented tree, times in ms since the first start on raw clocks."""
    by_id = {span.span_id: span for span in trace.spans}
    below: dict[str | None, list[Span]] = defaultdict(list)
    for span in trace.spans:
        below[span.parent_span_id if span.parent_span_id in by_id else None].append(span)
    first = min((span.start_unix_nano for span in trace.spans), default=0)
    if trace.declared is not None:
        yield f"declared {trace.declared.status}: {trace.declared.error_message}"

    def lines(parent: str | None, depth: int) -> Iterator[str]:
        siblings = sorted(below[parent], key=lambda one: one.start_unix_nano)
        dull = Counter(span.element for span in siblings if not (below[span.span_id] or span.status.is_failure))
        shown_of: Counter[str] = Counter()
        for span in siblings:
            shown_of[span.element] += 1
            if shown_of[span.element] > ALIKE and dull[span.element] > ALIKE and not span.status.is_failure:
                continue
            yield line(span, depth, first, is_orphan=parent is None and span.parent_span_id is not None)
            yield from lines(span.span_id, depth + 1)
        for element, count in dull.items():
            if count > ALIKE:
                yield f"{'  ' * depth}... {count - ALIKE} more of {element} that completed"

    for number, text in enumerate(lines(None, 0)):
        if number == SHOWN_SPANS:
            yield f"... {len(trace.spans) - SHOWN_SPANS} more"
            return
        yield text


def line(span: Span, depth: int, first: int, *, is_orphan: bool) -> str:
    start = (span.start_unix_nano - first) / 1e6
    took = "never finished" if span.duration_ms is None else f"{span.duration_ms:.1f} ms"
    said = ""
    if span.error_type or span.error_message or span.status.is_failure:
        said = f"  {span.status.value.upper()} {span.error_type or '-'}: {(span.error_message or '-')[:90]!r}"
    told = " ".join(f"{name}={value}" for name, value in span.attributes.items())
    orphan = "(orphan) " if is_orphan else ""
    linked = f" links={[link.span_id[-4:] for link in span.links]}" if span.links else ""
    name = f"{'  ' * depth}{orphan}{span.service} | {span.operation} [{span.kind}]"
    return f"{name} @{start:.1f} {took}{said}  {told}{linked}"


def shown(one: Judged) -> Iterator[str]:
    case = one.case
    label = case.label
    arriving = ", still arriving" if case.still_arriving else ""
    yield f"--- {case.scenario}, seed {case.seed}, {case.peers} peers{arriving}"
    expected = label.type.value if label.type else "healthy"
    yield f"label   {expected} at {' or '.join(' | '.join(place) for place in label.at) or 'any place'}: {label.why}"
    yield f"answer  {one.answer} at {one.place or '-'}"
    if one.report.root_cause is not None:
        yield f"        {one.report.root_cause.confidence:.2f} {one.report.root_cause.evidence}"
    yield from tree(case.trace)
    yield ""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=30, help="worlds for every scenario")
    parser.add_argument("--show", type=int, default=0, help="wrong cases of each scenario to print")
    parser.add_argument("--scenario", action="append", choices=NAMES, help="only these")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    seeds = range(options.seed * 10_000, options.seed * 10_000 + options.worlds)
    results = [judged(case) for case in cases(seeds, options.scenario or NAMES)]
    seconds = time.perf_counter() - began
    print("\n".join(wrong_cases(results, options.show)), end="")
    print("\n".join([*table(results), "", *breakdown(results), "", *reliability(results)]))
    overall = rates(results)
    print(
        f"\n{overall.cases} cases in {seconds:.0f} s: right {overall.right:.1%} of faults,"
        f" false alarms {overall.false_alarms:.1%} of healthy executions"
    )


def wrong_cases(results: Iterable[Judged], limit: int) -> Iterator[str]:
    shown_of: Counter[str] = Counter()
    for one in results:
        if not one.right and shown_of[one.case.scenario] < limit:
            shown_of[one.case.scenario] += 1
            yield from shown(one)


if __name__ == "__main__":
    main(sys.argv[1:])
