"""Which error became which: the chain from the root down to what explains it."""

from __future__ import annotations

from typing import Any

import pytest

from otel_diag.analyse.outcome import failing_chain
from otel_diag.analyse.tree import build_tree
from otel_diag.model import Span, Status

MS = 1_000_000


def failed(span_id: str, parent: str | None, end_ms: int, **columns: Any) -> Span:
    return Span("t", span_id, "a", span_id, 0, end_ms * MS, parent_span_id=parent, status=Status.FAILED, **columns)


@pytest.mark.parametrize(
    ("said", "chain"),
    [
        ("the router answered 502: connection refused", ["job", "call"]),
        ("the router answered with 5020 bytes", ["job"]),
        ("no such model", ["job"]),
    ],
)
def test_a_call_with_nothing_but_a_status_code_explains_an_error_that_names_it_however_late(
    said: str, chain: list[str]
) -> None:
    job = failed("job", None, 100, error_type="JobFailed", error_message=said)
    call = failed("call", "job", 30, kind="client", error_type="502")
    tree = build_tree([job, call])
    times = [(span.start_unix_nano, span.end_unix_nano or 0) for span in tree.spans]

    assert [tree.spans[node].operation for node in failing_chain(tree, times, tree.roots[0])] == chain
