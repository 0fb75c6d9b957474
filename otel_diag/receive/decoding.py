"""Where requests are decoded: in this process, or in one of their own (docs/adr/0016).

Half of the decoding holds the interpreter's lock, for milliseconds at a time, and whoever commits waits for it. In a
process of its own it has an interpreter of its own. Requests go there as bytes over a socket, and come back as one
Arrow table, which is not copied again.
"""

from __future__ import annotations

import logging
import mmap
import os
import pickle
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
from otel_diag.decode.wires import decode
from otel_diag.errors import BadInput, Transient
from otel_diag.scratch import nameless_file, write_stream

log = logging.getLogger(__name__)

_LENGTHS: Final = struct.Struct("<QQ")
_STOP_SECONDS: Final = 5.0

_Outcome = tuple[Decoded, int] | BadInput
"""As it travels: the number of its rows instead of the rows."""


@dataclass(frozen=True, slots=True)
class Undecoded:
    """Requests of one signal, and the tenant of each."""

    signal: str
    payloads: Sequence[bytes]
    tenants: Sequence[str]
    limits: Limits


class Decoder(Protocol):
    """Thread-safe. A request that cannot be decoded comes back as BadInput and does not hurt the others."""

    places: int
    """How many calls at once are of use."""

    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        """What became of each request. Raises Transient when the decoder itself failed."""
        ...

    def close(self) -> None: ...


class HereDecoder:
    """Decodes in the calling thread."""

    places = 1

    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        return decode(requests.signal, requests.payloads, requests.tenants, requests.limits)

    def close(self) -> None:
        pass


class ProcessDecoder:
    """Decodes in a process that ends with this one. One that dies is replaced; what it held may be sent again.

    It finds the next requests waiting when it has answered: the process is idle for as long as this one takes to come
    round otherwise, which is a fifth of the time when the interpreter is busy.
    """

    places = 2

    def __init__(self) -> None:
        self._sending = Lock()
        self._receiving = Lock()
        """Taken before the other one is released: answers come in the order of the requests."""
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """The process that decodes at the moment."""
        return self._process.pid if self._process else None

    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        with self._sending:
            channel = self._running()
            try:
                _send(channel, requests)
            except OSError as error:
                raise self._died(channel) from error
            self._receiving.acquire()
        try:
            outcomes, table = _received(channel)
        except (OSError, EOFError) as error:
            raise self._died(channel) from error
        finally:
            self._receiving.release()
        if isinstance(outcomes, Transient):
            raise outcomes
        return _with_rows(outcomes, table)

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _running(self) -> socket.socket:
        with self._lock:
            if self._process is None:
                self._start()
            return self._socket

    def _died(self, channel: socket.socket) -> Transient:
        with self._lock:
            if channel is self._socket:  # who noticed it second leaves the new one alone
                self._stop()
        return Transient("the decoding process died", hint="Send the request again.")

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "otel_diag.receive.decoding_process", str(theirs.fileno())]
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


def _send(channel: socket.socket, message: Any, rows: pa.Table | None = None) -> None:
    """In a file without a name: the other side need not take it before this one goes on, as it must from a socket."""
    head = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    with nameless_file() as file:
        # The rows first: Arrow wants its buffers at multiples of 64 bytes.
        if rows is not None:
            write_stream(rows, file)
        size = file.seek(0, os.SEEK_END)
        file.write(head)
        file.flush()
        socket.send_fds(channel, [_LENGTHS.pack(len(head), size)], [file.fileno()])


def _received(channel: socket.socket) -> tuple[Any, pa.Buffer]:
    """The next message. Raises EOFError when there is none, or half of one."""
    lengths, files, _, _ = socket.recv_fds(channel, _LENGTHS.size, 1)
    if len(lengths) < _LENGTHS.size or not files:
        raise EOFError
    head_size, table_size = _LENGTHS.unpack(lengths)
    try:
        content = pa.py_buffer(mmap.mmap(files[0], head_size + table_size, prot=mmap.PROT_READ))
    finally:
        os.close(files[0])
    # From our own other half: nobody else has the socket.
    return pickle.loads(content.slice(table_size)), content.slice(0, table_size)  # noqa: S301


def _without_rows(decoded: Sequence[Decoded | BadInput]) -> tuple[list[_Outcome], pa.Table | None]:
    """The outcomes as they travel, and all rows as one table."""
    outcomes: list[_Outcome] = []
    batches: list[pa.Table] = []
    for outcome in decoded:
        if isinstance(outcome, BadInput):
            outcomes.append(outcome)
        else:
            batches.append(outcome.batch)
            outcomes.append((replace(outcome, batch=None), outcome.batch.num_rows))
    return outcomes, pa.concat_tables(batches) if batches else None


def _with_rows(outcomes: Sequence[_Outcome], rows: pa.Buffer) -> list[Decoded | BadInput]:
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


def serve(channel: socket.socket) -> None:
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
                answer = Transient("unexpected error, see the server's log"), None
            del requests
            _send(channel, *answer)
            del answer
