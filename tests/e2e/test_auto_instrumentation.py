"""A FastAPI application that knows nothing of OpenTelemetry, in an environment made just now as its author would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import PATIENCE_SECONDS, Server, environment, serving, until

ROOT = Path(__file__).parents[2]

APP = """
import sys
import fastapi, uvicorn

app = fastapi.FastAPI()

@app.get("/items/{item}")
def read(item: int) -> dict[str, int]:
    return {"item": 10 // item}

uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs of a virtual environment are that has the instrumentation, FastAPI and uvicorn."""
    folder = tmp_path_factory.mktemp("fresh")
    pip = [sys.executable, "-m", "pip"]
    probe = [*pip, "download", "--quiet", "--no-deps", "--dest", folder, "hatchling"]  # the build needs it anyway
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("no package registry can be reached")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    install = [
        *pip,
        "--python",
        folder / "venv/bin/python",
        "install",
        "-q",
        "--no-compile",
        "-c",
        ROOT / "constraints.txt",
    ]
    subprocess.run([*install, ROOT / "instrumentation", "fastapi", "uvicorn"], check=True)
    return folder / "venv" / "bin"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as running:
        yield running


@pytest.fixture
def application(programs: Path, server: Server, tmp_path: Path) -> Iterator[httpx.Client]:
    """The application as ``opentelemetry-instrument python app.py``, once it answers. It is told to end afterwards."""
    (tmp_path / "app.py").write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [programs / "opentelemetry-instrument", programs / "python", "app.py", str(port)],
        cwd=tmp_path,
        env=environment()
        | {"OTEL_EXPORTER_OTLP_ENDPOINT": server.otlp_http, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as client:
            until(lambda: _answers(client))
            yield client
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/openapi.json").is_success
    except httpx.TransportError:
        return False


def get(application: httpx.Client, item: int, execution_id: int) -> httpx.Response:
    return application.get(f"/items/{item}", headers={"baggage": f"execution.id={execution_id}"})


@pytest.mark.timeout(240)  # on a busy machine, installing alone may take a minute
def test_an_application_is_traced_and_its_failure_is_diagnosed(application: httpx.Client, server: Server) -> None:
    # Peers that went well: without them, a failure before any downstream call passes for one at the start.
    for number in range(1, 5):
        assert get(application, item=5, execution_id=number).json() == {"item": 2}
    assert [server.diagnosis(number)["status"] for number in range(1, 5)] == ["completed"] * 4
    assert get(application, item=0, execution_id=2193).status_code == 500

    report = server.diagnosis(2193)
    cause = report["root_cause"]
    assert cause["root_cause_type"] == "SERVICE_ERROR"
    assert cause["affected_service"] == "app"
    assert "ZeroDivisionError" in cause["evidence"]

    # FastAPI writes the exception itself as a log record, which may come a little later.
    until(lambda: "integer division or modulo by zero" in json.dumps(server.diagnosis(2193)))
