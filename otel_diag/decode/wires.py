"""Every signal's decoder by the signal's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_diag.decode.bounds import Limits
from otel_diag.decode.logs import LOGS
from otel_diag.decode.metrics import METRICS
from otel_diag.decode.printed import decode_logs
from otel_diag.decode.profiles import PROFILES
from otel_diag.decode.requests import Decoded, Wire
from otel_diag.decode.traces import TRACES
from otel_diag.errors import BadInput

WIRES: Final[dict[str, Wire]] = {"traces": TRACES, "metrics": METRICS, "logs": LOGS, "profiles": PROFILES}


def decode(
    signal: str, payloads: Sequence[bytes], tenants: Sequence[str], limits: Limits | None = None
) -> list[Decoded | BadInput]:
    """What became of each request, as a receiver wants to know it: log records may tell of spans."""
    if signal == "logs":
        return decode_logs(payloads, tenants, limits)
    return WIRES[signal].decode(payloads, tenants, limits)
