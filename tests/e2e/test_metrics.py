"""``/metrics`` of a live server, against what was sent to it and against its page in the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from tests.e2e.processes import Server, execution, serving, until

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

Samples = dict[tuple[str, frozenset[str]], float]
"""By name and label values."""


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has received: 4 spans twice, 3 spans of which one has no trace id, and what it must refuse."""
    store = f"duckdb:///{tmp_path_factory.mktemp('metrics') / 'store.duckdb'}"
    with serving(store, OTEL_DIAG_MAX_VALUE_BYTES="1024") as server:
        once = execution(1, "a" * 32, spans=4)
        assert server.send(once).is_success
        assert server.send(once).is_success
        with grpc.insecure_channel(server.otlp_grpc.removeprefix("http://")) as channel:
            channel.unary_unary(EXPORT)(partly_wrong(), timeout=30)
        protobuf = {"Content-Type": "application/x-protobuf"}
        traces = f"{server.otlp_http}/v1/traces"
        refused = [
            httpx.post(traces, content=b"no protobuf", headers=protobuf),
            httpx.post(traces, content=b"spans", headers={"Content-Type": "text/plain"}),
            httpx.get(traces),
            httpx.post(f"{server.otlp_http}/v1/elsewhere", content=b"", headers=protobuf),
        ]
        assert [response.status_code for response in refused] == [400, 415, 405, 404]
        until(lambda: samples(server)["otel_diag_traces_folded_total", frozenset()] >= 2)
        yield server


def partly_wrong() -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number, trace_id in enumerate([b"\1" * 16, b"\1" * 16, bytes(16)]):
        scope.spans.add(trace_id=trace_id, span_id=bytes([number + 1]) * 8, name="step")
    scope.spans[1].attributes.add(key="long").value.string_value = "y" * 2_000
    scope.spans[0].name = "a name with a byte to spoil: X"
    serialised: bytes = message.SerializeToString().replace(b"X", b"\xff")
    return serialised


def families(server: Server) -> list[Metric]:
    response = httpx.get(f"{server.url}/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return list(text_format(response.text))


def samples(server: Server) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families(server)
        for sample in family.samples
    }


def test_the_figures_are_those_of_what_was_sent(fed: Server) -> None:
    seen = samples(fed)

    def value(name: str, *labels: str) -> float:
        return seen[f"otel_diag_{name}", frozenset(labels)]

    assert value("requests_total", "traces", "http/json") == 2
    assert value("requests_total", "traces", "http/protobuf") == 1
    assert value("requests_total", "traces", "grpc") == 1
    assert value("request_bytes_total") > len(b"no protobuf") + len(partly_wrong())
    refused = {labels: count for (name, labels), count in seen.items() if name == "otel_diag_requests_refused_total"}
    assert refused == {
        frozenset({"INVALID_ARGUMENT"}): 2,
        frozenset({"UNIMPLEMENTED"}): 1,
        frozenset({"NOT_FOUND"}): 1,
    }
    assert value("records_accepted_total", "traces") == 4 + 4 + 2
    assert value("records_stored_total") == 4 + 2
    assert value("records_duplicated_total") == 4
    assert sum(count for (name, _), count in seen.items() if name == "otel_diag_records_rejected_total") == 1
    assert value("texts_sanitised_total") == 1
    assert sum(count for (name, _), count in seen.items() if name == "otel_diag_truncations_total") == 1
    assert value("commit_records_sum") == 10
    assert value("commit_seconds_count") == value("commit_records_count") >= 1
    assert value("ack_seconds_count") == 3
    assert value("commit_failures_total") == 0
    assert (value("queue_requests"), value("queue_bytes"), value("commit_queue_bytes")) == (0, 0, 0)
    assert value("traces_folded_total") >= 2
    assert value("store_up") == 1
    assert value("store_bytes") > 0
    assert seen["process_resident_memory_bytes", frozenset()] > 10_000_000


def test_every_metric_is_documented_and_exists(fed: Server) -> None:
    documented = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if row := re.match(r"\| `([a-z_]+)` \| (\w+) \| (.*?) ?\|", line):
            documented[row[1]] = (row[2], frozenset(re.findall(r"`(\w+)`", row[3])))
    scraped = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(name for sample in family.samples for name in sample.labels) - {"le"},
        )
        for family in families(fed)
    }
    assert documented == scraped


def test_every_store_says_what_waits_in_it_and_what_it_takes_up(server: Server) -> None:
    assert server.send(execution(2, "b" * 32)).is_success
    seen = samples(server)
    assert seen["otel_diag_store_up", frozenset()] == 1
    assert {("otel_diag_waiting_traces", frozenset()), ("otel_diag_lag_seconds", frozenset())} <= seen.keys()
    assert seen["otel_diag_store_bytes", frozenset()] > 0


def test_openmetrics_for_who_asks_for_it(fed: Server) -> None:
    response = httpx.get(f"{fed.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert {"otel_diag_ack_seconds", "otel_diag_lag_seconds"} <= {family.name for family in openmetrics(response.text)}
