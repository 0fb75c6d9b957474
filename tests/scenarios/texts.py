"""Error texts as libraries of six languages write them, by what went wrong.

An :class:`ErrorText` is what one library would put on a span: the type of the exception, its message, and the HTTP or
gRPC code it travels as where it has one. ``{host}``, ``{port}``, ``{n}`` and ``{word}`` are filled per world.
"""

# ruff: noqa: E501 - the texts are as their libraries write them

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True)
class ErrorText:
    """``type`` None: the library names none (Go's errors.New). ``http``, ``grpc``: numeric codes."""

    type: str | None
    message: str
    http: int | None = None
    grpc: int | None = None


def _texts(*rows: tuple[str | None, str] | tuple[str | None, str, int | None, int | None]) -> tuple[ErrorText, ...]:
    return tuple(ErrorText(*row) for row in rows)


REFUSED = _texts(
    ("httpx.ConnectError", "[Errno 111] Connection refused"),
    (
        "requests.exceptions.ConnectionError",
        "HTTPConnectionPool(host='{host}', port={port}): Max retries exceeded with url: /v1 (Caused by NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused'))",
    ),
    (
        "aiohttp.client_exceptions.ClientConnectorError",
        "Cannot connect to host {host}:{port} ssl:default [Connect call failed ('10.4.{n}.7', {port})]",
    ),
    ("*net.OpError", "dial tcp 10.4.{n}.7:{port}: connect: connection refused"),
    (None, 'Post "http://{host}:{port}/v1": dial tcp 10.4.{n}.7:{port}: connect: connection refused'),
    ("java.net.ConnectException", "Connection refused"),
    ("io.netty.channel.AbstractChannel$AnnotatedConnectException", "Connection refused: {host}/10.4.{n}.7:{port}"),
    ("Error", "connect ECONNREFUSED 10.4.{n}.7:{port}"),
    ("System.Net.Http.HttpRequestException", "Connection refused ({host}:{port})"),
    (
        "System.Net.Http.HttpRequestException",
        "No connection could be made because the target machine actively refused it. ({host}:{port})",
    ),
    (
        "reqwest::Error",
        "error sending request for url (http://{host}:{port}/): error trying to connect: tcp connect error: Connection refused (os error 111)",
    ),
    (
        "grpc._channel._InactiveRpcError",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.4.{n}.7:{port}: Failed to connect to remote host: Connection refused",
        None,
        14,
    ),
    ("urllib.error.URLError", "<urlopen error [Errno 61] Connection refused>"),
    ("redis.exceptions.ConnectionError", "Error 111 connecting to {host}:{port}. Connection refused."),
    (
        "psycopg.OperationalError",
        'connection failed: connection to server at "10.4.{n}.7", port {port} failed: Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?',
    ),
    ("kafka.errors.NoBrokersAvailable", "NoBrokersAvailable: could not connect to {host}:{port}"),
    (
        "com.zaxxer.hikari.pool.HikariPool$PoolInitializationException",
        "Failed to initialize pool: Connection to {host}:{port} refused. Check that the hostname and port are correct",
    ),
    (
        "Confluent.Kafka.KafkaException",
        "{host}:{port}/bootstrap: Connect to ipv4#10.4.{n}.7:{port} failed: Connection refused (after 2ms in state CONNECT)",
    ),
    ("tonic::transport::Error", "transport error: tcp connect error: Connection refused (os error 111)", None, 14),
)

DNS = _texts(
    ("socket.gaierror", "[Errno -2] Name or service not known"),
    ("httpx.ConnectError", "[Errno -3] Temporary failure in name resolution"),
    (
        "urllib3.exceptions.NameResolutionError",
        "<urllib3.connection.HTTPConnection object at 0x7f{n}>: Failed to resolve '{host}' ([Errno -5] No address associated with hostname)",
    ),
    ("*net.DNSError", "dial tcp: lookup {host} on 10.96.0.10:53: no such host"),
    (None, 'Get "https://{host}/": dial tcp: lookup {host}: server misbehaving'),
    ("java.net.UnknownHostException", "{host}: Name or service not known"),
    ("Error", "getaddrinfo ENOTFOUND {host}"),
    ("Error", "getaddrinfo EAI_AGAIN {host}"),
    ("System.Net.Sockets.SocketException", "No such host is known. ({host}:{port})"),
    (
        "reqwest::Error",
        "error trying to connect: dns error: failed to lookup address information: Name or service not known",
    ),
    ("io.grpc.StatusRuntimeException", "UNAVAILABLE: Unable to resolve host {host}", None, 14),
    (
        "elasticsearch.ConnectionError",
        "Connection error caused by: NameResolutionError(Failed to resolve '{host}' ([Errno -2] Name or service not known))",
    ),
    ("psycopg.OperationalError", "failed to resolve host '{host}': [Errno -2] Name or service not known"),
    (None, "rpc error: code = Unavailable desc = name resolver error: produced zero addresses", None, 14),
    ("javax.naming.NameNotFoundException", "DNS name not found [response code 3]"),
    ("MongoServerSelectionError", "getaddrinfo ENOTFOUND {host}"),
    ("hickory_resolver::error::ResolveError", 'no record found for Query {{ name: Name("{host}."), query_type: A }}'),
)

