"""The runner: starts the router and sends it one job for each shape of Modal function, the last one too long.

python examples/modal/run_jobs.py
"""

import subprocess
import sys
import time
from pathlib import Path

import httpx

from otel_diag_instrumentation import call, configure, execution

JOBS = [
    ("function", "count these words"),
    ("async", "nothing to hide"),
    ("generator", "one word after the other"),
    ("method", "hello"),
    ("web", "a-browser"),
    ("method", "a prompt with more words than this model can take"),
]

configure("runner")


@execution(job_id="modal-shapes", model_id="tiny")  # execution_id is read from the arguments of each call
def run(execution_id: int, url: str, shape: str, prompt: str) -> str:
    with call("router", "POST", url) as exchange:
        response = httpx.post(url, json={"shape": shape, "prompt": prompt}, headers=exchange.headers, timeout=30)
        exchange.status(response.status_code)
    return response.raise_for_status().text


router = subprocess.Popen(
    [sys.executable, Path(__file__).with_name("router_service.py")],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
with router:  # leaving the block closes the router's standard input: it sends its last spans and ends
    assert router.stdout is not None
    url = f"http://127.0.0.1:{router.stdout.readline().strip()}/jobs"
    first_id = int(time.time()) * 10  # any integer that was not used before
    for execution_id, (shape, prompt) in enumerate(JOBS, first_id):
        try:
            print(f"execution {execution_id}: {shape} answered {run(execution_id, url, shape, prompt)}")
        except httpx.HTTPStatusError as error:
            print(f"execution {execution_id}: {shape} failed ({error.response.text})")
