"""``python -m otel_diag.present.cli`` is ``otel-diag``."""

from otel_diag.present.cli import main

main()