TLS = _texts(
    (
        "ssl.SSLCertVerificationError",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
    ),
    (
        "*tls.CertificateVerificationError",
        "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
    ),
    (None, "x509: certificate signed by unknown authority"),
    (
        "javax.net.ssl.SSLHandshakeException",
        "PKIX path building failed: unable to find valid certification path to requested target",
    ),
    ("Error", "unable to verify the first certificate"),
    ("Error", "write EPROTO 139{n}:error:1408F10B:SSL routines:ssl3_get_record:wrong version number"),
    (
        "System.Security.Authentication.AuthenticationException",
        "The remote certificate is invalid because of errors in the certificate chain: NotTimeValid",
    ),
    ("hyper::Error", "error trying to connect: invalid peer certificate: Expired"),
    (
        "requests.exceptions.SSLError",
        "HTTPSConnectionPool(host='{host}', port=443): Max retries exceeded with url: / (Caused by SSLError(SSLCertVerificationError(1, 'self-signed certificate')))",
    ),
    ("Error", "self signed certificate in certificate chain"),
    (None, "remote error: tls: handshake failure"),
    (
        "javax.net.ssl.SSLPeerUnverifiedException",
        "Certificate for <{host}> doesn't match any of the subject alternative names: [*.example.com]",
    ),
    ("System.Net.Http.HttpRequestException", "The SSL connection could not be established, see inner exception."),
    ("rustls::Error", "invalid peer certificate: UnknownIssuer"),
)

UNREACHABLE = _texts(
    ("OSError", "[Errno 113] No route to host"),
    ("OSError", "[Errno 101] Network is unreachable"),
    ("*net.OpError", "dial tcp 10.4.{n}.7:{port}: connect: no route to host"),
    ("*net.OpError", "dial tcp 10.4.{n}.7:{port}: connect: network is unreachable"),
    ("java.net.NoRouteToHostException", "No route to host (Host unreachable)"),
    ("Error", "connect EHOSTUNREACH 10.4.{n}.7:{port}"),
    ("Error", "connect ENETUNREACH 10.4.{n}.7:{port}"),
    (
        "System.Net.Sockets.SocketException",
        "A socket operation was attempted to an unreachable host. [::ffff:10.4.{n}.7]:{port}",
    ),
)

RESET = _texts(
    ("ConnectionResetError", "[Errno 104] Connection reset by peer"),
    ("*net.OpError", "read tcp 10.4.1.9:51{n}->10.4.{n}.7:{port}: read: connection reset by peer"),
    ("java.net.SocketException", "Connection reset"),
    ("Error", "read ECONNRESET"),
    ("System.IO.IOException", "Unable to read data from the transport connection: Connection reset by peer."),
    ("hyper::Error", "connection error: Connection reset by peer (os error 104)"),
    (None, "upstream connect error or disconnect/reset before headers. reset reason: connection failure"),
    ("Error", "socket hang up: ECONNRESET"),
    ("aiohttp.client_exceptions.ClientOSError", "[Errno 104] Connection reset by peer"),
    ("kafka.errors.KafkaConnectionError", "KafkaConnectionError: socket disconnected: Connection reset by peer"),
    ("io.netty.channel.unix.Errors$NativeIoException", "recvAddress(..) failed: Connection reset by peer"),
    ("Error", "Client network socket disconnected before secure TLS connection was established"),
)

DISCONNECTED = _texts(
    ("httpx.RemoteProtocolError", "Server disconnected without sending a response."),
    ("aiohttp.client_exceptions.ServerDisconnectedError", "Server disconnected"),
    ("http.client.RemoteDisconnected", "Remote end closed connection without response"),
    (None, 'Post "http://{host}:{port}/v1": EOF'),
    ("*url.Error", "http: server closed idle connection"),
    ("org.apache.http.NoHttpResponseException", "{host}:{port} failed to respond"),
    ("Error", "socket hang up"),
    ("System.Net.Http.HttpIOException", "The response ended prematurely. (ResponseEnded)"),
    ("hyper::Error", "connection closed before message completed"),
)
"""How a caller hears that the callee's process died: the connection closed under the request."""

