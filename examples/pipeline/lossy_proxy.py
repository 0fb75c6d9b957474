"""A network element between runner and router that can lose an answer on its way back.

Plain TCP: it passes bytes on in both directions. When a request asks for the fault, the router's answer is read and
thrown away and the connection to the runner stays open, silent, until the runner gives up.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import socketserver
from contextlib import suppress

from faults import FAULT_HEADER, Fault
from serving import serve_until_stdin_closes

_MARK = f"{FAULT_HEADER}: {Fault.LOST_RESPONSE}".encode()
_CHUNK = 65536


class LossyProxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, router_port: int) -> None:
        self.router_port = router_port
        super().__init__(("127.0.0.1", 0), _Relay)


class _Relay(socketserver.BaseRequestHandler):
    server: LossyProxy
    request: socket.socket

    def handle(self) -> None:
        with (
            suppress(ConnectionError),  # either side hung up: closing both is all a network element can do
            socket.create_connection(("127.0.0.1", self.server.router_port)) as router,
        ):
            _relay(self.request, router)


def _relay(runner: socket.socket, router: socket.socket) -> None:
    sent = b""
    with selectors.DefaultSelector() as ready:
        ready.register(runner, selectors.EVENT_READ)
        ready.register(router, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                lossy = _MARK in sent.lower()
                if key.fileobj is runner:
                    data = runner.recv(_CHUNK)
                    sent += data
                    router.sendall(data)
                else:
                    data = router.recv(_CHUNK)
                    if lossy and not data:
                        ready.unregister(router)
                        continue
                    if not lossy:
                        runner.sendall(data)
                if not data:
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router-port", type=int, required=True)
    serve_until_stdin_closes(LossyProxy(parser.parse_args().router_port))


if __name__ == "__main__":
    main()
