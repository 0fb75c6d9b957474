"""Batches on disk before the store has them: an embedded store's own log, cheap to write one batch at a time.

A directory beside the store holds segments, files of entries one after the other: length and CRC-32 of what follows,
and a batch as an Arrow stream that names its signal. An entry is durable when :meth:`Journal.append` returns. Segments
are removed when the store has what is in them; what a process that died left is stored by the next one that opens the
store (docs/adr/0017).
"""

from __future__ import annotations

import logging
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa

from otel_diag.config import embedded_path
from otel_diag.errors import Permanent, StartupError, Transient
from otel_diag.store.base import LOT_ROWS, Appended, Store
from otel_diag.store.rows import checked_batch
from otel_diag.store.schema import SIGNAL_TABLES, SignalTable

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<QI")
_SIGNAL: Final = b"otel_diag.signal"
_SIGNALS: Final = {signal.table.name: signal for signal in SIGNAL_TABLES}
# With threads, hundreds of small buffers cost four times as much.
_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A batch of one signal, with exactly the columns of its table."""

    batch: pa.Table
    signal: SignalTable


class Journal:
    """The segments of one store, and the one that is written. For use under one lock; made for a store that is open
    for writing, since nothing else keeps a second process out."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None
        self._path = directory
        self._sealed: list[Path] = []

    @property
    def directory(self) -> Path:
        return self._directory

    def append(self, entry: Entry) -> None:
        """Durable when it returns. Raises Transient when it cannot be written: no room, no permission."""
        try:
            file = self._begin() if self._file is None else self._file
            end = os.fstat(file).st_size
            try:
                _put(file, entry)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, end)
                raise
        except OSError as error:
            # Whatever is at the end of this segment now: nothing must come behind it.
            self._end()
            raise Transient(
                f"the journal {self._directory} cannot be written: {error.strerror}",
                hint="Make room on its disk, then send again.",
            ) from error

    def seal(self) -> Sequence[Path]:
        """Every segment that was written until now; what comes next goes into another."""
        self._end()
        sealed, self._sealed = self._sealed, []
        return sealed

    def close(self) -> None:
        """Let go of the segment that is written, and of the directory when nothing is in it."""
        self._end()
        with suppress(OSError):
            self._directory.rmdir()

    def _begin(self) -> int:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._path = self._directory / f"{time.time_ns():020d}.segment"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        for directory in (self._directory, self._directory.parent):
            _flush(directory)
        return self._file

    def _end(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._sealed.append(self._path)


def journal_directory(store_url: str) -> Path | None:
    """Where the journal of an embedded store lies: beside it. None for a store in memory or on a server."""
    path = embedded_path(store_url)
    return None if path is None else path.with_name(f"{path.name}.journal")


def segments(directory: Path) -> Sequence[Path]:
    """Those that are there, oldest first."""
    return sorted(directory.glob("*.segment"))


def replay(directory: Path, store: Store) -> None:
    """Store what a process that died left, and remove it. Raises StartupError when the store does not take it."""
    for segment in segments(directory):
        try:
            appended = _total(move(lot, store, directory) for lot in _lots(read(segment)))
        except (Transient, OSError) as error:
            raise StartupError(
                f"what was acknowledged and is in {directory} cannot be stored: {error}",
                hint="Mend what the message says; nothing is lost as long as the directory stays.",
            ) from error
        segment.unlink()
        log.info("%s: %d records stored, %d were already", segment, appended.stored, appended.duplicates)
    with suppress(OSError):
        directory.rmdir()


def move(entries: Sequence[Entry], store: Store, directory: Path) -> Appended:
    """Store the entries, those of a signal together. Raises Transient, and may then be called again.

    What the store refuses for good is kept beside the journal, and the log says so: it was acknowledged.
    """
    by_signal = groupby(sorted(entries, key=_table_name), key=lambda entry: entry.signal)
    return _total(
        appended
        for signal, alike in by_signal
        for appended in _stored([entry.batch for entry in alike], signal, store, directory)
    )


def read(segment: Path) -> Iterator[Entry]:
    """The entries of a segment. One that was not written whole was never acknowledged: it ends the segment."""
    with segment.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            payload = file.read(min(length, os.fstat(file.fileno()).st_size))
            if len(payload) < length or zlib.crc32(payload) != checksum:
                log.warning("%s ends in what was not written whole", segment)
                return
            yield _decoded(payload)


def _stored(batches: Sequence[pa.Table], signal: SignalTable, store: Store, directory: Path) -> Iterator[Appended]:
    try:
        yield store.append(pa.concat_tables(batches), signal)
    except Permanent as error:
        if len(batches) > 1:
            for batch in batches:
                yield from _stored([batch], signal, store, directory)
            return
        kept = directory / f"{time.time_ns():020d}.refused"
        with kept.open("xb") as file:
            _put(file.fileno(), Entry(batches[0], signal))
        _flush(directory)
        log.error("the store refuses %d acknowledged records, kept in %s: %s", batches[0].num_rows, kept, error)


def _total(parts: Iterable[Appended]) -> Appended:
    found = list(parts)
    return Appended(sum(part.stored for part in found), sum(part.duplicates for part in found))


def _lots(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    lot: list[Entry] = []
    rows = 0
    for entry in entries:
        lot.append(entry)
        rows += entry.batch.num_rows
        if rows >= LOT_ROWS:
            yield lot
            lot, rows = [], 0
    if lot:
        yield lot


def _table_name(entry: Entry) -> str:
    return entry.signal.table.name


def _put(file: int, entry: Entry) -> None:
    """Write an entry and flush it. Raises OSError, when some of it may have been written."""
    payload = _encoded(entry)
    _write(file, _HEAD.pack(len(payload), zlib.crc32(payload)))
    _write(file, payload)
    os.fdatasync(file)


def _encoded(entry: Entry) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    # In one piece: a message of a stream costs more than the copying of a few hundred rows.
    batch = entry.batch.combine_chunks().replace_schema_metadata({_SIGNAL: _table_name(entry).encode()})
    with pa.ipc.new_stream(sink, batch.schema, options=_COMPRESSED) as writer:
        writer.write_table(batch)
    return sink.getvalue()


def _decoded(payload: bytes) -> Entry:
    with pa.ipc.open_stream(payload) as reader:
        table = reader.read_all()
    signal = _SIGNALS[table.schema.metadata[_SIGNAL].decode()]
    # Written by an older version, it has no columns that came since.
    for field in signal.schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return Entry(checked_batch(table.replace_schema_metadata(None), signal), signal)


def _write(file: int, content: bytes | pa.Buffer) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _flush(directory: Path) -> None:
    """Make the names in a directory durable."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
