"""Input nobody should send, over both protocols, to live servers on every store, beside a client that never notices."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.conftest import BACKENDS
from tests.faults.clients import Answer, GrpcClient, HttpClient, load
from tests.faults.payloads import START, as_json, bomb, deeply_nested, deeply_nested_json, encoded
from tests.faults.server import Server, serving
from tests.faults.stores import empty_store

MIB = 1024 * 1024
MAX_REQUEST = 64 * MIB

_traces = count(1)


OTHERS = [pytest.param(name, marks=pytest.mark.faults) for name in BACKENDS if name != "duckdb"]


@pytest.fixture(scope="module", params=["duckdb", *OTHERS])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "clickhouse":
        pytest.importorskip("chdb")
    with empty_store(request.param) as url, serving(url) as running:
        yield running


@pytest.fixture(autouse=True)
def neighbour(server: Server) -> Iterator[None]:
    """Two well-behaved clients beside every test: whatever is sent, every request of theirs is stored at once."""
    with load(server.grpc_port, server.http_port, senders=2, sizes=(16,)) as running:
        yield
        before = running.ledger.answers["OK"]
        while running.ledger.answers["OK"] < before + 4 and not running.ledger.dropped:
            pass
    assert running.ledger.answers.keys() == {"OK"}
    assert not running.ledger.dropped


def new_trace() -> bytes:
    return b"bad input" + next(_traces).to_bytes(7, "big")


def both(server: Server, payload: Callable[[bytes], bytes]) -> list[tuple[bytes, Answer]]:
    """The payload for a new trace, over gRPC and over HTTP: the trace and the answer."""
    with clients(server) as (rpc, web):
        return [(trace_id, client.send(payload(trace_id))) for client in (rpc, web) for trace_id in [new_trace()]]


@contextmanager
def clients(server: Server) -> Iterator[tuple[GrpcClient, HttpClient]]:
    with ExitStack() as stack:
        rpc, web = GrpcClient(server.grpc_port), HttpClient(server.http_port)
        stack.callback(rpc.close)
        stack.callback(web.close)
        yield rpc, web


def stored(server: Server, trace_id: bytes, *columns: str) -> list[list[Any]]:
    return server.rows(
        f"SELECT {', '.join(columns)} FROM trace_spans WHERE trace_id = '{trace_id.hex()}' ORDER BY span_id"
    )


def asked(server: Server, path: str, trace_id: bytes) -> dict[str, Any]:
    """An answer about the trace, in strict JSON."""
    url = f"http://127.0.0.1:{server.port}/api/v1/trace/{path}"
    if path == "diagnose":
        answer = httpx.post(url, json={"trace_id": trace_id.hex()}, timeout=60)
    else:
        answer = httpx.get(url, params={"trace_id": trace_id.hex()}, timeout=60)
    assert answer.is_success, answer.text
    found: dict[str, Any] = json.loads(answer.content, parse_constant=_no_constant)
    return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"bare {name} in JSON")


def peak_bytes(pid: int) -> int:
    """The highest RSS since :func:`forget_peak`."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_a_deeply_nested_value_is_refused(server: Server) -> None:
    said = {answer.said for _, answer in both(server, lambda trace_id: deeply_nested(trace_id, 10_000))}
    assert said == {"gRPC INVALID_ARGUMENT", "HTTP 400"}
    with clients(server) as (_, web):
        answer = web.send(deeply_nested_json("11" * 16, 10_000), content_type="application/json")
        assert answer.said == "HTTP 400"


def test_100_000_attributes_and_a_value_of_10_mb_are_cut_counted_and_told(server: Server) -> None:
    for trace_id, answer in both(server, too_much):
        assert (answer.outcome, answer.rejected) == ("ok", 0)
        assert "90000 attributes dropped" in answer.message
        assert "1 values cut" in answer.message
        many, large = stored(server, trace_id, "attributes", "otlp_rest")
        assert len(_json(many[0])) == 10_000
        assert _json(many[1])["dropped_attributes_count"] == 90_000
        assert _json(large[0])["prompt"].endswith("[cut by otel-diag: 10000000 bytes]")


def too_much(trace_id: bytes) -> bytes:
    return _too_much().replace(b"t" * 16, trace_id)


@cache
def _too_much() -> bytes:
    many = [KeyValue(key=f"key.{number}", value=AnyValue(int_value=number)) for number in range(100_000)]
    large = KeyValue(key="prompt", value=AnyValue(string_value="x" * 10_000_000))
    return encoded({"trace_id": b"t" * 16, "attributes": many}, {"trace_id": b"t" * 16, "attributes": [large]})


def _json(cell: Any) -> Any:
    return json.loads(cell) if isinstance(cell, str) else cell


def test_nul_and_invalid_utf_8_are_kept_readable(server: Server) -> None:
    def payload(trace_id: bytes) -> bytes:
        whole = encoded({"trace_id": trace_id, "name": "nul \0 here"}, {"trace_id": trace_id, "name": "bad utf-8"})
        return whole.replace(b"bad utf-8", b"bad \xff\xfef-8")

    for trace_id, answer in both(server, payload):
        assert (answer.outcome, answer.rejected) == ("ok", 0)
        assert "UTF-8" in answer.message
        assert stored(server, trace_id, "operation") == [["nul \u241b\u2400 here"], ["bad \ufffd\ufffdf-8"]]


