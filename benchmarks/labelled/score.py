"""Counts right answers, false alarms and how far confidence can be believed."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.labelled.spans import Case, Span, Trace

BINS = 10
ACCURACY = 0.92
FALSE_ALARMS = 0.03
CALIBRATION_ERROR = 0.05


@dataclass(frozen=True)
class Result:
    """A case and what the engine said of it."""

    case: Case
    answer: dict[str, Any]
    took_ms: float

    @property
    def verdict(self) -> str:
        return str(self.answer.get("verdict", "no answer"))

    @property
    def cause(self) -> dict[str, Any]:
        return self.answer.get("root_cause") or {}

    @property
    def named(self) -> bool:
        return self.verdict == "root_cause"

    @property
    def confidence(self) -> float:
        return float(self.cause.get("confidence", 0.0))

    @property
    def place(self) -> tuple[object, object]:
        return self.cause.get("affected_service"), self.cause.get("affected_operation")

    @property
    def type_right(self) -> bool:
        if not self.named:
            return self.verdict in self.case.label.verdicts - {"root_cause"}
        return self.cause.get("root_cause_type") in self.case.label.types

    @property
    def service_right(self) -> bool:
        places = self.case.label.places
        if not self.named or places is None:
            return self.type_right
        return self.type_right and self.place[0] in {service for service, _ in places}

    @property
    def right(self) -> bool:
        places = self.case.label.places
        if not self.named or places is None:
            return self.type_right
        return self.type_right and self.place in places

    @property
    def said(self) -> str:
        """The verdict, or the type with what of the place is wrong about it."""
        if not self.named:
            return self.verdict
        kind = str(self.cause.get("root_cause_type"))
        if not self.type_right:
            return kind
        return kind if self.right else f"{kind}, other {'operation' if self.service_right else 'service'}"


@dataclass(frozen=True)
class Summary:
    """Shares are between 0 and 1."""

    cases: int
    accuracy: float
    """Of all cases."""
    faults: int
    fault_accuracy: float
    """Of those with something to name."""
    healthy: int
    false_alarms: float
    inconclusive_on_healthy: int
    calibration_error: float

    @property
    def met(self) -> bool:
        return (
            min(self.accuracy, self.fault_accuracy) >= ACCURACY
            and self.false_alarms <= FALSE_ALARMS
            and self.calibration_error <= CALIBRATION_ERROR
        )


def share(results: Iterable[Result], good: Callable[[Result], bool]) -> float:
    marks = [good(result) for result in results]
    return sum(marks) / len(marks) if marks else 0.0


def summary(results: Sequence[Result]) -> Summary:
    healthy = [result for result in results if result.case.label.healthy]
    faults = [result for result in results if result.case.kind == "fault"]
    return Summary(
        cases=len(results),
        accuracy=share(results, lambda result: result.right),
        faults=len(faults),
        fault_accuracy=share(faults, lambda result: result.right),
        healthy=len(healthy),
        false_alarms=share(healthy, lambda result: not result.right),
        inconclusive_on_healthy=sum(result.verdict == "inconclusive" for result in healthy),
        calibration_error=calibration_error(results),
    )


def bins(results: Iterable[Result]) -> list[list[Result]]:
    """Answers that name a cause, by their confidence: ten bins of equal width."""
    found: list[list[Result]] = [[] for _ in range(BINS)]
    for result in results:
        if result.named:
            found[min(BINS - 1, int(result.confidence * BINS))].append(result)
    return found


def calibration_error(results: Iterable[Result]) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, over all answers that name a cause."""
    filled = [held for held in bins(results) if held]
    total = sum(len(held) for held in filled)
    apart = (
        len(held)
        * abs(statistics.mean(result.confidence for result in held) - share(held, lambda result: result.right))
        for held in filled
    )
    return sum(apart) / total if total else 0.0


def percent(value: float) -> str:
    return f"{100 * value:5.1f} %"


