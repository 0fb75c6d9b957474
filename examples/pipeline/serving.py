"""What the pipeline's servers share: JSON over HTTP on a free port, and a life that ends with the parent's.

A server runs until its standard input closes. The parent closes it to stop the server; when the parent is killed, the
operating system closes it: no process is left behind either way.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]
Handle = Callable[[str, Mapping[str, str], dict[str, Any]], Answer]
"""Path, headers and JSON body of a POST -> status code and JSON body of the answer."""


class JsonServer(ThreadingHTTPServer):
    """Answers every POST with ``handle``, each in a thread. Closing it waits for the requests that are running."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, handle: Handle) -> None:
        self.handle_post = handle
        super().__init__(("127.0.0.1", 0), _PostHandler)


class _PostHandler(BaseHTTPRequestHandler):
    server: JsonServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.server.handle_post(self.path, dict(self.headers.items()), body)
        payload = json.dumps(answer).encode()
        with suppress(ConnectionError):  # the caller may have given up waiting: that is its span's story, not ours
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing: standard output belongs to the protocol with the parent."""


def serve_until_stdin_closes(server: TCPServer) -> None:
    """Announces the server's port as one JSON line, serves, and returns when the work that was running is done."""
    port = server.server_address[1]
    print(json.dumps({"port": port}), flush=True)

    def stop_with_parent() -> None:
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=stop_with_parent, daemon=True).start()
    with server:
        server.serve_forever(poll_interval=0.05)
