"""A live receiver on loopback, and raw clients for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

import grpc
import pyarrow as pa

from otel_diag.config import Settings
from otel_diag.errors import Transient
from otel_diag.listen import listening
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.grpc import serve_grpc
from otel_diag.receive.http import faults, http_app
from otel_diag.receive.intake import SIGNALS, Counters, Intake, Signal
from otel_diag.store.base import Appended, Store
from otel_diag.store.schema import SPANS, SignalTable

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(frozen=True)
class Receiver:
    store: Store
    counters: Counters
    commits: GroupCommit
    grpc_port: int
    http_port: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            yield channel


class Unavailable:
    """A store whose database is down."""

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        raise Transient("the database is down")


class Slow:
    """A store that commits when it is told to."""

    def __init__(self, store: Store) -> None:
        self.store, self.entered, self.go_on = store, Event(), Event()

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        self.entered.set()
        assert self.go_on.wait(30)
        return self.store.append(batch, signal)


def settings_for(**changes: object) -> Settings:
    return Settings(grpc_port=0, http_port=0, decode_processes=0, **changes)


@contextmanager
def running(store: Store, settings: Settings, signals: Sequence[Signal] = SIGNALS) -> Iterator[Receiver]:
    """Both servers on one event loop in a thread, stopped in order at the end."""
    commits = GroupCommit(store, settings)
    intake = Intake(commits, settings)
    listener = socket.create_server((settings.host, 0), backlog=256)
    ready, stop, ports = Event(), Event(), []

    async def main() -> None:
        rpc = await serve_grpc(intake, settings, signals)
        ports.append(rpc.port)
        async with listening(http_app(intake, settings, signals), listener, settings, faults(intake.counters)):
            ready.set()
            await asyncio.to_thread(stop.wait)
        await rpc.stop(5)

    thread = Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield Receiver(store, intake.counters, commits, ports[0], listener.getsockname()[1])
    finally:
        stop.set()
        thread.join()
        commits.close()
        intake.close()
