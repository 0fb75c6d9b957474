"""redaction.yaml takes secrets out before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from tests.collector.processes import Collector, collecting
from tests.e2e.processes import until
from tests.faults.server import Server, serving

KEY = "sk-abcdefghijklmnop1234"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
SECRETS = (KEY, JWT, "hunter2", "swordfish", "AKIAABCDEFGHIJKLMNOP", "c2Vzc2lvbi0x")

KEPT = {"gen_ai.usage.input_tokens": 1234567890123456, "gen_ai.usage.output_tokens": 20, "tokens_per_second": 13.5}


def attribute(key: str, value: Any) -> dict[str, Any]:
    kind = {int: "intValue", float: "doubleValue", str: "stringValue"}[type(value)]
    return {"key": key, "value": {kind: value}}


def attributes(**values: Any) -> list[dict[str, Any]]:
    return [attribute(key.replace("__", "."), value) for key, value in values.items()]


RESOURCE = {"attributes": attributes(service__name="router", database__password="hunter2")}
SPAN = {
    "traceId": "ab" * 16,
    "spanId": "cd" * 8,
    "name": f"GET postgresql://diag:swordfish@db/{KEY}",
    "startTimeUnixNano": "1790000000000000000",
    "endTimeUnixNano": "1790000001000000000",
    "attributes": [
        *attributes(
            http__request__header__authorization="Basic c2Vzc2lvbi0x", api_key="hunter2", session_token="hunter2"
        ),
        *attributes(prompt=f"my key is {KEY}, be kind", url__full="https://diag:swordfish@host/path"),
        *[attribute(key, value) for key, value in KEPT.items()],
    ],
    "events": [{"name": "exception", "attributes": attributes(exception__message=f"refused: Bearer {JWT}")}],
    "status": {"code": 2, "message": f"401 for {KEY}"},
}
RECORD = {
    "timeUnixNano": "1790000000000000000",
    "body": {"stringValue": f"authorized with AKIAABCDEFGHIJKLMNOP and {JWT}"},
    "attributes": attributes(cookie="c2Vzc2lvbi0x", line=7),
}
TRACES = {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"spans": [SPAN]}]}]}
LOGS = {"resourceLogs": [{"resource": RESOURCE, "scopeLogs": [{"logRecords": [RECORD]}]}]}


def send(to: Collector) -> None:
    assert httpx.post(f"http://127.0.0.1:{to.http_port}/v1/traces", json=TRACES).is_success
    with grpc.insecure_channel(f"127.0.0.1:{to.logs_port}") as channel:
        LogsServiceStub(channel).Export(ParseDict(LOGS, ExportLogsServiceRequest()))


def stored(server: Server) -> str:
    """Every column of every row, once all have arrived."""
    until(lambda: server.count() == 1 and server.count("log_records") == 1)
    rows = [server.rows(f"SELECT * FROM {table}") for table in ("trace_spans", "log_records")]
    return json.dumps(rows)


def test_secrets_reach_neither_disk_nor_store(collector: Path, tmp_path: Path) -> None:
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server:
        to = {
            "GATEWAY": (store := f"127.0.0.1:{server.grpc_port}"),
            "GATEWAY_LOGS": store,
            "QUEUE_DIR": str(tmp_path / "queue"),
        }
        with collecting(collector, ["agent.yaml", "redaction.yaml"], tmp_path / "agent", **to) as agent:
            send(agent)
            text = stored(server)
            ((found,),) = server.rows("SELECT attributes FROM trace_spans")
    assert not [secret for secret in SECRETS if secret in text]
    assert "my key is ****, be kind" in text
    assert KEPT.items() <= json.loads(found).items()
    files = [path.read_bytes() for path in (tmp_path / "queue").iterdir()]
    assert any(b"my key is ****, be kind" in content for content in files), "the queue was not on the disk"
    assert not [secret for secret in SECRETS for content in files if secret.encode() in content]


def test_without_it_they_would(collector: Path, tmp_path: Path) -> None:
    with serving(f"duckdb:///{tmp_path / 'store.duckdb'}") as server:
        to = {"GATEWAY": (store := f"127.0.0.1:{server.grpc_port}"), "GATEWAY_LOGS": store}
        with collecting(collector, ["agent.yaml"], tmp_path / "agent", **to) as agent:
            send(agent)
            text = stored(server)
    assert [secret for secret in SECRETS if secret in text] == list(SECRETS)
