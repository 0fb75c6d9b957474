"""Files for one hand-over, to another process or to an engine in this one."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import IO


def nameless_file() -> IO[bytes]:
    """A file that goes when it is closed, and never meets a disk where the system can hold it in memory."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("otel-diag"), "wb")
    return tempfile.TemporaryFile()


def path_of(file: IO[bytes]) -> str:
    """Under which this process can open it until then."""
    return f"/dev/fd/{file.fileno()}"
