"""log-recovery.yaml brings the lines of printed spans to otel-diag, all of them, which makes spans of them again."""

from __future__ import annotations

import shutil
import signal
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.collector.processes import SYNCHRONOUS, Collector, collecting
from tests.e2e.processes import until
from tests.faults.server import Server, serving

STARTED = "🔍 TRACE[{number:08x}]: Modal inference started - model=m, region=us-east"
ENDED = "✅ TRACE[{number:08x}]: SUCCESS - duration=1.5s, tokens=20"
FIRST = datetime(2026, 11, 22, 3, 21, 40, tzinfo=UTC)
LINES = 5_000


def recovering(program: Path, server: Server, logs: Path) -> AbstractContextManager[Collector]:
    settings = {"LOG_FILES": f"{logs}/*.log", "SERVICE_NAME": "modal-app", "STORE": f"127.0.0.1:{server.grpc_port}"}
    return collecting(program, ["log-recovery.yaml"], logs.parent / "recovery", SYNCHRONOUS, **settings)


def timestamp(number: int) -> str:
    return (FIRST + timedelta(seconds=number)).isoformat()


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_lines_of_printed_spans_become_log_records_and_spans(log_collector: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    started, ended = STARTED.format(number=1), ENDED.format(number=1)
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server, recovering(log_collector, server, logs):
        append(logs / "a.log", "loading weights", f"2026-11-22T03:21:40.5Z {started}", "{}", f"  {ended}", ended)
        lines = "FROM log_records WHERE body_text IS NOT NULL"  # an announcement has none
        until(lambda: server.rows(f"SELECT count(*) {lines}") == [[3]])
        found = server.rows(f"SELECT service, body_text {lines} ORDER BY logged_at")
        spans = server.rows("SELECT DISTINCT service, trace_id, duration_ms, output_tokens FROM trace_spans")
        ((time,),) = server.rows(f"SELECT time_unix_nano FROM log_records WHERE body_text = '{started}'")
    assert found == [["modal-app", body] for body in (started, ended, ended)]
    assert ["modal-app", f"{1:08x}".ljust(32, "0"), 1500.0, 20] in spans
    assert time == 1_795_317_700_500_000_000


def test_a_line_with_a_time_is_stored_once_however_often_it_is_read(log_collector: Path, tmp_path: Path) -> None:
    """Attributes come in another order each time: the receiver keeps them in a map."""
    logs = tmp_path / "logs"
    logs.mkdir()
    append(logs / "a.log", *(f"{timestamp(number)} {ENDED.format(number=number)}" for number in range(100)))
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server, recovering(log_collector, server, logs) as it:
        for _ in range(3):
            until(lambda: it.metric("otelcol_exporter_sent_log_records_total") == 100)
            it.end(signal.SIGTERM)
            shutil.rmtree(it.directory / "otelcol-data/log-recovery/offsets")
            it.start()
        assert server.count("log_records") == 100


def test_a_collector_that_is_killed_loses_no_line(log_collector: Path, tmp_path: Path) -> None:
    """Lines with a time are stored once; those without differ in when they were read, and may be there twice."""
    logs = tmp_path / "logs"
    logs.mkdir()
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server, recovering(log_collector, server, logs) as it:

        def stored(text: str) -> tuple[int, int]:
            """Records that contain it, and different ones among them."""
            counts = "count(*), count(DISTINCT body_text)"
            ((records, lines),) = server.rows(f"SELECT {counts} FROM log_records WHERE body_text LIKE '%{text}%'")
            return records, lines

        for step, how in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)):
            numbers = range(step * LINES, (step + 1) * LINES)
            append(logs / "plain.log", *(STARTED.format(number=number) for number in numbers))
            append(logs / "timed.log", *(f"{timestamp(number)} {ENDED.format(number=number)}" for number in numbers))
            until(lambda last=step * 2 * LINES: server.count("log_records") > last)
            it.restart(how)
        until(lambda: stored("started")[1] == 3 * LINES and stored("SUCCESS")[1] == 3 * LINES)
        assert stored("SUCCESS")[0] == 3 * LINES
        assert not it.dropped()
