"""OpenTelemetry for runner -> router -> Modal pipelines: one line to set up, one helper for each service.

Names: :func:`configure`, :func:`execution` (runner), :func:`route` (router), :func:`traced` (Modal),
:func:`call`, :func:`continue_trace`, :func:`inject`, :func:`extract` (context over HTTP), :func:`flush`,
:func:`link_sentry`.
"""

from otel_diag_instrumentation.configuration import configure
from otel_diag_instrumentation.flushing import flush
from otel_diag_instrumentation.http import Exchange, call, continue_trace, extract, inject
from otel_diag_instrumentation.modal import traced
from otel_diag_instrumentation.router import Route, current_route, route
from otel_diag_instrumentation.runner import execution
from otel_diag_instrumentation.sentry import link_sentry

__version__ = "0.1.0"

__all__ = [
    "Exchange",
    "Route",
    "call",
    "configure",
    "continue_trace",
    "current_route",
    "execution",
    "extract",
    "flush",
    "inject",
    "link_sentry",
    "route",
    "traced",
]
