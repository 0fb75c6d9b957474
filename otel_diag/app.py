"""The only place that wires the parts together for a command: how it reaches the data, and the server it may start.

The server itself is wired in :mod:`otel_diag.server`, which is imported when it is started: its libraries take longer
to load than most commands to run.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta

from otel_diag import upkeep
from otel_diag.ask.translate import NotTranslated, Translator
from otel_diag.auth import check_exposure
from otel_diag.config import Settings, embedded_path
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.delivery import PROTOBUF, Taken, append
from otel_diag.discovery import find_server, http_client
from otel_diag.errors import BadInput, Conflict, StartupError, StoreInUse, Unsupported
from otel_diag.model import PrunedStore
from otel_diag.present.client import TIMEOUT_SECONDS, AnyQueries, RemoteQueries
from otel_diag.query import Queries
from otel_diag.store.base import Store
from otel_diag.store.clickhouse_tables import Cluster, cluster_tables
from otel_diag.store.open import needed_for_clickhouse, open_store
from otel_diag.upkeep import Bounds
from otel_diag.worker import Worker, backlog

LOCK_WAIT_SECONDS = 5.0
"""A command that reads the embedded store holds it for milliseconds only: who needs it waits this long."""

LOCK_POLL_SECONDS = 0.05

SUMMARISE_SECONDS = 5.0
"""How long a question spends on summaries that a server under full load has left; those of scripts take less."""


def serve(settings: Settings, *, json_output: bool = False) -> None:
    """Run the server until SIGINT or SIGTERM. Prints where it listens, as one JSON line with ``json_output``.

    Raises StartupError: port taken, store locked, database down, open to the network without anybody having said so.
    """
    gc.disable()  # as when the command was loaded
    from otel_diag.server import run

    gc.enable()
    check_exposure(settings)
    with keeping_loaded():
        run(settings, open_patiently(settings), json_output=json_output)


@contextmanager
def keeping_loaded() -> Iterator[None]:
    """Leave what is loaded by now out of garbage collections: a full one goes through a million objects of libraries
    otherwise, a tenth of a second in the midst of a question. And collect less often: a long trace makes a hundred
    thousand objects, none of them garbage before it is judged."""
    often = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()  # at the end of the process they are collected as ever


@contextmanager
def open_queries(settings: Settings, *, writing: bool = False, storing: bool = False) -> Iterator[AnyQueries]:
    """Answers for one command: from the server that owns the embedded store, else from the store itself.

    It is opened read-only unless ``writing``, which takes a store that is there: neither creates or upgrades one. With
    ``storing`` it keeps new diagnoses where it can be written. An embedded one is summarised before, as nobody else
    does it, and let go at the end, so that it never keeps ``serve`` from starting. Raises StartupError: no store yet,
    locked by a process that does not answer, database down.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        if (server := find_server(settings)) is not None:
            with RemoteQueries(server.url, http_client(server, settings, timeout=TIMEOUT_SECONDS)) as remote:
                yield remote
            return
        try:
            store = _open_summarised(settings)
            if writing:
                store.close()
                store = open_store(settings.store)
            elif storing:
                store = _for_writing(store, settings)
            break
        except StoreInUse:  # by a server that is starting, or by another command
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_POLL_SECONDS)
    with closing(store):
        yield Queries(store, settings, tenant=settings.tenant)


def check_model(name: str) -> None:
    """Whether the language model of ``ask_model`` could be asked; it is not. Raises StartupError."""
    try:
        Translator(name).check()
    except NotTranslated as why:
        raise StartupError("questions that the grammar does not understand are refused", hint=str(why)) from why


