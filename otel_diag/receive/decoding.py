"""Where requests are decoded: in this process, or in one of their own (docs/adr/0016).

Half of the decoding holds the interpreter's lock, for milliseconds at a time, and whoever commits waits for it. In a
process of its own it has an interpreter of its own. Requests go there as bytes over a socket, and come back as one
Arrow table, which is not copied again.
"""

from __future__ import annotations

import logging
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final, Protocol

import pyarrow as pa

from otel_diag.config import Settings
from otel_diag.decode.bounds import Limits
from otel_diag.decode.requests import Decoded
from otel_diag.decode.wires import WIRES
from otel_diag.errors import BadInput, Transient

log = logging.getLogger(__name__)

_LENGTHS: Final = struct.Struct("<QQ")
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Undecoded:
    """Requests of one signal, and the tenant of each."""

    signal: str
    payloads: Sequence[bytes]
    tenants: Sequence[str]
    limits: Limits


class Decoder(Protocol):
    """Thread-safe. A request that cannot be decoded comes back as BadInput and does not hurt the others."""

    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        """What became of each request. Raises Transient when the decoder itself failed."""
        ...

    def close(self) -> None: ...


class HereDecoder:
    """Decodes in the calling thread."""

    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        return WIRES[requests.signal].decode(requests.payloads, requests.tenants, requests.limits)

    def close(self) -> None:
        pass


class ProcessDecoder:
    """Decodes in a process that ends with this one. One that dies is replaced; what it held may be sent again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """The process that decodes at the moment."""
        return self._process.pid if self._process else None

    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        with self._lock:
            if self._process is None:
                self._start()
            try:
                _send(self._socket, requests, b"")
                outcomes, table = _received(self._socket)
            except (OSError, EOFError) as error:
                self._stop()
                raise Transient("the decoding process died", hint="Send the request again.") from error
        if isinstance(outcomes, Transient):
            raise outcomes
        return _with_rows(outcomes, table)

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "otel_diag.receive.decoding", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )

    def _stop(self) -> None:
        """The process ends when its socket does."""
        self._socket.close()
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return
        process.kill()
        process.wait()


def decoders_of(settings: Settings) -> list[Decoder]:
    """As many as ``decode_processes`` says, one in this process for none."""
    if not settings.decode_processes:
        return [HereDecoder()]
    return [ProcessDecoder() for _ in range(settings.decode_processes)]


def _send(channel: socket.socket, message: Any, table: Any) -> None:
    head = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    channel.sendall(_LENGTHS.pack(len(head), len(table)) + head)
    channel.sendall(table)


def _received(channel: socket.socket) -> tuple[Any, pa.Buffer]:
    """The next message. Raises EOFError when there is none, or half of one."""
    head_size, table_size = _LENGTHS.unpack(_read(channel, _LENGTHS.size))
    head = _read(channel, head_size)
    # From our own other half: nobody else has the socket.
    return pickle.loads(head), _read(channel, table_size)  # noqa: S301


def _read(channel: socket.socket, size: int) -> pa.Buffer:
    buffer = pa.allocate_buffer(size)
    view, done = memoryview(buffer), 0
    while done < size:
        count = channel.recv_into(view[done:])
        if not count:
            raise EOFError
        done += count
    return buffer


def _without_rows(decoded: Sequence[Decoded | BadInput]) -> tuple[list[tuple[Decoded, int] | BadInput], pa.Buffer]:
    """The outcomes with the number of their rows instead of the rows, and all rows as one Arrow stream."""
    outcomes: list[tuple[Decoded, int] | BadInput] = []
    batches: list[pa.Table] = []
    for outcome in decoded:
        if isinstance(outcome, BadInput):
            outcomes.append(outcome)
        else:
            batches.append(outcome.batch)
            outcomes.append((replace(outcome, batch=None), outcome.batch.num_rows))
    sink = pa.BufferOutputStream()
    if batches:
        table = pa.concat_tables(batches)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return outcomes, sink.getvalue()


def _with_rows(outcomes: Sequence[tuple[Decoded, int] | BadInput], rows: pa.Buffer) -> list[Decoded | BadInput]:
    table = pa.ipc.open_stream(rows).read_all() if rows.size else pa.table({})
    decoded: list[Decoded | BadInput] = []
    done = 0
    for outcome in outcomes:
        if isinstance(outcome, BadInput):
            decoded.append(outcome)
        else:
            without, count = outcome
            decoded.append(replace(without, batch=table.slice(done, count)))
            done += count
    return decoded


def _serve(channel: socket.socket) -> None:
    """The other half: decode until the socket ends."""
    here = HereDecoder()
    answer: tuple[Any, Any]
    with suppress(EOFError, OSError):
        while True:
            requests, _ = _received(channel)
            try:
                answer = _without_rows(here.decode(requests))
            except BaseException:  # a panic of ptars is no Exception
                log.exception("could not decode %d requests", len(requests.payloads))
                answer = Transient("unexpected error, see the server's log"), b""
            del requests
            _send(channel, *answer)
            del answer


if __name__ == "__main__":
    # A terminal and a service manager signal every process; the server closes the socket when it has finished.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    _serve(socket.socket(fileno=int(sys.argv[1])))
