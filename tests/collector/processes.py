"""A Collector on ports that stay, to be ended in any way and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import PATIENCE_SECONDS, until
from tests.faults.server import free_ports

CONFIGURATIONS = Path(__file__).parents[2] / "collector-config"
SYNCHRONOUS = "--feature-gates=stanza.synchronousLogEmitter"

_READY = "Everything is ready."


def arguments(*files: str) -> list[str]:
    """The command line that has the Collector read these files of collector-config/."""
    return [word for file in files for word in ("--config", str(CONFIGURATIONS / file))]


class Collector:
    """At most one process at a time, working in ``directory``. ``settings`` are the files' environment variables.

    Not ready until :meth:`start`.
    """

    def __init__(self, program: Path, files: Sequence[str], directory: Path, *options: str, **settings: str) -> None:
        self.grpc_port, self.http_port, self.logs_port, self._metrics_port = free_ports(4)
        self.directory = directory
        directory.mkdir()
        self._command = [str(program), *arguments(*files), *options]
        ports = {"LISTEN_GRPC": self.grpc_port, "LISTEN_HTTP": self.http_port, "LISTEN_LOGS": self.logs_port}
        listen = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self._environment = os.environ | listen | {"METRICS_PORT": str(self._metrics_port)} | settings
        self._log = directory / "collector.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def otlp_grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        """Returns when its pipelines run."""
        said = len(self.log())
        with self._log.open("ab") as log:
            process = subprocess.Popen(self._command, stderr=log, env=self._environment, cwd=self.directory)
        self._process = process

        def ready() -> bool:
            assert process.poll() is None, self.log()[said:]
            return _READY in self.log()[said:]

        until(ready)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.end(how)
        self.start()

    def log(self) -> str:
        """What it has written to stderr, over all its processes."""
        return self._log.read_text("utf-8") if self._log.exists() else ""

    def dropped(self) -> list[str]:
        """The lines in which it says that it gave data up; what a shutdown interrupted it keeps, and says the same."""
        lines = [line for line in self.log().splitlines() if "dropped_items" in line]
        return [line for line in lines if "interrupted due to shutdown" not in line]

    def metric(self, name: str, **labels: str) -> float:
        """Its own figure, over all other labels; 0 while it has none."""
        text = httpx.get(f"http://127.0.0.1:{self._metrics_port}/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


@contextmanager
def collecting(
    program: Path, files: Sequence[str], directory: Path, *options: str, **settings: str
) -> Iterator[Collector]:
    """Ready at once; killed at the end if it still runs."""
    running = Collector(program, files, directory, *options, **settings)
    try:
        running.start()
        yield running
    finally:
        running.end()
