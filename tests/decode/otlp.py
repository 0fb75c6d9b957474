"""Requests in one canonical form, so that two can be compared field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode.otlp_json import json_to_request, spans_to_otlp_json
from otel_diag.decode.requests import Decoded
from otel_diag.decode.traces import decode_traces

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def data_file(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"sample data {name} is not beside the repository")
    return path


def flattened(payload: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """(resource, scope, span) of every span of a request, as canonical bytes, in an order of their own."""
    request = ExportTraceServiceRequest.FromString(payload)
    rows = []
    for group in request.resource_spans:
        resource = group.resource.SerializeToString() + b"|" + group.schema_url.encode()
        for scope_group in group.scope_spans:
            scope = scope_group.scope.SerializeToString() + b"|" + scope_group.schema_url.encode()
            for span in scope_group.spans:
                normalise(span)
                rows.append((resource, scope, span.SerializeToString(deterministic=True)))
    return sorted(rows)


def normalise(span: Any) -> None:
    """An absent status equals an empty one, and a zero parent no parent."""
    span.status.SetInParent()
    if span.parent_span_id == bytes(8):
        span.parent_span_id = b""


def exported(decoded: Decoded) -> bytes:
    """The rows written as OTLP/JSON and read back."""
    text = json.dumps(spans_to_otlp_json(decoded.batch), allow_nan=False)
    return json_to_request(text.encode())


def decode(request: ExportTraceServiceRequest) -> Decoded:
    return decode_traces(request.SerializeToString(), "default")
