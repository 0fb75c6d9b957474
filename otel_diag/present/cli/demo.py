"""The demo: a server on a temporary store, the example pipeline with every fault, and what is diagnosed.

Faults are injected twice, before and after healthy executions exist, because a first-ever failure has no peers to be
compared with and must be understood all the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

import otel_diag
from otel_diag.config import embedded_path
from otel_diag.discovery import Endpoints
from otel_diag.errors import NotFound, StartupError, Transient
from otel_diag.model import Report, RootCauseType
from otel_diag.present.cli import views
from otel_diag.present.cli.terminal import ExitCode, console, error_console, write_json
from otel_diag.present.client import RemoteQueries
from otel_diag.query import Key

_PACKAGE: Final = Path(otel_diag.__file__).parent
PIPELINES: Final = (_PACKAGE / "example_pipeline", _PACKAGE.parent / "examples" / "pipeline")
"""Where the example lies: in an installed package, in a source checkout."""

HEALTHY: Final = "none"
EXPECTED: Final[Mapping[str, RootCauseType]] = {
    "lost_response": RootCauseType.NETWORK_TIMEOUT,
    "slow_model": RootCauseType.SERVICE_TIMEOUT,
    "connection_refused": RootCauseType.CONNECTION_FAILURE,
    "validation_error": RootCauseType.VALIDATION_ERROR,
    "crash": RootCauseType.MODAL_EXECUTION_FAILURE,
    "cold_start": RootCauseType.COLD_START,
    "rate_limit": RootCauseType.RATE_LIMITED,
    "death_before_router": RootCauseType.PRE_EXECUTION_FAILURE,
}
"""What each fault of the example is, whatever the engine says."""

QUICK: Final = {"OTEL_DIAG_QUIET_SECONDS": "0.5", "OTEL_DIAG_SETTLE_SECONDS": "2"}
"""The example's spans arrive at once: no need to wait for late ones as long as in production."""

DIAGNOSED_WITHIN_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Case:
    """One execution: what was done to it, and what was said about it."""

    round: str
    execution_id: int
    injected: str
    report: Report

    @property
    def right(self) -> bool:
        if self.injected == HEALTHY:
            return self.report.verdict == "healthy"
        cause = self.report.root_cause
        return cause is not None and cause.root_cause_type == EXPECTED[self.injected]

    def to_json(self) -> dict[str, Any]:
        cause = self.report.root_cause
        return {
            "execution_id": self.execution_id,
            "injected": self.injected,
            "verdict": self.report.verdict,
            "root_cause_type": cause.root_cause_type if cause else None,
            "affected_service": cause.affected_service if cause else None,
        }


def _pipeline_script() -> Path:
    return next(script for place in PIPELINES if (script := place / "pipeline.py").exists())


def run(healthy: int) -> int:
    """Runs the demo and returns its exit code. Raises StartupError when what the example needs is not installed."""
    if find_spec("otel_diag_instrumentation") is None:
        raise StartupError(
            "the example pipeline needs otel-diag-instrumentation", hint="Install it: pip install 'otel-diag[demo]'."
        )
    stays = os.environ.get("DEMO_EXIT") != "1" and sys.stdout.isatty()
    with tempfile.TemporaryDirectory(prefix="otel-diag-demo-") as directory:
        store = f"duckdb:///{Path(directory) / 'demo.duckdb'}"
        with _server(store) as (process, server), RemoteQueries(server.url) as queries:
            cases = [
                *_round(queries, server, "no peers yet", healthy=0, faults="all", start_id=1001),
                *_round(queries, server, "healthy", healthy=healthy, faults="none", start_id=2001),
                *_round(queries, server, "with peers", healthy=0, faults="all", start_id=3001),
            ]
            _print(cases, queries, server, store, stays=stays)
            if stays:
                _until_interrupted(process)
    return ExitCode.OK if all(case.right for case in cases) else ExitCode.UNEXPECTED


def _round(
    queries: RemoteQueries, server: Endpoints, name: str, *, healthy: int, faults: str, start_id: int
) -> list[Case]:
    with error_console().status(f"Running the pipeline: {name}"):
        records = _pipeline(server, healthy, faults, name.replace(" ", "-"), start_id)
    with error_console().status(f"Diagnosing {len(records)} executions"):
        deadline = time.monotonic() + DIAGNOSED_WITHIN_SECONDS
        return [Case(name, r["execution_id"], r["injected"], _settled(queries, r, deadline)) for r in records]