def test_lone_surrogates_and_numbers_that_are_none(server: Server) -> None:
    trace_id = new_trace()
    doubles = [{"key": name, "value": {"doubleValue": name}} for name in ("NaN", "Infinity", "-Infinity")]
    span = {"traceId": trace_id.hex(), "spanId": "01" * 8, "name": "half \ud83d", "attributes": doubles}
    with clients(server) as (_, web):
        answer = web.send(as_json(span), content_type="application/json")
    assert (answer.outcome, answer.rejected) == ("ok", 0)
    ((name, attributes),) = stored(server, trace_id, "operation", "attributes")
    assert name == "half \ufffd"
    assert _json(attributes) == {name: {"$double": name} for name in ("NaN", "Infinity", "-Infinity")}
    asked(server, "timeline", trace_id)


@pytest.mark.parametrize("bad", [{"trace_id": bytes(16)}, {"trace_id": b"short"}, {"span_id": b"far too long"}])
def test_one_poison_record_of_a_thousand_leaves_999(server: Server, bad: dict[str, bytes]) -> None:
    def payload(trace_id: bytes) -> bytes:
        return encoded(*({"trace_id": trace_id} | (bad if number == 500 else {}) for number in range(1000)))

    for trace_id, answer in both(server, payload):
        assert (answer.said, answer.rejected) == ("OK", 1)
        assert next(iter(bad)) in answer.message
        assert len(stored(server, trace_id, "span_id")) == 999


def test_impossible_times_are_kept_raw_and_out_of_windows(server: Server) -> None:
    def payload(trace_id: bytes) -> bytes:
        times = [(0, 0), (2**64 - 1, 2**64 - 1), (START + 5_000_000, START)]
        return encoded(
            *({"trace_id": trace_id, "start_time_unix_nano": start, "end_time_unix_nano": end} for start, end in times)
        )

    for trace_id, answer in both(server, payload):
        assert (answer.outcome, answer.rejected) == ("ok", 0)
        columns = ("start_unix_nano", "end_unix_nano", "duration_ms", "started_at IS NULL")
        assert stored(server, trace_id, *columns) == [
            [0, 0, None, True],
            [-1, -1, None, True],
            [START + 5_000_000, START, None, False],
        ]
        quality = asked(server, "diagnose", trace_id)["data_quality"]
        assert len(quality["out_of_range_times"]) == 2
        assert quality["end_before_start"]


def test_self_parents_cycles_and_lost_or_many_roots_give_a_forest(server: Server) -> None:
    def payload(trace_id: bytes) -> bytes:
        parents = {1: 1, 2: 3, 3: 2, 4: 99, 5: 0, 6: 0, 7: 6}
        return encoded(
            *(
                {"trace_id": trace_id, "parent_span_id": parent.to_bytes(8, "big") if parent else b""}
                for parent in parents.values()
            )
        )

    for trace_id, answer in both(server, payload):
        assert (answer.outcome, answer.rejected) == ("ok", 0)
        quality = asked(server, "diagnose", trace_id)["data_quality"]
        assert len(quality["cycles_broken"]) == 2
        assert quality["orphans"] == [f"{4:016x}"]
        assert quality["roots"] == 5
        assert asked(server, "timeline", trace_id)["total_spans"] == 7


def test_a_tree_10_000_deep_is_answered_within_bounds(server: Server) -> None:
    trace_id = new_trace()
    spans = ({"trace_id": trace_id, "parent_span_id": n.to_bytes(8, "big") if n else b""} for n in range(10_000))
    with clients(server) as (rpc, _):
        assert rpc.send(encoded(*spans)).outcome == "ok"
    assert asked(server, "diagnose", trace_id)["data_quality"]["spans"] == 10_000
    timeline = asked(server, "timeline", trace_id)
    assert (timeline["total_spans"], len(timeline["timeline"])) == (10_000, 5_000)


@contextmanager
def rising_at_most(server: Server, size: int) -> Iterator[None]:
    """The server's memory, while the block runs."""
    forget_peak(server.pid)
    before = peak_bytes(server.pid)
    yield
    assert peak_bytes(server.pid) - before <= size


def test_a_gzip_bomb_is_refused_without_being_unpacked(server: Server) -> None:
    """Last, on a server that has loaded what it needs for the neighbours."""
    with clients(server) as (rpc, web):
        with rising_at_most(server, 2 * MAX_REQUEST):
            assert web.send(bomb(512), content_encoding="gzip").said == "HTTP 413"
        if server.store.startswith("duckdb"):  # none is reached, and gRPC's library takes seconds to pack it
            with rising_at_most(server, 2 * MAX_REQUEST):
                assert rpc.send(bytes(512 * MIB), compression=grpc.Compression.Gzip).said == "gRPC RESOURCE_EXHAUSTED"
