"""Log records as a Collector's file_log receiver sends them: the lines are stored, and so is what they tell of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pyarrow as pa
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from sqlalchemy import select

from otel_diag.decode.bounds import Limits
from otel_diag.decode.requests import Decoded
from otel_diag.decode.rows import table_to_spans
from otel_diag.errors import Transient
from otel_diag.model import Span, Status
from otel_diag.receive.decoding import HereDecoder, ProcessDecoder, Undecoded
from otel_diag.store.base import Appended, Store
from otel_diag.store.schema import SPANS, SignalTable, log_records, trace_spans
from tests.receive.servers import Receiver, running, settings_for

NOW = 1_795_348_800_000_000_000
TRACE_ID = "1a2b3c4d" + "0" * 23 + "7"
IDS = f"trace={TRACE_ID}, span=00000000000000ab, parent=0000000000000009, name=infer, service=gpu, start={NOW}"
START = f"🔍 TRACE[1a2b3c4d]: Modal inference started - model=llama-3-8b, execution=2193, {IDS}"
END = (
    "❌ TRACE[1a2b3c4d]: FAILED - error=OutOfMemoryError, message=gone, duration=2s, model=llama-3-8b, "
    f"execution=2193, {IDS}"
)
OLD_START = "TRACE[99999999]: Modal inference started - model=m, region=r"
OLD_END = "TRACE[99999999]: SUCCESS - duration=1.5s, tokens=3"


def request(*bodies: str) -> bytes:
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    logs.resource.attributes.add(key="service.name").value.string_value = "from-the-file"
    logs.resource.attributes.add(key="host.name").value.string_value = "node-7"
    scope = logs.scope_logs.add()
    for number, body in enumerate(bodies):
        scope.log_records.add(observed_time_unix_nano=NOW + number).body.string_value = body
    return request.SerializeToString()


def send(receiver: Receiver, *bodies: str) -> None:
    assert posted(receiver, request(*bodies)).is_success


def posted(receiver: Receiver, payload: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/x-protobuf"}
    return httpx.post(f"{receiver.http}/v1/logs", content=payload, headers=headers, timeout=30)


def spans(store: Store) -> list[Span]:
    return table_to_spans(store.select(select(trace_spans)))


def logs(store: Store) -> list[dict[str, Any]]:
    columns = log_records.c
    return store.select(select(columns.event_name, columns.body_text, columns.trace_id, columns.span_id)).to_pylist()


def announced(store: Store) -> list[tuple[str, str]]:
    return [(row["trace_id"], row["span_id"]) for row in logs(store) if row["event_name"] == "otel_diag.span.start"]


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    with running(store, settings_for()) as receiver:
        yield receiver


def test_a_span_told_in_one_request(receiver: Receiver) -> None:
    for _ in range(2):
        send(receiver, "some other line", START, END, OLD_START, OLD_END)
    assert receiver.counters.records == {"logs": 10, "traces": 4}
    failed, old = sorted(spans(receiver.store), key=lambda span: span.trace_id)
    assert (failed.trace_id, failed.span_id, failed.parent_span_id) == (TRACE_ID, "00000000000000ab", "0" * 15 + "9")
    assert (failed.service, failed.operation, failed.execution_id) == ("gpu", "infer", 2193)
    assert (failed.status, failed.error_type, failed.error_message) == (Status.FAILED, "OutOfMemoryError", "gone")
    assert (failed.start_unix_nano, failed.end_unix_nano) == (NOW, NOW + 2 * 10**9)
    assert failed.resource == {"service.name": "gpu", "host.name": "node-7"}
    assert (old.service, old.model_id, old.status) == ("from-the-file", "m", Status.COMPLETED)
    assert old.end_unix_nano == NOW + 4
    assert announced(receiver.store) == []
    assert len(logs(receiver.store)) == 5, "the lines themselves, once"


def test_a_span_told_in_two_requests(receiver: Receiver) -> None:
    for line in (START, OLD_START, START, OLD_END, END, END, OLD_END):
        send(receiver, line)
    ended = {(span.trace_id, span.span_id): span for span in spans(receiver.store)}
    assert len(ended) == len(spans(receiver.store)) == 2
    assert sorted(ended) == sorted(announced(receiver.store)), "none of the announced is still open"
    assert ended[TRACE_ID, "00000000000000ab"].model_id == "llama-3-8b", "the last line says all"


def test_a_span_whose_end_never_came(receiver: Receiver) -> None:
    send(receiver, START)
    assert spans(receiver.store) == []
    assert announced(receiver.store) == [(TRACE_ID, "00000000000000ab")]


class NoSpans:
    """A store that takes log records; spans when it is told to."""

    def __init__(self, store: Store) -> None:
        self.store, self.broken = store, True

    def append(self, batch: pa.Table, signal: SignalTable = SPANS) -> Appended:
        if signal is SPANS and self.broken:
            raise Transient("no room")
        return self.store.append(batch, signal)


def test_what_lines_tell_is_part_of_the_acknowledgement(embedded: Store) -> None:
    store = NoSpans(embedded)
    with running(store, settings_for()) as receiver:  # type: ignore[arg-type]  # it is only appended to
        assert posted(receiver, request(END)).status_code == 503
        store.broken = False
        assert posted(receiver, request(END)).is_success
    assert len(spans(embedded)) == len(logs(embedded)) == 1


def test_the_same_in_the_decoding_process() -> None:
    payloads = [request(START, END), request("nothing"), request(START), request(OLD_END)]
    undecoded = Undecoded("logs", payloads, ["a", "b", "c", "d"], Limits(attributes=100, value_bytes=10_000))
    with closing(ProcessDecoder()) as elsewhere:
        pairs = list(zip(HereDecoder().decode(undecoded), elsewhere.decode(undecoded), strict=True))
    for here, there in pairs:
        assert isinstance(here, Decoded)
        assert isinstance(there, Decoded)
        assert there.batch.to_pylist() == here.batch.to_pylist()
        assert (there.told is None) == (here.told is None)
        if here.told is not None and there.told is not None:
            assert there.told.batch.to_pylist() == here.told.batch.to_pylist()
    told = [here.told and here.told.batch["tenant"].to_pylist() for here, _ in pairs if isinstance(here, Decoded)]
    assert told == [["a"], None, None, ["d"]]
