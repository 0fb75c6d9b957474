from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from otel_diag_instrumentation import call, continue_trace, execution, extract, inject

GET_X = {"method": "GET", "path": "/x"}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        with continue_trace(
            dict(self.headers.items()), "POST /jobs/{id}", method="POST", path=self.path, route="/jobs/{id}"
        ) as exchange:
            code = int(self.path.rpartition("/")[2])
            exchange.status(code)
            self.send_response(code)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "client_fails", "server_fails"), [(200, False, False), (422, True, False), (503, True, True)]
)
def test_a_hop_is_a_client_span_and_the_server_span_it_caused(
    spans: InMemorySpanExporter, server: ThreadingHTTPServer, code: int, client_fails: bool, server_fails: bool
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/jobs/{code}"
    with execution(3), call("router", "post", url, resend=1) as exchange:
        request = urllib.request.Request(url, method="POST", headers=dict(exchange.headers))
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
                exchange.status(response.status)
        except urllib.error.HTTPError as error:
            exchange.status(error.code)
    server.server_close()
    by_kind = {span.kind: span for span in spans.get_finished_spans()}
    client, served = by_kind[SpanKind.CLIENT], by_kind[SpanKind.SERVER]
    assert served.parent is not None
    assert served.parent.span_id == client.context.span_id
    expected_error = {"error.type": str(code)}
    assert dict(client.attributes or {}) == {
        "execution.id": 3,
        "http.request.method": "POST",
        "http.request.method_original": "post",
        "http.request.resend_count": 1,
        "http.response.status_code": code,
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "service.peer.name": "router",
        "url.full": url,
    } | (expected_error if client_fails else {})
    assert dict(served.attributes or {}) == {
        "execution.id": 3,
        "http.request.method": "POST",
        "http.response.status_code": code,
        "http.route": "/jobs/{id}",
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "url.path": f"/jobs/{code}",
        "url.scheme": "http",
    } | (expected_error if server_fails else {})
    assert (client.status.status_code is StatusCode.ERROR) == client_fails
    assert (served.status.status_code is StatusCode.ERROR) == server_fails


def test_both_ends_may_be_in_one_thread(spans: InMemorySpanExporter) -> None:
    with call("router", "GET", "http://router/x") as exchange, continue_trace(exchange.headers, "GET /x", **GET_X):
        pass
    served, client = spans.get_finished_spans()
    assert (served.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert served.parent is not None
    assert served.parent.span_id == client.context.span_id
    assert served.parent.is_remote


def test_a_request_of_another_trace_is_not_of_the_span_it_is_served_in(spans: InMemorySpanExporter) -> None:
    with execution(1):
        headers = inject()
    with execution(2), continue_trace(headers, "GET /x", **GET_X):
        pass
    caller, served, _ = spans.get_finished_spans()
    assert served.kind is SpanKind.SERVER
    assert served.context.trace_id == caller.context.trace_id
    assert (served.attributes or {})["execution.id"] == 1


def test_a_status_stays_the_error_type_when_the_client_raises_because_of_it(spans: InMemorySpanExporter) -> None:
    def ask() -> None:
        with call("router", "GET", "https://router/x") as exchange:
            exchange.status(429)
            raise RuntimeError("429 Too Many Requests")

    with pytest.raises(RuntimeError):
        ask()
    (span,) = spans.get_finished_spans()
    assert span.name == "GET"
    assert (span.attributes or {})["error.type"] == "429"
    assert (span.attributes or {})["server.port"] == 443
    assert span.status.description == "RuntimeError: 429 Too Many Requests"


def test_credentials_in_a_url_are_not_recorded(spans: InMemorySpanExporter) -> None:
    with call("modal", "GET", "https://ann:secret@modal.run:8443/f?x=1"):
        pass
    attributes = spans.get_finished_spans()[0].attributes or {}
    assert attributes["url.full"] == "https://REDACTED:REDACTED@modal.run:8443/f?x=1"


@pytest.mark.parametrize("host", ["[", "a:b", "", "host:99999999"])
def test_a_host_that_is_none_does_not_break_the_server(spans: InMemorySpanExporter, host: str) -> None:
    with continue_trace({"Host": host, "traceparent": "nonsense"}, "x", method="BREW", path="/"):
        pass
    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert (span.attributes or {})["http.request.method"] == "_OTHER"
    assert (span.attributes or {})["http.request.method_original"] == "BREW"
    assert "server.port" not in (span.attributes or {})


def test_inject_writes_into_a_carrier_and_extract_reads_any_case(spans: InMemorySpanExporter) -> None:
    headers = {"accept": "application/json"}
    with execution(4):
        assert inject(headers).items() <= headers.items()
    context = extract({name.upper(): value for name, value in headers.items()})
    assert inject(context=context) == {name: headers[name] for name in ("traceparent", "baggage")}
