"""The command line. ``main`` is the entry point of the ``otel-diag`` script."""

from otel_diag.present.cli.commands import run as main

__all__ = ["main"]
