"""What ``opentelemetry-instrument`` finds by its entry points. Nothing else imports this module."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # the package has no types
from opentelemetry.util._importlib_metadata import EntryPoint

from otel_diag_instrumentation.configuration import adopt, configure
from otel_diag_instrumentation.exporters import variable

_log = logging.getLogger(__name__)


class Distro(BaseDistro):  # type: ignore[misc]
    """Leaves FastAPI to itself where it makes spans of its own, from 0.142 on."""

    def _configure(self, **kwargs: Any) -> None:
        """Nothing: what is written into the environment here would reach every child process."""

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        if not (entry_point.name == "fastapi" and _fastapi_makes_spans()):
            super().load_instrumentor(entry_point, **kwargs)


class Configurator:
    """:func:`configure` with the name of the program, or what the file that ``OTEL_CONFIG_FILE`` names says."""

    def configure(self, auto_instrumentation_version: str = "", **_: Any) -> None:
        file = variable("OTEL_CONFIG_FILE")
        if file is None or not _set_up_by(file):
            configure(_program(), resource_attributes={"telemetry.auto.version": auto_instrumentation_version})


def pre_instrument() -> None:
    """Runs last, whoever's distro and configurator won."""
    adopt()


def _set_up_by(file: str) -> bool:
    try:
        from opentelemetry.configuration import (  # type: ignore[import-not-found]
            configure_sdk,
            load_config_file,
        )
    except ImportError:
        _log.error("OTEL_CONFIG_FILE needs opentelemetry-configuration, which is not installed: it is not read")
        return False
    configure_sdk(load_config_file(file))
    return True


def _fastapi_makes_spans() -> bool:
    """Looked up in its folder: importing FastAPI takes a third of a second."""
    found = find_spec("fastapi")
    return found is not None and (Path(found.origin or "").parent / "telemetry").is_dir()


def _program() -> str | None:
    """``app`` for ``python app.py`` and for ``python -m app``; None where only the interpreter is known."""
    script = sys.argv[0]
    if script == "-m":
        return sys.orig_argv[sys.orig_argv.index("-m") + 1]
    return None if script in ("", "-c") else Path(script).stem
