"""Setting up the SDK: a tracer provider that exports over OTLP, once, without ever getting in the service's way."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_diag_instrumentation.execution_context import ExecutionAttributes, ExecutionSampler
from otel_diag_instrumentation.flushing import EXIT_TIMEOUT_S, FLUSHER
from otel_diag_instrumentation.ids import SystemIds

Protocol = Literal["http/protobuf", "grpc"]

DEFAULT_ENDPOINTS: Final[Mapping[str, str]] = {
    "http/protobuf": "http://127.0.0.1:4318",
    "grpc": "http://127.0.0.1:4317",
}

EXPORT_DELAY_MS: Final = 1000.0
"""How long an ended span waits for its batch. A fifth of the SDK's: what is not sent yet dies with a killed process."""

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_prepared: trace.TracerProvider | None = None


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    protocol: Protocol = "http/protobuf",
    service_version: str | None = None,
    resource_attributes: Mapping[str, str] | None = None,
) -> trace.TracerProvider:
    """Makes this process export its spans over OTLP, and returns the tracer provider in use.

    ``endpoint`` is a base URL, by default otel-diag on this machine (127.0.0.1, port 4318, or 4317 for gRPC, which
    needs the ``grpc`` extra). Every standard ``OTEL_*`` variable wins over the arguments. When the application has
    set a tracer provider already, that one stays as it is and only learns to write the execution on its spans.
    Calling it again changes nothing. An unreachable endpoint, or an exporter that is not installed, is logged
    and costs spans, never a request; at exit the last spans get two seconds to leave.
    """
    global _prepared
    with _lock:
        provider = trace.get_tracer_provider()
        if provider is _prepared:
            return provider
        if isinstance(provider, trace.ProxyTracerProvider):
            own = _provider(service_name, endpoint, protocol, service_version, resource_attributes or {})
            trace.set_tracer_provider(own)
            provider = own
            atexit.register(FLUSHER.flush, EXIT_TIMEOUT_S, even_if_stalled=True)
        elif isinstance(provider, TracerProvider):
            provider.add_span_processor(ExecutionAttributes())
        FLUSHER.start()
        _prepared = provider
        return provider


def _provider(
    service_name: str | None,
    endpoint: str | None,
    protocol: str,
    service_version: str | None,
    resource_attributes: Mapping[str, str],
) -> TracerProvider:
    named = {SERVICE_NAME: service_name, SERVICE_VERSION: service_version}
    given = {key: value for key, value in named.items() if value is not None} | dict(resource_attributes)
    from_environment = OTELResourceDetector().detect()
    resource = Resource.create(Resource(given).merge(from_environment).attributes)
    # The SDK's own exit handler may wait half a minute for an endpoint that is gone; ours is bounded.
    provider = TracerProvider(resource=resource, id_generator=SystemIds(), shutdown_on_exit=False)
    provider.sampler = ExecutionSampler(provider.sampler)
    delay = None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else EXPORT_DELAY_MS
    for exporter in _exporters(endpoint, protocol):
        if isinstance(exporter, SpanProcessor):  # it hears of each span at once
            provider.add_span_processor(exporter)
        else:
            provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
    return provider


def _exporters(endpoint: str | None, protocol: str) -> Iterator[SpanExporter]:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    names = [name.strip() for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")]
    for name in names:
        if name == "none":
            continue
        exporter = _otlp_exporter(endpoint, protocol) if name == "otlp" else _named_exporter(name)
        if exporter is not None:
            yield exporter


def _named_exporter(name: str) -> SpanExporter | None:
    from importlib.metadata import entry_points  # costs 20 ms, and few need it

    for entry_point in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: SpanExporter = entry_point.load()()
        return exporter
    _log.error("OTEL_TRACES_EXPORTER names %r, which is not installed: its spans are dropped", name)
    return None


def _otlp_exporter(endpoint: str | None, protocol: str) -> SpanExporter | None:
    environment = os.environ
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or protocol
    ).strip()
    if protocol not in DEFAULT_ENDPOINTS:
        _log.error("OTLP protocol %r is not known (%s): spans are dropped", protocol, ", ".join(DEFAULT_ENDPOINTS))
        return None
    in_environment = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    base = None if in_environment else (endpoint or DEFAULT_ENDPOINTS[protocol]).rstrip("/")
    # The exporters are imported here: each costs tens of milliseconds, and only one is used.
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        return HttpExporter(endpoint=base and f"{base.removesuffix('/v1/traces')}/v1/traces")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
    except ImportError:
        _log.error("OTLP over gRPC needs otel-diag-instrumentation[grpc], which is not installed: spans are dropped")
        return None
    return GrpcExporter(endpoint=base)
