"""Words and figures as people read them, shared by Markdown and the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from otel_diag.errors import NotFound, OtelDiagError
from otel_diag.model import Claim, Cohorts, DataQuality, Distinguishing, RecentFailures, Report, Status, TimelineEntry

STATUS_MARKS = {Status.COMPLETED: "✔", Status.FAILED: "✖", Status.TIMEOUT: "⏱", Status.RUNNING: "…"}


def clean(text: str, limit: int = 200) -> str:
    """Text from a span as one harmless line: no control or invisible characters, at most ``limit`` of its own.

    What is cut off is disclosed. Control characters could drive a terminal; format characters (zero width,
    bidirectional, tags) could hide instructions from the person who reads along.
    """
    visible = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    line = " ".join(visible.split())
    if len(line) <= limit:
        return line
    return f"{line[:limit]}… ({len(line) - limit} more characters)"


def duration(ms: float | None) -> str:
    """Milliseconds, in the unit a person would say. An unknown duration is a dash."""
    if ms is None:
        return "-"
    if abs(ms) < 1:
        return f"{ms:.2g} ms"
    if abs(ms) < 1_000:
        return f"{ms:.0f} ms"
    if abs(ms) < 60_000:
        return f"{ms / 1_000:.1f} s"
    minutes, seconds = divmod(round(ms / 1_000), 60)
    return f"{minutes:,} min {seconds} s"


def seconds(value: float | None) -> str:
    return duration(None if value is None else value * 1_000)


def age(moment: datetime, now: datetime) -> str:
    """How long ago, in the unit a person would say."""
    seconds_ago = max(0, round((now - moment).total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds_ago >= length:
            return f"{counted(seconds_ago // length, unit)} ago"
    return "just now"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def key_name(execution_id: int | None, trace_id: str | None) -> str:
    """How an answer names what it is about."""
    if execution_id is not None:
        return f"execution {execution_id}"
    return f"trace {trace_id}" if trace_id is not None else "unknown execution"


def hint_of(error: OtelDiagError) -> str:
    """What to do next, with the nearest ids where something was not found."""
    if isinstance(error, NotFound) and any(near not in error.hint for near in error.nearest):
        return f"{error.hint} Nearest: {', '.join(error.nearest)}.".strip()
    return error.hint


def trait_name(one: Distinguishing) -> str:
    """``router router.provider = p2``: untrusted, to be cleaned or put into code."""
    return f"{f'{one.service} ' if one.service else ''}{one.attribute} = {one.value}"


def trait_shares(one: Distinguishing, cohorts: Cohorts) -> str:
    """How many of each cohort have it; of a single execution only how many of its peers."""
    healthy = f"{one.healthy_count:,} healthy ({percent(one.healthy_share)})"
    if cohorts.failed == 1:
        return f"only in {healthy}"
    return f"{one.failed_count:,} {cohorts.bad} ({percent(one.failed_share)}) against {healthy}"


def cohort_words(cohorts: Cohorts) -> str:
    """What was compared, and of how many the spans were read."""
    if cohorts.failed == 1:
        return f"Compared with {cohorts.healthy:,} successful executions."
    read = ""
    if (cohorts.failed_with_spans, cohorts.healthy_with_spans) != (cohorts.failed, cohorts.healthy):
        read = f"; spans were read of {cohorts.failed_with_spans:,} and {cohorts.healthy_with_spans:,}"
    return f"Compared: {cohorts.failed:,} {cohorts.bad} with {cohorts.healthy:,} healthy executions{read}."


def error_lines(answer: RecentFailures) -> list[tuple[str, str, Sequence[int | str]]]:
    """(what happened, template, examples) of error texts that the window before had not, or had more or less often."""
    new = [
        (f"new: {one.count:,} since {one.first_seen:%Y-%m-%d %H:%M} UTC", one.template, one.example_ids)
        for one in answer.new_errors
    ]
    changed = [
        (f"{'more' if one.rate > one.rate_before else 'fewer'}: {one.count:,} against {one.count_before:,}", one)
        for one in answer.changed_errors
    ]
    gone = [
        (f"gone: {one.count_before:,} before, the last {one.last_seen:%Y-%m-%d %H:%M} UTC", one.template, ())
        for one in answer.gone_errors
    ]
    return [*new, *((words, one.template, one.example_ids) for words, one in changed), *gone]


def errors_counted(answer: RecentFailures) -> str | None:
    """Of how many failures the texts were counted, where it is not all of them."""
    if answer.errors_examined >= answer.total_failures:
        return None
    return f"Counted: {answer.errors_examined:,} of {answer.total_failures:,} failures, the newest that say something."


def unusual(entry: TimelineEntry) -> str | None:
    """Why the span is unusual, unless that is only its status, which mark and error say already."""
    reason = entry.anomaly_reason or "unusual"
    if not entry.is_anomaly or reason.startswith(f"status {entry.status.value}"):
        return None
    return f"⚠ {clean(reason)}"


def choose_spans(entries: Sequence[TimelineEntry], limit: int) -> list[TimelineEntry]:
    """At most ``limit`` entries in their order: failed ones first, then anomalies, the critical path, the rest."""

    def rank(position: int) -> tuple[bool, bool, bool, int]:
        entry = entries[position]
        return not entry.status.is_failure, not entry.is_anomaly, not entry.critical, position

    kept = sorted(sorted(range(len(entries)), key=rank)[:limit])
    return [entries[position] for position in kept]


_FLAGS = {
    "orphans": "orphans",
    "cycles_broken": "cycles broken",
    "duplicate_span_ids": "span ids used twice",
    "end_before_start": "end before start",
    "out_of_range_times": "times out of range",
    "running_spans": "still running",
    "truncated": "with cut values",
    "late": "came late",
}


def data_quality_lines(quality: DataQuality) -> list[str]:
    """What is wrong with the data and what was not examined; empty when there is nothing to say."""
    lines = []
    for name, words in _FLAGS.items():
        ids: Sequence[str] = getattr(quality, name)
        total = quality.totals.get(name, len(ids))
        if total:
            late = f", up to {duration(quality.late_max_ms)}" if name == "late" else ""
            lines.append(f"{words}{late} ({total}): {some(ids, total)}")
    if quality.spans_examined < quality.spans:
        lines.append(f"{quality.spans_examined} of {quality.spans} spans were examined")
    if quality.missing_root:
        lines.append("the root span is not stored")
    if quality.still_arriving:
        lines.append("spans are still arriving: ask again in a few seconds")
    if quality.max_skew_ms:
        skew, bound = duration(quality.max_skew_ms), duration(quality.skew_bound_ms)
        lines.append(f"clocks disagree by {skew} (bound {bound}); times are shown as recorded")
    return [*lines, *quality.notes[:20]]


def further_claims(report: Report) -> list[Claim]:
    """The claims that neither the root cause nor a finding states already."""
    told = {report.root_cause.evidence} if report.root_cause else set()
    for found in report.findings:
        told |= {found.anomaly, f"{found.service}.{found.operation}: {found.anomaly}"}
    return [claim for claim in report.evidence_ledger if claim.claim not in told]


def some(ids: Sequence[str], total: int | None = None, limit: int = 5) -> str:
    """The first ids, and how many more there are; of ``total``, where the list was cut before."""
    shown = ids[:limit]
    more = (len(ids) if total is None else total) - len(shown)
    rest = f" … {more} more" if more > 0 else ""
    return ", ".join(clean(span_id, 32) for span_id in shown) + rest
