"""Which exporters there are, by the standard variables: one that cannot be made is logged and costs only itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

Signal = Literal["traces", "logs", "metrics"]
Protocol = Literal["http/protobuf", "grpc"]

DEFAULT_ENDPOINTS: Final[Mapping[str, str]] = {
    "http/protobuf": "http://127.0.0.1:4318",
    "grpc": "http://127.0.0.1:4317",
}

_GRPC: Final = "opentelemetry.exporter.otlp.proto.grpc"
_OTLP: Final[Mapping[Signal, tuple[str, str]]] = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Destination:
    """Where the program wants its telemetry to go; every standard variable wins over it."""

    endpoint: str | None = None
    protocol: Protocol | None = None

    def each_exporter(self, signal: Signal, use: Callable[[Any], object]) -> None:
        """Calls ``use`` with each exporter that ``OTEL_<SIGNAL>_EXPORTER`` names.

        By default spans go out over OTLP, log records to the exporters of the spans that take them, metrics nowhere. An
        exporter that cannot be made, or not be used, is logged and left out.
        """
        for name in _names(signal):
            try:
                use(_otlp(signal, self) if name == "otlp" else _by_name(signal, name))
            except NotInstalled as error:
                asked_for = variable(f"OTEL_{signal.upper()}_EXPORTER") is not None
                _log.log(logging.ERROR if asked_for or signal == "traces" else logging.DEBUG, "%s", error)
            except Exception as error:  # noqa: BLE001 - somebody else's code; the service runs on, with its other exporters
                _log.error("%s: these %s are dropped", error, signal)


class NotInstalled(LookupError):
    """No package offers an exporter of this signal by this name."""


def variable(*names: str) -> str | None:
    """The first of these environment variables that says something."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def component(group: str, name: str) -> Any:
    """What an installed package offers under this name, in this group of entry points; LookupError without one."""
    from importlib.metadata import entry_points  # costs 20 ms, and few need it

    for entry_point in entry_points(group=group, name=name):
        return entry_point.load()
    raise LookupError(name)


def _names(signal: Signal) -> list[str]:
    said = variable(f"OTEL_{signal.upper()}_EXPORTER")
    if said is None:
        said = "none" if signal == "metrics" else variable("OTEL_TRACES_EXPORTER") or "otlp"
    return [name for name in map(str.strip, said.split(",")) if name not in ("", "none")]


def _by_name(signal: Signal, name: str) -> Any:
    try:
        make = component(f"opentelemetry_{signal}_exporter", name)
    except LookupError:
        said = f"OTEL_{signal.upper()}_EXPORTER names {name!r}, which is not installed: these {signal} are dropped"
        raise NotInstalled(said) from None
    return make()


def _otlp(signal: Signal, wanted: Destination) -> Any:
    """The exporter for OTLP. What is only said about traces holds for the other signals too.

    A protocol that nobody names follows from the port, 4317 being gRPC's; without an endpoint either it is gRPC where
    its exporter is installed.
    """
    own, everyone, traces = f"OTEL_EXPORTER_OTLP_{signal.upper()}_", "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
    protocol = variable(f"{own}PROTOCOL", f"{everyone}PROTOCOL", f"{traces}PROTOCOL") or wanted.protocol
    if protocol not in (None, *DEFAULT_ENDPOINTS):
        raise ValueError(f"OTLP protocol {protocol!r} is not known ({', '.join(DEFAULT_ENDPOINTS)})")
    default = DEFAULT_ENDPOINTS[protocol or _best_protocol()]
    base = (variable(f"{traces}ENDPOINT") or wanted.endpoint or default).rstrip("/").removesuffix("/v1/traces")
    said = variable(f"{own}ENDPOINT", f"{everyone}ENDPOINT")  # the exporters read these themselves
    if protocol is None:
        protocol = "grpc" if (said or base).rstrip("/").endswith(":4317") else "http/protobuf"
    exporter = _otlp_class(signal, protocol)
    if said:
        return exporter()
    return exporter(endpoint=base if protocol == "grpc" else f"{base}/v1/{signal}")


def _best_protocol() -> Protocol:
    from importlib.util import find_spec  # costs 5 ms

    return "grpc" if find_spec(_GRPC) else "http/protobuf"


def _otlp_class(signal: Signal, protocol: str) -> Any:
    """Imported by need: each exporter costs tens of milliseconds."""
    module, name = _OTLP[signal]
    if protocol == "http/protobuf":
        return getattr(import_module(f"opentelemetry.exporter.otlp.proto.http.{module}"), name)
    try:
        return getattr(import_module(f"{_GRPC}.{module}"), name)
    except ImportError as error:
        needed = "OTLP over gRPC needs otel-diag-instrumentation[grpc], which is not installed"
        raise LookupError(needed) from error
