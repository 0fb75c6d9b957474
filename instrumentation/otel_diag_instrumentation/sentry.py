"""Beside sentry-sdk: spans name the Sentry event that was captured in them, so that a report can lead to it.

The other direction, trace and span id in the event, is the work of Sentry's own ``OTLPIntegration``.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from otel_diag_instrumentation.execution_context import from_baggage

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

SENTRY_EVENT_ID: Final = "sentry.event_id"

_log = logging.getLogger(__name__)


@cache
def link_sentry() -> None:
    """Makes every event that Sentry captures leave its id, ``sentry.event_id``, on the span that was current.

    Before or after ``sentry_sdk.init``; calling it again changes nothing. A log record says the id instead where the
    span has ended already: web frameworks report an unhandled error after the request. Of several events in one span
    the last one stays. ``before_send`` may still drop an event whose id was noted. Without sentry-sdk 2 or later this
    is logged, and nothing happens.
    """
    try:
        from sentry_sdk import get_global_scope
    except ImportError as error:
        _log.warning("spans will not carry %s: %s", SENTRY_EVENT_ID, error)
        return
    # Not add_global_event_processor: those run before Sentry drops an error that it has captured already.
    get_global_scope().add_event_processor(_note_event_id)


def _note_event_id(event: Event, _hint: Hint) -> Event:
    span = trace.get_current_span()
    event_id = event.get("event_id")
    if event_id is None or event.get("type") == "transaction":
        return event
    if span.is_recording():
        span.set_attribute(SENTRY_EVENT_ID, event_id)
    elif span.get_span_context().trace_flags.sampled:
        from opentelemetry._logs import get_logger  # the SDK's traces do without it

        attributes = {**from_baggage(None), SENTRY_EVENT_ID: event_id}
        get_logger("otel-diag-instrumentation").emit(event_name="sentry.event", attributes=attributes)
    return event
