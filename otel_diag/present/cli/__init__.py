"""The command line. ``main`` is the entry point of the ``otel-diag`` script."""

import gc


def main() -> None:
    """Run the command that the arguments name."""
    gc.disable()  # loading leaves no garbage, and takes a fifth longer when it is looked for
    from otel_diag.without_pandas import keep_pandas_out

    keep_pandas_out()
    from otel_diag.present.cli.commands import run

    gc.enable()
    run()


__all__ = ["main"]
