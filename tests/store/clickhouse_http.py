"""ClickHouse's HTTP interface, as far as a store uses it, before the engine that runs in this process.

The engine is real and so is the client; only the few lines between them are ours.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

_OF_THE_TRANSPORT = {
    *("database", "query_id", "session_id", "wait_end_of_query", "client_protocol_version"),
    *("enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms"),
}


@contextmanager
def clickhouse_server(path: Path, seen: list[Mapping[str, str]]) -> Iterator[int]:
    """The port of a server over the engine at this path; ``seen`` collects the parameters of its requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            statement = parameters.pop("query", "").encode() + body
            seen.append({**parameters, "statement": statement[:100].decode("utf-8", "replace")})
            try:
                self._answer(200, _run(path, parameters, statement), {})
            except Exception as error:  # noqa: BLE001 - the server tells its client everything
                code = re.search(r"Code: (\d+)", str(error))
                self._answer(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "0"})

        def do_GET(self) -> None:
            self._answer(200, b"Ok.\n", {})

        def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _run(path: Path, parameters: Mapping[str, str], statement: bytes) -> bytes:
    connection = chdb.connect(str(path))
    try:
        if database := parameters.get("database"):
            connection.query(f"USE {database}", "TabSeparated")
        settings = {name: value for name, value in parameters.items() if name not in _OF_THE_TRANSPORT}
        # In one statement, as a server takes them: none of them forbids another.
        if settings:
            connection.query("SET " + ", ".join(f"{name} = '{value}'" for name, value in settings.items()), "Null")
        if (insert := re.match(rb"(INSERT INTO [^\n]*) FORMAT (\w+)\s*\n", statement)) is None:
            return bytes(connection.query(statement.decode(), "TabSeparated").bytes())
        with tempfile.NamedTemporaryFile() as file:
            file.write(statement[insert.end() :])
            file.flush()
            connection.query(f"{insert[1].decode()} FROM INFILE '{file.name}' FORMAT {insert[2].decode()}", "Null")
        return b""
    finally:
        connection.close()
