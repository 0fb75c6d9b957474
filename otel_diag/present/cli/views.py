"""Answers as a terminal shows them. Text from spans arrives here cleaned and never as markup."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from otel_diag.model import (
    Claim,
    Cohorts,
    Comparison,
    ConfirmedCause,
    DataQuality,
    Distinguishing,
    Divergence,
    ExecutionBrief,
    FailurePattern,
    GapReport,
    JobAnalysis,
    NextStep,
    Performance,
    PerformanceWindow,
    PrunedStore,
    QueryAnswer,
    RecentFailures,
    Report,
    RootCause,
    SqlResult,
    Status,
    Timeline,
    TimelineEntry,
    TraceDiff,
)
from otel_diag.present.text import (
    STATUS_MARKS,
    age,
    choose_spans,
    clean,
    cohort_words,
    counted,
    data_quality_lines,
    duration,
    error_lines,
    errors_counted,
    further_claims,
    key_name,
    percent,
    seconds,
    some,
    trait_name,
    trait_shares,
    unusual,
)

if TYPE_CHECKING:
    from otel_diag.present.cli.transfer import Imported

MAX_SPANS: Final = 100
MAX_BROKEN: Final = 5
MAX_SQL_ROWS: Final = 200
BAR_WIDTH: Final = 16

STYLES: Final = {
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.TIMEOUT: "dark_orange",
    Status.RUNNING: "cyan",
}

TOOL_COMMANDS: Final = {
    "diagnose_execution": "diagnose",
    "find_timeout_root_cause": "diagnose",
    "compare_with_successful": "compare",
    "get_recent_failures": "failures",
    "analyze_performance": "perf",
    "find_trace_gaps": "gaps",
    "query_traces": "ask",
}
_POSITIONAL: Final = ("execution_id", "trace_id", "query")


def report(answer: Report, timeline: Timeline, *, evidence: bool = False) -> RenderableType:
    """With ``evidence``, every claim and the query that shows its rows; else those that are not told above."""
    parts: list[RenderableType] = [_headline(answer)]
    if answer.root_cause is not None:
        parts.append(_root_cause(answer.root_cause))
    if answer.confirmed_causes:
        parts.append(confirmed(answer.confirmed_causes))
    parts.append(timeline_table(timeline.timeline, timeline.total_spans))
    findings = [[f"{f.service}.{f.operation}", f.anomaly] for f in answer.findings]
    parts += _section("Findings", _table(["where", "what"], findings))
    claims = answer.evidence_ledger if evidence else further_claims(answer)
    lines = [line for claim in claims for line in _claim(claim, with_query=evidence)]
    hidden = answer.total_claims - len(answer.evidence_ledger)
    parts += _section("Evidence", *lines, *(_more(len(claims), len(claims) + hidden) if evidence else ()))
    cases = [
        [
            key_name(c.similar_execution_id, c.trace_id),
            percent(c.similarity_score),
            str(c.status),
            duration(c.total_duration_ms),
            c.failure_point or "-",
            f"{c.executions:,}",
        ]
        for c in answer.similar_cases
    ]
    header = ["execution", "similar", "status", "duration", "failed at", "alike"]
    parts += _section("Similar", _table(header, cases, right=(5,)))
    breakdown = [
        [service, ms if isinstance(ms, str) else duration(ms)] for service, ms in answer.timing_breakdown.items()
    ]
    parts += _section("Time by service", _table(["service", "time"], breakdown, right=(1,)))
    parts += _data_quality(answer.data_quality)
    parts += _section("Not examined", *_bullets(answer.not_examined))
    parts += next_steps(answer.next_steps)
    return Group(*parts)


def confirmed(causes: Sequence[ConfirmedCause]) -> RenderableType:
    """A line for each: of what, the cause, the note, when and by whom."""
    return Group(*_section("Confirmed before", *_bullets(map(_confirmed, causes))))


def job(answer: JobAnalysis) -> RenderableType:
    name = f"job {clean(answer.job_id)}" if answer.job_id is not None else "execution"
    parts: list[RenderableType] = [
        Text(f"{name}: {answer.failed_executions} of {answer.total_executions} executions failed", style="bold"),
        Text(clean(answer.pattern, 600)),
    ]
    parts += _patterns(answer.patterns)
    parts += _distinguishing(answer.distinguishing, answer.cohorts)
    rows = [
        [
            _marked(e.status, e.execution_id, e.trace_id),
            duration(e.duration_ms),
            e.region or "-",
            e.model or "-",
            str(e.span_count),
            e.root_cause_type or "-",
        ]
        for e in answer.analysis
    ]
    parts.append(_table(["execution", "duration", "region", "model", "spans", "root cause"], rows, right=(1, 4)))
    parts += _more(len(rows), answer.total_executions)
    return Group(*parts, *next_steps(answer.next_steps))


def failures(answer: RecentFailures) -> RenderableType:
    parts: list[RenderableType] = [
        Text(f"{counted(answer.total_failures, 'failure')} since {answer.since:%Y-%m-%d %H:%M} UTC", style="bold")
    ]
    parts += _patterns(answer.patterns)
    parts += _distinguishing(answer.distinguishing, answer.cohorts)
    errors = [
        [words, template, some([str(i) for i in examples]) or "-"] for words, template, examples in error_lines(answer)
    ]
    said = errors_counted(answer) if errors else None
    legend = [Text(said, style="dim")] if said else []
    table = _table(["how many", "error", "such as"], errors)
    parts += _section("Errors against the window before", table, *legend)
    rows = [
        [
            f"{STATUS_MARKS[f.status]} {f.id}",
            f.job_id or "-",
            f.region or "-",
            f.model_id or "-",
            duration(f.duration_ms),
            _why(f.root_cause_type, f.error_message),
        ]
        for f in answer.failures
    ]
    header = ["execution", "job", "region", "model", "duration", "root cause and error"]
    parts.append(_table(header, rows, right=(4,)))
    parts += _more(len(rows), answer.total_failures)
    return Group(*parts, *next_steps(answer.next_steps))


def comparison(answer: Comparison) -> RenderableType:
    rows = [_brief(answer.failed_execution), *map(_brief, answer.similar_successful)]
    parts: list[RenderableType] = [_table(_BRIEF_HEADER, rows, right=(1, 2, 3)), *_divergence(answer.first_divergence)]
    parts += _section("Differences", *_bullets(answer.differences))
    parts += _distinguishing(answer.distinguishing, answer.cohorts)
    return Group(*parts, *next_steps(answer.next_steps))


def diff(answer: TraceDiff) -> RenderableType:
    parts: list[RenderableType] = [
        _table(_BRIEF_HEADER, [_brief(answer.left), _brief(answer.right)], right=(1, 2, 3)),
        Text(f"{percent(answer.similarity_score)} similar"),
        *_divergence(answer.first_divergence),
    ]
    parts += _section("Differences", *_bullets(answer.summary))
    if answer.changes:
        rows = [[_CHANGES[change.kind], change.detail] for change in answer.changes]
        parts += _section("Span by span", _table(["what", "where"], rows))
    elif answer.total_changes:
        parts.append(Text(f"{counted(answer.total_changes, 'span')} changed: too many to list.", style="dim"))
    return Group(*parts)


def gaps(answer: GapReport) -> RenderableType:
    found = f"{counted(len(answer.gaps), 'gap')} in {counted(answer.total_spans, 'span')}"
    title = f"{key_name(answer.execution_id, answer.trace_id)}: {found}"
    parts: list[RenderableType] = [Text(title, style="bold")]
    rows = [
        [
            f"{'⚠ ' if gap.is_anomaly else ''}{gap.kind}",
            duration(gap.gap_ms) + (f" ± {duration(gap.skew_bound_ms)}" if gap.skew_bound_ms else ""),
            f"{gap.caller} → {gap.callee}" if gap.caller and gap.callee else "-",
            gap.detail or "-",
        ]
        for gap in answer.gaps
    ]
    parts += _section("Gaps", _table(["kind", "time", "hop", "what"], rows, right=(1,)))
    missing = [[f"{m.service}.{m.operation}", m.reason.replace("_", " "), m.detail] for m in answer.missing]
    parts += _section("Missing hops", _table(["hop", "why", "what"], missing))
    if answer.orphans:
        parts.append(Text(f"Orphans (their parent is not stored): {some(answer.orphans)}"))
    parts.append(timeline_table(answer.spans, answer.total_spans))
    parts += _data_quality(answer.data_quality)
    return Group(*parts, *next_steps(answer.next_steps))


def performance(answer: Performance) -> RenderableType:
    filters = ", ".join(f"{name} {clean(value)}" for name, value in answer.filters.items()) or "everything"
    title = f"{'executions' if answer.measured == 'executions' else 'one operation'}: {filters}"
    figures = zip(_FIGURES, _figures(answer), _figures(answer.previous_window), strict=True)
    rows = [list(row) for row in figures]
    table = _table(["", "this window", "window before"], rows, right=(1, 2))
    return Group(Text(title, style="bold"), table, *next_steps(answer.next_steps))


def query_answer(answer: QueryAnswer) -> RenderableType:
    parts: list[RenderableType] = [Text(clean(answer.message, 600), style="bold")]
    columns = list(dict.fromkeys(name for row in answer.results for name in row))[:8]
    rows = [[_plain(row.get(name)) for name in columns] for row in answer.results[:50]]
    parts += [_table(columns, rows), *_more(len(rows), answer.total_results)]
    if answer.sql_or_call is not None:
        parts.append(Text(f"\n{clean(answer.sql_or_call, 240)}", style="dim"))
    parts += _section("You can ask", *_bullets(answer.suggestions))
    return Group(*parts, *next_steps(answer.next_steps))


def sql_result(answer: SqlResult) -> RenderableType:
    rows = [[_plain(value) for value in row] for row in answer.rows[:MAX_SQL_ROWS]]
    parts: list[RenderableType] = [_table(answer.columns, rows), *_more(len(rows), answer.row_count)]
    if answer.row_count_is_partial:
        parts.append(Text("There are more rows than were asked for.", style="dim"))
    return Group(*parts)


def imported(results: Sequence[Imported]) -> RenderableType:
    rows = [
        [
            Path(result.file).name,
            f"{result.spans:,}",
            f"{result.stored:,}",
            "not told" if result.duplicates is None else f"{result.duplicates:,}",
            f"{result.rejected.total():,}",
        ]
        for result in results
    ]
    parts: list[RenderableType] = [
        _table(["file", "spans", "stored", "duplicates", "rejected"], rows, right=(1, 2, 3, 4))
    ]
    for result in results:
        notes = [f"{count} spans rejected: {why}" for why, count in result.rejected.items()]
        if (lines := result.lines) is not None:
            notes += [f"{lines.read} lines read, {lines.ignored} ignored"]
            notes += [f"{result.announced} spans only started"] if result.announced else []
            notes += [f"{lines.unpaired} spans had one of their two lines"] if lines.unpaired else []
        notes += [f"{count} requests of {signal} skipped" for signal, count in result.skipped.items()]
        notes += [f"{part.where} unreadable: {part.reason}" for part in result.broken[:MAX_BROKEN]]
        parts += _bullets(f"{Path(result.file).name}: {note}" for note in notes)
        parts += _more(min(len(result.broken), MAX_BROKEN), len(result.broken))
    return Group(*parts)


def timeline_table(entries: Sequence[TimelineEntry], total: int) -> RenderableType:
    """One line a span with a bar where it lies in time; its error and the gap after it below the name."""
    if not entries:
        return Text("No span of it is stored.", style="dim")
    shown = choose_spans(entries, MAX_SPANS)
    end = max((e.end_ms if e.end_ms is not None else e.start_ms for e in entries), default=0.0)
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("span", ratio=1, overflow="fold")
    table.add_column("", width=BAR_WIDTH, no_wrap=True)
    table.add_column("duration", justify="right", no_wrap=True)
    for entry in shown:
        table.add_row(_span_name(entry), _bar(entry, end), duration(entry.duration_ms))
    legend = Text("* critical path", style="dim")
    return Group(Text(), table, Padding(legend, (0, 1)), *_more(len(shown), total))


def next_steps(steps: Iterable[NextStep]) -> list[RenderableType]:
    """Each as the command that takes it."""
    return _section("Next", _table(["command", "why"], [[command_line(step), step.why] for step in steps]))


def command_line(step: NextStep) -> str:
    """The ``otel-diag`` command that makes the call of a next step."""
    words = [f"otel-diag {TOOL_COMMANDS.get(step.tool, step.tool)}"]
    for name, value in step.arguments.items():
        text = value if isinstance(value, str) else json.dumps(value)
        quoted = f'"{text}"' if " " in text else text
        positional = name in _POSITIONAL and not (step.tool == "query_traces" and name != "query")
        words.append(quoted if positional else f"--{name.replace('_', '-')} {quoted}")
    return " ".join(words)


# --------------------------------------------------------------------------------------------------
# Parts.

_FIGURES: Final = ("from", "until", "total", "failed", "success rate", "average", "p50", "p95", "p99")
_CHANGES: Final = {
    "only_left": "only in the first",
    "only_right": "only in the second",
    "status": "other status",
    "duration": "other duration",
}
_BRIEF_HEADER: Final = ["execution", "duration", "spans", "similar", "region", "model", "status and error"]


def _brief(brief: ExecutionBrief) -> list[str]:
    return [
        _marked(brief.status, brief.execution_id, brief.trace_id),
        duration(brief.duration_ms),
        str(brief.span_count),
        percent(brief.similarity_score),
        brief.region or "-",
        brief.model_id or "-",
        _why(brief.status, brief.error_message),
    ]


def _figures(window: PerformanceWindow) -> list[str]:
    return [
        f"{window.since:%Y-%m-%d %H:%M}",
        f"{window.until:%Y-%m-%d %H:%M}",
        str(window.total_executions),
        str(window.failed),
        percent(window.success_rate),
        seconds(window.avg_duration_sec),
        seconds(window.p50_duration_sec),
        seconds(window.p95_duration_sec),
        seconds(window.p99_duration_sec),
    ]


def _why(word: str | None, message: str | None) -> str:
    return ": ".join(part for part in (word, message) if part) or "-"


def _marked(status: Status, execution_id: int | None, trace_id: str | None) -> str:
    return f"{STATUS_MARKS[status]} {execution_id if execution_id is not None else trace_id or '-'}"


def _headline(answer: Report) -> Text:
    text = Text.assemble(
        (f"{STATUS_MARKS[answer.status]} ", STYLES[answer.status]),
        (key_name(answer.execution_id, answer.trace_id), "bold"),
        f"  {answer.status}  ",
    )
    if answer.root_cause is None:
        text.append(answer.verdict, style="bold green" if answer.verdict == "healthy" else "bold yellow")
    else:
        text.append(answer.root_cause.root_cause_type, style="bold red")
        text.append(f"  confidence {percent(answer.root_cause.confidence)}", style="dim")
    return text


def _root_cause(cause: RootCause) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("where", Text(clean(f"{cause.affected_service}.{cause.affected_operation}"), style="bold"))
    if cause.hop is not None:
        grid.add_row("hop", Text(f"{clean(cause.hop.caller)} → {clean(cause.hop.callee)}"))
    grid.add_row("evidence", Text(clean(cause.evidence, 600)))
    if cause.evidence_spans:
        grid.add_row("spans", Text(some(cause.evidence_spans), style="dim"))
    grid.add_row("do", Text(clean(cause.recommendation, 600)))
    return Padding(grid, (1, 0, 0, 2))


def _confirmed(cause: ConfirmedCause) -> str:
    words = cause.root_cause_type.value if cause.root_cause_type else "cause not named"
    at = ".".join(part for part in (cause.affected_service, cause.affected_operation) if part)
    where = f" at {clean(at, 120)}" if at else ""
    wrong = "" if cause.confirmed else "the verdict was wrong, "
    note = f": '{clean(cause.note, 400)}'" if cause.note else ""
    by = f" by {clean(cause.by, 60)}" if cause.by else ""
    when = age(cause.confirmed_at, datetime.now(UTC))
    return f"{key_name(cause.execution_id, cause.trace_id)}, {wrong}{words}{where}{note}, {when}{by}"


def _claim(claim: Claim, *, with_query: bool) -> list[RenderableType]:
    spans = f" ({some(claim.span_ids)})" if claim.span_ids else ""
    lines = _bullets([f"{clean(claim.claim, 600)}{spans}"])
    if with_query:  # whole, to be copied
        lines.append(Padding(Text(clean(claim.query, len(claim.query)), style="dim"), (0, 0, 0, 4)))
    return lines


def _span_name(entry: TimelineEntry) -> Text:
    indent = "  " * min(entry.depth, 12)
    text = Text.assemble(
        (STATUS_MARKS[entry.status], STYLES[entry.status]),
        "*" if entry.critical else " ",
        indent,
        (clean(f"{entry.service}.{entry.operation}", 100), "bold" if entry.status.is_failure else ""),
    )
    for line, style in _notes(entry):
        text.append(f"\n  {indent}{line}", style=style)
    return text


def _notes(entry: TimelineEntry) -> Iterable[tuple[str, str]]:
    if entry.error_message:
        yield f"! {clean(entry.error_message)}", "red"
    if (reason := unusual(entry)) is not None:
        yield reason, "yellow"
    if entry.gap_after_ms:
        yield f"┆ gap {duration(entry.gap_after_ms)}", "dim"


def _bar(entry: TimelineEntry, end: float) -> Text:
    scale = BAR_WIDTH / end if end > 0 else 0.0
    start = min(BAR_WIDTH - 1, max(0, int(entry.start_ms * scale)))
    stop = end if entry.end_ms is None else entry.end_ms
    length = max(1, min(BAR_WIDTH - start, round((stop - entry.start_ms) * scale)))
    return Text(" " * start + "━" * length, style=STYLES[entry.status])


def pruned(answer: PrunedStore) -> RenderableType:
    if answer.before is None:
        parts: list[RenderableType] = [Text("Nothing is too old or too much.")]
    else:
        verb = "would go" if answer.dry_run else "went"
        before = answer.before.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        rows = [
            [table.table, f"{table.rows:,}", str(table.partitions or "-"), _size(table.bytes)]
            for table in answer.tables
            if table.rows or table.partitions
        ]
        parts = [
            Text(f"What is older than {before} {verb}", style="bold"),
            _table(["table", "rows", "partitions", "bytes"], rows, right=(1, 2, 3)),
        ]
    after = "" if answer.bytes_after is None else f", {_size(answer.bytes_after)} after"
    file = "" if answer.file_bytes is None else f"; the file has {_size(answer.file_bytes)} now"
    return Group(*parts, Text(f"The store took {_size(answer.bytes_before)} before{after}{file}."))


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _patterns(patterns: Sequence[FailurePattern]) -> list[RenderableType]:
    rows = [[f"{p.count} of {p.total}", p.pattern, some([str(i) for i in p.example_ids])] for p in patterns]
    return _section("Patterns", _table(["how many", "what they share", "such as"], rows))


def _distinguishing(found: Sequence[Distinguishing], cohorts: Cohorts | None) -> list[RenderableType]:
    if not found or cohorts is None:
        return []
    title = "Rare among its successful peers" if cohorts.failed == 1 else f"What the {cohorts.bad} ones have"
    rows = [[trait_name(one), trait_shares(one, cohorts), some(one.same_as, 2) or "-"] for one in found]
    legend = Text(cohort_words(cohorts), style="dim")
    return _section(title, _table(["what", "how many", "the same"], rows), legend)


def _divergence(first: Divergence | None) -> list[RenderableType]:
    if first is None or first.kind == "none":
        return []
    where, what = clean(first.element, 120), clean(first.detail, 600)
    return [Text.assemble(("First divergence ", "bold"), f"({first.kind}) at {where}: {what}")]


def _data_quality(quality: DataQuality) -> list[RenderableType]:
    return _section("Data quality", *_bullets(data_quality_lines(quality)))


def _bullets(lines: Iterable[str]) -> list[RenderableType]:
    return [Padding(Text(f"• {clean(line, 600)}"), (0, 0, 0, 2)) for line in lines]


def _section(title: str, *body: RenderableType) -> list[RenderableType]:
    """A heading and what follows; nothing when that is an empty table or nothing at all."""
    filled = [part for part in body if not (isinstance(part, Table) and not part.row_count)]
    return [Text(f"\n{title}", style="bold"), *filled] if filled else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="dim", show_edge=False)
    for position, name in enumerate(header):
        figure = position in right
        table.add_column(
            Text(clean(name, 40)),
            justify="right" if figure else "left",
            overflow="fold",
            no_wrap=figure or name == "execution",
        )
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def _more(shown: int, total: int) -> list[RenderableType]:
    return [Text(f"… {total - shown} more of {total}", style="dim")] if total > shown else []


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
