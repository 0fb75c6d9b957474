"""A worker killed in mid-inference: the diagnosis says which span never finished. Real processes, Modal functions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Server, environment, serving, until

pytest.importorskip("modal", reason="the modal package is not installed")

WORKER = """
import sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
import modal
from otel_diag_instrumentation import configure, traced

configure("modal")
app = modal.App("inference")


@app.function()
@traced("modal.inference", app="inference")
def infer(prompt: str) -> str:
    time.sleep(float(prompt))
    return prompt


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        prompt = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = infer.local(prompt, otel_context=dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

RUNNER = """
import sys
import urllib.request
from otel_diag_instrumentation import call, configure, execution

configure("runner")
url, execution_id, prompt = sys.argv[1:]
with execution(int(execution_id), job_id="night", model_id="llama3.2-1b", region="us-east"):
    with call("modal", "POST", url) as exchange:
        request = urllib.request.Request(url, prompt.encode(), dict(exchange.headers))
        with urllib.request.urlopen(request, timeout=60) as answer:
            exchange.status(answer.status)
"""

HEALTHY, KILLED = 1, 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("killed") / "store.duckdb"
    with serving(f"duckdb:///{store}") as server:
        yield server


def script(source: str, server: Server, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": server.otlp_http, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.Popen(command, text=True, env=environment() | exporting, **options)


@contextmanager
def working(server: Server, directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    # Modal wants to know a function's file.
    source = directory / "worker.py"
    source.write_text(WORKER)
    run = f"import runpy; runpy.run_path({str(source)!r}, run_name='worker')"
    worker = script(run, server, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        yield worker, f"http://127.0.0.1:{int(worker.stdout.readline())}/"
    finally:
        worker.kill()
        worker.communicate()


def test_the_span_that_never_finished_is_named(server: Server, tmp_path: Path) -> None:
    with working(server, tmp_path) as (worker, url):
        assert script(RUNNER, server, url, HEALTHY, "0.1").wait(60) == 0
        runner = script(RUNNER, server, url, KILLED, "600", stderr=subprocess.DEVNULL)
        open_span = "SELECT span_id FROM open_spans WHERE operation = 'modal.inference'"
        ((span_id,),) = until(lambda: server.rows(open_span))
        os.kill(worker.pid, signal.SIGKILL)
        assert runner.wait(60) == 1

    cause = server.diagnosis(KILLED)["root_cause"]
    assert cause["root_cause_type"] == "MODAL_EXECUTION_FAILURE"
    assert (cause["affected_service"], cause["affected_operation"]) == ("modal", "modal.inference")
    assert cause["evidence_spans"][0] == span_id
    assert "never finished" in cause["evidence"]
    timeline = {row["span_id"]: row for row in server.get("trace/timeline", execution_id=KILLED)["timeline"]}
    assert timeline[span_id]["status"] == "running"

    assert server.diagnosis(HEALTHY)["verdict"] == "healthy"