class Writer:
    """Writes OTLP payloads straight to a store; what it wrote is summarised when it closes."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def append_payload(self, payload: bytes, content_type: str = PROTOBUF, *, signal: str = "traces") -> Taken:
        """Store one export request, in protobuf, of spans also in JSON. Raises BadInput, Transient, Permanent."""
        request = json_to_request(payload) if content_type == "application/json" else payload
        return append(self._store, signal, request, self._settings.tenant)

    @property
    def queries(self) -> Queries:
        """What the store holds already."""
        return Queries(self._store, self._settings, tenant=self._settings.tenant)

    def summarise(self, seconds: float = math.inf) -> None:
        """Fold every trace that was written, without waiting for it to fall quiet; begin nothing after ``seconds``."""
        until = time.monotonic() + seconds
        worker = Worker(self._store, self._settings.model_copy(update={"quiet_seconds": 0.0}))
        more = True
        while more and time.monotonic() < until:
            try:
                more = worker.fold_quiet()
            except Conflict:  # another process's worker took some of them: see what is left
                continue


@contextmanager
def open_writer(settings: Settings) -> Iterator[Writer]:
    """The store, opened for writing and brought up to date. Raises StartupError, also when a server owns it."""
    with closing(open_patiently(settings)) as store:
        writer = Writer(store, settings)
        yield writer
        writer.summarise()


def otel_traces(url: str) -> Iterator[bytes]:
    """What the Collector's ClickHouse exporter has stored, as lines of OTLP/JSON. Raises StartupError, NotFound."""
    with needed_for_clickhouse():
        from otel_diag.store.otel_traces import otlp_lines
    return otlp_lines(url)


def cluster_schema(settings: Settings, name: str, database: str) -> Sequence[str]:
    """The statements that create the tables on a ClickHouse cluster, where the servers keep to ``retention_days``."""
    return cluster_tables(Cluster(name, database, settings.retention_days))


def migrate(settings: Settings) -> None:
    """Bring the store's schema up to date; opening it does. Raises StartupError."""
    open_patiently(settings).close()


def prune(
    settings: Settings,
    max_age: timedelta | None = None,
    max_bytes: int | None = None,
    *,
    dry_run: bool = False,
    compact: bool = False,
) -> PrunedStore:
    """Remove what is older or more than that, without both what the settings exclude; then rewrite an embedded file.

    Raises StartupError, also when a server owns the store, BadInput when nothing says what to do, and Unsupported when
    the store is no file to compact.
    """
    given = max_age is not None or max_bytes is not None
    bounds = Bounds(max_age, max_bytes) if given else Bounds.of(settings)
    if not bounds.any and not compact:
        raise BadInput(
            "nothing says what is too old or too much",
            hint="Give --older-than or --max-size, or set retention_days or retention_bytes.",
        )
    file = embedded_path(settings.store)
    if compact and (file is None or file.is_dir()):
        raise Unsupported(
            "only a DuckDB file can be compacted", hint="Other stores give room back when they remove rows."
        )
    try:
        open_store(settings.store, read_only=True).close()  # there is one, and it is up to date
        with closing(open_store(settings.store, read_only=dry_run)) as store:
            pruned = upkeep.prune(store, bounds, datetime.now(UTC), dry_run=dry_run)
        if compact and file is not None:
            from otel_diag.store.duckdb import compact as compact_file

            compact_file(file)
            pruned = pruned.model_copy(update={"file_bytes": file.stat().st_size})
    except StoreInUse as error:
        hint = "Stop it first, or let it prune by itself: set retention_days or retention_bytes."
        raise StoreInUse(error.message, hint=hint) from error
    return pruned


def _open_summarised(settings: Settings) -> Store:
    """The store, read-only. What exporters wrote into an embedded one is summarised first, if it can be written."""
    file = embedded_path(settings.store)
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_store(settings.store, read_only=True)))
        if file is None or not os.access(file, os.W_OK) or not backlog(store, datetime.now(UTC)).traces:
            opened.pop_all()
            return store
    with closing(open_store(settings.store)) as writable:
        Writer(writable, settings).summarise(SUMMARISE_SECONDS)
    return open_store(settings.store, read_only=True)


def _for_writing(store: Store, settings: Settings) -> Store:
    """The same store, opened again; read-only still where it cannot be written."""
    file = embedded_path(settings.store)
    if file is not None and not os.access(file, os.W_OK):
        return store
    store.close()
    try:
        return open_store(settings.store)
    except StoreInUse:
        raise
    except StartupError:
        return open_store(settings.store, read_only=True)


def open_patiently(settings: Settings) -> Store:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return open_store(settings.store)
        except StoreInUse:
            if time.monotonic() > deadline or find_server(settings) is not None:
                raise
            time.sleep(LOCK_POLL_SECONDS)
