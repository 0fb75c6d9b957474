"""From a process that can only print to a verdict: its log is imported as ``modal app logs`` gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.processes import PATIENCE_SECONDS, PROGRAM, answer_of, command, environment, serving

FUNCTION = """
import os, sys
from otel_diag_instrumentation import configure, traced, validated
configure("modal")

class OutOfMemoryError(RuntimeError): pass

@traced("modal.inference")
def infer(how):
    print("prompt taken")
    validated()
    if how == "killed":
        os._exit(137)
    raise OutOfMemoryError("CUDA out of memory.\\nTried to allocate 20 GiB, " + how)

carrier = {
    "traceparent": "00-" + sys.argv[2] + "-00000000000000aa-01",
    "baggage": "execution.id=2193,model.id=llama-3-8b,region=us-east",
}
infer(sys.argv[1], otel_context=carrier)
"""


def printed(how: str, trace_id: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FUNCTION, how, trace_id],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
        env=environment() | {"OTEL_TRACES_EXPORTER": "otel_diag_print"},
    )
    assert done.returncode != 0
    return done.stdout.decode()


def imported(log: Path, store: str) -> dict[str, Any]:
    (result,) = answer_of("import", "--format", "modal-logs", log, "--store", store)
    return result


def test_a_failure_that_was_only_printed_is_the_cause(tmp_path: Path) -> None:
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    failed, killed = "1" * 32, "2" * 32
    log = tmp_path / "app.log"
    lines = (printed("failed", failed) + printed("killed", killed)).splitlines()
    log.write_text("".join(f"2026-11-22 10:00:00,123 INFO [ta-01] {line}\n" for line in lines), "utf-8")

    first = imported(log, store)
    assert (first["spans"], first["stored"], first["announced"]) == (1, 1, 1)
    assert first["lines"] == {"read": 5, "ignored": 2, "unpaired": 1}

    report = answer_of("diagnose", failed, "--store", store)
    cause = report["root_cause"]
    assert cause["root_cause_type"] == "RESOURCE_EXHAUSTED"
    assert (cause["affected_service"], cause["affected_operation"]) == ("modal", "modal.inference")
    assert "OutOfMemoryError" in cause["evidence"]

    again = imported(log, store)
    assert (again["stored"], again["duplicates"], again["announced"]) == (0, 1, 1)
    with serving(store) as server:
        beside = imported(log, store)
        assert (beside["stored"], beside["duplicates"], beside["announced"]) == (1, None, 1)
        ((trace_id, span_id, said),) = server.rows(
            "SELECT trace_id, span_id, attributes FROM log_records WHERE event_name = 'otel_diag.span.start'"
        )
        assert server.span_count() == 1
    said = json.loads(said) if isinstance(said, str) else said
    assert (trace_id, len(span_id)) == (killed, 16)
    assert (said["span.name"], said["span.kind"], said["span.parent_id"]) == ("modal.inference", 2, "00000000000000aa")
    assert (said["execution.id"], said["model.id"], said["region"]) == (2193, "llama-3-8b", "us-east")
    assert f"start={said['span.start_unix_nano']}" in lines[-3]


def test_old_lines_join_the_trace_that_begins_with_their_digits(tmp_path: Path) -> None:
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    log = tmp_path / "new.log"
    log.write_text(printed("failed", "1a2b3c4d" + "7" * 24), "utf-8")
    imported(log, store)
    now = log.stat().st_mtime
    old = tmp_path / "old.log"
    end = "TRACE[1a2b3c4d]: SUCCESS - duration=1.52s, tokens=128"
    old.write_text(f"{end}\n", "utf-8")
    far = tmp_path / "far.log"
    far.write_text(f"2001-01-01 00:00:00 {end}\n", "utf-8")
    os.utime(old, (now, now))
    for _ in range(2):
        imported(old, store)
        imported(far, store)
    with serving(store) as server:
        ids = server.rows("SELECT trace_id FROM trace_spans ORDER BY started_at")
    assert ids == [["1a2b3c4d" + "0" * 24], ["1a2b3c4d" + "7" * 24], ["1a2b3c4d" + "7" * 24]]


def test_a_log_comes_by_standard_input(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "import", "--format", "modal-logs", "-", "--store", f"duckdb:///{tmp_path / 's.duckdb'}", "--json"],
        input=printed("failed", "3" * 32).encode(),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["file"], result["stored"]) == ("-", 1)
    assert command("import", tmp_path / "none.log").returncode == 2
