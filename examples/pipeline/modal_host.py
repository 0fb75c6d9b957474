"""Stands for Modal itself: answers HTTP, keeps containers, passes inputs and headers on to them.

It is not instrumented, as Modal's front door is not: a trace goes from the router's client span straight to the
function's span. Containers are real processes; one that dies is reported by its id and replaced.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from faults import FAULT_HEADER, Fault
from serving import Answer, JsonServer, serve_until_stdin_closes

_POOL: Final = 4
_WARM_LOAD_S: Final = 0.05
_COLD_LOAD_S: Final = 5.2
_QUEUE_S: Final = 6.0
_STOP_S: Final = 5.0

_UNSAMPLED: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
"""A warm-up is nobody's execution: its trace is marked as not to be recorded."""


class ContainerTerminated(Exception):
    """The container's process ended before it answered."""


class Container:
    """One process that runs the function, one input at a time."""

    def __init__(self, load_s: float) -> None:
        self.task_id = f"ta-{secrets.token_hex(6)}"
        script = Path(__file__).with_name("modal_function.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), "--load-seconds", str(load_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"MODAL_TASK_ID": self.task_id},
        )

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """The outcome of one input. Raises ContainerTerminated."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it died before it could read: the empty answer below says so
            self._process.stdin.write(f"{json.dumps(job)}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise ContainerTerminated(f"container {self.task_id} terminated ({reason}) while running {job['input_id']}")
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    def warm_up(self) -> None:
        self.run(_job({"traceparent": _UNSAMPLED}, {"prompt": "warm up", "max_tokens": 1}, Fault.NONE))

    def close(self) -> None:
        """Tells the container that there are no more inputs: it sends its last spans and ends."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self) -> None:
        """Waits for the end of a closed container; kills it when it takes too long."""
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ModalHost:
    """A pool of warm containers, and a cold one whenever the fault asks for it."""

    def __init__(self) -> None:
        self._idle: queue.Queue[Container] = queue.Queue()
        self._containers: list[Container] = []
        self._replacements: list[threading.Thread] = []

    def start(self) -> None:
        started = [self._start(_WARM_LOAD_S) for _ in range(_POOL)]
        for container in started:
            container.warm_up()
            self._idle.put(container)

    def stop(self) -> None:
        for replacement in self._replacements:
            replacement.join()
        for container in self._containers:
            container.close()
        for container in self._containers:
            container.wait()

    def handle(self, _path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
        carried = {name.lower(): value for name, value in headers.items()}
        fault = Fault(carried.get(FAULT_HEADER, Fault.NONE))
        if fault is Fault.RATE_LIMIT:
            return 429, {"error": "rate limit reached: 60 requests a minute for this workspace"}
        if fault is Fault.RETRY_STORM:
            return 503, {"error": "no container is available"}
        if fault is Fault.QUEUE_DELAY:
            time.sleep(_QUEUE_S)
        container = self._start(_COLD_LOAD_S) if fault is Fault.COLD_START else self._idle.get()
        try:
            outcome = container.run(_job(carried, body, fault))
        except ContainerTerminated as terminated:
            self._replace()
            return 500, {"error": f"modal-http: internal error: {terminated}"}
        self._idle.put(container)
        return (200 if "output" in outcome else 422), outcome

    def _start(self, load_s: float) -> Container:
        container = Container(load_s)
        self._containers.append(container)
        return container

    def _replace(self) -> None:
        def start_and_warm_up() -> None:
            container = self._start(_WARM_LOAD_S)
            container.warm_up()
            self._idle.put(container)

        replacement = threading.Thread(target=start_and_warm_up)
        self._replacements.append(replacement)
        replacement.start()


_input_numbers = itertools.count(1)


def _job(headers: Mapping[str, str], body: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
    return {
        "input_id": f"in-{next(_input_numbers):06d}",
        "headers": {name: headers[name] for name in ("traceparent", "tracestate", "baggage") if name in headers},
        "prompt": body["prompt"],
        "max_tokens": body["max_tokens"],
        "fault": fault.value,
    }


def main() -> None:
    host = ModalHost()
    try:
        host.start()
        serve_until_stdin_closes(JsonServer(host.handle))
    finally:
        host.stop()


if __name__ == "__main__":
    main()
