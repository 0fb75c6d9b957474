"""Taking turns at the store: processes that export, commands, and the server, which keeps it."""

from __future__ import annotations

import time
from contextlib import closing
from functools import cache
from typing import Final

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from otel_diag.config import Settings, settings_of
from otel_diag.delivery import Receiver, Taken, append
from otel_diag.discovery import find_server, http_client
from otel_diag.errors import StoreInUse, Transient
from otel_diag.exporter.outbox import WHOLE
from otel_diag.store.open import open_store

PATIENCE_SECONDS: Final = 10.0
"""A batch waits this long for its turn. Others hold the store for a tenth of a second, a server until it answers."""

REST_SECONDS: Final = 30.0
"""After a batch that waited in vain, the next ones try once: a process that ends must not wait for each."""

HTTP_SECONDS: Final = 10.0
"""A server that took the request and does not answer is waited for this long."""


class Turns:
    """Delivers requests by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hurried_until = 0.0

    def __call__(self, signal: str, request: bytes, records: int) -> Taken:
        """Deliver one request; when it returns, its records are committed. Raises OtelDiagError."""
        hurried = time.monotonic() < self._hurried_until
        patiently = Retrying(
            retry=retry_if_exception_type((StoreInUse, Transient)),
            stop=stop_after_delay(0 if hurried else PATIENCE_SECONDS),
            wait=wait_random_exponential(multiplier=0.05, max=0.5),
            reraise=True,
        )
        try:
            return patiently(self._deliver, signal, request, records)
        except (StoreInUse, Transient):
            self._hurried_until = time.monotonic() + REST_SECONDS
            raise

    def _deliver(self, signal: str, request: bytes, records: int) -> Taken:
        settings = self._settings
        server = find_server(settings)
        if server is not None:
            http = http_client(server, settings, timeout=HTTP_SECONDS)
            with closing(Receiver(server.otlp_http, http)) as receiver:
                return receiver.send(signal, request, records)
        with WHOLE:
            return _append(settings, signal, request)


def _append(settings: Settings, signal: str, request: bytes) -> Taken:
    """Apart, so that the store's objects are gone when it returns: their destructors are work in C++ too."""
    with closing(open_store(settings.store)) as store:
        return append(store, signal, request, settings.tenant)


@cache
def turns() -> Turns:
    """Of this process. Raises BadInput when a setting is wrong."""
    return Turns(settings_of())
