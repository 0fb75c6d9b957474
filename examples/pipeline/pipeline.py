"""Runs the whole pipeline once: starts the services, sends a job through them, with faults, and stops everything.

python examples/pipeline/pipeline.py --endpoint http://127.0.0.1:4318 --healthy 25 --faults all --json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import faults
from faults import TOKEN_VARIABLE, ExecutionRequest, Fault

MODELS: Final = ("llama3.2-1b", "qwen2.5-1.5b")
REGIONS: Final = ("us-east", "eu-west")
START_ID: Final = 2193

_HEALTHY_CONCURRENCY: Final = 3
"""Below the number of warm containers: a healthy execution never waits for one."""

_STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """How one execution ended, as the runner saw it; ``injected`` is what was done to it."""

    execution_id: int
    job_id: str
    injected: str
    status: str
    duration_ms: float
    trace_id: str
    error: str | None = None


def run_pipeline(
    endpoint: str,
    *,
    job_id: str,
    healthy: int = 25,
    injected: Sequence[Fault] = faults.ALL,
    start_id: int = START_ID,
    models: Sequence[str] = MODELS,
    regions: Sequence[str] = REGIONS,
) -> list[ExecutionRecord]:
    """Runs ``healthy`` executions and one for each injected fault; all spans have left for ``endpoint`` on return.

    ``endpoint`` is the base URL of an OTLP/HTTP receiver. Faulty executions have the first ids, from ``start_id``.
    The order of the records is that of the ids. Raises RuntimeError when a service cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="otel-diag-pipeline-") as folder:
        prompt_file = Path(folder) / "prompt.txt"
        prompt_file.write_text("Why did the lighthouse keeper write letters to the sea?", encoding="utf-8")
        requests = _requests(job_id, (*injected, *[Fault.NONE] * healthy), start_id, models, regions, str(prompt_file))
        with ExitStack() as stack:
            environment = _environment(endpoint)
            modal = stack.enter_context(_service("modal_host.py", environment))
            router = stack.enter_context(_service("router.py", environment, "--modal-url", _url(modal)))
            proxy = stack.enter_context(_service("lossy_proxy.py", environment, "--router-port", str(router)))
            runner = stack.enter_context(_process("runner.py", environment, "--router-url", _url(proxy)))
            undisturbed = [request for request in requests if request.fault is Fault.NONE]
            disturbed = [request for request in requests if request.fault is not Fault.NONE]
            outcomes = _run(runner, undisturbed, _HEALTHY_CONCURRENCY) | _run(runner, disturbed, len(disturbed))
    return [_record(request, outcomes[request.execution_id]) for request in requests]


def _requests(
    job_id: str,
    kinds: Sequence[Fault],
    start_id: int,
    models: Sequence[str],
    regions: Sequence[str],
    prompt_file: str,
) -> list[ExecutionRequest]:
    """One request a kind; models and regions take turns so that every pair occurs."""
    return [
        replace(
            ExecutionRequest(
                execution_id=start_id + number,
                job_id=job_id,
                model_id=models[number % len(models)],
                region=regions[number // len(models) % len(regions)],
                prompt_file=prompt_file,
                fault=kind,
            ),
            **faults.changes(kind, prompt_file),
        )
        for number, kind in enumerate(kinds)
    ]


def _environment(endpoint: str) -> dict[str, str]:
    """The children's environment: exports go to ``endpoint``, whatever the caller's own environment says."""
    dropped = ("OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "NO_PROXY": "127.0.0.1,localhost",
        TOKEN_VARIABLE: "example",
    }


@contextmanager
def _process(script: str, environment: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A child that ends when its standard input closes, with its spans sent; killed when the block is left in error.

    It has a session of its own, so Ctrl-C reaches only us and its children die with it.
    """
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(script)), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        yield child
        child.communicate(timeout=_STOP_S)
    except BaseException:
        # Interrupted, or something does not work: nothing is waited for, a container in mid-inference included.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        child.communicate()
        raise


@contextmanager
def _service(script: str, environment: Mapping[str, str], *arguments: str) -> Iterator[int]:
    """A server of the pipeline; yields its port once it is ready."""
    with _process(script, environment, *arguments) as child:
        assert child.stdout is not None
        announced = child.stdout.readline()
        if not announced:
            raise RuntimeError(f"{script} ended with exit code {child.wait()} before it was ready")
        yield json.loads(announced)["port"]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _run(
    runner: subprocess.Popen[str], requests: Sequence[ExecutionRequest], concurrency: int
) -> dict[int, dict[str, Any]]:
    """Gives the runner one batch and collects its answers, by execution id."""
    if not requests:
        return {}
    assert runner.stdin is not None
    assert runner.stdout is not None
    batch = {"concurrency": concurrency, "executions": [request.to_dict() for request in requests]}
    runner.stdin.write(f"{json.dumps(batch)}\n")
    runner.stdin.flush()
    outcomes: dict[int, dict[str, Any]] = {}
    while len(outcomes) < len(requests):
        line = runner.stdout.readline()
        if not line:
            raise RuntimeError(f"runner.py ended with exit code {runner.wait()} in the middle of a batch")
        outcome = json.loads(line)
        outcomes[outcome["execution_id"]] = outcome
    return outcomes


def _record(request: ExecutionRequest, outcome: Mapping[str, Any]) -> ExecutionRecord:
    return ExecutionRecord(
        execution_id=request.execution_id,
        job_id=request.job_id,
        injected=request.fault.value,
        status=outcome["status"],
        duration_ms=outcome["duration_ms"],
        trace_id=outcome["trace_id"],
        error=outcome["error"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", default="http://127.0.0.1:4318", help="base URL of an OTLP/HTTP receiver")
    parser.add_argument("--healthy", type=int, default=25, help="number of executions nothing is done to")
    parser.add_argument("--faults", type=faults.parse_faults, default=faults.ALL, help="all, none, or names: a,b,c")
    parser.add_argument("--job-id", default=f"demo-{int(time.time())}")
    parser.add_argument("--start-id", type=int, default=START_ID, help="execution id of the first one")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--regions", default=",".join(REGIONS))
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    try:
        records = run_pipeline(
            given.endpoint,
            job_id=given.job_id,
            healthy=given.healthy,
            injected=given.faults,
            start_id=given.start_id,
            models=given.models.split(","),
            regions=given.regions.split(","),
        )
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 1
    for record in records:
        print(json.dumps(asdict(record)) if given.json else _line(record))
    return 0


def _line(record: ExecutionRecord) -> str:
    return (
        f"{record.execution_id:>8}  {record.injected:<20} {record.status:<10} {record.duration_ms:>9.1f} ms  "
        f"{record.error or ''}"
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main())
