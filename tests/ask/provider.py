"""A provider of language models on this machine: speaks the chat completions API, says what it is told to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "openai-chat:made-up-1"


@dataclass
class Provider:
    """``replies``: for each request the arguments of the tool that is called, or a status to fail with."""

    replies: list[dict[str, Any] | int]
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        reply = self.replies[len(self.requests)]
        self.requests.append(request)
        if isinstance(reply, int):
            return reply, {"error": {"message": "Incorrect API key provided: sk-canary", "type": "x", "code": "x"}}
        call = {"name": "ask", "arguments": json.dumps(reply)}
        message = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        said = {"id": "1", "object": "chat.completion", "created": 1_790_000_000, "model": request["model"]}
        return 200, said | {"choices": [choice], "usage": usage}


@contextmanager
def providing(replies: Sequence[dict[str, Any] | int]) -> Iterator[Provider]:
    """The provider on a port of its own."""
    provider = Provider(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            provider.keys.append(self.headers["Authorization"])
            length = int(self.headers["Content-Length"])
            status, answer = provider.answer(json.loads(self.rfile.read(length)))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    provider.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
