"""Every signal's decoder by the signal's name."""

from __future__ import annotations

from typing import Final

from otel_diag.decode.logs import LOGS
from otel_diag.decode.metrics import METRICS
from otel_diag.decode.profiles import PROFILES
from otel_diag.decode.requests import Wire
from otel_diag.decode.traces import TRACES

WIRES: Final[dict[str, Wire]] = {"traces": TRACES, "metrics": METRICS, "logs": LOGS, "profiles": PROFILES}
