"""Files of spans: OTLP/JSON lines, protobuf dumps and logs in, plain or gzip, as protobuf requests; OTLP/JSON out."""

from __future__ import annotations

import codecs
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, Final, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_diag.decode.modal_logs import Said, executions, named, read_line, requests_of, time_of
from otel_diag.decode.otlp_json import json_to_message
from otel_diag.decode.utf8 import replace_invalid_utf8
from otel_diag.errors import BadInput

_GZIP_MAGIC: Final = b"\x1f\x8b"
_OTHER_SIGNALS: Final = {"resourceLogs": "logs", "resourceMetrics": "metrics", "resourceProfiles": "profiles"}

BATCH_SPANS: Final = 5_000
BATCH_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Spans:
    """One request of the file: ``payload`` is an ExportTraceServiceRequest in protobuf."""

    payload: bytes
    spans: int
    signal: ClassVar = "traces"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line of another signal."""

    signal: str


@dataclass(frozen=True, slots=True)
class Broken:
    """What could not be read. ``where`` names the line or the message."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Spans of which the file tells the start only: ``payload`` is an ExportLogsServiceRequest in protobuf."""

    payload: bytes
    spans: int
    signal: ClassVar = "logs"


@dataclass(frozen=True, slots=True)
class Lines:
    """Of a log: how many lines told of spans, how many did not, and how many spans had one of their two lines only."""

    read: int
    ignored: int
    unpaired: int


Part = Spans | Announced | Lines | Skipped | Broken


def read_parts(file: BinaryIO) -> Iterator[Part]:
    """Every request in the file, in order. What is broken is yielded as such and the rest goes on."""
    stream = _unpacked(file)
    try:
        first = stream.readline()
        # A lone brace may begin an indented document, or be the length 123 of a protobuf message.
        if _looks_like_json(first) and first.strip() != b"{":
            yield from json_lines(chain([first], stream))
        else:
            yield from _whole(first + stream.read())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield Broken("the compressed data", f"corrupt or cut off: {error}")


def read_modal_logs(file: BinaryIO, seen: int, trace_id_of: Callable[[str, int], str]) -> Iterator[Part]:
    """The spans that lines of a log tell of; ``trace_id_of`` as :func:`executions` takes it.

    A line without a time has that of the line before, or of the first line that has one, or ``seen``: Unix nanoseconds.
    """
    lines: list[Said] = []
    ignored = 0
    last = first = 0
    try:
        for content in _unpacked(file):
            text = content.decode("utf-8", "replace")
            said = read_line(text, seen=last)
            if said is not None:
                lines.append(said)
            elif text.strip():
                ignored += 1
            last = (time_of(text) if said is None else said.at) or last
            first = first or last
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield Broken("the compressed data", f"corrupt or cut off: {error}")
    told = executions((said if said.at else replace(said, at=first or seen) for said in lines), trace_id_of)
    for start in range(0, len(told), BATCH_SPANS):
        some = told[start : start + BATCH_SPANS]
        spans, announced = requests_of((one, named(Resource(), one.service)) for one in some)
        ended = sum(one.end is not None for one in some)
        if ended:
            yield Spans(spans.SerializeToString(), ended)
        if ended < len(some):
            yield Announced(announced.SerializeToString(), len(some) - ended)
    yield Lines(len(lines), ignored, sum(not one.whole for one in told))


def batches(parts: Iterable[Spans]) -> Iterator[Spans]:
    """Small requests joined, so that each commit carries many. Protobuf messages are joined by writing them in a row:
    their repeated fields add up.
    """
    waiting: list[Spans] = []
    for part in parts:
        full = sum(p.spans for p in waiting) + part.spans > BATCH_SPANS
        large = sum(len(p.payload) for p in waiting) + len(part.payload) > BATCH_BYTES
        if waiting and (full or large):
            yield _joined(waiting)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _joined(waiting)


@contextmanager
def written(path: Path | None) -> Iterator[IO[bytes]]:
    """Where to write: a file, compressed when its name ends in .gz, or standard output."""
    if path is None:
        yield sys.stdout.buffer
    elif path.suffix == ".gz":
        with gzip.open(path, "wb") as compressed:
            yield cast(IO[bytes], compressed)
    else:
        with path.open("wb") as plain:
            yield plain


def trace_line(trace: Mapping[str, Any]) -> bytes:
    """A trace as one line of OTLP/JSON."""
    return json.dumps(trace, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _unpacked(file: BinaryIO) -> IO[bytes]:
    compressed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=file)) if compressed else file


def _looks_like_json(data: bytes) -> bool:
    return data.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def json_lines(lines: Iterable[bytes]) -> Iterator[Part]:
    """Every request of lines of OTLP/JSON."""
    for number, line in enumerate(lines, start=1):
        yield from _json_request(f"line {number}", line.removeprefix(codecs.BOM_UTF8))


def _json_request(where: str, text: bytes) -> Iterator[Part]:
    if not text.strip():
        return
    try:
        request = json_to_message(text, ExportTraceServiceRequest.DESCRIPTOR)
    except BadInput as error:
        yield Broken(where, error.message)
        return
    assert isinstance(request, ExportTraceServiceRequest)  # noqa: S101 - the descriptor says so
    if request.resource_spans:
        yield Spans(request.SerializeToString(), _count(request))
        return
    names = _OTHER_SIGNALS.keys() & json.loads(text).keys()
    yield from (Skipped(_OTHER_SIGNALS[name]) for name in sorted(names))
    if not names:
        yield Broken(where, "JSON, but no OTLP request")


def _whole(data: bytes) -> Iterator[Part]:
    """A file that is not one JSON request a line."""
    if (request := _protobuf_request(data)) is not None:
        yield request
    elif (messages := _delimited(data)) is not None:
        yield from messages
    elif _looks_like_json(data):
        yield from json_lines(data.splitlines()) if _is_many(data) else _json_request("the document", data)
    elif data.strip():
        yield Broken("the file", "neither OTLP/JSON lines nor a protobuf dump of spans")


def _is_many(text: bytes) -> bool:
    """Whether the lines, rather than the whole, are JSON documents."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return True
    return False


def _protobuf_request(data: bytes) -> Spans | None:
    """The request these bytes are, or None: protobuf reads much that was never meant to be, so it must hold spans."""
    try:
        request = ExportTraceServiceRequest.FromString(data)
    except DecodeError:
        repaired = replace_invalid_utf8(data, ExportTraceServiceRequest.DESCRIPTOR)
        if repaired is None:
            return None
        request = ExportTraceServiceRequest.FromString(repaired[0])
    spans = _count(request)
    return Spans(data, spans) if spans else None


def _delimited(data: bytes) -> list[Part] | None:
    """The messages of a dump in which each is preceded by its length as a varint; None when it is none."""
    parts: list[Part] = []
    position = 0
    while position < len(data):
        number = len(parts) + 1
        length, start = _varint(data, position)
        position = start + length
        request = _protobuf_request(data[start:position]) if length and position <= len(data) else None
        if request is None and number == 1:
            return None
        parts.append(request or Broken(f"message {number}", "not a request with spans, or cut off"))
    return parts or None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` and where the bytes after it begin; a number without end is longer than the data."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return len(data) + 1, position


def _count(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def _joined(parts: list[Spans]) -> Spans:
    return Spans(b"".join(part.payload for part in parts), sum(part.spans for part in parts))
