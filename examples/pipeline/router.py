"""The router: picks a provider for a request and calls its inference endpoint.

``POST /route`` {model, region, prompt, max_tokens}; the runner's deadline comes as the header ``x-deadline-seconds``.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Mapping
from typing import Any, Final

import httpx
from faults import DEADLINE_HEADER, FAULT_HEADER, Fault
from serving import Answer, JsonServer, serve_until_stdin_closes

from otel_diag_instrumentation import Route, call, configure, continue_trace, route

_SHARE_OF_DEADLINE: Final = 0.8
"""The router gives up before the runner does, so that the runner hears why."""

_ATTEMPTS: Final = 3


class ProviderError(RuntimeError):
    """The provider answered, and the answer is an error; ``status`` is its status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RateLimitError(ProviderError):
    """The provider refuses the request for now."""


class Router:
    """Providers by name; ``modal-drained`` is one whose endpoint has been taken down."""

    def __init__(self, modal_url: str) -> None:
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))  # bound and never listening: connections to it are refused
        drained = f"http://127.0.0.1:{self._closed.getsockname()[1]}"
        self._providers = {"modal-us-east": modal_url, "modal-eu-west": modal_url, "modal-drained": drained}
        self._client = httpx.Client(trust_env=False, headers={"Connection": "close"})

    def handle(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
        with continue_trace(headers, f"POST {path}", method="POST", path=path, route=path) as exchange:
            status, answer = self._answer({name.lower(): value for name, value in headers.items()}, body)
            exchange.status(status)
            return status, answer

    def _answer(self, headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
        fault = Fault(headers.get(FAULT_HEADER, Fault.NONE))
        timeout_s = float(headers[DEADLINE_HEADER]) * _SHARE_OF_DEADLINE
        try:
            with route("hybrid_router_call", candidates=list(self._providers)) as routing:
                return 200, self._call_provider(self._choose(routing, body["region"], fault), body, fault, timeout_s)
        except httpx.TimeoutException:
            return 504, {"error": f"the provider did not answer within {timeout_s:.1f} s"}
        except ProviderError as error:
            return error.status if error.status < 500 else 502, {"error": str(error)}
        except httpx.TransportError as error:
            return 502, {"error": f"the provider cannot be reached: {error}"}

    def _choose(self, routing: Route, region: str, fault: Fault) -> str:
        nearest = "modal-eu-west" if region.startswith("eu") else "modal-us-east"
        return routing.choose("modal-drained" if fault is Fault.CONNECTION_REFUSED else nearest, healthy=True)

    def _call_provider(self, provider: str, body: dict[str, Any], fault: Fault, timeout_s: float) -> dict[str, Any]:
        """The provider's answer; tries again on 503. Raises ProviderError and httpx's errors."""
        url = f"{self._providers[provider]}/inference"
        for attempt in range(_ATTEMPTS):
            try:
                with call("modal", "POST", url, name="POST /inference", resend=attempt) as exchange:
                    headers = {FAULT_HEADER: fault.value, **exchange.headers}
                    response = self._client.post(url, json=body, headers=headers, timeout=timeout_s)
                    exchange.status(response.status_code)
                    return _accepted(provider, response)
            except ProviderError as error:
                if error.status != httpx.codes.SERVICE_UNAVAILABLE or attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")


def _accepted(provider: str, response: httpx.Response) -> dict[str, Any]:
    """The body of a successful answer. Raises ProviderError with what the provider said about a failed one."""
    answer: dict[str, Any] = response.json()
    if response.is_success:
        return answer
    kind = RateLimitError if response.status_code == httpx.codes.TOO_MANY_REQUESTS else ProviderError
    raise kind(response.status_code, f"{provider} answered {response.status_code}: {answer['error']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modal-url", required=True)
    router = Router(parser.parse_args().modal_url)
    configure("router")
    serve_until_stdin_closes(JsonServer(router.handle))


if __name__ == "__main__":
    main()
