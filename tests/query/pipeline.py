"""Traces of a small pipeline (runner -> router -> modal) as OTLP requests, for tests of what reads the store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_diag.decode.traces import decode_traces
from otel_diag.decode.wires import WIRES
from otel_diag.model import ANNOUNCED, DEFAULT_TENANT
from otel_diag.store.base import Store
from otel_diag.store.schema import LOG_RECORDS

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution; ``fault``: none, refused (router finds modal closed), dropped (modal breaks off in mid-answer) or
    died (runner fails before any call). ``router``: attributes of its spans, ``host.*`` and ``service.*`` of its
    resource."""

    execution_id: int
    fault: str = "none"
    started_at: datetime = NOW - timedelta(minutes=30)
    inference_ms: float = 80.0
    job_id: str | None = "job-1"
    model_id: str = "llama3.2-1b"
    region: str = "us-east"
    attempt: int = 1
    router: tuple[tuple[str, str | bool], ...] = ()

    @property
    def trace_id(self) -> str:
        return blake2b(f"{self.execution_id}/{self.attempt}".encode(), digest_size=16).hexdigest()

    def request(self) -> bytes:
        return self._message().SerializeToString()

    def requests_by_service(self) -> list[bytes]:
        """The same spans as each service would export them: one request a service, runner first."""
        parts = []
        for resource in self._message().resource_spans:
            part = ExportTraceServiceRequest()
            part.resource_spans.append(resource)
            parts.append(part.SerializeToString())
        return parts

    def announcements(self, *services: str, **attributes: int | str) -> bytes:
        """What these services announce of their spans (spec/5); ``attributes``, ``_`` for ``.``, go before theirs."""
        request = ExportLogsServiceRequest()
        for part in self._message().resource_spans:
            if part.resource.attributes[0].value.string_value not in services:
                continue
            announced = request.resource_logs.add()
            announced.resource.CopyFrom(part.resource)
            records = announced.scope_logs.add().log_records
            for span in part.scope_spans[0].spans:
                record = records.add(
                    time_unix_nano=span.start_time_unix_nano,
                    event_name=ANNOUNCED,
                    trace_id=span.trace_id,
                    span_id=span.span_id,
                    attributes=span.attributes,
                )
                said = {"span_name": span.name, "span_kind": span.kind, "span_parent_id": span.parent_span_id.hex()}
                for key, value in (said | attributes).items():
                    member = record.attributes.add(key=key.replace("_", ".", 1)).value
                    if isinstance(value, int):
                        member.int_value = value
                    else:
                        member.string_value = value
        return request.SerializeToString()

    def _message(self) -> ExportTraceServiceRequest:
        message = ExportTraceServiceRequest()
        total = self.inference_ms + 40
        if self.fault == "died":
            error = ("FileNotFoundError", "prompt file prompts/17.txt does not exist")
            self._add(message, "runner", "runner.execution", 1, None, 0, 8, error=error)
            return message
        error = {
            "refused": ("ConnectionRefusedError", "connection refused"),
            "dropped": ("httpx.RemoteProtocolError", "Server disconnected without sending a response."),
        }.get(self.fault)
        if self.fault == "refused":
            total = 30
        self._add(message, "runner", "runner.execution", 1, None, 0, total, error=error)
        self._add(message, "runner", "POST", 2, 1, 2, total - 4, kind=Span.SPAN_KIND_CLIENT, error=error)
        self._add(message, "router", "hybrid_router_call", 3, 2, 4, total - 8, kind=Span.SPAN_KIND_SERVER, error=error)
        self._add(message, "router", "POST", 4, 3, 8, total - 16, kind=Span.SPAN_KIND_CLIENT, error=error)
        if self.fault != "refused":
            self._add(message, "modal", "modal.function", 5, 4, 12, total - 24, kind=Span.SPAN_KIND_SERVER)
            self._add(message, "modal", "modal.inference", 6, 5, 14, self.inference_ms)
        return message

    def _add(
        self,
        message: ExportTraceServiceRequest,
        service: str,
        name: str,
        number: int,
        parent: int | None,
        offset_ms: float,
        duration_ms: float,
        *,
        kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL,
        error: tuple[str, str] | None = None,
    ) -> None:
        last = message.resource_spans[-1] if message.resource_spans else None
        if last is None or last.resource.attributes[0].value.string_value != service:
            last = message.resource_spans.add()
            last.resource.attributes.add(key="service.name").value.string_value = service
            last.scope_spans.add().scope.name = "tests"
        start = int(self.started_at.timestamp() * 1e9) + int(offset_ms * 1e6)
        span = last.scope_spans[0].spans.add(
            trace_id=bytes.fromhex(self.trace_id),
            span_id=self._span_id(number),
            parent_span_id=b"" if parent is None else self._span_id(parent),
            name=name,
            kind=kind,
            start_time_unix_nano=start,
            end_time_unix_nano=start + int(duration_ms * 1e6),
        )
        span.attributes.add(key="execution.id").value.int_value = self.execution_id
        span.attributes.add(key="execution.attempt").value.int_value = self.attempt
        for key, value in {"job.id": self.job_id, "model.id": self.model_id, "region": self.region}.items():
            if value is not None:
                span.attributes.add(key=key).value.string_value = value
        if service == "router":
            for key, value in self.router:
                of_resource = key.startswith(("host.", "service."))
                owner = message.resource_spans[-1].resource if of_resource else span
                if all(known.key != key for known in owner.attributes):
                    _set(owner.attributes.add(key=key).value, value)
        if error is not None:
            span.status.code = 2
            span.status.message = error[1]
            span.attributes.add(key="error.type").value.string_value = error[0]

    def _span_id(self, number: int) -> bytes:
        return blake2b(f"{self.trace_id}/{number}".encode(), digest_size=8).digest()


def _set(target: AnyValue, value: str | bool) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    else:
        target.string_value = value


def healthy(count: int, first_id: int = 100, **changes: object) -> list[Execution]:
    """Successful executions a minute apart, ending half an hour before NOW, with a little variation."""
    return [
        replace(
            Execution(first_id + n, inference_ms=75 + (n * 7) % 11, started_at=NOW - timedelta(minutes=30 + n)),
            **changes,
        )
        for n in range(count)
    ]


def send(store: Store, *executions: Execution, tenant: str = DEFAULT_TENANT) -> None:
    """Store them with one request: the lists of messages that stand one behind the other are one list to protobuf."""
    send_bytes(store, b"".join(execution.request() for execution in executions), tenant=tenant)


def send_logs(store: Store, request: bytes) -> None:
    store.append(WIRES["logs"].decode_one(request, DEFAULT_TENANT).batch, LOG_RECORDS)


def send_bytes(store: Store, request: bytes, *, tenant: str = DEFAULT_TENANT) -> None:
    store.append(decode_traces(request, tenant).batch)