def _pipeline(server: Endpoints, healthy: int, faults: str, job: str, start_id: int) -> list[dict[str, Any]]:
    options = {
        "--endpoint": server.otlp_http,
        "--healthy": str(healthy),
        "--faults": faults,
        "--job-id": f"demo-{job}",
        "--start-id": str(start_id),
    }
    words = [word for option in options.items() for word in option]
    # Its own process group would outlive Ctrl-C; it stops its children by itself.
    finished = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, str(_pipeline_script()), *words, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if finished.returncode != 0:
        raise StartupError("the example pipeline failed", hint="What it wrote above says why.")
    return [json.loads(line) for line in finished.stdout.splitlines()]


def _settled(queries: RemoteQueries, record: Mapping[str, Any], deadline: float) -> Report:
    """The diagnosis, once its spans have arrived. Raises Transient when they do not."""
    key = Key(execution_id=record["execution_id"])
    while time.monotonic() < deadline:
        try:
            report = queries.diagnose(key)
            if not report.data_quality.still_arriving:
                return report
        except NotFound:
            pass
        time.sleep(0.1)
    raise Transient(f"the spans of execution {key.execution_id} did not settle in {DIAGNOSED_WITHIN_SECONDS:.0f} s")


@contextmanager
def _server(store: str) -> Iterator[tuple[subprocess.Popen[str], Endpoints]]:
    """``serve`` on free ports, as a process that is gone when the block ends. Nobody's settings reach it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_DIAG_")}
    path = embedded_path(store)
    ports = ["--grpc-port", "0", "--http-port", "0", "--port", "0"]
    command = [sys.executable, "-m", "otel_diag.present.cli", "serve", "--store", store, *ports, "--json"]
    with subprocess.Popen(  # noqa: S603 - ourselves
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=own | QUICK,
        cwd=path.parent if path else None,
        start_new_session=True,  # Ctrl-C ends the demo, and the demo ends the server.
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise StartupError("the server did not start", hint="What it wrote above says why.")
            yield process, Endpoints(**json.loads(line))
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _until_interrupted(process: subprocess.Popen[str]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        process.wait()
    except KeyboardInterrupt:
        error_console().print("Stopping.")


def _print(cases: list[Case], queries: RemoteQueries, server: Endpoints, store: str, *, stays: bool) -> None:
    out = console()
    out.print(_table(cases))
    right = sum(case.right for case in cases)
    out.print(Text(f"{right} of {len(cases)} executions diagnosed correctly\n", style="bold"))
    shown = next(case for case in reversed(cases) if case.injected == "lost_response")
    key = Key(execution_id=shown.execution_id)
    out.print(views.report(shown.report, queries.timeline(key)))
    if stays:
        places = {
            "API": f"{server.url}/docs",
            "timeline": f"{server.url}/api/v1/trace/timeline/{shown.execution_id}",
            "MCP for an IDE": f"{server.url}/mcp",
            "command line": f"otel-diag diagnose {shown.execution_id} --store {store}",
        }
        out.print(Text("\nStill serving; Ctrl-C ends it.", style="bold"))
        for name, place in places.items():
            out.print(Text(f"  {name:<15} {place}"), soft_wrap=True)
    out.print()
    for case in cases:
        write_json(case.to_json())


def _table(cases: list[Case]) -> Table:
    """A line a fault; healthy executions in one, unless one of them was called ill."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim")
    for name in ("", "round", "injected", "diagnosed", "where", "confidence"):
        table.add_column(name, overflow="fold", justify="right" if name == "confidence" else "left")
    well = [case for case in cases if case.injected == HEALTHY and case.right]
    if well:
        table.add_row(_mark(True), "healthy", "nothing", f"healthy ({len(well)} executions)", "", "")
    for case in cases:
        if case not in well:
            cause = case.report.root_cause
            table.add_row(
                _mark(case.right),
                case.round,
                case.injected,
                cause.root_cause_type if cause else case.report.verdict,
                f"{cause.affected_service}.{cause.affected_operation}" if cause else "",
                f"{cause.confidence:.0%}" if cause else "",
            )
    return table


def _mark(right: bool) -> Text:
    return Text("✔", style="green") if right else Text("✖", style="red")
