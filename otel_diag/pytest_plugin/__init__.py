"""``pytest --otel-diag``: keeps the trace of each failed test, and says in its report what went wrong."""
