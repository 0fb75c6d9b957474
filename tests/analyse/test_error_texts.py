"""Errors are told apart by code, type and words; texts here are of many libraries, none of them in the tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from otel_diag.analyse.classify import ErrorKind, classify, is_error
from otel_diag.model import Span, Status


def failed(error_type: str | None, message: str | None, status: Status = Status.FAILED, **attributes: Any) -> Span:
    return Span(
        "t", "s", "a", "x", 0, 1, status=status, error_type=error_type, error_message=message, attributes=attributes
    )


@pytest.mark.parametrize(
    ("error_type", "message", "kind"),
    [
        ("pydantic_core.ValidationError", "1 validation error for Job", ErrorKind.VALIDATION),
        ("ValueError", "temperature must be between 0 and 2", ErrorKind.VALIDATION),
        ("UnprocessableEntity", None, ErrorKind.VALIDATION),
        ("torch.cuda.OutOfMemoryError", "Tried to allocate 2 GiB", ErrorKind.RESOURCE),
        ("OSError", "[Errno 28] No space left on device", ErrorKind.RESOURCE),
        ("psycopg.OperationalError", "FATAL: sorry, too many clients already", ErrorKind.RESOURCE),
        ("PoolTimeout", "", ErrorKind.RESOURCE),
        ("openai.RateLimitError", "Error code: 429", ErrorKind.RATE_LIMIT),
        ("ThrottlingException", "Rate exceeded", ErrorKind.RATE_LIMIT),
        (None, "You exceeded your current quota", ErrorKind.RATE_LIMIT),
        ("requests.exceptions.ConnectionError", "Max retries exceeded: Connection refused", ErrorKind.CONNECTION),
        ("gaierror", "[Errno -3] Temporary failure in name resolution", ErrorKind.CONNECTION),
        ("SSLCertVerificationError", "certificate verify failed", ErrorKind.CONNECTION),
        ("httpx.RemoteProtocolError", "Server disconnected without sending a response.", ErrorKind.CONNECTION),
        ("KeyError", "'MODEL_ENDPOINT'", ErrorKind.CONFIGURATION),
        ("ImproperlyConfigured", "x", ErrorKind.CONFIGURATION),
        (None, "no API key provided in settings", ErrorKind.CONFIGURATION),
        ("AttributeError", "'NoneType' object has no attribute 'remote'", ErrorKind.UNSET_CLIENT),
        ("WorkerLost", "x", ErrorKind.CONTAINER),
        (None, "the container was preempted by the provider", ErrorKind.CONTAINER),
        ("asyncio.CancelledError", "", ErrorKind.CANCELLED),
        ("ReadTimeout", "The read operation timed out", ErrorKind.TIMEOUT),
        (None, "all retries exhausted", ErrorKind.GENERIC),
        ("ZeroDivisionError", "division by zero", ErrorKind.GENERIC),
        ("TypeError", "unsupported operand type(s) for +", ErrorKind.GENERIC),
        ("IntegrityError", "duplicate key value violates unique constraint", ErrorKind.GENERIC),
        ("IndexError", "list index out of range", ErrorKind.GENERIC),
        (None, "runtime error: invalid memory address or nil pointer dereference", ErrorKind.GENERIC),
        ("System.InvalidCastException", "Unable to cast object of type 'A' to type 'B'.", ErrorKind.GENERIC),
        ("System.NullReferenceException", "Object reference not set to an instance of an object.", ErrorKind.GENERIC),
        ("System.InvalidOperationException", "Connection string 'orders' is not configured.", ErrorKind.CONFIGURATION),
        ("BeanCreationException", "Could not resolve placeholder 'orders.url'", ErrorKind.CONFIGURATION),
        ("TaskCanceledException", "canceled due to the configured HttpClient.Timeout of 30 s", ErrorKind.TIMEOUT),
        ("InputCancellation", "Input was cancelled: the container is being preempted", ErrorKind.CONTAINER),
        ("sqlalchemy.exc.TimeoutError", "QueuePool limit of size 5 overflow 10 reached", ErrorKind.RESOURCE),
        (None, "FATAL: remaining connection slots are reserved for superusers", ErrorKind.RESOURCE),
        (None, "dial tcp: lookup orders on 10.96.0.10:53: server misbehaving", ErrorKind.CONNECTION),
        ("NoHttpResponseException", "orders:8443 failed to respond", ErrorKind.CONNECTION),
        ("configparser.NoOptionError", "No option 'url' in section: 'db'", ErrorKind.CONFIGURATION),
        ("pydantic_core.ValidationError", "1 validation error for Settings", ErrorKind.CONFIGURATION),
        ("dynaconf.ValidationError", "ROUTER_URL is required in env main", ErrorKind.CONFIGURATION),
        ("TimeoutRejectedException", "did not complete within the allowed time", ErrorKind.TIMEOUT),
        (None, "ResourceExhausted: 429 Resource has been exhausted", ErrorKind.RATE_LIMIT),
        (None, "InvalidCastException: Unable to cast object", ErrorKind.GENERIC),
        ("torch.AcceleratorError", "CUDA error: an illegal memory access was encountered", ErrorKind.GENERIC),
        ("triton.runtime.errors.OutOfResources", "out of resource: shared memory", ErrorKind.RESOURCE),
        ("DistBackendError", "System call (e.g. socket, malloc) or external library call failed", ErrorKind.GENERIC),
        (None, "Exceeds maximum queue size", ErrorKind.RESOURCE),
        ("ray.serve.exceptions.BackPressureError", "Request dropped due to backpressure", ErrorKind.RESOURCE),
        ("FatalError", "Allowed memory size of 134217728 bytes exhausted", ErrorKind.RESOURCE),
        (
            "java.sql.SQLTransientConnectionException",
            "HikariPool-1 - Connection is not available, request timed out after 30000ms",
            ErrorKind.RESOURCE,
        ),
        ("ActiveRecord::ConnectionTimeoutError", "all pooled connections were in use", ErrorKind.RESOURCE),
        ("LimitExceededException", "Maximum sending rate exceeded.", ErrorKind.RATE_LIMIT),
        ("SSLHandshakeException", "PKIX path validation failed: validity check failed", ErrorKind.CONNECTION),
        (
            "InvalidOperationException",
            "Unable to resolve setting 'Services:CatalogUrl'. Configuration value is missing.",
            ErrorKind.CONFIGURATION,
        ),
        (
            "InvalidOperationException",
            "The ConnectionString property has not been initialized.",
            ErrorKind.CONFIGURATION,
        ),
        ("IllegalArgumentException", "Could not resolve placeholder 'stripe.api-key'", ErrorKind.CONFIGURATION),
        ("InvalidArgumentException", "Database connection [mysql_ro] not configured.", ErrorKind.CONFIGURATION),
        ("MissingAppKeyException", "No application encryption key has been specified.", ErrorKind.CONFIGURATION),
        ("httpx.UnsupportedProtocol", "Request URL is missing an 'http://' protocol.", ErrorKind.CONFIGURATION),
        ("modal.exception.AuthError", "Token missing. Could not authenticate client.", ErrorKind.CONFIGURATION),
        (None, None, ErrorKind.NONE),
    ],
)
def test_by_type_and_words(error_type: str | None, message: str | None, kind: ErrorKind) -> None:
    assert classify(failed(error_type, message)).kind == kind


@pytest.mark.parametrize(
    ("attributes", "message", "kind"),
    [
        ({"http.response.status_code": 429}, None, ErrorKind.RATE_LIMIT),
        ({"http.status_code": "422"}, "no", ErrorKind.VALIDATION),
        ({"http.response.status_code": 503}, "server is out of memory", ErrorKind.RESOURCE),
        ({"http.response.status_code": 503}, "Service Unavailable", ErrorKind.UNAVAILABLE),
        ({"http.response.status_code": 500}, None, ErrorKind.GENERIC),
        ({"rpc.grpc.status_code": 14}, "", ErrorKind.UNAVAILABLE),
        ({"rpc.grpc.status_code": 8}, "per-user quota", ErrorKind.RATE_LIMIT),
        ({"rpc.response.status_code": "INVALID_ARGUMENT"}, "", ErrorKind.VALIDATION),
        ({"modal.preempted": True}, "whatever", ErrorKind.CONTAINER),
        ({"http.response.status_code": 400}, "LimitExceededException: Rate exceeded", ErrorKind.RATE_LIMIT),
        ({"http.status_code": "503", "response_flags": "UF"}, None, ErrorKind.CONNECTION),
        ({"http.status_code": "503", "response_flags": "UH"}, None, ErrorKind.CONNECTION),
        ({"http.status_code": "503", "response_flags": "UO"}, None, ErrorKind.RESOURCE),
        ({"http.status_code": "503", "response_flags": "UC,URX"}, None, ErrorKind.UNAVAILABLE),
    ],
)
def test_codes_come_first(attributes: dict[str, Any], message: str | None, kind: ErrorKind) -> None:
    assert classify(failed(None, message, **attributes)).kind == kind


def test_a_span_that_timed_out_is_a_timeout_whatever_it_says() -> None:
    assert classify(failed("Oops", "invalid state", Status.TIMEOUT)).kind == ErrorKind.TIMEOUT


def test_a_server_that_answers_4xx_failed_although_its_status_is_unset() -> None:
    answered = Span("t", "s", "a", "x", 0, 1, kind="server", attributes={"http.response.status_code": 400})
    assert is_error(answered)
    assert not is_error(Span("t", "s", "a", "x", 0, 1, attributes={"http.response.status_code": 302}))


def test_a_broken_pipe_tells_a_server_that_its_caller_has_gone_and_a_caller_that_its_server_has() -> None:
    span = failed("BrokenPipeError", "[Errno 32] Broken pipe")
    assert classify(replace(span, kind="client")).kind == ErrorKind.CONNECTION
    assert classify(replace(span, kind="server")).kind == ErrorKind.CANCELLED


def test_unavailable_is_said_by_a_grpc_client_that_never_reached_anybody_and_by_servers() -> None:
    refused = failed("RpcError", "connection refused: 10.0.0.7:80", **{"rpc.grpc.status_code": 14})
    overloaded = failed("RpcError", "connection limit of the backend", **{"rpc.grpc.status_code": 14})
    assert classify(refused).kind == ErrorKind.CONNECTION
    assert classify(overloaded).kind == ErrorKind.UNAVAILABLE
