"""TLS and client certificates on every port, with certificates made here, the SDK's exporters and our own commands."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import grpc
import httpx
import httpx2
import pytest
import trustme
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from sqlalchemy import select
from typer.testing import CliRunner

from otel_diag.config import Settings
from otel_diag.discovery import Endpoints
from otel_diag.errors import StartupError, Unauthenticated
from otel_diag.present.cli.commands import app as cli
from otel_diag.store.open import open_store
from otel_diag.store.schema import trace_spans
from otel_diag.tls import server_context
from tests.access.tokens import BOTH, bearer, known, secret_of
from tests.present.otlp import request
from tests.receive.servers import running

PROGRAM = [sys.executable, "-m", "otel_diag.present.cli"]
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TOKEN = known("everything", roles=BOTH)


@dataclass(frozen=True)
class Files:
    """PEM files: an authority, what it signed, and a stranger's client certificate."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path
    strange_cert: Path
    strange_key: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued = {
        "server": authority.issue_cert("127.0.0.1", "localhost"),
        "client": authority.issue_cert("client@example.org"),
        "strange": trustme.CA().issue_cert("client@example.org"),
    }
    for name, leaf in issued.items():
        leaf.private_key_pem.write_to_path(str(directory / f"{name}.key"))
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(str(directory / f"{name}.pem"), append=True)
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key", "strange.pem", "strange.key")
    return Files(*(directory / name for name in names))


@dataclass(frozen=True)
class Serving:
    """A running ``serve``, and what it writes on standard error."""

    endpoints: Endpoints
    log: Path


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[Serving]:
    store = f"duckdb:///{directory / 'store.duckdb'}"
    log = directory / "log"
    settings |= {"quiet_seconds": "0.1", "store": store}
    ports = ["--grpc-port", "0", "--http-port", "0", "--port", "0"]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*PROGRAM, "serve", *ports, "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {f"OTEL_DIAG_{name.upper()}": value for name, value in settings.items()},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text()
            yield Serving(Endpoints(**json.loads(line)), log)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """With TLS, client certificates and tokens."""
    tls = {"tls_cert": str(files.cert), "tls_key": str(files.key), "tls_client_ca": str(files.ca)}
    tokens = json.dumps([TOKEN.model_dump(mode="json")])
    with serving(tmp_path_factory.mktemp("serve"), **tls, tokens=tokens) as running:
        yield running


def emit(exporter: SpanExporter, operation: str) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "runner"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span(operation, attributes={"execution.id": 4}):
        pass
    provider.shutdown()


def grpc_exporter(server: Serving, files: Files) -> GrpcExporter:
    credentials = grpc.ssl_channel_credentials(
        files.ca.read_bytes(), files.client_key.read_bytes(), files.client_cert.read_bytes()
    )
    metadata = {"authorization": f"Bearer {secret_of('everything')}"}
    return GrpcExporter(endpoint=server.endpoints.otlp_grpc, credentials=credentials, headers=metadata)


def http_exporter(server: Serving, files: Files) -> HttpExporter:
    return HttpExporter(
        endpoint=f"{server.endpoints.otlp_http}/v1/traces",
        certificate_file=str(files.ca),
        client_certificate_file=str(files.client_cert),
        client_key_file=str(files.client_key),
        headers=bearer("everything"),
    )


def context_with(files: Files, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(files.ca))
    if cert and key:
        context.load_cert_chain(cert, key)
    return context


def rows(server: Serving, files: Files, statement: str) -> list[list[object]]:
    context = context_with(files, files.client_cert, files.client_key)
    with httpx.Client(verify=context, headers=bearer("everything")) as client:
        response = client.post(f"{server.endpoints.url}/api/v1/sql", json={"statement": statement})
        assert response.status_code == 200, response.text
        found: list[list[object]] = response.json()["rows"]
        return found


