"""Small OTLP/JSON requests: executions of a runner that calls a router."""

from __future__ import annotations

import time
from typing import Any

NOW = time.time_ns()


def request(execution_id: int, *, failed: bool = False, start: int = NOW) -> dict[str, Any]:
    """Two spans of one execution. A failed one: the router answered after 0.1 s, the runner waited 30 s more."""
    trace_id = f"{execution_id:032x}"
    end = start + (30_100_000_000 if failed else 120_000_000)
    error = {"status": {"code": 2, "message": "TimeoutError: no answer within 30 s"}} if failed else {"status": {}}
    root = {
        "traceId": trace_id,
        "spanId": f"{execution_id * 2:016x}",
        "parentSpanId": "",
        "name": "execution",
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": [
            _attribute("execution.id", {"intValue": str(execution_id)}),
            _attribute("job.id", {"stringValue": "nightly"}),
        ],
        **error,
    }
    child = {
        "traceId": trace_id,
        "spanId": f"{execution_id * 2 + 1:016x}",
        "parentSpanId": f"{execution_id * 2:016x}",
        "name": "route",
        "kind": 2,
        "startTimeUnixNano": str(start + 10_000_000),
        "endTimeUnixNano": str(start + 110_000_000),
        "status": {},
    }
    return {"resourceSpans": [_resource("runner", root), _resource("router", child)]}


def _resource(service: str, span: dict[str, Any]) -> dict[str, Any]:
    return {
        "resource": {"attributes": [_attribute("service.name", {"stringValue": service})]},
        "scopeSpans": [{"scope": {"name": "test"}, "spans": [span]}],
    }


def _attribute(key: str, value: dict[str, str]) -> dict[str, Any]:
    return {"key": key, "value": value}
