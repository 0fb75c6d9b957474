"""Rows of tables that are changed after they were written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

NOON = datetime(2026, 9, 21, 12, 0, 0, 123456, tzinfo=UTC)


def execution(number: int, **columns: Any) -> dict[str, Any]:
    return {
        "tenant": "default",
        "execution_id": number,
        "status": "completed",
        "started_at": NOON,
        "declared_at": NOON,
    } | columns


def rollup(operation: str, count: int, total: float) -> dict[str, Any]:
    return {
        "tenant": "default",
        "bucket_start": NOON,
        "service": "router",
        "operation": operation,
        "model_id": "",
        "region": "",
        "status": "completed",
        "latency_bucket": 3,
        "sample_count": count,
        "sum_ms": total,
    }
