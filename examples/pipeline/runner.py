"""The runner: takes batches of executions on standard input, asks the router for each, reports on standard output.

Input: one JSON line a batch, ``{"concurrency": n, "executions": [...]}``. Output: one JSON line an execution.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from faults import DEADLINE_HEADER, FAULT_HEADER, ExecutionRequest
from opentelemetry import trace

from otel_diag_instrumentation import call, configure, execution


class ExecutionFailed(RuntimeError):
    """The execution cannot be completed."""


class Runner:
    def __init__(self, router_url: str) -> None:
        self._url = f"{router_url}/route"
        # One connection a request, as between hosts behind a load balancer; no proxy from the environment.
        self._client = httpx.Client(trust_env=False, headers={"Connection": "close"})

    def run(self, request: ExecutionRequest) -> dict[str, Any]:
        """Runs one execution and says how it ended; nothing that goes wrong with it is raised."""
        started = time.monotonic()
        status, error, trace_id = "completed", None, ""
        try:
            with execution(
                request.execution_id,
                job_id=request.job_id,
                model_id=request.model_id,
                region=request.region,
                attempt=1,
            ) as span:
                trace_id = trace.format_trace_id(span.get_span_context().trace_id)
                self._execute(request)
        except TimeoutError as timeout:
            status, error = "timeout", str(timeout)
        except (OSError, ExecutionFailed, httpx.HTTPError) as failure:
            status, error = "failed", str(failure)
        return {
            "execution_id": request.execution_id,
            "status": status,
            "error": error,
            "duration_ms": round((time.monotonic() - started) * 1000, 3),
            "trace_id": trace_id,
        }

    def _execute(self, request: ExecutionRequest) -> None:
        prompt = Path(request.prompt_file).read_text(encoding="utf-8")
        body = {
            "model": request.model_id,
            "region": request.region,
            "prompt": prompt,
            "max_tokens": request.max_tokens,
        }
        headers = {
            "Authorization": f"Bearer {_setting(request.token_variable)}",
            DEADLINE_HEADER: str(request.deadline_s),
            FAULT_HEADER: request.fault.value,
        }
        try:
            with call("router", "POST", self._url, name="POST /route") as exchange:
                response = self._client.post(
                    self._url, json=body, headers={**headers, **exchange.headers}, timeout=request.deadline_s
                )
                exchange.status(response.status_code)
        except httpx.TimeoutException as timeout:
            raise TimeoutError(f"the router did not answer within {request.deadline_s} s") from timeout
        if response.status_code == httpx.codes.GATEWAY_TIMEOUT:
            raise TimeoutError(f"the router gave up: {response.json()['error']}")
        if response.is_error:
            raise ExecutionFailed(f"the router answered {response.status_code}: {response.json()['error']}")


def _setting(variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise ExecutionFailed(f"environment variable {variable} is not set")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router-url", required=True)
    runner = Runner(parser.parse_args().router_url)
    configure("runner")
    for line in sys.stdin:
        batch = json.loads(line)
        requests = [ExecutionRequest.from_dict(values) for values in batch["executions"]]
        with ThreadPoolExecutor(max_workers=batch["concurrency"]) as pool:
            for record in pool.map(runner.run, requests):
                print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
