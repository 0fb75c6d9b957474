"""How often the root cause that is named is the right one, on labelled executions of invented systems.

Usage: python benchmarks/root_cause.py --seed S [--cases N] [--generator labelled|fresh] [--store URL] [--json FILE]
       [--show N]

A real ``otel-diag serve``, fed over OTLP and asked over REST, like any other. What is sent and what is right comes from
``benchmarks/labelled``, which knows the specification of the root cause types and nothing of the engine, or from
``benchmarks/fresh``, a second one that shares nothing with it and is never tuned on. An answer is right when verdict,
type, service and operation are. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from benchmarks.fresh import ledger  # noqa: E402
from benchmarks.labelled import score, wire  # noqa: E402
from benchmarks.labelled.cases import Settlement, settlements  # noqa: E402
from benchmarks.labelled.score import Result  # noqa: E402
from benchmarks.labelled.spans import Case, Trace  # noqa: E402

GENERATORS: dict[str, Callable[[int, int], Iterable[Settlement]]] = {
    "labelled": settlements,
    "fresh": ledger.settlements,
}
THREADS = 3
SETTLE_S = 4.0
SETTINGS = {"OTEL_DIAG_QUIET_SECONDS": "0.5", "OTEL_DIAG_SETTLE_SECONDS": str(SETTLE_S)}
GAUGES = ("otel_diag_waiting_traces", "otel_diag_journal_records", "otel_diag_queue_requests")
GAUGE_AGE_S = 6.0
"""The server looks up what waits in its store every five seconds at most."""


class Server:
    """A running ``otel-diag serve``: where spans go and where questions are answered."""

    def __init__(self, otlp: str, url: str) -> None:
        self._otlp, self._url = otlp, url

    def send(self, requests: Iterable[bytes], signal_path: str = "/v1/traces") -> int:
        """Send OTLP requests one after the other, again where the server says so; how many bytes."""
        sent = 0
        for body in requests:
            while True:
                try:
                    post(self._otlp + signal_path, body, "application/x-protobuf")
                    break
                except urllib.error.HTTPError as error:
                    if error.code not in (429, 503):
                        raise
                    time.sleep(float(error.headers.get("Retry-After", 1)))
            sent += len(body)
        return sent

    def declare(self, body: bytes) -> None:
        post(f"{self._url}/api/v1/executions", body, "application/json")

    def diagnose(self, case: Case) -> Result:
        body = json.dumps(case.question()).encode()
        began = time.perf_counter()
        try:
            answer = json.loads(post(f"{self._url}/api/v1/trace/diagnose", body, "application/json"))
        except urllib.error.HTTPError as error:
            answer = {"verdict": f"HTTP {error.code}", "error": error.read().decode(errors="replace")[:300]}
        return Result(case, answer, (time.perf_counter() - began) * 1000)

    def gauges(self) -> dict[str, float]:
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=60) as response:
            lines = response.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.partition(" ") for line in lines) if name in GAUGES}

    def summarised(self, seconds: float = 900.0) -> None:
        """Wait until all that was sent is in the summaries, and has settled."""
        deadline = time.monotonic() + seconds
        time.sleep(GAUGE_AGE_S)
        while any((found := self.gauges()).values()) or len(found) < len(GAUGES):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still waiting: {found}")
            time.sleep(1.0)
        time.sleep(SETTLE_S)


def post(url: str, body: bytes, content_type: str) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": content_type})
    with urllib.request.urlopen(request, timeout=120) as response:
        answer: bytes = response.read()
        return answer


@contextmanager
def serving(store: str | None) -> Iterator[Server]:
    """A server of this checkout on free ports, on a DuckDB file that goes away unless another store is named."""
    with tempfile.TemporaryDirectory(prefix="otel-diag-bench-") as directory:
        url = store or f"duckdb:///{directory}/store.duckdb"
        command = [
            str(Path(sys.executable).parent / "otel-diag"),
            *("serve", "--json", "--host=127.0.0.1", "--port=0", "--http-port=0", "--grpc-port=0"),
        ]
        code = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, **SETTINGS, "OTEL_DIAG_STORE": url, "PYTHONPATH": code}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=directory)
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            yield Server(said["otlp_http"], said["url"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def send_all(server: Server, found: Sequence[Settlement], anchor_ns: int, rng: Random) -> None:
    """Baselines first, then the cases in random order; what is late comes when the rest has been summarised."""
    baseline = [trace for settlement in found for trace in settlement.baseline]
    cases = [case for settlement in found for case in settlement.cases if not case.arriving]
    traces = [trace for case in cases for trace in case.traces]
    rng.shuffle(baseline)
    rng.shuffle(traces)
    for part in (baseline, traces):
        server.send(wire.announcements(part, anchor_ns), "/v1/logs")
        server.send(wire.trace_requests(part, anchor_ns))
    for case in cases:
        for declared in case.declared:
            server.declare(wire.execution(declared, anchor_ns))
    server.summarised()
    server.send(wire.trace_requests(traces, anchor_ns, late=True))
    server.summarised()


def ask_while_arriving(server: Server, case: Case) -> Result:
    """Send what there is and ask at once."""
    now = time.time_ns()
    server.send(wire.announcements(case.traces, now), "/v1/logs")
    server.send(wire.trace_requests(case.traces, now))
    return server.diagnose(case)


def ask_all(server: Server, cases: Sequence[Case]) -> tuple[list[Result], float]:
    """The results in the order of the cases, and the seconds the settled ones took."""
    settled = [case for case in cases if not case.arriving]
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(server.diagnose, settled))
    took = time.perf_counter() - began
    return results + [ask_while_arriving(server, case) for case in cases if case.arriving], took


def report(results: Sequence[Result], took_s: float) -> bool:
    """Print everything; whether every target is met."""
    found = score.summary(results)
    settled = [result for result in results if not result.case.arriving]
    times = sorted(result.took_ms for result in settled)
    print(score.scenario_table(results))
    print(f"\n{score.reliability_table(results)}")
    print(f"expected calibration error {found.calibration_error:.3f} (at most {score.CALIBRATION_ERROR})")
    print(f"\n{score.peers_table(results)}")
    print(
        f"\noverall accuracy        {score.percent(found.accuracy)} of {found.cases} cases"
        f" (at least {score.ACCURACY:.0%})"
        f"\nroot causes named right {score.percent(found.fault_accuracy)} of {found.faults} faults"
        f" (at least {score.ACCURACY:.0%})"
        f"\nfalse alarms            {score.percent(found.false_alarms)} of {found.healthy} healthy executions"
        f" (at most {score.FALSE_ALARMS:.0%}), {found.inconclusive_on_healthy} of them inconclusive"
        f"\n{len(times) / took_s:.0f} answers a second with {THREADS} threads,"
        f" p50 {statistics.median(times):.0f} ms, p95 {times[int(0.95 * (len(times) - 1))]:.0f} ms"
    )
    print(f"every target met: {'yes' if found.met else 'NO'}")
    return found.met


def as_json(results: Sequence[Result], seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "summary": asdict(score.summary(results)),
        "cases": [
            {
                "scenario": result.case.scenario,
                "kind": result.case.kind,
                "peers": result.case.peers,
                "question": result.case.question(),
                "label": result.case.label.text(),
                "right": result.right,
                "said": result.said,
                "root_cause": result.cause,
                "took_ms": round(result.took_ms, 1),
            }
            for result in results
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="makes the same executions again")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--generator", choices=tuple(GENERATORS), default="labelled", help="who invents them")
    parser.add_argument("--store", help="store URL instead of a DuckDB file; should be empty")
    parser.add_argument("--json", type=Path, help="write every case and its answer here")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print so many wrong answers with their spans")
    arguments = parser.parse_args()
    found = list(GENERATORS[arguments.generator](arguments.seed, arguments.cases))
    cases = [case for settlement in found for case in settlement.cases]
    traces: list[Trace] = [trace for settlement in found for trace in settlement.baseline]
    print(
        f"seed {arguments.seed}: {len(cases)} cases in {len(found)} worlds, {len(traces)} traces before them,"
        f" {sum(len(t.spans) for t in traces) + sum(len(t.spans) for c in cases for t in c.traces)} spans\n",
        flush=True,
    )
    with serving(arguments.store) as server:
        send_all(server, found, time.time_ns(), Random(arguments.seed))
        results, took_s = ask_all(server, cases)
    met = report(results, took_s)
    wrong = [result for result in results if not result.right]
    Random(arguments.seed).shuffle(wrong)
    for result in wrong[: arguments.show]:
        print(score.shown(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(results, arguments.seed), indent=1))
    sys.exit(not met)


if __name__ == "__main__":
    main()