def scenario_table(results: Sequence[Result]) -> str:
    """A line for each scenario; the healthy twins in one."""
    groups: dict[tuple[int, str], list[Result]] = defaultdict(list)
    order = {"fault": 0, "undecidable": 1, "harmless": 2, "twin": 3}
    for result in results:
        case = result.case
        groups[order[case.kind], "healthy twins" if case.kind == "twin" else case.scenario].append(result)
    lines = [f"{'scenario':38} {'cases':>5} {'type':>5} {'+serv':>5} {'all':>5}  most common wrong answer"]
    for (kind, name), held in sorted(groups.items(), key=lambda item: item[0][0]):
        wrong = Counter(result.said for result in held if not result.right).most_common(1)
        mark = {0: "", 1: "? ", 2: "- ", 3: "- "}[kind]
        lines.append(
            f"{mark + name:38} {len(held):5} {sum(r.type_right for r in held):5} {sum(r.service_right for r in held):5}"
            f" {sum(r.right for r in held):5}  {f'{wrong[0][0]} ({wrong[0][1]})' if wrong else ''}"
        )
    return "\n".join(lines)


def reliability_table(results: Sequence[Result]) -> str:
    lines = [f"{'confidence':12} {'cases':>5} {'mean':>6} {'right':>6}"]
    for number, held in enumerate(bins(results)):
        if held:
            mean = statistics.mean(result.confidence for result in held)
            good = share(held, lambda result: result.right)
            lines.append(f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}   {len(held):5} {mean:6.2f} {good:6.2f}")
    return "\n".join(lines)


def peers_table(results: Sequence[Result]) -> str:
    lines = [f"{'peers':12} {'cases':>5} {'right':>8} {'faults':>6} {'right':>8} {'healthy':>7} {'alarms':>8}"]
    for name, low, high in (("0", 0, 0), ("1 to 19", 1, 19), ("20 and more", 20, 10**6)):
        held = [result for result in results if low <= result.case.peers <= high]
        found = summary(held)
        lines.append(
            f"{name:12} {len(held):5} {percent(found.accuracy):>8} {found.faults:6} {percent(found.fault_accuracy):>8}"
            f" {found.healthy:7} {percent(found.false_alarms):>8}"
        )
    return "\n".join(lines)


def tree(trace: Trace, most: int = 60) -> str:
    """The spans of a trace, indented; of wide ones those that failed and the first of the others."""
    spans = sorted(trace.spans, key=lambda span: span.start_ms)
    ids = {span.span_id for span in spans}
    below: dict[bytes | None, list[Span]] = defaultdict(list)
    for span in spans:
        below[span.parent_id if span.parent_id in ids else None].append(span)
    lines: list[str] = []

    def show(span: Span, depth: int) -> None:
        if len(lines) < most or span.failed:
            lines.append(
                "  " * depth + described(span, trace, span.parent_id is not None and span.parent_id not in ids)
            )
        for child in below[span.span_id]:
            show(child, depth + 1)

    for top in below[None]:
        show(top, 1)
    if len(spans) > len(lines):
        lines.append(f"  ... {len(spans)} spans in all")
    return "\n".join(lines)


def described(span: Span, trace: Trace, orphan: bool) -> str:
    took = "never ended" if span.end_ms is None else f"{span.end_ms - span.start_ms:,.1f} ms"
    words = "; ".join(
        [
            *([f"!! {span.message}"] if span.failed else []),
            *(
                f"{event.attributes.get('exception.type')}: {event.attributes.get('exception.message')}"
                for event in span.events
            ),
        ]
    )
    told = {key: value for key, value in span.attributes.items() if key.startswith(TOLD)}
    clock = trace.clocks_ms.get(span.service.name, span.service.clock_ms)
    return (
        f"{'(orphan) ' if orphan else ''}{span.service.name} | {span.name} [{span.kind.name.lower()}] "
        f"+{span.start_ms:,.1f} {took}{f' clock {clock:+,.0f}' if abs(clock) > 1 else ''} "
        f"{words[:160].replace(chr(10), ' ')}{f' {told}' if told else ''}"
    )


TOLD = (
    "error.",
    "faas.",
    "queue.",
    "router.",
    "http.response",
    "http.status",
    "rpc.grpc",
    "modal.preempted",
    "http.request.r",
)


def shown(result: Result) -> str:
    case = result.case
    lines = [
        "",
        f"{case.scenario} ({case.kind}, {case.peers} peers) {case.question()}",
        f"  label   {case.label.text()}",
        f"  answer  {result.said} at {' | '.join(map(str, result.place))} ({result.confidence:.2f})",
        f"  says    {result.cause.get('evidence') or result.answer.get('error')}",
    ]
    lines += [f"  record  {declared.record}" for declared in case.declared]
    for trace in case.traces:
        lines += [f"  trace   {trace.trace_id.hex()}", tree(trace)]
    return "\n".join(lines)
