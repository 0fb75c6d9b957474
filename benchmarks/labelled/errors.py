"""What fails, in the words of real libraries: exception types and texts by cause and language.

A text may contain ``<host>``, ``<port>``, ``<path>``, ``<ip>``, ``<s>``, ``<ms>``, ``<table>``, ``<field>`` and
``<n>``, which stand for the particulars of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

LANGUAGES = ("python", "go", "java", "node", "rust")


class Cause(StrEnum):
    """Why a call or a piece of work fails."""

    REFUSED = "refused"
    RESET = "reset"
    DNS = "dns"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    GONE = "given up by the caller"
    LIMITED = "rate limited"
    INVALID = "invalid input"
    MEMORY = "memory"
    FILES = "disk and files"
    SLOTS = "connection slots"
    SETTING = "setting"
    BUG = "bug"
    DATABASE = "database"
    PROVIDER = "third party"
    CRASHED = "unavailable"


@dataclass(frozen=True)
class Failure:
    """An exception as one library throws it, and the code a server answers with because of it."""

    type: str
    message: str
    http: int = 500
    grpc: int = 13
    type_tells: bool = False
    """The exception type alone says what happened; its text may be missing."""
    code_tells: bool = False
    """The status code alone says what happened."""


DB = "postgresql mysql mongodb redis elasticsearch"


@dataclass(frozen=True)
class _Text:
    type: str
    message: str
    tells: bool = False
    protocols: str = "http grpc modal none messaging " + DB
    """Protocols, and systems of databases, whose clients throw it."""


HTTP = "http modal none"
CODES = {
    Cause.TIMED_OUT: (504, 4),
    Cause.GONE: (499, 1),
    Cause.LIMITED: (429, 8),
    Cause.INVALID: (422, 3),
    Cause.CRASHED: (503, 14),
    Cause.PROVIDER: (503, 14),
}

_TEXTS: dict[Cause, dict[str, list[_Text]]] = {
    Cause.REFUSED: {
        "python": [
            _Text("httpx.ConnectError", "[Errno 111] Connection refused", protocols=HTTP),
            _Text(
                "requests.exceptions.ConnectionError",
                "HTTPConnectionPool(host='<host>', port=<port>): Max retries exceeded with url: <path> (Caused by "
                "NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f3c1a2b>: Failed to establish a "
                "new connection: [Errno 111] Connection refused'))",
                protocols=HTTP,
            ),
            _Text(
                "aiohttp.client_exceptions.ClientConnectorError",
                "Cannot connect to host <host>:<port> ssl:default [Connect call failed ('<ip>', <port>)]",
                protocols=HTTP,
            ),
            _Text("ConnectionRefusedError", "[Errno 111] Connection refused", tells=True),
            _Text(
                "grpc.aio._call.AioRpcError",
                '<AioRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n\tdetails = "failed to '
                "connect to all addresses; last error: UNKNOWN: ipv4:<ip>:<port>: Failed to connect to remote host: "
                'Connection refused">',
                protocols="grpc",
            ),
            _Text(
                "psycopg.OperationalError",
                'connection failed: connection to server at "<ip>", port <port> failed: Connection refused\n\tIs the '
                "server running on that host and accepting TCP/IP connections?",
                protocols="postgresql",
            ),
            _Text(
                "redis.exceptions.ConnectionError",
                "Error 111 connecting to <host>:<port>. Connection refused.",
                protocols="redis",
            ),
        ],
        "go": [
            _Text("*net.OpError", "dial tcp <ip>:<port>: connect: connection refused"),
            _Text(
                "*url.Error",
                'Post "http://<host>:<port><path>": dial tcp <ip>:<port>: connect: connection refused',
                protocols=HTTP,
            ),
            _Text(
                "*status.Error",
                'rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial '
                'tcp <ip>:<port>: connect: connection refused"',
                protocols="grpc",
            ),
        ],
        "java": [
            _Text("java.net.ConnectException", "Connection refused (Connection refused)", protocols="http modal " + DB),
            _Text(
                "org.springframework.web.client.ResourceAccessException",
                'I/O error on POST request for "http://<host>:<port><path>": Connection refused; nested exception is '
                "java.net.ConnectException: Connection refused",
                protocols=HTTP,
            ),
            _Text(
                "feign.RetryableException",
                "Connection refused executing POST http://<host>:<port><path>",
                protocols=HTTP,
            ),
            _Text(
                "io.netty.channel.AbstractChannel$AnnotatedConnectException",
                "finishConnect(..) failed: Connection refused: <host>/<ip>:<port>",
            ),
        ],
        "node": [
            _Text("Error", "connect ECONNREFUSED <ip>:<port>"),
            _Text("AxiosError", "connect ECONNREFUSED <ip>:<port>", protocols=HTTP),
            _Text(
                "FetchError",
                "request to http://<host>:<port><path> failed, reason: connect ECONNREFUSED <ip>:<port>",
                protocols=HTTP,
            ),
            _Text("ECONNREFUSED", "connect ECONNREFUSED <ip>:<port>", tells=True),
            _Text(
                "Error",
                "14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED <ip>:<port>",
                protocols="grpc",
            ),
        ],
        "rust": [
            _Text(
                "reqwest::Error",
                "error sending request for url (http://<host>:<port><path>): error trying to connect: tcp connect "
                "error: Connection refused (os error 111)",
                protocols=HTTP,
            ),
            _Text("std::io::Error", "Connection refused (os error 111)"),
            _Text("tonic::transport::Error", "transport error: Connection refused (os error 111)", protocols="grpc"),
        ],
    },
    Cause.RESET: {
        "python": [
            _Text("ConnectionResetError", "[Errno 104] Connection reset by peer", tells=True),
            _Text(
                "requests.exceptions.ConnectionError",
                "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
                protocols=HTTP,
            ),
            _Text("httpx.ReadError", "[Errno 104] Connection reset by peer", protocols=HTTP),
        ],
        "go": [
            _Text("*net.OpError", "read tcp 10.0.1.4:41822-><ip>:<port>: read: connection reset by peer"),
            _Text(
                "*url.Error",
                'Post "http://<host>:<port><path>": read tcp 10.2.7.9:50114-><ip>:<port>: read: connection reset by '
                "peer",
                protocols=HTTP,
            ),
        ],
        "java": [
            _Text("java.net.SocketException", "Connection reset"),
            _Text("java.io.IOException", "Connection reset by peer"),
        ],
        "node": [
            _Text("Error", "read ECONNRESET"),
            _Text("ECONNRESET", "socket hang up", tells=True),
        ],
        "rust": [
            _Text("hyper::Error", "connection error: Connection reset by peer (os error 104)"),
        ],
    },
    Cause.DNS: {
        "python": [
            _Text("socket.gaierror", "[Errno -2] Name or service not known", tells=True),
            _Text("httpx.ConnectError", "[Errno -3] Temporary failure in name resolution", protocols=HTTP),
            _Text(
                "requests.exceptions.ConnectionError",
                "HTTPSConnectionPool(host='<host>', port=443): Max retries exceeded with url: <path> (Caused by "
                'NameResolutionError("<urllib3.connection.HTTPSConnection object at 0x7fd2>: Failed to resolve '
                "'<host>' ([Errno -2] Name or service not known)\"))",
                protocols=HTTP,
            ),
            _Text(
                "psycopg.OperationalError",
                "failed to resolve host '<host>': [Errno -2] Name or service not known",
                protocols="postgresql",
            ),
        ],
        "go": [
            _Text("*net.DNSError", "lookup <host> on 10.96.0.10:53: no such host", tells=True),
            _Text(
                "*url.Error",
                'Get "http://<host>:<port><path>": dial tcp: lookup <host> on 10.96.0.10:53: no such host',
                protocols=HTTP,
            ),
            _Text(
                "*status.Error",
                "rpc error: code = Unavailable desc = dns: A record lookup error: lookup <host> on 10.96.0.10:53: "
                "server misbehaving",
                protocols="grpc",
            ),
        ],
        "java": [
            _Text("java.net.UnknownHostException", "<host>: Name or service not known", tells=True),
            _Text(
                "io.grpc.StatusRuntimeException",
                "UNAVAILABLE: Unable to resolve host <host>",
                protocols="grpc",
            ),
        ],
        "node": [
            _Text("Error", "getaddrinfo ENOTFOUND <host>"),
            _Text("ENOTFOUND", "getaddrinfo ENOTFOUND <host>", tells=True),
            _Text("Error", "getaddrinfo EAI_AGAIN <host>"),
        ],
        "rust": [
            _Text(
                "reqwest::Error",
                "error sending request for url (http://<host><path>): error trying to connect: dns error: failed to "
                "lookup address information: Name or service not known",
                protocols=HTTP,
            ),
            _Text("hyper_util::client::legacy::Error", "dns error: failed to lookup address information"),
        ],
    },
    Cause.TLS: {
        "python": [
            _Text(
                "ssl.SSLCertVerificationError",
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1007)",
                tells=True,
            ),
            _Text(
                "requests.exceptions.SSLError",
                "HTTPSConnectionPool(host='<host>', port=443): Max retries exceeded with url: <path> (Caused by "
                "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
                "unable to get local issuer certificate (_ssl.c:1000)')))",
                protocols=HTTP,
            ),
            _Text("httpx.ConnectError", "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1000)"),
        ],
        "go": [
            _Text(
                "*tls.CertificateVerificationError",
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time "
                "2026-11-20T08:15:11Z is after 2026-11-19T23:59:59Z",
            ),
            _Text(
                "*url.Error",
                'Post "https://<host><path>": tls: failed to verify certificate: x509: certificate signed by unknown '
                "authority",
                protocols=HTTP,
            ),
            _Text("*net.OpError", "remote error: tls: handshake failure"),
        ],
        "java": [
            _Text(
                "javax.net.ssl.SSLHandshakeException",
                "PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException: unable to "
                "find valid certification path to requested target",
                tells=True,
            ),
            _Text(
                "javax.net.ssl.SSLPeerUnverifiedException",
                "Certificate for <<host>> doesn't match any of the subject alternative names: [*.internal]",
            ),
        ],
        "node": [
            _Text("Error", "unable to verify the first certificate"),
            _Text("CERT_HAS_EXPIRED", "certificate has expired", tells=True),
            _Text("Error", "self-signed certificate in certificate chain"),
        ],
        "rust": [
            _Text(
                "reqwest::Error",
                "error sending request for url (https://<host><path>): error trying to connect: invalid peer "
                "certificate: Expired",
            ),
            _Text("rustls::Error", "invalid peer certificate: UnknownIssuer"),
        ],
    },
    Cause.UNREACHABLE: {
        "python": [
            _Text("OSError", "[Errno 113] No route to host"),
            _Text("httpx.ConnectError", "[Errno 101] Network is unreachable", protocols=HTTP),
        ],
        "go": [_Text("*net.OpError", "dial tcp <ip>:<port>: connect: no route to host")],
        "java": [_Text("java.net.NoRouteToHostException", "No route to host", tells=True)],
        "node": [_Text("Error", "connect EHOSTUNREACH <ip>:<port>"), _Text("Error", "connect ENETUNREACH <ip>:<port>")],
        "rust": [_Text("std::io::Error", "Network is unreachable (os error 101)")],
    },
    Cause.TIMED_OUT: {
        "python": [
            _Text("httpx.ReadTimeout", "The read operation timed out", tells=True, protocols=HTTP),
            _Text("httpx.ReadTimeout", "", tells=True, protocols=HTTP),
            _Text(
                "requests.exceptions.ReadTimeout",
                "HTTPConnectionPool(host='<host>', port=<port>): Read timed out. (read timeout=<s>)",
                tells=True,
                protocols=HTTP,
            ),
            _Text("TimeoutError", "", tells=True),
            _Text("asyncio.exceptions.TimeoutError", "", tells=True),
            _Text("TimeoutError", "no answer from <host> within <s> s", tells=True),
            _Text(
                "grpc._channel._InactiveRpcError",
                "<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.DEADLINE_EXCEEDED\n\tdetails "
                '= "Deadline Exceeded">',
                protocols="grpc",
            ),
        ],
        "go": [
            _Text("context.deadlineExceededError", "context deadline exceeded", tells=True),
            _Text(
                "*url.Error",
                'Post "http://<host>:<port><path>": context deadline exceeded (Client.Timeout exceeded while awaiting '
                "headers)",
                protocols=HTTP,
            ),
            _Text(
                "*status.Error",
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
                protocols="grpc",
            ),
            _Text(
                "*net.OpError", "read tcp 10.0.4.2:51514-><ip>:<port>: i/o timeout", protocols="http modal none " + DB
            ),
        ],
        "java": [
            _Text("java.net.SocketTimeoutException", "Read timed out", tells=True),
            _Text("java.net.http.HttpTimeoutException", "request timed out", tells=True, protocols=HTTP),
            _Text(
                "io.grpc.StatusRuntimeException",
                "DEADLINE_EXCEEDED: deadline exceeded after <s>.000184s. [remote_addr=<host>/<ip>:<port>]",
                protocols="grpc",
            ),
            _Text("io.netty.handler.timeout.ReadTimeoutException", "", tells=True),
            _Text("java.util.concurrent.TimeoutException", "Did not observe any item within <ms>ms", tells=True),
        ],
        "node": [
            _Text("AxiosError", "timeout of <ms>ms exceeded", protocols=HTTP),
            _Text("TimeoutError", "The operation was aborted due to timeout", tells=True),
            _Text("HeadersTimeoutError", "Headers Timeout Error", tells=True, protocols=HTTP),
            _Text("Error", "4 DEADLINE_EXCEEDED: Deadline exceeded after <s>s", protocols="grpc"),
            _Text("Error", "ESOCKETTIMEDOUT"),
        ],
        "rust": [
            _Text(
                "reqwest::Error",
                "error sending request for url (http://<host>:<port><path>): operation timed out",
                protocols=HTTP,
            ),
            _Text("tokio::time::error::Elapsed", "deadline has elapsed", tells=True),
            _Text("tonic::Status", 'status: DeadlineExceeded, message: "Timeout expired"', protocols="grpc"),
        ],
    },
    Cause.GONE: {
        "python": [
            _Text("asyncio.exceptions.CancelledError", "Cancelled: the client has disconnected"),
            _Text("starlette.requests.ClientDisconnect", "client disconnected"),
        ],
        "go": [
            _Text("*errors.errorString", "context canceled"),
            _Text("*status.Error", "rpc error: code = Canceled desc = context canceled"),
        ],
        "java": [
            _Text("io.grpc.StatusRuntimeException", "CANCELLED: call already cancelled"),
            _Text("java.util.concurrent.CancellationException", "request was cancelled by the client"),
        ],
        "node": [
            _Text("AbortError", "This operation was aborted"),
            _Text("Error", "1 CANCELLED: Cancelled on client"),
        ],
        "rust": [_Text("tonic::Status", 'status: Cancelled, message: "operation was canceled"')],
    },
    Cause.LIMITED: {
        "python": [
            _Text(
                "openai.RateLimitError",
                "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o in organization org-x on "
                "tokens per min (TPM): Limit 30000, Used 29611, Requested 1204.', 'code': 'rate_limit_exceeded'}}",
                tells=True,
            ),
            _Text(
                "botocore.errorfactory.ThrottlingException",
                "An error occurred (ThrottlingException) when calling the InvokeModel operation (reached max retries: "
                "4): Too many requests, please wait before trying again.",
            ),
            _Text("httpx.HTTPStatusError", "Client error '429 Too Many Requests' for url 'https://<host><path>'"),
            _Text("anthropic.RateLimitError", "Error code: 429 - number of request tokens exceeds your rate limit"),
            _Text("TooManyRequests", "429 You exceeded your current quota, please check your plan and billing details"),
        ],
        "go": [
            _Text(
                "*googleapi.Error",
                "googleapi: Error 429: Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of "
                "service '<host>', rateLimitExceeded",
            ),
            _Text("*status.Error", "rpc error: code = ResourceExhausted desc = quota exceeded for project 7712"),
            _Text("*errors.errorString", "unexpected status 429 Too Many Requests from <host>"),
        ],
        "java": [
            _Text("com.stripe.exception.RateLimitException", "Request rate limit exceeded", tells=True),
            _Text(
                "org.springframework.web.client.HttpClientErrorException$TooManyRequests",
                "429 Too Many Requests: [no body]",
                tells=True,
            ),
            _Text("io.github.resilience4j.ratelimiter.RequestNotPermitted", "RateLimiter 'out' does not permit calls"),
        ],
        "node": [
            _Text("AxiosError", "Request failed with status code 429"),
            _Text("ThrottlerException", "ThrottlerException: Too Many Requests", tells=True),
            _Text("RateLimitError", "429 Rate limit reached for requests", tells=True),
        ],
        "rust": [
            _Text("reqwest::Error", "HTTP status client error (429 Too Many Requests) for url (https://<host><path>)"),
            _Text("Error::RateLimited", "rate limit exceeded, retry after <s> s"),
        ],
    },
    Cause.INVALID: {
        "python": [
            _Text(
                "pydantic_core._pydantic_core.ValidationError",
                "1 validation error for InferRequest\n<field>\n  Input should be less than or equal to 4096 "
                "[type=less_than_equal, input_value=9000, input_type=int]",
                tells=True,
            ),
            _Text(
                "fastapi.exceptions.RequestValidationError",
                "[{'type': 'missing', 'loc': ('body', '<field>'), 'msg': 'Field required'}]",
                tells=True,
            ),
            _Text("marshmallow.exceptions.ValidationError", "{'<field>': ['Not a valid value.']}", tells=True),
            _Text("jsonschema.exceptions.ValidationError", "'<field>' is a required property", tells=True),
            _Text("werkzeug.exceptions.BadRequest", "400 Bad Request: <field> must be a positive integer"),
        ],
        "go": [
            _Text(
                "validator.ValidationErrors",
                "Key: 'Request.<field>' Error:Field validation for '<field>' failed on the 'required' tag",
            ),
            _Text("*status.Error", "rpc error: code = InvalidArgument desc = <field> must not be negative"),
            _Text("*echo.HTTPError", "code=400, message=invalid value for <field>"),
        ],
        "java": [
            _Text(
                "org.springframework.web.bind.MethodArgumentNotValidException",
                "Validation failed for argument [0]: [Field error in object 'request' on field '<field>': rejected "
                "value [null]]",
                tells=True,
            ),
            _Text("jakarta.validation.ConstraintViolationException", "<field>: must be greater than 0", tells=True),
            _Text("io.grpc.StatusRuntimeException", "INVALID_ARGUMENT: <field> is not a known currency"),
        ],
        "node": [
            _Text(
                "ZodError",
                '[{"code":"invalid_type","expected":"string","received":"undefined","path":["<field>"],'
                '"message":"Required"}]',
                tells=True,
            ),
            _Text("BadRequestException", "<field> must be a positive number", tells=True),
            _Text("ValidationError", '"<field>" is not allowed to be empty', tells=True),
        ],
        "rust": [
            _Text(
                "axum::extract::rejection::JsonRejection",
                "Failed to deserialize the JSON body into the target type: missing field `<field>` at line 1 column 83",
            ),
            _Text("validator::ValidationErrors", '<field>: Validation error: range [{"min": 1, "value": -3}]'),
        ],
    },
    Cause.MEMORY: {
        "python": [
            _Text(
                "torch.OutOfMemoryError",
                "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 22.06 GiB of which "
                "1.21 GiB is free.",
                tells=True,
            ),
            _Text("RuntimeError", "CUDA error: out of memory"),
            _Text(
                "numpy._core._exceptions._ArrayMemoryError",
                "Unable to allocate 14.2 GiB for an array with shape (61035, 31250) and data type float64",
            ),
            _Text("MemoryError", "", tells=True),
            _Text(
                "jaxlib.xla_extension.XlaRuntimeError",
                "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
            ),
        ],
        "go": [
            _Text("runtime.Error", "runtime: out of memory: cannot allocate 4194304-byte block"),
            _Text("*exec.ExitError", "ffmpeg: signal: killed (OOMKilled)"),
        ],
        "java": [
            _Text("java.lang.OutOfMemoryError", "Java heap space", tells=True),
            _Text("java.lang.OutOfMemoryError", "GC overhead limit exceeded", tells=True),
        ],
        "node": [
            _Text("Error", "Worker terminated due to reaching memory limit: JS heap out of memory"),
            _Text("ERR_WORKER_OUT_OF_MEMORY", "JS heap out of memory", tells=True),
        ],
        "rust": [
            _Text("candle_core::Error", 'DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")'),
            _Text("std::alloc", "memory allocation of 4294967296 bytes failed: out of memory"),
        ],
    },
    Cause.FILES: {
        "python": [
            _Text("OSError", "[Errno 28] No space left on device: '/var/spool/<table>/part-<n>'"),
            _Text("OSError", "[Errno 24] Too many open files"),
        ],
        "go": [
            _Text("*fs.PathError", "write /var/lib/<table>/segment-<n>.log: no space left on device"),
            _Text("*net.OpError", "accept tcp [::]:8080: accept4: too many open files"),
        ],
        "java": [
            _Text("java.io.IOException", "No space left on device"),
            _Text("java.io.FileNotFoundException", "/srv/<table>/<n>.tmp (Too many open files)"),
        ],
        "node": [
            _Text("Error", "ENOSPC: no space left on device, write"),
            _Text("EMFILE", "too many open files, open '/srv/<table>/<n>.json'", tells=True),
        ],
        "rust": [
            _Text("std::io::Error", "No space left on device (os error 28)"),
            _Text("std::io::Error", "Too many open files (os error 24)"),
        ],
    },
    Cause.SLOTS: {
        "python": [
            _Text(
                "psycopg.OperationalError",
                'connection failed: connection to server at "<ip>", port <port> failed: FATAL:  sorry, too many '
                "clients already",
                protocols="postgresql",
            ),
            _Text("pymysql.err.OperationalError", "(1040, 'Too many connections')", protocols="mysql"),
        ],
        "go": [
            _Text("*pq.Error", "pq: sorry, too many clients already", protocols="postgresql"),
            _Text("*mysql.MySQLError", "Error 1040: Too many connections", protocols="mysql"),
        ],
        "java": [
            _Text(
                "org.postgresql.util.PSQLException",
                "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute (too many "
                "connections)",
                protocols="postgresql",
            ),
        ],
        "node": [_Text("error", "sorry, too many clients already", protocols="postgresql")],
        "rust": [
            _Text(
                "sqlx::Error", "error returned from database: sorry, too many clients already", protocols="postgresql"
            )
        ],
    },
    Cause.SETTING: {
        "python": [
            _Text(
                "openai.OpenAIError",
                "The api_key client option must be set either by passing api_key to the client or by setting the "
                "OPENAI_API_KEY environment variable",
            ),
            _Text("RuntimeError", "ROUTER_URL is not set"),
            _Text("KeyError", "'HF_TOKEN'"),
            _Text(
                "pydantic_core._pydantic_core.ValidationError",
                "1 validation error for Settings\ndatabase_url\n  Field required [type=missing, input_value={}]",
            ),
            _Text(
                "django.core.exceptions.ImproperlyConfigured", "The SECRET_KEY setting must not be empty.", tells=True
            ),
            _Text("botocore.exceptions.NoCredentialsError", "Unable to locate credentials", tells=True),
            _Text("modal.exception.AuthError", "Token missing. Set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."),
            _Text("RuntimeError", "HTTP client is not initialised: call setup() before the first request"),
            _Text("AttributeError", "'NoneType' object has no attribute 'chat': llm client was not configured"),
        ],
        "go": [
            _Text("*errors.errorString", "required environment variable DATABASE_URL is not set"),
            _Text("*envconfig.ParseError", "required key QUEUE_ENDPOINT missing value"),
            _Text("*errors.errorString", "config: no value for payments.gateway.url"),
        ],
        "java": [
            _Text(
                "java.lang.IllegalArgumentException",
                "Could not resolve placeholder 'payment.gateway.url' in value \"${payment.gateway.url}\"",
            ),
            _Text("java.lang.IllegalStateException", "Missing required configuration property: kafka.brokers"),
        ],
        "node": [
            _Text("Error", "Missing required environment variable: STRIPE_SECRET_KEY"),
            _Text("Error", 'Configuration key "SERVICE_BASE_URL" does not exist'),
        ],
        "rust": [
            _Text("config::ConfigError", "missing configuration field `database.url`", tells=True),
            _Text("panic", "REDIS_URL must be set: NotPresent"),
        ],
    },
    Cause.BUG: {
        "python": [
            _Text("TypeError", "unsupported operand type(s) for +: 'int' and 'str'"),
            _Text("ZeroDivisionError", "division by zero"),
            _Text("IndexError", "list index out of range"),
            _Text("RuntimeError", "dictionary changed size during iteration"),
            _Text("AssertionError", "ledger does not balance"),
            _Text("RuntimeError", "CUDA error: device-side assert triggered"),
            _Text("RuntimeError", "expected scalar type Half but found Float"),
            _Text("StopIteration", ""),
            _Text("app.errors.SeatAlreadyTaken", "seat 14C of flight <n> is taken"),
        ],
        "go": [
            _Text("runtime.boundsError", "runtime error: index out of range [3] with length 3"),
            _Text("runtime.errorString", "runtime error: invalid memory address or nil pointer dereference"),
            _Text("*errors.errorString", "inventory: negative stock for sku <n>"),
            _Text("*json.UnsupportedValueError", "json: unsupported value: NaN"),
        ],
        "java": [
            _Text(
                "java.lang.NullPointerException",
                'Cannot invoke "java.math.BigDecimal.add(java.math.BigDecimal)" because "total" is null',
            ),
            _Text("java.util.ConcurrentModificationException", ""),
            _Text("java.lang.IllegalStateException", "order <n> is already shipped"),
            _Text("java.lang.ArithmeticException", "/ by zero"),
            _Text("java.lang.ClassCastException", "class java.lang.Long cannot be cast to class java.lang.Integer"),
        ],
        "node": [
            _Text("TypeError", "Cannot read properties of undefined (reading 'price')"),
            _Text("RangeError", "Maximum call stack size exceeded"),
            _Text("ReferenceError", "total is not defined"),
            _Text("TypeError", "items.map is not a function"),
        ],
        "rust": [
            _Text("panic", "called `Option::unwrap()` on a `None` value"),
            _Text("panic", "index out of bounds: the len is 4 but the index is 4"),
            _Text("panic", "attempt to subtract with overflow"),
        ],
    },
    Cause.DATABASE: {
        "python": [
            _Text(
                "psycopg.errors.DeadlockDetected",
                "deadlock detected\nDETAIL:  Process 311 waits for ShareLock on transaction <n>",
                protocols="postgresql",
            ),
            _Text(
                "psycopg.errors.SerializationFailure",
                "could not serialize access due to concurrent update",
                protocols="postgresql",
            ),
            _Text("psycopg.errors.UndefinedTable", 'relation "<table>_v2" does not exist', protocols="postgresql"),
            _Text(
                "pymysql.err.OperationalError", "(1213, 'Deadlock found when trying to get lock')", protocols="mysql"
            ),
            _Text("redis.exceptions.ReadOnlyError", "You can't write against a read only replica.", protocols="redis"),
            _Text("pymongo.errors.NotPrimaryError", "not primary", protocols="mongodb"),
            _Text(
                "elasticsearch.ApiError",
                "ApiError(500, 'search_phase_execution_exception', 'all shards failed')",
                protocols="elasticsearch",
            ),
        ],
        "go": [
            _Text("*pq.Error", "pq: deadlock detected", protocols="postgresql"),
            _Text("*pgconn.PgError", 'ERROR: column "<field>" does not exist (SQLSTATE 42703)', protocols="postgresql"),
            _Text("*mysql.MySQLError", "Error 1146 (42S02): Table 'app.<table>_new' doesn't exist", protocols="mysql"),
            _Text("redis.Error", "LOADING Redis is loading the dataset in memory", protocols="redis"),
            _Text("mongo.CommandError", "(NotWritablePrimary) not primary", protocols="mongodb"),
            _Text("*types.ElasticsearchError", "status: 500, failed: [all shards failed]", protocols="elasticsearch"),
        ],
        "java": [
            _Text(
                "com.mysql.cj.jdbc.exceptions.MySQLTransactionRollbackException",
                "Deadlock found when trying to get lock; try restarting transaction",
                protocols="mysql",
            ),
            _Text(
                "org.postgresql.util.PSQLException",
                "ERROR: could not read block 1733 in file base/16384/2619",
                protocols="postgresql",
            ),
            _Text(
                "redis.clients.jedis.exceptions.JedisClusterException",
                "CLUSTERDOWN The cluster is down",
                protocols="redis",
            ),
            _Text("com.mongodb.MongoNotPrimaryException", "Command failed: not primary", protocols="mongodb"),
            _Text(
                "co.elastic.clients.elasticsearch._types.ElasticsearchException",
                "[es/search] failed: [search_phase_execution_exception] all shards failed",
                protocols="elasticsearch",
            ),
        ],
        "node": [
            _Text("MongoServerError", "not primary and secondaryOk=false", protocols="mongodb"),
            _Text("error", 'relation "<table>_archive" does not exist', protocols="postgresql"),
            _Text("Error", "ER_LOCK_DEADLOCK: Deadlock found when trying to get lock", protocols="mysql"),
            _Text("ReplyError", "READONLY You can't write against a read only replica.", protocols="redis"),
            _Text("ResponseError", "search_phase_execution_exception: all shards failed", protocols="elasticsearch"),
        ],
        "rust": [
            _Text("sqlx::Error", "error returned from database: deadlock detected", protocols="postgresql mysql"),
            _Text(
                "tokio_postgres::Error",
                "db error: ERROR: could not serialize access due to concurrent update",
                protocols="postgresql",
            ),
            _Text("redis::RedisError", "An error was signalled by the server - LOADING", protocols="redis"),
            _Text("mongodb::error::Error", "Kind: Command failed: not primary", protocols="mongodb"),
            _Text("elasticsearch::Error", "500: all shards failed", protocols="elasticsearch"),
        ],
    },
    Cause.PROVIDER: {
        "python": [
            _Text("httpx.HTTPStatusError", "Server error '503 Service Unavailable' for url 'https://<host><path>'"),
            _Text(
                "openai.InternalServerError",
                "Error code: 503 - {'error': {'message': 'The server is currently unavailable'}}",
            ),
        ],
        "go": [
            _Text("*googleapi.Error", "googleapi: Error 503: The service is currently unavailable., backendError"),
            _Text("*errors.errorString", "unexpected status 503 Service Unavailable from <host>"),
        ],
        "java": [
            _Text("com.stripe.exception.ApiException", "Sorry! There was an error while talking to the provider; 503"),
            _Text(
                "org.springframework.web.client.HttpServerErrorException$ServiceUnavailable",
                "503 Service Unavailable: [no body]",
            ),
        ],
        "node": [
            _Text("AxiosError", "Request failed with status code 503"),
            _Text("StripeAPIError", "An unknown error occurred at the card network."),
        ],
        "rust": [
            _Text("reqwest::Error", "HTTP status server error (503 Service Unavailable) for url (https://<host><path>)")
        ],
    },
    Cause.CRASHED: {
        "python": [
            _Text("app.errors.ModelNotReady", "engine is draining, no worker accepts requests"),
            _Text("starlette.exceptions.HTTPException", "503: shutting down"),
        ],
        "go": [_Text("*errors.errorString", "server is shutting down"), _Text("*status.Error", "shard is not ready")],
        "java": [_Text("java.util.concurrent.RejectedExecutionException", "executor has been shut down")],
        "node": [_Text("ServiceUnavailableException", "Service Unavailable")],
        "rust": [_Text("tower::buffer::error::Closed", "buffer's worker closed unexpectedly")],
    },
}

LOST_CONTAINERS = [
    ("modal.exception.RemoteError", "Container was preempted and the input could not be rescheduled"),
    ("modal.exception.RemoteError", "Worker lost: the container running this input was terminated"),
    ("modal.exception.InternalFailure", "Task ta-01J9 was lost: container heartbeat stopped"),
    ("modal.exception.ExecutionError", "Runner interrupted due to worker preemption; input in-01J9 was not completed"),
]
UNLOADABLE_FUNCTIONS = [
    (
        "modal.exception.ExecutionError",
        "Function could not be loaded: ModuleNotFoundError: No module named 'flash_attn'",
    ),
    (
        "modal.exception.DeserializationError",
        "Deserialization failed because the 'vllm' module is not available in the remote environment.",
    ),
    ("modal.exception.RemoteError", "Runner failed: container exited with code 1 before the function could be loaded"),
]
OUT_OF_MEMORY_KILLS = [
    ("modal.exception.RemoteError", "Container killed: out of memory (limit 32768 MiB)"),
    ("RemoteError", "worker was killed with exit code 137 (OOMKilled)"),
    ("WorkerLostError", "Worker exited prematurely: signal 9 (SIGKILL), memory cgroup out of memory"),
    ("UpstreamError", "502 Bad Gateway: pod was OOMKilled (exit code 137)"),
]
VAGUE_ENDINGS = [
    ("modal.exception.RemoteError", "The function did not return"),
    ("UpstreamError", "502 Bad Gateway"),
    ("IncompleteResponse", "stream ended before the final message"),
]


@dataclass(frozen=True)
class Particulars:
    """Of one call: whom, where, how long."""

    host: str
    port: int
    path: str
    table: str
    deadline_ms: float = 0.0


def failure(cause: Cause, language: str, protocol: str, about: Particulars, rng: Random) -> Failure:
    """One of the ways a library of this language tells of the cause over this protocol."""
    texts = _TEXTS[cause][language]
    fitting = [text for text in texts if protocol in text.protocols.split()]
    text = rng.choice(fitting or texts)
    http, grpc = CODES.get(cause, (500, 13))
    if cause is Cause.INVALID and rng.random() < 0.5:
        http = 400
    if cause is Cause.PROVIDER and rng.random() < 0.4:
        http, grpc = 500, 13
    shown = filled(text.message, about, rng)
    if http == 500:
        shown = shown.replace("503 Service Unavailable", "500 Internal Server Error").replace("503", "500")
    return Failure(
        text.type,
        shown,
        http,
        grpc,
        type_tells=text.tells,
        code_tells=cause in (Cause.TIMED_OUT, Cause.LIMITED, Cause.INVALID),
    )


def spoken(texts: list[tuple[str, str]], rng: Random, http: int = 502) -> Failure:
    """A failure out of a list of (type, text)."""
    kind, message = rng.choice(texts)
    return Failure(kind, message, http, 14)


FIELDS = ("max_tokens", "currency", "quantity", "start_date", "iban", "temperature", "email", "passenger_count")


def filled(text: str, about: Particulars, rng: Random) -> str:
    """The text with the particulars put in."""
    address = f"10.{rng.randrange(8)}.{rng.randrange(256)}.{rng.randrange(2, 250)}"
    values: Mapping[str, str] = {
        "<host>": about.host,
        "<port>": str(about.port),
        "<path>": about.path,
        "<ip>": address,
        "<s>": f"{about.deadline_ms / 1000:g}",
        "<ms>": f"{about.deadline_ms:.0f}",
        "<table>": about.table,
        "<field>": rng.choice(FIELDS),
        "<n>": str(rng.randrange(1000, 99_999)),
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


REASONS = {
    400: "Bad Request",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
GRPC_NAMES = {
    1: "CANCELLED",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    8: "RESOURCE_EXHAUSTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
}


def answered(below: Failure, language: str, protocol: str, about: Particulars, rng: Random) -> Failure:
    """What a caller throws because its callee answered with a failure."""
    code, reason = below.http, REASONS[below.http]
    server_side = code >= 500
    if protocol == "grpc":
        name = GRPC_NAMES[below.grpc]
        camel = "".join(part.title() for part in name.split("_"))
        kind, message = {
            "python": ("grpc.aio._call.AioRpcError", f'status = StatusCode.{name} details = "{below.message[:80]}"'),
            "go": ("*status.Error", f"rpc error: code = {camel} desc = {below.message[:80]}"),
            "java": ("io.grpc.StatusRuntimeException", name),
            "node": ("Error", f"{below.grpc} {name}: {below.message[:60]}"),
            "rust": ("tonic::Status", f'status: {camel}, message: "{below.message[:60]}"'),
        }[language]
    else:
        side = "Server" if server_side else "Client"
        texts = {
            "python": [
                ("httpx.HTTPStatusError", f"{side} error '{code} {reason}' for url 'http://{about.host}{about.path}'"),
                ("requests.exceptions.HTTPError", f"{code} {side} Error: {reason} for url: http://{about.host}"),
                ("UpstreamError", f"{about.host} answered {code}"),
            ],
            "go": [
                ("*errors.errorString", f"unexpected status {code} from {about.host}"),
                ("*fmt.wrapError", f"call {about.path}: status {code} {reason}"),
            ],
            "java": [
                (
                    f"org.springframework.web.client.Http{side}ErrorException${reason.replace(' ', '')}",
                    f"{code} {reason}: [no body]",
                ),
                (f"feign.FeignException${reason.replace(' ', '')}", f"[{code} {reason}] during [POST]"),
            ],
            "node": [
                ("AxiosError", f"Request failed with status code {code}"),
                ("HTTPError", f"Response code {code} ({reason})"),
            ],
            "rust": [
                ("reqwest::Error", f"HTTP status {side.lower()} error ({code} {reason}) for url (http://{about.host})")
            ],
        }
        kind, message = rng.choice(texts[language])
    return Failure(kind, message, code, below.grpc, code_tells=below.code_tells)


def passed_on(below: Failure, rng: Random) -> Failure:
    """The same failure with the code the next server answers: often its own, sometimes the one from below."""
    if below.http in (502, 503, 504) and rng.random() < 0.6:
        return below
    http, grpc = rng.choice([(500, 13), (500, 13), (502, 14)])
    return replace(below, http=http, grpc=grpc, code_tells=False)


def own_fault(raised: Failure) -> Failure:
    """What the first service of all answers when it fails itself: that nobody's request was bad."""
    return raised if raised.http >= 500 else replace(raised, http=500, grpc=13)


def wrapped(below: Failure, language: str, what: str, rng: Random) -> Failure:
    """The failure as the code around it throws it on."""
    if language in ("go", "rust") and rng.random() < 0.5:
        return replace(below, message=f"{what}: {below.message}")
    if language == "java" and rng.random() < 0.25:
        return replace(
            below,
            type="java.lang.RuntimeException",
            message=f"{below.type}: {below.message}",
            type_tells=False,
        )
    return below
