"""Trace and span ids that differ after a restored snapshot."""

from __future__ import annotations

import os

from opentelemetry.sdk.trace.id_generator import IdGenerator


class SystemIds(IdGenerator):
    """Ids from the system's randomness.

    The SDK's come from the state of Python's ``random``, which a memory snapshot of a Modal container freezes: every
    container restored from it would begin with the same ids.
    """

    def generate_span_id(self) -> int:
        return int.from_bytes(os.urandom(8), "big") or 1

    def generate_trace_id(self) -> int:
        return int.from_bytes(os.urandom(16), "big") or 1

    def is_trace_id_random(self) -> bool:
        return True
