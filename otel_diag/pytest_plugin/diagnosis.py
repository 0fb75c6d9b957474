"""What the spans of one test say, as text."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.text import Text

from otel_diag.analyse.baseline import Baseline
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.root_cause import diagnose
from otel_diag.analyse.timeline import marks_of, timeline
from otel_diag.decode.rows import table_to_spans
from otel_diag.decode.traces import decode_traces
from otel_diag.model import DEFAULT_TENANT, Timeline, Trace
from otel_diag.present.cli.terminal import PIPE_WIDTH
from otel_diag.present.cli.views import report as report_view
from otel_diag.present.cli.views import timeline_table


def diagnosis(request: bytes, test: str) -> str:
    """What ``otel-diag diagnose`` would say of the one trace in this export request, knowing no other.

    ``test``: id of the test's own span. Where no other explains the failure, only the timeline is shown.
    """
    spans = tuple(table_to_spans(decode_traces(request, DEFAULT_TENANT).batch))
    trace = Trace(spans, trace_id=spans[0].trace_id)
    report = diagnose(trace, Baseline(), now=datetime.now(UTC))
    examined = Examined(trace)
    entries = timeline(examined, marks_of(examined, Baseline()))
    cause = report.root_cause
    if cause is None or set(cause.evidence_spans) <= {test}:
        told = Text("No error in a span has reached the test.")
        return _plain(Group(told, timeline_table(entries, len(spans))))
    shown = Timeline(
        execution_id=None,
        trace_id=trace.trace_id,
        total_spans=len(spans),
        spans_examined=len(spans),
        timeline=entries,
    )
    return _plain(report_view(report, shown))


def _plain(view: RenderableType) -> str:
    text = io.StringIO()
    Console(file=text, width=PIPE_WIDTH, highlight=False, color_system=None).print(view)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
