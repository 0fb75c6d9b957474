"""Setting up the SDK: providers that export over OTLP, once, without ever getting in the service's way.

Everything is set up here, whether the program calls :func:`configure` or is run by ``opentelemetry-instrument``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_diag_instrumentation.execution_context import ExecutionAttributes, ExecutionSampler
from otel_diag_instrumentation.exporters import Destination, Protocol, component, variable
from otel_diag_instrumentation.flushing import FLUSHER
from otel_diag_instrumentation.ids import SystemIds

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider

EXPORT_DELAY_MS: Final = 1000.0
"""How long an ended span waits for its batch. A fifth of the SDK's: what is not sent yet dies with a killed process."""

_SAMPLERS_OF_THE_SDK: Final = frozenset(
    {
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    }
)

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_prepared: trace.TracerProvider | None = None


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    protocol: Protocol | None = None,
    service_version: str | None = None,
    resource_attributes: Mapping[str, str] | None = None,
    announce: bool = True,
) -> trace.TracerProvider:
    """Makes this process export its spans and log records over OTLP, and returns the tracer provider in use.

    ``endpoint`` is a base URL, by default otel-diag on this machine: 127.0.0.1, port 4317 over gRPC when the ``grpc``
    extra is installed, else port 4318 over HTTP. Without ``protocol`` the port decides. Every standard ``OTEL_*``
    variable wins over the arguments. Spans that stay open are announced while they run, unless ``announce`` is False
    or ``OTEL_DIAG_ANNOUNCE`` says ``off``.

    When the application has set a tracer provider already, that one stays as it is and only learns to write the
    execution on its spans. Calling it again changes nothing. An unreachable endpoint, or an exporter that is not
    installed, is logged and costs spans, never a request; at exit and at SIGTERM the last spans get two seconds to
    leave.
    """
    global _prepared
    with _lock:
        provider = trace.get_tracer_provider()
        if provider is not _prepared:
            if isinstance(provider, trace.ProxyTracerProvider):
                resource = _resource(service_name, service_version, resource_attributes or {})
                provider = _set_up(resource, Destination(endpoint, protocol), announce)
                trace.set_tracer_provider(provider)
            elif isinstance(provider, TracerProvider):
                provider.add_span_processor(ExecutionAttributes())
            if not _disabled():
                FLUSHER.flush_at_exit()
            _prepared = provider
        return provider


def adopt() -> None:
    """Teaches a provider that somebody else has set up to write the execution on its spans and to announce them."""
    global _prepared
    with _lock:
        provider = trace.get_tracer_provider()
        if provider is _prepared or not isinstance(provider, TracerProvider) or _disabled():
            return
        provider.add_span_processor(ExecutionAttributes())
        logs = _log_provider(provider.resource, Destination())
        if logs is not None:
            _announce(provider, logs, asked=True)
        FLUSHER.flush_at_exit()
        _prepared = provider


def _disabled() -> bool:
    return (variable("OTEL_SDK_DISABLED") or "").lower() == "true"


def _resource(service_name: str | None, service_version: str | None, attributes: Mapping[str, str]) -> Resource:
    named = {SERVICE_NAME: service_name, SERVICE_VERSION: service_version}
    given = {key: value for key, value in named.items() if value is not None} | dict(attributes)
    from_environment = OTELResourceDetector().detect()
    return Resource.create(Resource(given).merge(from_environment).attributes)


def _set_up(resource: Resource, destination: Destination, announce: bool) -> TracerProvider:
    """A provider that exports, and beside it the global ones for logs and metrics.

    Their own exit handlers may wait half a minute for an endpoint that is gone; ours is bounded.
    """
    ids = _id_generator() or SystemIds()
    provider = TracerProvider(resource=resource, sampler=_sampler(), id_generator=ids, shutdown_on_exit=False)
    if _disabled():
        return provider
    provider.sampler = ExecutionSampler(provider.sampler)
    delay = None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else EXPORT_DELAY_MS

    def export_spans(exporter: SpanExporter) -> None:
        if isinstance(exporter, SpanProcessor):  # it hears of each span at once
            provider.add_span_processor(exporter)
        else:
            provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))

    destination.each_exporter("traces", export_spans)
    logs = _log_provider(resource, destination)
    if logs is not None:
        _set_global_logs(logs)
        _announce(provider, logs, asked=announce)
    _set_up_metrics(resource, destination)
    return provider


def _sampler() -> Any:
    """A sampler that some package offers; None for those that the SDK knows: it reads the variable itself."""
    name = variable("OTEL_TRACES_SAMPLER")
    if name is None or name.lower() in _SAMPLERS_OF_THE_SDK:
        return None
    return _chosen("OTEL_TRACES_SAMPLER", "opentelemetry_traces_sampler", variable("OTEL_TRACES_SAMPLER_ARG"))


def _id_generator() -> Any:
    return _chosen("OTEL_PYTHON_ID_GENERATOR", "opentelemetry_id_generator")


def _chosen(by: str, group: str, *arguments: Any) -> Any:
    """What the package that the variable names makes; None, the SDK's default, when there is none or it fails."""
    name = variable(by)
    if name is None:
        return None
    try:
        return component(group, name)(*arguments)
    except Exception as error:  # noqa: BLE001 - somebody else's code; the service runs on
        _log.error("%s names %r, which cannot be used: %r", by, name, error)
        return None


def _log_provider(resource: Resource, destination: Destination) -> LoggerProvider | None:
    """Exports log records; None when they are to go nowhere."""
    try:
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
    except ImportError as error:  # the logs of the SDK are not stable yet
        _log.debug("no log records are exported, and no spans announced: %s", error)
        return None
    processors: list[BatchLogRecordProcessor] = []

    def export_logs(exporter: LogRecordExporter) -> None:
        processors.append(BatchLogRecordProcessor(exporter))

    destination.each_exporter("logs", export_logs)
    if not processors:
        return None
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for processor in processors:
        provider.add_log_record_processor(processor)
    FLUSHER.add(provider.force_flush)
    return provider


def _set_global_logs(provider: LoggerProvider) -> None:
    """Unless the application has a provider for its log records already."""
    from opentelemetry import _logs

    if not isinstance(_logs.get_logger_provider(), type(provider)):
        _logs.set_logger_provider(provider)


def _announce(provider: TracerProvider, logs: LoggerProvider, *, asked: bool) -> None:
    said = (variable("OTEL_DIAG_ANNOUNCE") or "").lower()
    if said == "on" or (asked and said != "off"):
        from otel_diag_instrumentation.announce import Announcer  # who only uses the helpers need not load it

        announcer = Announcer(logs)
        provider.add_span_processor(announcer)
        FLUSHER.add(announcer.announce_all, at_last=True)


def _set_up_metrics(resource: Resource, destination: Destination) -> None:
    """Only where ``OTEL_METRICS_EXPORTER`` asks for it: each reader has a thread."""
    if variable("OTEL_METRICS_EXPORTER") is None:
        return
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader

    readers: list[MetricReader] = []

    def export_metrics(made: MetricExporter | MetricReader) -> None:
        readers.append(made if isinstance(made, MetricReader) else PeriodicExportingMetricReader(made))

    destination.each_exporter("metrics", export_metrics)
    if readers:
        provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        metrics.set_meter_provider(provider)
        FLUSHER.add(provider.force_flush)
