"""Files for one hand-over, to another process or to an engine in this one."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import IO

import pyarrow as pa


def nameless_file() -> IO[bytes]:
    """A file that goes when it is closed, and never meets a disk where the system can hold it in memory."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("otel-diag"), "wb")
    return tempfile.TemporaryFile()


def path_of(file: IO[bytes]) -> str:
    """Under which this process can open it until then."""
    return f"/dev/fd/{file.fileno()}"


def write_stream(rows: pa.Table, file: IO[bytes]) -> None:
    """The rows as an Arrow stream, straight into an empty file: a buffer in between would be copied as it grows."""
    with pa.OSFile(path_of(file), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    file.seek(0)  # where such a path is the descriptor itself, it has moved
