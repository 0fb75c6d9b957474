"""otel-diag: says why an execution failed or was slow, with evidence, from its OpenTelemetry spans."""

__version__ = "0.1.0"
