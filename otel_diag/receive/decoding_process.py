"""``python -m otel_diag.receive.decoding_process FD``: decodes what comes over this socket until it ends."""

from __future__ import annotations

import signal
import socket
import sys

from otel_diag.without_pandas import keep_pandas_out


def main() -> None:
    # A terminal and a service manager signal every process; the server closes the socket when it has finished.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    keep_pandas_out()
    from otel_diag.receive.decoding import serve

    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