CLIENT_TIMEOUT = _texts(
    ("httpx.ReadTimeout", ""),
    ("httpx.ReadTimeout", "The read operation timed out"),
    (
        "requests.exceptions.ReadTimeout",
        "HTTPConnectionPool(host='{host}', port={port}): Read timed out. (read timeout=30)",
    ),
    ("TimeoutError", ""),
    ("asyncio.TimeoutError", ""),
    ("context.deadlineExceededError", "context deadline exceeded"),
    (
        None,
        'Post "http://{host}:{port}/v1": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
    ),
    ("java.net.SocketTimeoutException", "Read timed out"),
    ("java.net.http.HttpTimeoutException", "request timed out"),
    (
        "java.util.concurrent.TimeoutException",
        "Did not observe any item or terminal signal within 30000ms in 'flatMap'",
    ),
    ("AxiosError", "timeout of 30000ms exceeded"),
    ("TimeoutError", "The operation was aborted due to timeout"),
    (
        "System.Threading.Tasks.TaskCanceledException",
        "The request was canceled due to the configured HttpClient.Timeout of 30 seconds elapsing.",
    ),
    ("reqwest::Error", "error sending request for url (http://{host}:{port}/v1): operation timed out"),
    ("tokio::time::error::Elapsed", "deadline has elapsed"),
    (
        "io.grpc.StatusRuntimeException",
        "DEADLINE_EXCEEDED: deadline exceeded after 29.99{n}s. [remote_addr={host}/10.4.{n}.7:{port}]",
        None,
        4,
    ),
    ("grpc._channel._MultiThreadedRendezvous", "Deadline Exceeded", None, 4),
    (None, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", None, 4),
    (None, "Request timed out after 30s: no response from {host}"),
    (None, "upstream request timeout", 504, None),
    ("botocore.exceptions.ReadTimeoutError", 'Read timeout on endpoint URL: "https://{host}/"'),
    ("openai.APITimeoutError", "Request timed out."),
    ("celery.exceptions.TimeoutError", "The operation timed out."),
    ("io.lettuce.core.RedisCommandTimeoutException", "Command timed out after 1 minute(s)"),
    ("io.netty.handler.timeout.ReadTimeoutException", ""),
    ("Error", "ESOCKETTIMEDOUT"),
    ("HeadersTimeoutError", "Headers Timeout Error"),
    (
        "Polly.Timeout.TimeoutRejectedException",
        "The operation didn't complete within the allowed timeout of '00:00:30'.",
    ),
    ("Grpc.Core.RpcException", 'Status(StatusCode="DeadlineExceeded", Detail="")', None, 4),
    (None, "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"),
    ("tower::timeout::error::Elapsed", "request timed out"),
)

VALIDATION = _texts(
    (
        "pydantic_core._pydantic_core.ValidationError",
        "1 validation error for Request\n{word}\n  Field required [type=missing, input_value={{}}, input_type=dict]",
    ),
    (
        "fastapi.exceptions.RequestValidationError",
        "[{{'type': 'int_parsing', 'loc': ('body', '{word}'), 'msg': 'Input should be a valid integer'}}]",
        422,
        None,
    ),
    ("marshmallow.exceptions.ValidationError", "{{'{word}': ['Missing data for required field.']}}"),
    ("jsonschema.exceptions.ValidationError", "'{word}' is a required property"),
    (
        "validator.ValidationErrors",
        "Key: 'Request.{word}' Error:Field validation for '{word}' failed on the 'required' tag",
    ),
    (None, "rpc error: code = InvalidArgument desc = {word} must not be empty", None, 3),
    (
        "org.springframework.web.bind.MethodArgumentNotValidException",
        "Validation failed for argument [0]: Field error in object 'request' on field '{word}': rejected value [null]",
        400,
        None,
    ),
    ("javax.validation.ConstraintViolationException", "create.{word}: must be greater than or equal to 1"),
    (
        "ZodError",
        '[ {{ "code": "invalid_type", "expected": "string", "received": "undefined", "path": [ "{word}" ], "message": "Required" }} ]',
    ),
    ("BadRequestError", '"{word}" is not allowed to be empty', 400, None),
    (
        "FluentValidation.ValidationException",
        "Validation failed: \n -- {word}: '{word}' must not be empty. Severity: Error",
    ),
    (
        "axum::extract::rejection::JsonRejection",
        "Failed to deserialize the JSON body into the target type: missing field `{word}` at line 1 column {n}",
        422,
        None,
    ),
    (
        "openai.BadRequestError",
        "Error code: 400 - {{'error': {{'message': \"This model's maximum context length is 8192 tokens.\", 'type': 'invalid_request_error'}}}}",
        400,
        None,
    ),
    (
        "rest_framework.exceptions.ValidationError",
        "{{'{word}': [ErrorDetail(string='This field is required.', code='required')]}}",
        400,
        None,
    ),
    (
        "werkzeug.exceptions.BadRequest",
        "400 Bad Request: The browser (or proxy) sent a request that this server could not understand.",
        400,
        None,
    ),
    (
        "com.fasterxml.jackson.databind.exc.MismatchedInputException",
        'Cannot deserialize value of type `int` from String "{word}": not a valid int value',
        400,
        None,
    ),
    ("jakarta.validation.ConstraintViolationException", "place.{word}: must not be blank"),
    ("HttpException", "Unprocessable Entity: {word} must be a positive integer", 422, None),
    ("System.ComponentModel.DataAnnotations.ValidationException", "The {word} field is required."),
    (None, "invalid request: field {word} is required", 400, None),
    ("tonic::Status", 'status: InvalidArgument, message: "{word} is required"', None, 3),
    ("google.api_core.exceptions.InvalidArgument", "400 Request contains an invalid argument.", 400, None),
)

RATE = _texts(
    (
        "openai.RateLimitError",
        "Error code: 429 - {{'error': {{'message': 'Rate limit reached for requests', 'code': 'rate_limit_exceeded'}}}}",
        429,
        None,
    ),
    (
        "anthropic.RateLimitError",
        "Error code: 429 - {{'type': 'error', 'error': {{'type': 'rate_limit_error', 'message': 'Number of request tokens has exceeded your per-minute rate limit'}}}}",
        429,
        None,
    ),
    ("requests.exceptions.HTTPError", "429 Client Error: Too Many Requests for url: https://{host}/v1", 429, None),
    (
        "botocore.exceptions.ClientError",
        "An error occurred (ThrottlingException) when calling the Invoke operation: Rate exceeded",
    ),
    (
        "google.api_core.exceptions.ResourceExhausted",
        "429 Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'",
        429,
        None,
    ),
    (
        "*googleapi.Error",
        "googleapi: Error 429: Quota exceeded for quota metric 'Queries', rateLimitExceeded",
        429,
        None,
    ),
    (None, "too many requests: retry after {n}s", 429, None),
    ("io.github.resilience4j.ratelimiter.RequestNotPermitted", "RateLimiter '{word}' does not permit further calls"),
    (
        "com.amazonaws.services.dynamodbv2.model.ProvisionedThroughputExceededException",
        "The level of configured provisioned throughput for the table was exceeded.",
    ),
    ("AxiosError", "Request failed with status code 429", 429, None),
    (
        "Azure.RequestFailedException",
        "Requests to the API have exceeded call rate limit of your current pricing tier. Status: 429 (Too Many Requests)",
        429,
        None,
    ),
    ("aws_sdk_sqs::Error", "RequestThrottled: Request is throttled."),
    ("httpx.HTTPStatusError", "Client error '429 Too Many Requests' for url 'https://{host}/v1'", 429, None),
    ("slowapi.errors.RateLimitExceeded", "10 per 1 minute"),
    ("google.api_core.exceptions.TooManyRequests", "429 Resource has been exhausted (e.g. check quota).", 429, None),
    (
        "com.openai.errors.RateLimitException",
        "429: You exceeded your current quota, please check your plan and billing details.",
        429,
        None,
    ),
    ("ThrottlingException", "Too many requests, please wait before trying again."),
    ("StripeRateLimitError", "Too many requests hit the API too quickly", 429, None),
    (
        "System.Threading.RateLimiting.RateLimiterRejectedException",
        "The operation could not be executed because it was rejected by the rate limiter.",
    ),
)

MEMORY = _texts(
    (
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate {n}.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.06 GiB is free.",
    ),
    ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2{n} MiB"),
    ("RuntimeError", "CUDA error: out of memory"),
    ("MemoryError", ""),
    (
        "numpy.core._exceptions._ArrayMemoryError",
        "Unable to allocate {n}.3 GiB for an array with shape (1{n}, 512) and data type float64",
    ),
    ("java.lang.OutOfMemoryError", "Java heap space"),
    ("java.lang.OutOfMemoryError", "GC overhead limit exceeded"),
    ("RangeError", "Array buffer allocation failed: JavaScript heap out of memory"),
    ("System.OutOfMemoryException", "Exception of type 'System.OutOfMemoryException' was thrown."),
    (
        "tensorflow.python.framework.errors_impl.ResourceExhaustedError",
        "OOM when allocating tensor with shape[{n},1024,1024]",
    ),
    ("std::bad_alloc", "memory allocation of {n}0000000 bytes failed"),
    (
        "jaxlib.xla_extension.XlaRuntimeError",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1{n}00000000 bytes.",
    ),
    ("vllm.engine.async_llm_engine.AsyncEngineDeadError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
    ("runtime.Error", "runtime: out of memory: cannot allocate {n}00000-byte block"),
    ("java.lang.OutOfMemoryError", "Direct buffer memory"),
    ("OSError", "[Errno 12] Cannot allocate memory"),
    ("System.InsufficientMemoryException", "Insufficient memory to continue the execution of the program."),
)

LIMITS = _texts(
    ("OSError", "[Errno 28] No space left on device"),
    ("OSError", "[Errno 24] Too many open files: '/tmp/{word}'"),
    ("*fs.PathError", "write /var/lib/{word}/data: no space left on device"),
    ("*net.OpError", "accept tcp [::]:{port}: accept4: too many open files"),
    ("java.io.IOException", "No space left on device"),
    ("Error", "ENOSPC: no space left on device, write"),
    ("Error", "EMFILE: too many open files, open '/srv/{word}.json'"),
    ("System.IO.IOException", "There is not enough space on the disk. : '/data/{word}'"),
    (
        "sqlalchemy.exc.TimeoutError",
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
    ),
    ("psycopg.OperationalError", "FATAL: sorry, too many clients already"),
    (
        "org.postgresql.util.PSQLException",
        "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ),
    ("std::io::Error", "Too many open files (os error 24)"),
    ("sqlite3.OperationalError", "database or disk is full"),
    ("psycopg.errors.DiskFull", 'could not extend file "base/16384/{n}": No space left on device'),
    ("OSError", "[Errno 122] Disk quota exceeded"),
    ("java.io.FileNotFoundException", "/srv/{word}.json (Too many open files)"),
    ("RuntimeError", "can't start new thread"),
)

CONNECTIONS = _texts(
    ("psycopg.OperationalError", "FATAL: sorry, too many clients already"),
    (
        "org.postgresql.util.PSQLException",
        "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ),
    ("pymysql.err.OperationalError", "(1040, 'Too many connections')"),
    ("*mysql.MySQLError", "Error 1040: Too many connections"),
    ("*pq.Error", "pq: sorry, too many clients already"),
    ("error", "remaining connection slots are reserved for non-replication superuser connections"),
    ("Npgsql.PostgresException", '53300: too many connections for role "app"'),
    ("redis.exceptions.ConnectionError", "max number of clients reached"),
    (
        "sqlalchemy.exc.TimeoutError",
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
    ),
    ("sqlx::Error", "error returned from database: sorry, too many clients already"),
)

KILLED = _texts(
    (None, "worker was OOMKilled"),
    ("modal.exception.RemoteError", "container exited with code 137: out of memory"),
    ("RemoteError", "Container killed: exceeded memory limit of 16384 MiB"),
    (
        "concurrent.futures.process.BrokenProcessPool",
        "A process in the process pool was terminated abruptly: exit code 137 (OOMKilled)",
    ),
    (None, "pod {word}-{n} terminated: reason OOMKilled, exit code 137"),
    ("celery.exceptions.WorkerLostError", "Worker exited prematurely: signal 9 (SIGKILL): out of memory"),
    (
        "RuntimeError",
        "Runtime exited with error: signal: killed (memory size: 1024 MB, max memory used: 1024 MB, out of memory)",
    ),
    ("ECSTaskFailed", "OutOfMemoryError: Container killed due to memory usage"),
)
"""How a caller hears that the callee was killed for its memory."""

SETTING = _texts(
    ("KeyError", "'{WORD}_ENDPOINT'"),
    ("KeyError", "'{WORD}_API_KEY'"),
    ("ValueError", "environment variable {WORD}_URL is not set"),
    ("pydantic_settings.SettingsError", "{WORD}_TOKEN: Field required (environment variable is missing)"),
    ("AttributeError", "'NoneType' object has no attribute 'remote'"),
    (
        "openai.OpenAIError",
        "The api_key client option must be set either by passing api_key to the client or by setting the OPENAI_API_KEY environment variable",
    ),
    ("django.core.exceptions.ImproperlyConfigured", "The {WORD}_KEY setting must not be empty."),
    (None, "required environment variable {WORD}_HOST not set"),
    (None, "missing required configuration: {word}.endpoint"),
    ("java.lang.IllegalStateException", "Required property '{word}.base-url' is not configured"),
    (
        "org.springframework.beans.factory.BeanCreationException",
        "Could not resolve placeholder '{word}.url' in value \"${{{word}.url}}\"",
    ),
    ("Error", "Missing environment variable: {WORD}_URL"),
    ("System.InvalidOperationException", "Connection string '{word}' is not configured."),
    ("std::env::VarError", "{WORD}_ADDR: environment variable not found"),
    ("dynaconf.validator.ValidationError", "{WORD}_URL is required in env main"),
    ("configparser.NoOptionError", "No option '{word}_endpoint' in section: 'upstream'"),
    ("botocore.exceptions.NoCredentialsError", "Unable to locate credentials"),
    ("decouple.UndefinedValueError", "{WORD}_KEY not found. Declare it as envvar or define a default value."),
    (None, "config: missing key {word}.base_url"),
    ("io.micronaut.context.exceptions.ConfigurationException", "Property {word}.url is not set"),
    ("ConfigError", "process.env.{WORD}_URL is undefined"),
    ("Microsoft.Extensions.Options.OptionsValidationException", "The {word}:Endpoint setting is missing."),
)

BOOT = _texts(
    ("RuntimeError", "worker pool is gone"),
    ("TypeError", "unhashable type: 'list'"),
    (None, "boom"),
    ("AssertionError", ""),
    ("java.lang.IllegalStateException", "executor has been shut down"),
    ("Error", "invariant violation: queue is closed"),
    ("System.ObjectDisposedException", "Cannot access a disposed object. Object name: 'Scheduler'."),
    (None, "scheduler: already stopped"),
    ("panic", "index out of bounds: the len is 0 but the index is 0"),
)
"""Failures before anything was called, that name no setting."""

BUG = _texts(
    ("ZeroDivisionError", "division by zero"),
    ("KeyError", "'result'"),
    ("IndexError", "list index out of range"),
    ("AttributeError", "'list' object has no attribute 'items'"),
    ("RuntimeError", "runtime error: invalid memory address or nil pointer dereference"),
    ("*errors.errorString", "unexpected state: {word} already closed"),
    (None, "assertion failed in {word}"),
    ("java.lang.NullPointerException", 'Cannot invoke "{word}.getId()" because "<local4>" is null'),
    ("java.lang.IndexOutOfBoundsException", "Index {n} out of bounds for length 3"),
    ("java.lang.ClassCastException", "class java.lang.String cannot be cast to class java.lang.Integer"),
    ("TypeError", "Cannot read properties of undefined (reading '{word}')"),
    ("ReferenceError", "Cannot access 'total' before initialization"),
    ("System.NullReferenceException", "Object reference not set to an instance of an object."),
    ("System.InvalidCastException", "Unable to cast object of type 'A' to type 'B'."),
    ("panic", "called `Option::unwrap()` on a `None` value"),
    ("panic", "attempt to subtract with overflow"),
    ("Oops", "it broke"),
    ("UnboundLocalError", "cannot access local variable 'total' where it is not associated with a value"),
    ("RecursionError", "maximum recursion depth exceeded"),
    ("json.decoder.JSONDecodeError", "Expecting value: line 1 column 1 (char 0)"),
    ("NotImplementedError", ""),
    ("java.util.ConcurrentModificationException", ""),
    ("java.lang.ArithmeticException", "/ by zero"),
    ("java.util.NoSuchElementException", "No value present"),
    ("runtime.boundsError", "runtime error: slice bounds out of range [:5] with capacity 3"),
    (None, "unexpected end of JSON input"),
    ("System.Collections.Generic.KeyNotFoundException", "The given key '{word}' was not present in the dictionary."),
    ("TypeError", "{word}.map is not a function"),
)

NOTHING_THERE = _texts(
    ("TypeError", "'NoneType' object is not subscriptable"),
    ("AttributeError", "'NoneType' object has no attribute 'text'"),
    ("TypeError", "Cannot read properties of null (reading '{word}')"),
    ("java.lang.NullPointerException", 'Cannot invoke "Response.body()" because "response" is null'),
    ("runtime.Error", "runtime error: invalid memory address or nil pointer dereference"),
    ("System.NullReferenceException", "Object reference not set to an instance of an object."),
    ("panic", "called `Option::unwrap()` on a `None` value"),
    ("ValueError", "no {word} to merge"),
)
"""What somebody stumbles over who goes on without an answer."""

SQL = _texts(
    (
        "psycopg.errors.DeadlockDetected",
        "deadlock detected\nDETAIL: Process {n} waits for ShareLock on transaction 5{n}",
    ),
    ("psycopg.errors.UndefinedTable", 'relation "{word}" does not exist'),
    (
        "sqlalchemy.exc.IntegrityError",
        '(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint "{word}_pkey"',
    ),
    ("pymysql.err.OperationalError", "(1205, 'Lock wait; try restarting transaction')"),
    ("*pq.Error", "pq: could not serialize access due to concurrent update"),
    (
        "org.postgresql.util.PSQLException",
        "ERROR: current transaction is aborted, commands ignored until end of transaction block",
    ),
    (
        "com.mysql.cj.jdbc.exceptions.MySQLTransactionRollbackException",
        "Deadlock found when trying to get lock; try restarting transaction",
    ),
    ("error", "cannot execute INSERT in a read-only transaction"),
    (
        "Microsoft.Data.SqlClient.SqlException",
        "Transaction (Process ID {n}) was deadlocked on lock resources with another process",
    ),
    ("sqlx::Error", 'error returned from database: could not obtain lock on row in relation "{word}"'),
    (
        "psycopg.errors.SerializationFailure",
        "could not serialize access due to read/write dependencies among transactions",
    ),
    ("sqlalchemy.exc.ProgrammingError", '(psycopg.errors.UndefinedColumn) column "{word}" does not exist'),
    ("org.hibernate.exception.LockAcquisitionException", "could not execute statement"),
    ("QueryFailedError", 'duplicate key value violates unique constraint "{word}_pkey"'),
    ("Npgsql.PostgresException", '42P01: relation "{word}" does not exist'),
)

CACHE = _texts(
    ("redis.exceptions.ReadOnlyError", "You can't write against a read only replica."),
    ("redis.exceptions.ResponseError", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("redis.exceptions.BusyLoadingError", "Redis is loading the dataset in memory"),
    (None, "redis: MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    ("io.lettuce.core.RedisCommandExecutionException", "CLUSTERDOWN The cluster is down"),
    ("ReplyError", "NOSCRIPT No matching script. Please use EVAL."),
    ("StackExchange.Redis.RedisServerException", "READONLY You can't write against a read only replica."),
    ("redis::RedisError", "MOVED- ClientError: 3999"),
)

THIRD_PARTY = _texts(
    ("requests.exceptions.HTTPError", "500 Server Error: Internal Server Error for url: https://{host}/v1", 500, None),
    ("httpx.HTTPStatusError", "Server error '502 Bad Gateway' for url 'https://{host}/v1'", 502, None),
    ("stripe.error.APIError", "Sorry! There was an error on Stripe's end.", 500, None),
    (
        "openai.InternalServerError",
        "Error code: 500 - {{'error': {{'message': 'The server had an error while processing your request'}}}}",
        500,
        None,
    ),
    (None, "unexpected status 500 from {host}", 500, None),
    (
        "org.springframework.web.client.HttpServerErrorException$InternalServerError",
        '500 Internal Server Error: "oops"',
        500,
        None,
    ),
    ("AxiosError", "Request failed with status code 500", 500, None),
    (
        "System.Net.Http.HttpRequestException",
        "Response status code does not indicate success: 500 (Internal Server Error).",
        500,
        None,
    ),
    ("reqwest::Error", "HTTP status server error (500 Internal Server Error) for url (https://{host}/v1)", 500, None),
    (
        None,
        "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: INTERNAL_ERROR",
        None,
        13,
    ),
    (
        "anthropic.InternalServerError",
        "Error code: 529 - {{'type': 'error', 'error': {{'type': 'overloaded_error', 'message': 'Overloaded'}}}}",
        529,
        None,
    ),
    (
        "botocore.exceptions.ClientError",
        "An error occurred (InternalError) when calling the GetObject operation: We encountered an internal error. Please try again.",
    ),
    ("com.stripe.exception.ApiException", "An unknown error occurred; request-id: req_{n}", 500, None),
    (None, "received non-2xx response: 502", 502, None),
)

UNAVAILABLE = _texts(
    ("httpx.HTTPStatusError", "Server error '503 Service Unavailable' for url 'http://{host}:{port}/v1'", 503, None),
    (None, "503 Service Unavailable", 503, None),
    (
        "requests.exceptions.HTTPError",
        "503 Server Error: Service Unavailable for url: http://{host}:{port}/v1",
        503,
        None,
    ),
    (None, "rpc error: code = Unavailable desc = the service is currently unavailable", None, 14),
    (
        "feign.FeignException$ServiceUnavailable",
        "[503 Service Unavailable] during [POST] to [http://{host}/v1]",
        503,
        None,
    ),
    ("AxiosError", "Request failed with status code 503", 503, None),
    (
        "System.Net.Http.HttpRequestException",
        "Response status code does not indicate success: 503 (Service Unavailable).",
        503,
        None,
    ),
    ("tonic::Status", 'status: Unavailable, message: "overloaded"', None, 14),
)

MODAL_LOAD = _texts(
    ("modal.exception.ExecutionError", "Runner failed to load function: ModuleNotFoundError: No module named '{word}'"),
    ("modal.exception.FunctionLoadError", "could not import {word}.py in the container"),
    (
        "modal.exception.ExecutionError",
        "Function {word} could not be loaded: ImportError: cannot import name 'generate'",
    ),
    ("modal.exception.RemoteError", "Container failed to start: image build for {word} failed"),
    ("modal.exception.NotFoundError", "Function {word} not found in app: App was stopped"),
    ("modal.exception.ExecutionError", "Runner failed with exit code 1 while loading function"),
    ("modal.exception.InternalFailure", "Modal function {word}: container lost before the input was taken"),
    ("modal.exception.ExecutionError", "Failed to deserialize function {word}: the container could not load it"),
)

MODAL_PREEMPTED = _texts(
    ("modal.exception.Interruption", "Container was preempted"),
    ("modal.exception.InternalFailure", "worker preempted while the input was running"),
    ("KeyboardInterrupt", "container received SIGINT: preempted"),
    ("modal.exception.RemoteError", "Task ta-01{word} was preempted"),
    ("modal.exception.ExecutionError", "Input terminated: container preempted by the scheduler"),
    ("modal.exception.InputCancellation", "Input was cancelled: the container is being preempted"),
    ("modal.exception.RemoteError", "container terminated: spot instance preempted"),
    ("modal.exception.InternalFailure", "Function call lost: container was shut down (preemption)"),
)

CALLED_BACK = _texts(
    ("BrokenPipeError", "[Errno 32] Broken pipe"),
    (None, "write tcp 10.4.1.9:{port}: write: broken pipe"),
    ("org.apache.catalina.connector.ClientAbortException", "java.io.IOException: Broken pipe"),
    ("Error", "write EPIPE"),
    ("System.OperationCanceledException", "The client has disconnected"),
    ("asyncio.exceptions.CancelledError", ""),
    (None, "http: request body: client disconnected"),
    ("hyper::Error", "error writing a body to connection: Broken pipe (os error 32)"),
)
"""What a callee says that answers after its caller has gone."""

CANCELLED = _texts(
    ("asyncio.exceptions.CancelledError", ""),
    (None, "context canceled"),
    (None, "rpc error: code = Canceled desc = context canceled", None, 1),
    ("io.grpc.StatusRuntimeException", "CANCELLED: RST_STREAM closed stream. HTTP/2 error code: CANCEL", None, 1),
    ("java.util.concurrent.CancellationException", ""),
    ("AbortError", "The operation was aborted"),
    ("System.Threading.Tasks.TaskCanceledException", "A task was canceled."),
    ("tokio::task::JoinError", "task was cancelled"),
)
"""What work says that was stopped because somebody else gave up."""

WRAPPERS = _texts(
    ("RuntimeError", "call to {host} failed"),
    ("fastapi.exceptions.HTTPException", "500: upstream failed"),
    ("UpstreamError", "{word} is not available right now"),
    ("openai.APIConnectionError", "Connection error."),
    (None, "upstream connect error or disconnect/reset before headers"),
    ("*fmt.wrapError", "{word}: {cause}"),
    (None, "failed to {word}: {cause}"),
    ("java.util.concurrent.ExecutionException", "{type}: {cause}"),
    ("java.lang.RuntimeException", "{type}: {cause}"),
    ("org.springframework.web.client.RestClientException", "Error while extracting response"),
    ("Error", "{word} failed"),
    ("System.AggregateException", "One or more errors occurred. ({cause})"),
    ("anyhow::Error", "{word} step failed"),
    ("ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)"),
)
"""What a caller says of an error that came from below; ``{cause}`` and ``{type}``: those of that error."""


def fill(random: Random, text: ErrorText, *, host: str, word: str, cause: ErrorText | None = None) -> ErrorText:
    """The text with its places filled."""
    message = text.message.format(
        host=host,
        port=random.choice((80, 443, 5432, 8080, 9090, 50051)),
        n=random.randint(10, 99),
        word=word,
        WORD=word.upper(),
        cause=cause.message if cause else "",
        type=(cause.type or "Error") if cause else "",
    )
    return replace(text, message=message)
