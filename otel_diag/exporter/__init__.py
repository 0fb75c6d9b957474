"""Exporters of the OpenTelemetry SDK that write into the store: ``OTEL_TRACES_EXPORTER=otel_diag``, no server needed.

They live in somebody else's process. What is heavy (DuckDB, Arrow) is imported with the first batch, in the thread that
exports; the store is opened for each batch and let go, so that other processes take turns; nothing is open while the
process forks; nothing is raised (docs/adr/0020).
"""
