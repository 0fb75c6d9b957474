"""tail-sampling.yaml keeps what somebody will ask about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collector.processes import collecting
from tests.e2e.processes import until
from tests.faults.payloads import START, encoded
from tests.faults.server import serving

SECOND = 1_000_000_000
FAST = 20

Spans = list[dict[str, Any]]


def execution(number: int, *, root: bool = True, seconds: float = 0.1, **child: Any) -> Spans:
    """A root and its child; without ``root`` the child alone, as long as the root has not ended."""
    trace_id = number.to_bytes(16, "big")
    end = {"end_time_unix_nano": START + int(seconds * SECOND)}
    spans: Spans = [{"trace_id": trace_id, "span_id": b"r" * 8, **end}] if root else []
    return [*spans, {"trace_id": trace_id, "span_id": b"c" * 8, "parent_span_id": b"r" * 8, **child}]


WANTED: list[Spans] = [
    execution(101, status={"code": 2, "message": "no space left on device"}),
    execution(102, attributes=[{"key": "error.type", "value": {"string_value": "TimeoutError"}}]),
    execution(103, seconds=6),
    execution(104, root=False),
]


@pytest.mark.parametrize(("percent", "others"), [("0", 0), ("100", FAST)])
def test_failed_slow_and_unfinished_executions_stay_whole(
    collector: Path, tmp_path: Path, percent: str, others: int
) -> None:
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server:
        settings = {"STORE": f"127.0.0.1:{server.grpc_port}", "KEEP_PERCENT": percent, "DECISION_WAIT": "1s"}
        with collecting(collector, ["tail-sampling.yaml"], tmp_path / "sampling", **settings) as sampling:
            for spans in [*(execution(number) for number in range(1, FAST + 1)), *WANTED]:
                for span in spans:  # each on its own, as several services send them
                    answer = httpx.post(
                        f"http://127.0.0.1:{sampling.http_port}/v1/traces",
                        content=encoded(span),
                        headers={"content-type": "application/x-protobuf"},
                    )
                    assert answer.is_success, answer.text
            kept = len(WANTED) + others
            decided = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
            until(lambda: sampling.metric(decided) == FAST + len(WANTED))
            assert sampling.metric(decided, sampled="true") == kept
            until(lambda: server.count() == 2 * kept - 1)
            found = server.rows("SELECT trace_id, count(*) FROM trace_spans GROUP BY 1 ORDER BY 1")
    assert found[others:] == [[spans[0]["trace_id"].hex(), len(spans)] for spans in WANTED]
