"""Spans on their way through real Collectors that are killed: whatever they acknowledged is stored, once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.collector.processes import Collector, collecting
from tests.e2e.processes import until
from tests.faults.clients import GrpcClient, HttpClient, Load, load
from tests.faults.payloads import encoded
from tests.faults.read_back import contents
from tests.faults.server import Server, serving

SPANS = 100_000

pytestmark = pytest.mark.timeout(300)  # each synced write of a queue waits for the disk


class Senders:
    """Clients that send again what was not acknowledged: SPANS spans, some for each of the gateway's two queues."""

    def __init__(self, *loads: Load) -> None:
        self._loads = loads

    @property
    def acknowledged(self) -> int:
        return sum(each.ledger.spans for each in self._loads)

    def until(self, spans: int) -> None:
        """Wait until so many are acknowledged."""
        until(lambda: self.acknowledged >= spans)

    def finish(self) -> None:
        for each in self._loads:
            each.finish()
            assert not each.ledger.dropped
        assert self.acknowledged == SPANS


@contextmanager
def sending(to: Collector) -> Iterator[Senders]:
    # The number of a request's spans ends its trace id, which is what the gateway goes by: ...c8 to b, ...a0 to a.
    ports = to.grpc_port, to.http_port
    with (
        load(*ports, senders=5, sizes=(200,), most=52) as first,
        load(*ports, senders=5, sizes=(160,), most=60) as second,
    ):
        yield Senders(first, second)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path / 'store.duckdb'}"


def gateway_to(server: Server, program: Path, directory: Path) -> AbstractContextManager[Collector]:
    store = f"127.0.0.1:{server.grpc_port}"
    return collecting(program, ["gateway.yaml"], directory, STORE_A=store, STORE_B=store)


def each_once(server: Server) -> None:
    """Wait for the last, and count."""
    until(lambda: server.count() >= SPANS)
    (stored,) = server.rows("SELECT count(*), count(DISTINCT trace_id || span_id) FROM trace_spans")
    assert stored == [SPANS, SPANS]


def refusals(server: Server) -> set[str]:
    """The gRPC statuses with which it has answered when it did not take a request."""
    text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    refused = [sample for sample in samples if sample.name == "otel_diag_requests_refused_total"]
    return {sample.labels["code"] for sample in refused if sample.value}


def test_gateway_killed_while_the_store_is_away(collector: Path, tmp_path: Path, store: str) -> None:
    with (
        serving(store) as server,
        gateway_to(server, collector, tmp_path / "gateway") as gateway,
        sending(gateway) as senders,
    ):
        senders.until(20_000)
        server.end(signal.SIGKILL)
        senders.until(60_000)
        gateway.restart()
        acknowledged = senders.acknowledged
        stored = sum(contents(store).rows.values())
        assert acknowledged > stored, "nothing was in the queue that only the disk could keep"
        server.start()
        senders.until(80_000)
        gateway.restart()
        senders.finish()
        each_once(server)
        assert not gateway.dropped()


def test_agent_and_gateway_killed(collector: Path, tmp_path: Path, store: str) -> None:
    with (
        serving(store) as server,
        gateway_to(server, collector, tmp_path / "gateway") as gateway,
        collecting(collector, ["agent.yaml"], tmp_path / "agent", GATEWAY=gateway.otlp_grpc) as agent,
        sending(agent) as senders,
    ):
        senders.until(20_000)
        agent.restart()
        senders.until(40_000)
        gateway.restart()
        senders.until(60_000)
        gateway.end()
        agent.restart()
        gateway.start()
        arrived = server.count()
        senders.until(80_000)
        until(lambda: server.count() > arrived)  # an attempt that fails during the shutdown would lose its batch
        agent.restart(signal.SIGTERM)
        senders.finish()
        each_once(server)
        assert not agent.dropped()
        assert not gateway.dropped()


@pytest.mark.parametrize(
    ("limit", "requests", "status"),
    [
        ({"OTEL_DIAG_MAX_QUEUED_BYTES": "100000"}, 8, "UNAVAILABLE"),
        ({"OTEL_DIAG_MAX_RECORDS_PER_SECOND": "400"}, 1, "RESOURCE_EXHAUSTED"),
    ],
)
def test_a_store_without_room_is_tried_again(
    collector: Path, tmp_path: Path, store: str, limit: dict[str, str], requests: int, status: str
) -> None:
    with (
        serving(store, **limit) as server,
        gateway_to(server, collector, tmp_path / "gateway") as gateway,
        load(gateway.grpc_port, gateway.http_port, sizes=(200,), most=requests) as running,
    ):
        running.finish()
        until(lambda: server.count() == running.ledger.spans)
        assert status in refusals(server)
        assert not gateway.dropped()


def test_a_request_of_30_mb_gets_through(collector: Path, tmp_path: Path, store: str) -> None:
    prompt = [{"key": "prompt", "value": {"string_value": "why? " * 40_000}}]
    request = encoded(*({"trace_id": number.to_bytes(16, "big"), "attributes": prompt} for number in range(1, 151)))
    with (
        serving(store) as server,
        gateway_to(server, collector, tmp_path / "gateway") as gateway,
        collecting(collector, ["agent.yaml"], tmp_path / "agent", GATEWAY=gateway.otlp_grpc) as agent,
    ):
        for client in (GrpcClient(agent.grpc_port), HttpClient(agent.http_port)):
            until(lambda client=client: client.send(request).outcome == "ok")  # its memory limiter may say "again"
            client.close()
        until(lambda: server.count() == 150)
        until(lambda: agent.metric("otelcol_exporter_sent_spans_total") == 300)
        assert not agent.dropped()
        assert not gateway.dropped()


def test_each_trace_goes_whole_to_one_of_two_stores(collector: Path, tmp_path: Path) -> None:
    stores = [f"duckdb:///{tmp_path / name}.duckdb" for name in "ab"]
    with serving(stores[0]) as a, serving(stores[1]) as b:
        addresses = {"STORE_A": f"127.0.0.1:{a.grpc_port}", "STORE_B": f"127.0.0.1:{b.grpc_port}"}
        with (
            collecting(collector, ["gateway.yaml"], tmp_path / "gateway", **addresses) as gateway,
            load(gateway.grpc_port, gateway.http_port, senders=2, sizes=tuple(range(1, 17)), most=60) as running,
        ):
            running.finish()
            sent = running.ledger.sent
            until(lambda: a.count() + b.count() >= running.ledger.spans)
            traces = [{row[0] for row in each.rows("SELECT DISTINCT trace_id FROM trace_spans")} for each in (a, b)]
            assert a.count() + b.count() == running.ledger.spans
    assert traces[0] == {trace for trace in sent if trace[-1] in "01234567"}
    assert traces[1] == sent - traces[0]
