"""The router: takes jobs over HTTP and calls the shape of Modal function that each one asks for.

It says its port on standard output and serves until its standard input ends.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from modal_app import Model, moderate, stream, tokenize, web
from starlette.requests import Request

from otel_diag_instrumentation import configure, continue_trace, inject, route

configure("router")


def post(prompt: str) -> object:
    """What a client of the web endpoint sends, context included."""
    headers = {**inject(), "user-agent": prompt}
    request = Request({"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
    return asyncio.run(web.local(request))


# With an account, .local() becomes .remote(), .remote_gen() or .spawn(). The argument otel_context stays: it takes the
# trace into the container, and the function never sees it.
SHAPES: dict[str, Callable[[str], object]] = {
    "function": lambda prompt: tokenize.local(prompt, otel_context=inject()),
    "async": lambda prompt: asyncio.run(moderate.local(prompt, otel_context=inject())),
    "generator": lambda prompt: list(stream.local(prompt, otel_context=inject())),
    "method": lambda prompt: Model().generate.local(prompt, otel_context=inject()),
    "web": post,
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = dict(self.headers)
        with continue_trace(headers, "POST /jobs", method="POST", path=self.path, route="/jobs") as served:
            status, answer = run(job["shape"], job["prompt"])
            served.status(status)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the spans tell more."""


def run(shape: str, prompt: str) -> tuple[int, object]:
    try:
        with route("choose_shape", candidates=list(SHAPES)) as routing:
            return 200, SHAPES[routing.choose(shape)](prompt)
    except ValueError as error:
        return 500, str(error)


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    server.shutdown()
