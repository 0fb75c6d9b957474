"""How spans tell of an error: the one it happened in, and every one above that hears of it.

Five manners, one a service: ``exception`` (an exception event, often error.type too), ``status`` (the status message
only), ``type`` (error.type only), ``code`` (an HTTP or gRPC code only, the status never set: the conventions say what
that means), ``quiet`` (status ERROR and no word). A manner that would hide what happened is not used by the span it
happened in, so that somebody who reads all spans can know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from otel_diag.testing import SpanDraft
from tests.scenarios import texts
from tests.scenarios.texts import ErrorText
from tests.scenarios.wire import SPEAKING, status_of

SPEAKING_TYPES = frozenset(
    (
        "httpx.ConnectError", "java.net.ConnectException", "aiohttp.client_exceptions.ClientConnectorError",
        "socket.gaierror", "*net.DNSError", "java.net.UnknownHostException", "urllib3.exceptions.NameResolutionError",
        "ssl.SSLCertVerificationError", "javax.net.ssl.SSLHandshakeException", "*tls.CertificateVerificationError",
        "java.net.NoRouteToHostException", "ConnectionResetError",
        "httpx.RemoteProtocolError", "http.client.RemoteDisconnected", "org.apache.http.NoHttpResponseException",
        "httpx.ReadTimeout", "requests.exceptions.ReadTimeout", "TimeoutError", "asyncio.TimeoutError",
        "context.deadlineExceededError", "java.net.SocketTimeoutException", "java.net.http.HttpTimeoutException",
        "java.util.concurrent.TimeoutException",
        "pydantic_core._pydantic_core.ValidationError", "fastapi.exceptions.RequestValidationError",
        "marshmallow.exceptions.ValidationError", "javax.validation.ConstraintViolationException", "ZodError",
        "FluentValidation.ValidationException", "org.springframework.web.bind.MethodArgumentNotValidException",
        "openai.RateLimitError", "anthropic.RateLimitError",
        "io.github.resilience4j.ratelimiter.RequestNotPermitted",
        "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "MemoryError", "java.lang.OutOfMemoryError",
        "System.OutOfMemoryException", "ZeroDivisionError", "java.lang.NullPointerException",
        "System.NullReferenceException", "java.lang.ClassCastException", "IndexError",
    )
)  # fmt: skip
"""Types that say what happened without the message."""

_HTTP_HEARD = {
    "validation": (400, 422, 500),
    "rate": (429, 429, 503),
    "timeout": (504, 504, 500),
    "error": (500, 502, 500),
}
_GRPC_HEARD = {"validation": (3, 13), "rate": (8, 14), "timeout": (4, 14), "error": (2, 13)}
_GRPC_NAMES = {
    1: "Canceled",
    2: "Unknown",
    3: "InvalidArgument",
    4: "DeadlineExceeded",
    8: "ResourceExhausted",
    13: "Internal",
    14: "Unavailable",
}
_HTTP_NAMES = {
    400: "Bad Request",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_NAMED_CODES = frozenset((400, 422, 429, 503, 504))
"""HTTP codes that say what happened by themselves; a 500 does not."""


class Teller(Protocol):
    """What of a service matters here."""

    @property
    def name(self) -> str: ...
    @property
    def telling(self) -> str: ...
    @property
    def old_names(self) -> bool: ...


@dataclass(frozen=True)
class Problem:
    """An error on its way up. ``text``: as the span below said it. ``origin``: where it happened."""

    text: ErrorText
    family: str
    origin: SpanDraft
    heard_from: str | None = None


def tell(
    random: Random, span: SpanDraft, service: Teller, problem: Problem, word: str, *, protocol: str | None = None
) -> Problem:
    """Puts the error on the span in its service's manner; returns it as whoever is above hears it.

    ``protocol``: for a client span whose callee reports an error, what they speak.
    """
    if span is problem.origin:
        _tell_own(random, span, service, problem)
        return replace(problem, heard_from=service.name)
    if protocol in ("http", "grpc"):
        text = _heard(random, problem, protocol, service)
    elif problem.heard_from == service.name and random.random() < 0.6:
        text = problem.text  # the same exception on its way up the stack
    else:
        text = texts.fill(random, random.choice(texts.WRAPPERS), host=service.name, word=word, cause=problem.text)
        text = replace(text, http=random.choice(_HTTP_HEARD.get(problem.family, _HTTP_HEARD["error"])))
    _write(
        random, span, service, text, service.telling if protocol or span.kind == "server" else _wordy(service.telling)
    )
    return replace(problem, text=text, heard_from=service.name)


def _wordy(manner: str) -> str:
    return "quiet" if manner == "code" else manner


def _tell_own(random: Random, span: SpanDraft, service: Teller, problem: Problem) -> None:
    text, manner = problem.text, service.telling
    if manner == "code" and not _code_speaks(span, problem):
        manner = "exception"
    if manner == "type" and text.type not in SPEAKING_TYPES:
        manner = "exception"
    if manner == "quiet" and not (problem.family == "bug" and random.random() < 0.3):
        manner = "status"
    _write(random, span, service, text, manner)


def _code_speaks(span: SpanDraft, problem: Problem) -> bool:
    if span.kind == "client":
        return problem.text.http in _NAMED_CODES or problem.text.grpc in (3, 4)
    return span.kind == "server" and problem.family == "bug"


def _heard(random: Random, problem: Problem, protocol: str, service: Teller) -> ErrorText:
    """What an HTTP or gRPC client makes of a failed answer."""
    if protocol == "grpc":
        code = problem.text.grpc or random.choice(_GRPC_HEARD.get(problem.family, _GRPC_HEARD["error"]))
        cause = random.choice((problem.text.message, "internal error", problem.text.message))
        return random.choice(
            (
                ErrorText(None, f"rpc error: code = {_GRPC_NAMES[code]} desc = {cause}", None, code),
                ErrorText("grpc._channel._InactiveRpcError", cause, None, code),
                ErrorText("io.grpc.StatusRuntimeException", f"{_GRPC_NAMES[code].upper()}: {cause}", None, code),
            )
        )
    code = problem.text.http or random.choice(_HTTP_HEARD.get(problem.family, _HTTP_HEARD["error"]))
    phrase = _HTTP_NAMES.get(code, "Error")
    side = "Client" if code < 500 else "Server"
    return random.choice(
        (
            ErrorText(
                "httpx.HTTPStatusError", f"{side} error '{code} {phrase}' for url 'http://{service.name}/'", code
            ),
            ErrorText(
                "requests.exceptions.HTTPError", f"{code} {side} Error: {phrase} for url: http://{service.name}/", code
            ),
            ErrorText(None, f"unexpected status code: {code}", code),
            ErrorText("AxiosError", f"Request failed with status code {code}", code),
            ErrorText("feign.FeignException", f"[{code} {phrase}] during [POST] to [http://{service.name}/]", code),
        )
    )


def _write(random: Random, span: SpanDraft, service: Teller, text: ErrorText, manner: str) -> None:
    """The error on the span instead of any it had, and the status that the receiver will give it."""
    for name in SPEAKING:
        span.values.pop(name, None)
    exception: tuple[str, str] | None = None
    error_type: str | None = None
    message: str | None = None
    if manner == "exception":
        exception = (text.type or "*errors.errorString", text.message)
        error_type, message = exception
        if random.random() < 0.5:
            span.set(**{"error.type": error_type})
    elif manner == "status":
        message = _as_status(random, text)
    elif manner == "type":
        error_type = text.type or (str(text.http) if text.http else "_OTHER")
        span.set(**{"error.type": error_type})
    if manner == "code" or random.random() < 0.6:
        _set_code(random, span, service, text, always=manner == "code")
    # A root that answers 4xx without a status has not failed by the conventions: that is no failed execution.
    is_error = manner != "code" or span.kind not in ("client", "server") or span.parent is None
    if exception is None and error_type is None and manner == "code" and random.random() < 0.3 and text.http:
        error_type = str(text.http)
        span.set(**{"error.type": error_type})
    status = status_of(
        span.kind,
        is_error=is_error,
        message=message if exception is None else None,
        exception=exception,
        attributes=span.values,
    )
    span.end_as(status, error_type, message, recorded=exception is not None)


def _as_status(random: Random, text: ErrorText) -> str:
    """As SDKs and people write it into a status: Go only the message, others the type as well."""
    if text.type is None or text.type.startswith(("*", "std::", "hyper", "reqwest")):
        return text.message or str(text.type)
    short = text.type.rsplit(".", 1)[-1]
    line = f"{short}: {text.message}" if text.message else short
    if text.type[0].islower() and random.random() < 0.15:
        return f'Traceback (most recent call last):\n  File "/app/handlers.py", line 88, in handle\n    step()\n{line}'
    return line


def _set_code(random: Random, span: SpanDraft, service: Teller, text: ErrorText, *, always: bool) -> None:
    if span.kind not in ("client", "server"):
        return
    if text.grpc is not None and (span.kind == "client" or not always):
        span.set(**{"rpc.grpc.status_code": text.grpc})
    elif text.http is not None or always:
        code = text.http or 500
        span.set(**{"http.status_code" if service.old_names else "http.response.status_code": code})
