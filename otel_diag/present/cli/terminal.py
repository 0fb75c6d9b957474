"""How commands talk to the person or script in front of them: output, errors, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

from pydantic import BaseModel
from rich.console import Console, RenderableType

from otel_diag.errors import (
    BadInput,
    Forbidden,
    NotFound,
    OtelDiagError,
    StartupError,
    Transient,
    Unauthenticated,
    Unsupported,
)
from otel_diag.present.text import clean, hint_of

PIPE_WIDTH = 120
"""Columns when the output is no terminal, so that a log reads the same everywhere."""


class ExitCode(IntEnum):
    """Documented in ``otel-diag --help``; scripts depend on them."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    PARTIAL = 5
    UNSUPPORTED = 6


_EXIT_CODES: tuple[tuple[type[OtelDiagError], ExitCode], ...] = (
    (BadInput, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (Transient, ExitCode.UNREACHABLE),
    (StartupError, ExitCode.UNREACHABLE),
    (Unauthenticated, ExitCode.UNREACHABLE),
    (Forbidden, ExitCode.UNREACHABLE),
    (Unsupported, ExitCode.UNSUPPORTED),
)


def console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def error_console() -> Console:
    return Console(highlight=False, stderr=True)


def show(answer: BaseModel, view: RenderableType, *, as_json: bool) -> None:
    """The answer as one JSON document, or as people read it."""
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        console().print(view)


def write_json(value: Any) -> None:
    """One JSON document on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """What is raised on purpose ends the process with one line, a hint and the right exit code."""
    try:
        yield
    except OtelDiagError as error:
        code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), ExitCode.UNEXPECTED)
        _end(code, error.message, hint_of(error))
    except OSError as error:
        _end(ExitCode.UNEXPECTED, f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), "")


def _end(code: ExitCode, message: str, hint: str) -> NoReturn:
    lines: Sequence[str] = [f"error: {clean(message, 1_000)}", *([f"hint: {clean(hint, 1_000)}"] if hint else [])]
    sys.stderr.write("\n".join(lines) + "\n")
    sys.exit(code)
