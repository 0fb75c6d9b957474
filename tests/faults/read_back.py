"""What a store holds, read by a fresh process: ``python -m tests.faults.read_back URL``."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import func, select

from otel_diag.config import embedded_path
from otel_diag.store.open import open_store
from otel_diag.store.schema import operation_rollups, trace_arrivals, trace_spans, trace_summaries
from tests.faults.batches import spans_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Contents:
    """Traces by id. ``rows`` and ``spans``: stored rows, distinct spans; ``summarised``: spans of the summary;
    ``waiting``: has spans that are still to be summarised."""

    rows: dict[str, int]
    spans: dict[str, int]
    summarised: dict[str, int]
    waiting: set[str]
    samples: int
    """Spans counted in the latency sketches."""

    @property
    def torn(self) -> list[str]:
        return [trace_id for trace_id, count in self.spans.items() if count != spans_of(trace_id)]

    @property
    def duplicated(self) -> list[str]:
        return [trace_id for trace_id, count in self.rows.items() if count != self.spans[trace_id]]

    @property
    def forgotten(self) -> list[str]:
        """Traces that no summary covers in full, and that nobody is going to summarise."""
        return [
            trace_id
            for trace_id, count in self.spans.items()
            if trace_id not in self.waiting and self.summarised.get(trace_id) != count
        ]


def contents(url: str) -> Contents:
    """Read the store in a process of its own; of an embedded store, while no server holds it."""
    command = [sys.executable, "-m", __name__, url]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(done.stdout)
    return Contents(**said | {"waiting": set(said["waiting"])})


def _read(url: str) -> Contents:
    spans, arrivals, summaries = trace_spans.c, trace_arrivals.c, trace_summaries.c
    with closing(open_store(url, read_only=embedded_path(url) is not None)) as store:
        counted = store.select(
            select(
                spans.trace_id,
                func.count().label("n"),
                func.count(spans.span_id.distinct()).label("distinct_n"),
            ).group_by(spans.trace_id)
        )
        summarised = store.select(select(summaries.trace_id, summaries.span_count))
        waiting = store.select(select(arrivals.trace_id).distinct())
        samples = store.select(select(func.sum(operation_rollups.c.sample_count).label("n")))
    ids = counted["trace_id"].to_pylist()
    return Contents(
        rows=dict(zip(ids, counted["n"].to_pylist(), strict=True)),
        spans=dict(zip(ids, counted["distinct_n"].to_pylist(), strict=True)),
        summarised=dict(zip(summarised["trace_id"].to_pylist(), summarised["span_count"].to_pylist(), strict=True)),
        waiting=set(waiting["trace_id"].to_pylist()),
        samples=samples["n"][0].as_py() or 0,
    )


if __name__ == "__main__":
    found = _read(sys.argv[1])
    sys.stdout.write(json.dumps(asdict(found) | {"waiting": sorted(found.waiting)}))
