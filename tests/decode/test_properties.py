"""What holds for every request. (For every sequence of bytes: test_fuzz.py.)"""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from sqlalchemy import JSON

from otel_diag.decode.logs import LOGS
from otel_diag.decode.metrics import METRICS
from otel_diag.decode.profiles import PROFILES
from otel_diag.decode.requests import Decoded, Wire
from otel_diag.decode.rows import table_to_spans
from otel_diag.decode.traces import TRACES, decode_traces
from otel_diag.model import SPAN_SCHEMA
from otel_diag.store.schema import log_records, metric_points, profile_samples
from tests.decode import rebuilt
from tests.decode.otlp import decode, exported, flattened
from tests.decode.strategies import log_requests, metric_requests, profile_requests, requests

TABLES = {"log records": log_records, "data points": metric_points, "profiles": profile_samples}
TEXT_COLUMNS = [field.name for field in SPAN_SCHEMA if str(field.type) == "string"]
JSON_COLUMNS = ("attributes", "resource_attributes", "events", "links", "otlp_rest")

slow_to_generate = settings(
    max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


@slow_to_generate
@given(requests)
def test_a_request_survives_the_way_through_rows(request: ExportTraceServiceRequest) -> None:
    decoded = decode(request)
    assert decoded.reasons == {}
    decoded.batch.validate(full=True)
    assert flattened(exported(decoded)) == flattened(request.SerializeToString())


@slow_to_generate
@given(requests)
def test_every_row_can_be_stored_and_read(request: ExportTraceServiceRequest) -> None:
    decoded = decode(request)
    for row in decoded.batch.select(TEXT_COLUMNS).to_pylist():
        assert not any("\0" in text for text in row.values() if text)
        for name in JSON_COLUMNS:
            assert "\\u0000" not in (row[name] or "")
            json.loads(row[name] or "null", parse_constant=_no_constant)
    spans = table_to_spans(decoded.batch)
    assert [span.span_id for span in spans] == decoded.batch["span_id"].to_pylist()


def _no_constant(name: str) -> None:
    raise AssertionError(f"bare {name} in JSON")


@slow_to_generate
@given(requests)
def test_the_content_hash_depends_on_the_content_alone(request: ExportTraceServiceRequest) -> None:
    once = decode(request).batch["content_hash"].to_pylist()
    assert decode_traces(request.SerializeToString(), "other").batch["content_hash"].to_pylist() == once
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                span.flags ^= 1
    changed = decode(request).batch["content_hash"].to_pylist()
    assert all(new != old for new, old in zip(changed, once, strict=True))


MAPS = (
    "Resource",
    "Span",
    "LogRecord",
    "NumberDataPoint",
    "SummaryDataPoint",
    "HistogramDataPoint",
    "ExponentialHistogramDataPoint",
)
"""Messages with attributes whose order makes no other record. Within them, a key-value list does not either."""


def reorder(message: Message, within: bool = False) -> None:
    """Turn maps round, all but the values of a repeated key, of which the first counts."""
    name = message.DESCRIPTOR.name
    within = within or name in MAPS
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = [value] if isinstance(value, Message) else value
        if field.message_type is KeyValue.DESCRIPTOR and within and (name in MAPS or name == "KeyValueList"):
            value.sort(key=lambda pair: pair.key, reverse=True)
        for part in parts:
            reorder(part, within and name not in ("Event", "Link", "Exemplar"))


@pytest.mark.parametrize(("wire", "sent"), [(TRACES, requests), (LOGS, log_requests), (METRICS, metric_requests)])
@slow_to_generate
@given(data=st.data())
def test_the_content_hash_does_not_depend_on_the_order_of_attributes(
    wire: Wire, sent: st.SearchStrategy[Message], data: st.DataObject
) -> None:
    request = data.draw(sent)
    once = wire.decode_one(request.SerializeToString(), "default").batch["content_hash"].to_pylist()
    reorder(request)
    assert wire.decode_one(request.SerializeToString(), "default").batch["content_hash"].to_pylist() == once


def stored_rows(decoded: Decoded) -> None:
    """A row that every store takes: no U+0000, and JSON that is JSON."""
    batch = decoded.batch
    texts = [field.name for field in batch.schema if field.type == pa.string()]
    json_columns = [column.name for column in TABLES[decoded.noun].columns if isinstance(column.type, JSON)]
    batch.validate(full=True)
    for row in batch.select(texts).to_pylist():
        assert not any("\0" in text for text in row.values() if text)
        for name in json_columns:
            assert "\\u0000" not in (row[name] or "")
            json.loads(row[name] or "null", parse_constant=_no_constant)


@slow_to_generate
@given(log_requests)
def test_log_records_survive_the_way_through_rows(request: ExportLogsServiceRequest) -> None:
    decoded = LOGS.decode_one(request.SerializeToString(), "default")
    assert decoded.reasons == {}
    stored_rows(decoded)
    sent = rebuilt.flattened(request, "logs", "log_records", rebuilt.sent_log_record)
    assert rebuilt.rebuilt(decoded.batch, rebuilt.log_record) == sent


@slow_to_generate
@given(metric_requests)
def test_data_points_survive_the_way_through_rows(request: ExportMetricsServiceRequest) -> None:
    decoded = METRICS.decode_one(request.SerializeToString(), "default")
    assert decoded.reasons == {}
    stored_rows(decoded)
    sent = rebuilt.flattened(request, "metrics", "metrics", rebuilt.sent_points)
    assert rebuilt.rebuilt(decoded.batch, rebuilt.metric) == sent


@slow_to_generate
@given(profile_requests)
def test_samples_survive_the_way_through_rows(request: ExportProfilesServiceRequest) -> None:
    decoded = PROFILES.decode_one(request.SerializeToString(), "default")
    assert decoded.reasons == {}
    stored_rows(decoded)
    samples = rebuilt.sent_samples(request.dictionary)
    assert rebuilt.rebuilt(decoded.batch, rebuilt.sample) == rebuilt.flattened(request, "profiles", "profiles", samples)
