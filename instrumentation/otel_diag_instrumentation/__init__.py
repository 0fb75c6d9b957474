"""OpenTelemetry for runner -> router -> Modal pipelines: one line to set up, one helper for each service.

Names: :func:`configure`, :func:`execution` (runner), :func:`route` (router), :func:`traced` and :func:`inference`
(Modal), :func:`generation` and :func:`record_usage` (model calls), :func:`call`, :func:`continue_trace`,
:func:`inject`, :func:`extract` (context over HTTP), :func:`flush`, :func:`validated`,
:func:`link_sentry`.
"""

from otel_diag_instrumentation.configuration import configure
from otel_diag_instrumentation.flushing import flush
from otel_diag_instrumentation.genai import Generation, generation, record_usage
from otel_diag_instrumentation.http import Exchange, call, continue_trace
from otel_diag_instrumentation.lines import validated
from otel_diag_instrumentation.modal import inference, traced
from otel_diag_instrumentation.propagation import extract, inject
from otel_diag_instrumentation.router import Route, current_route, route
from otel_diag_instrumentation.runner import execution
from otel_diag_instrumentation.sentry import link_sentry

__version__ = "0.1.0"

__all__ = [
    "Exchange",
    "Generation",
    "Route",
    "call",
    "configure",
    "continue_trace",
    "current_route",
    "execution",
    "extract",
    "flush",
    "generation",
    "inference",
    "inject",
    "link_sentry",
    "record_usage",
    "route",
    "traced",
    "validated",
]