@pytest.fixture
def no_other_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """requests, below the SDK's exporter, prefers these variables to what the exporter was told."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_other_authorities")
def test_the_sdks_exporters_send_over_tls(server: Serving, files: Files) -> None:
    assert {server.endpoints.url[:8], server.endpoints.otlp_grpc[:8], server.endpoints.otlp_http[:8]} == {"https://"}
    emit(grpc_exporter(server, files), "over gRPC")
    emit(http_exporter(server, files), "over HTTP")
    found = rows(server, files, "SELECT operation FROM trace_spans WHERE execution_id = 4 ORDER BY operation")
    assert found == [["over HTTP"], ["over gRPC"]]


@pytest.mark.parametrize("who", ["nobody", "strange"])
def test_who_shows_no_certificate_of_the_authority_is_refused(server: Serving, files: Files, who: str) -> None:
    cert, key = (files.strange_cert, files.strange_key) if who == "strange" else (None, None)
    with httpx.Client(verify=context_with(files, cert, key), headers=bearer("everything")) as client:
        for url in (f"{server.endpoints.otlp_http}/v1/traces", f"{server.endpoints.url}/healthz"):
            with pytest.raises(httpx.TransportError):
                client.post(url)
    shown = (key.read_bytes(), cert.read_bytes()) if cert and key else (None, None)
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes(), *shown)
    with grpc.secure_channel(server.endpoints.otlp_grpc.removeprefix("https://"), credentials) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(EXPORT)(b"", timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_who_speaks_no_tls_is_refused(server: Serving) -> None:
    for url in (server.endpoints.otlp_http, server.endpoints.url):
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https://", "http://"))


def test_a_certificate_does_not_stand_for_a_token(server: Serving, files: Files) -> None:
    with httpx.Client(verify=context_with(files, files.client_cert, files.client_key)) as client:
        assert client.get(f"{server.endpoints.url}/healthz").status_code == 200
        assert client.get(f"{server.endpoints.url}/api/v1/services").status_code == 401
        assert client.post(f"{server.endpoints.otlp_http}/v1/traces").status_code == 401


def test_mcp_works_over_tls_with_a_token(server: Serving, files: Files) -> None:
    context = context_with(files, files.client_cert, files.client_key)

    async def ask() -> bool:
        async with (
            httpx2.AsyncClient(verify=context, headers=bearer("everything")) as http,
            Client(streamable_http_client(f"{server.endpoints.url}/mcp", http_client=http)) as client,
        ):
            return (await client.call_tool("get_recent_failures", {})).is_error

    assert not anyio.run(ask)


def test_commands_find_the_server_trust_it_and_show_who_they_are(server: Serving, files: Files, tmp_path: Path) -> None:
    lines = tmp_path / "spans.jsonl"
    lines.write_text(json.dumps(request(77, failed=True)) + "\n")
    certificate = {"OTEL_DIAG_CLIENT_CERT": str(files.client_cert), "OTEL_DIAG_CLIENT_KEY": str(files.client_key)}
    place = {"OTEL_DIAG_STORE": server.endpoints.store} | certificate
    full = place | {"OTEL_DIAG_TOKEN": secret_of("everything")}

    imported = CliRunner().invoke(cli, ["import", str(lines), "--json"], env=full)
    assert json.loads(imported.stdout)[0]["stored"] == 2, imported.exception
    diagnosed = CliRunner().invoke(cli, ["diagnose", "77", "--json"], env=full)
    assert json.loads(diagnosed.stdout)["execution_id"] == 77, diagnosed.exception

    for words in (["diagnose", "77"], ["import", str(lines)]):
        for token, said in ((None, "a token is needed"), (secret_of("wrong"), "the token is not known")):
            refused = CliRunner().invoke(cli, words, env=place | {"OTEL_DIAG_TOKEN": token})
            assert isinstance(refused.exception, Unauthenticated)
            assert said in refused.exception.message
            assert "OTEL_DIAG_TOKEN" in refused.exception.hint
            assert "otd_" not in refused.exception.message + refused.exception.hint

    command = [*PROGRAM, "diagnose", "77"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | place)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (4, "", 2)


def test_tokens_are_not_in_the_log(server: Serving, files: Files) -> None:
    context = context_with(files, files.client_cert, files.client_key)
    with httpx.Client(verify=context) as client:
        urls = [
            f"{server.endpoints.url}{path}" for path in ("/api/v1/services", "/metrics", "/api/v1/nothing", "/docs")
        ]
        for url in (*urls, f"{server.endpoints.otlp_http}/v1/traces", f"{server.endpoints.otlp_http}/v1/nothing"):
            for name in ("everything", "stranger"):
                response = client.post(url, headers=bearer(name), content=b"garbage")
                assert secret_of(name) not in response.text + str(response.headers)
                response = client.get(url, headers=bearer(name))
                assert secret_of(name) not in response.text + str(response.headers)
                assert TOKEN.sha256 not in response.text
    log = server.log.read_text()
    assert "otd_" not in log
    assert TOKEN.sha256 not in log


@pytest.mark.usefixtures("no_other_authorities")
def test_without_client_authority_anybody_may_connect(files: Files) -> None:
    store = open_store("duckdb://")
    with running(store, Settings(grpc_port=0, tls_cert=files.cert, tls_key=files.key)) as receiver:
        emit(
            HttpExporter(endpoint=f"https://127.0.0.1:{receiver.http_port}/v1/traces", certificate_file=str(files.ca)),
            "a",
        )
        credentials = grpc.ssl_channel_credentials(files.ca.read_bytes())
        emit(GrpcExporter(endpoint=f"https://127.0.0.1:{receiver.grpc_port}", credentials=credentials), "b")
        found = store.select(select(trace_spans.c.operation)).to_pylist()
    assert {row["operation"] for row in found} == {"a", "b"}
    store.close()


@pytest.mark.parametrize("broken", ["missing", "no PEM", "of another key"])
def test_files_that_cannot_be_used_are_named(files: Files, tmp_path: Path, broken: str) -> None:
    key = tmp_path / "key.pem"
    if broken != "missing":
        key.write_text(files.client_key.read_text() if broken == "of another key" else "nothing")
    with pytest.raises(StartupError) as refused:
        server_context(Settings(tls_cert=files.cert, tls_key=key))
    assert str(key) in refused.value.message
    assert "PRIVATE" not in refused.value.message
