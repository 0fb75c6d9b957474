# ruff: noqa: E501  (texts are kept as libraries write them)
"""What libraries write when something breaks: exception type and message, by language. ``<name>`` is filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True)
class Mishap:
    """A failure as the code that meets it sees it, and what a handler that lets it through answers."""

    type: str
    text: str
    status: int = 500
    grpc: str = "INTERNAL"


Lines = tuple[tuple[str, str], ...]


def _lines(table: str) -> Lines:
    """``type | text`` a line, a line break in the text written as ``\\n``."""
    rows = (line.partition(" |") for line in table.strip("\n").split("\n"))
    return tuple((kind, text.strip().replace("\\n", "\n")) for kind, _, text in rows)


def _by(table: str) -> dict[str, Lines]:
    """The same behind a key: ``key | type | text``."""
    found: dict[str, Lines] = {}
    for line in table.strip("\n").split("\n"):
        key, _, rest = line.partition(" | ")
        found[key] = found.get(key, ()) + _lines(rest)
    return found


DEADLINE = _by(
    r"""
python | httpx.ReadTimeout | The read operation timed out
python | requests.exceptions.ReadTimeout | HTTPConnectionPool(host='<peer>', port=8080): Read timed out. (read timeout=<s>)
python | TimeoutError | <peer> gave no answer within <s>s
python | aiohttp.SocketTimeoutError | Timeout on reading data from socket
java | java.net.SocketTimeoutException | Read timed out
java | java.net.http.HttpTimeoutException | request timed out
java | org.springframework.web.client.ResourceAccessException | I/O error on POST request for "http://<peer>:8080": Read timed out
go | *url.Error | Post "http://<peer>:8080/": context deadline exceeded (Client.Timeout exceeded while awaiting headers)
go | context.deadlineExceededError | context deadline exceeded
nodejs | AxiosError | timeout of <ms>ms exceeded
nodejs | HeadersTimeoutError | Headers Timeout Error
nodejs | TimeoutError | The operation was aborted due to timeout
dotnet | System.Threading.Tasks.TaskCanceledException | The request was canceled due to the configured HttpClient.Timeout of <s> seconds elapsing.
dotnet | Polly.Timeout.TimeoutRejectedException | The operation didn't complete within the allowed timeout of '<clock>'.
rust | reqwest::Error | error sending request for url (http://<peer>:8080/): operation timed out
rust | Elapsed | deadline has elapsed
"""
)
"""A client that waited too long."""
UNREACHED = _by(
    r"""
python | httpx.ConnectError | [Errno 111] Connection refused
python | httpx.ConnectError | [Errno -2] Name or service not known
python | requests.exceptions.ConnectionError | HTTPConnectionPool(host='<peer>', port=8080): Max retries exceeded with url: / (Caused by NameResolutionError("Failed to resolve '<peer>' ([Errno -3] Temporary failure in name resolution)"))
python | requests.exceptions.SSLError | [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)
python | aiohttp.client_exceptions.ClientConnectorError | Cannot connect to host <peer>:443 ssl:default [Connect call failed ('10.4.0.17', 443)]
python | ConnectionResetError | [Errno 104] Connection reset by peer
python | OSError | [Errno 113] No route to host
java | java.net.ConnectException | Connection refused
java | java.net.UnknownHostException | <peer>: Name or service not known
java | javax.net.ssl.SSLHandshakeException | PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid certification path to requested target
java | java.net.NoRouteToHostException | No route to host
java | io.netty.channel.AbstractChannel$AnnotatedConnectException | finishConnect(..) failed: Connection refused: <peer>/10.4.0.17:8080
go | *net.OpError | dial tcp 10.4.0.17:8080: connect: connection refused
go | *net.DNSError | dial tcp: lookup <peer> on 10.96.0.10:53: no such host
go | *tls.CertificateVerificationError | tls: failed to verify certificate: x509: certificate signed by unknown authority
go | *net.OpError | read tcp 10.4.0.9:51234->10.4.0.17:8080: read: connection reset by peer
go | *net.OpError | dial tcp 10.4.0.17:8080: connect: no route to host
nodejs | Error | connect ECONNREFUSED 10.4.0.17:8080
nodejs | Error | getaddrinfo ENOTFOUND <peer>
nodejs | Error | getaddrinfo EAI_AGAIN <peer>
nodejs | Error | unable to verify the first certificate
nodejs | Error | socket hang up
dotnet | System.Net.Http.HttpRequestException | Connection refused (<peer>:8080)
dotnet | System.Net.Http.HttpRequestException | No such host is known. (<peer>:443)
dotnet | System.Security.Authentication.AuthenticationException | The remote certificate is invalid because of errors in the certificate chain: NotTimeValid
rust | reqwest::Error | error sending request for url (http://<peer>:8080/): error trying to connect: tcp connect error: Connection refused (os error 111)
rust | hyper::Error | error trying to connect: dns error: failed to lookup address information: Name or service not known
"""
)
"""A client that did not get through."""
REJECTED = _by(
    r"""
python | pydantic_core._pydantic_core.ValidationError | 1 validation error for Request\nmax_tokens\n  Input should be less than or equal to 4096 [type=less_than_equal, input_value=90000, input_type=int]
python | fastapi.exceptions.RequestValidationError | [{'type': 'missing', 'loc': ('body', 'prompt'), 'msg': 'Field required', 'input': {}}]
python | marshmallow.exceptions.ValidationError | {'quantity': ['Must be greater than or equal to 1.']}
python | jsonschema.exceptions.ValidationError | 'EURO' is not one of ['EUR', 'USD', 'GBP']
java | org.springframework.web.bind.MethodArgumentNotValidException | Validation failed for argument [0]: [Field error in object 'order' on field 'email': rejected value [x]; must be a well-formed email address]
java | jakarta.validation.ConstraintViolationException | create.iban: must match "[A-Z]{2}[0-9]{13,32}"
java | org.springframework.http.converter.HttpMessageNotReadableException | JSON parse error: Cannot deserialize value of type `java.math.BigDecimal` from String "12,50": not a valid representation
go | validator.ValidationErrors | Key: 'Upload.Bitrate' Error:Field validation for 'Bitrate' failed on the 'max' tag
go | *errors.errorString | invalid request: amount must be positive
nodejs | ZodError | [{"code":"too_small","minimum":1,"path":["items"],"message":"Array must contain at least 1 element(s)"}]
nodejs | ValidationError | "country" must be one of [DE, FR, NL]
nodejs | BadRequestError | request body must have required property 'deviceId'
dotnet | FluentValidation.ValidationException | Validation failed: \n -- Amount: 'Amount' must be greater than '0'. Severity: Error
dotnet | Microsoft.AspNetCore.Http.BadHttpRequestException | Required parameter "Currency" was not provided from query string.
rust | validator::ValidationErrors | codec: Validation error: length [{"max": 16}]
rust | JsonRejection | Failed to deserialize the JSON body into the target type: missing field `profile` at line 1 column 48
"""
)
"""Input that is refused."""
EXHAUSTED = _by(
    r"""
python | torch.OutOfMemoryError | CUDA out of memory. Tried to allocate 2.35 GiB. GPU 0 has a total capacity of 23.69 GiB of which 1.02 GiB is free.
python | MemoryError | Unable to allocate 14.9 GiB for an array with shape (2000000, 1000) and data type float64
python | OSError | [Errno 28] No space left on device: '/scratch/part-0007.parquet'
python | OSError | [Errno 24] Too many open files
python | RuntimeError | CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call
java | java.lang.OutOfMemoryError | Java heap space
java | java.lang.OutOfMemoryError | unable to create native thread: possibly out of memory or process/resource limits reached
java | java.io.IOException | No space left on device
java | java.net.SocketException | Too many open files
go | *fs.PathError | write /var/tmp/chunk-113: no space left on device
go | *net.OpError | accept4: too many open files
nodejs | Error | ENOSPC: no space left on device, write
nodejs | Error | EMFILE: too many open files, open '/tmp/upload_91'
dotnet | System.OutOfMemoryException | Exception of type 'System.OutOfMemoryException' was thrown.
dotnet | System.IO.IOException | No space left on device : '/tmp/render/page-3.png'
rust | std::io::Error | No space left on device (os error 28)
rust | std::io::Error | Too many open files (os error 24)
"""
)
"""Memory, disk, files."""
BUG = _by(
    r"""
python | KeyError | 'choices'
python | AttributeError | 'list' object has no attribute 'items'
python | ZeroDivisionError | division by zero
python | IndexError | list index out of range
python | UnicodeDecodeError | 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte
python | RuntimeError | mat1 and mat2 shapes cannot be multiplied (1x4096 and 5120x32000)
python | AssertionError |
python | RecursionError | maximum recursion depth exceeded in comparison
java | java.lang.NullPointerException | Cannot invoke "com.acme.Customer.getId()" because "customer" is null
java | java.lang.IllegalStateException | Duplicate key 4711 (attempted merging values A and B)
java | java.lang.ClassCastException | class java.lang.String cannot be cast to class java.math.BigDecimal
java | java.util.ConcurrentModificationException |
go | runtime.errorString | runtime error: invalid memory address or nil pointer dereference
go | runtime.boundsError | runtime error: index out of range [3] with length 3
go | *errors.errorString | sql: Scan error on column index 2, name "total": converting NULL to float64 is unsupported
nodejs | TypeError | Cannot read properties of undefined (reading 'id')
nodejs | ReferenceError | basket is not defined
nodejs | RangeError | Maximum call stack size exceeded
dotnet | System.NullReferenceException | Object reference not set to an instance of an object.
dotnet | System.InvalidOperationException | Sequence contains no elements
dotnet | System.Collections.Generic.KeyNotFoundException | The given key 'NL' was not present in the dictionary.
rust | panic | called `Option::unwrap()` on a `None` value
rust | panic | index out of bounds: the len is 2 but the index is 2
"""
)
"""A service's own mistakes."""
SETTING = _by(
    r"""
python | KeyError | 'MODAL_TOKEN_ID'
python | pydantic_settings.exceptions.SettingsError | error parsing value for field "allowed_models" from source "EnvSettingsSource"
python | pydantic_core._pydantic_core.ValidationError | 1 validation error for Settings\nROUTER_URL\n  Field required [type=missing, input_value={}, input_type=dict]
python | openai.OpenAIError | The api_key client option must be set either by passing api_key to the client or by setting the OPENAI_API_KEY environment variable
python | RuntimeError | environment variable WAREHOUSE_DSN is not set
python | django.core.exceptions.ImproperlyConfigured | The SECRET_KEY setting must not be empty.
python | botocore.exceptions.NoRegionError | You must specify a region.
java | java.lang.IllegalArgumentException | Could not resolve placeholder 'ledger.base-url' in value "${ledger.base-url}"
java | org.apache.kafka.common.config.ConfigException | Missing required configuration "bootstrap.servers" which has no default value.
go | *errors.errorString | required key STORE_BUCKET missing value
go | *errors.errorString | environment variable PAYMENT_API_KEY is empty
nodejs | Error | Missing required environment variable: KAFKA_BROKERS
nodejs | Error | SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string: DATABASE_PASSWORD is undefined
dotnet | System.InvalidOperationException | The ConnectionString property has not been initialized.
dotnet | Microsoft.Extensions.Options.OptionsValidationException | The BaseAddress field of PaymentOptions is required but not configured.
rust | std::env::VarError | environment variable not found: SIGNING_KEY
rust | config::ConfigError | missing configuration field "storage.endpoint"
"""
)
"""Settings, variables, clients that are not set."""
STILLBORN = _by(
    r"""
python | ImportError | cannot import name 'pipeline' from partially initialized module 'worker.flows' (most likely due to a circular import)
python | RuntimeError | This event loop is already running
python | FileNotFoundError | [Errno 2] No such file or directory: 'questions/batch-17.jsonl'
python | TypeError | run() missing 1 required positional argument: 'question'
python | json.decoder.JSONDecodeError | Expecting value: line 1 column 1 (char 0)
java | java.lang.NoClassDefFoundError | com/acme/orders/OrderMapper
java | java.lang.ExceptionInInitializerError |
go | runtime.plainError | assignment to entry in nil map
go | *fs.PathError | open plans/release.yaml: no such file or directory
nodejs | Error | Cannot find module './handlers/checkout'
nodejs | SyntaxError | Unexpected token '<', "<!DOCTYPE "... is not valid JSON
dotnet | System.TypeInitializationException | The type initializer for 'Acme.Orders.Mapping' threw an exception.
dotnet | System.IO.FileNotFoundException | Could not load file or assembly 'Acme.Contracts, Version=4.1.0.0'.
rust | panic | called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: "No such file or directory" }
"""
)
"""What kills a program as it starts."""
ON_STATUS = _by(
    r"""
python | httpx.HTTPStatusError | Server error '<code>' for url 'http://<peer>:8080/'
python | requests.exceptions.HTTPError | <code> Error for url: http://<peer>:8080/
python | UpstreamError | <peer> answered <code>
java | org.springframework.web.client.RestClientResponseException | <code> : "{"status":<code>}"
java | feign.FeignException | [<code>] during [POST] to [http://<peer>:8080/]
go | *errors.errorString | unexpected status <code> from <peer>
nodejs | AxiosError | Request failed with status code <code>
dotnet | System.Net.Http.HttpRequestException | Response status code does not indicate success: <code>.
rust | reqwest::Error | HTTP status error (<code>) for url (http://<peer>:8080/)
"""
)
"""What code meets that asked for a good answer."""
STORE_DOWN = _by(
    r"""
postgresql | psycopg.errors.DeadlockDetected | deadlock detected\nDETAIL:  Process 312 waits for ShareLock on transaction 8812; blocked by process 299.
postgresql | org.postgresql.util.PSQLException | ERROR: relation "ledger_2026_11" does not exist
postgresql | *pgconn.PgError | ERROR: could not serialize access due to concurrent update (SQLSTATE 40001)
postgresql | Npgsql.PostgresException | XX000: could not read block 117 in file "base/16384/2619": read only 0 of 8192 bytes
mysql | pymysql.err.OperationalError | (1213, 'Deadlock found when trying to get lock; try restarting transaction')
mysql | java.sql.SQLException | Table './shop/stock' is marked as crashed and should be repaired
redis | redis.exceptions.ReadOnlyError | You can't write against a read only replica.
redis | ReplyError | LOADING Redis is loading the dataset in memory
redis | redis.exceptions.ResponseError | CLUSTERDOWN The cluster is down
mongodb | MongoServerError | not primary and secondaryOk=false
mongodb | pymongo.errors.NotPrimaryError | node is recovering
s3 | botocore.exceptions.ClientError | An error occurred (InternalError) when calling the PutObject operation: We encountered an internal error. Please try again.
s3 | NoSuchBucket | The specified bucket does not exist
elasticsearch | elasticsearch.ApiError | ApiError(500, 'search_phase_execution_exception', 'all shards failed')
elasticsearch | ResponseError | cluster_block_exception: [master_not_discovered]
"""
)
"""Errors of databases and buckets, by system."""
STORE_FULL = _by(
    r"""
postgresql | psycopg.OperationalError | FATAL:  sorry, too many clients already
postgresql | *pgconn.PgError | FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute (SQLSTATE 53300)
postgresql | psycopg.errors.DiskFull | could not extend file "base/16384/24601": No space left on device
mysql | pymysql.err.OperationalError | (1040, 'Too many connections')
redis | redis.exceptions.OutOfMemoryError | OOM command not allowed when used memory > 'maxmemory'.
redis | redis.exceptions.ConnectionError | max number of clients reached
"""
)
"""What they have run out of, by system."""
LIMITED = _lines(
    r"""
openai.RateLimitError | Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o-mini in organization org-7 on tokens per min (TPM): Limit 200000, Used 199120', 'code': 'rate_limit_exceeded'}}
anthropic.RateLimitError | Error code: 429 - {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'Number of request tokens has exceeded your per-minute rate limit'}}
google.api_core.exceptions.ResourceExhausted | 429 Quota exceeded for quota metric 'Generate Content API requests per minute'
stripe.error.RateLimitError | Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.
io.github.resilience4j.ratelimiter.RequestNotPermitted | RateLimiter 'gateway' does not permit further calls
TooManyRequestsError | Too Many Requests: retry after 37 seconds
"""
)
"""Too many requests."""
MODAL_GONE = _lines(
    r"""
modal.exception.InternalFailure | Container terminated unexpectedly: worker was lost
modal.exception.ExecutionError | Task ta-01J9 was terminated: container exited with signal SIGKILL
modal.exception.RemoteError | Function call failed: the container running it disappeared (runner lost)
"""
)
"""Modal's containers: lost,"""
MODAL_PREEMPTED = _lines(
    r"""
modal.exception.InputCancellation | Input was cancelled: worker preempted
modal.exception.ExecutionError | Container was preempted by Modal; the input was not restarted
"""
)
"""preempted,"""
MODAL_NO_LOAD = _lines(
    r"""
modal.exception.ExecutionError | Could not deserialize function: the container failed to import module 'app' (ModuleNotFoundError: No module named 'vllm')
modal.exception.NotFoundError | Function 'generate' not found in app 'llm-serving'
modal.exception.RemoteError | Runner failed to start: image of function failed to load
"""
)
"""not able to load the function,"""
MODAL_OOM = _lines(
    r"""
modal.exception.ExecutionError | Container was killed: out of memory (exit code 137)
modal.exception.RemoteError | Task ta-01JB exited with code 137: OOMKilled, memory limit of 16384 MiB reached
"""
)
"""killed for their memory."""

ON_GRPC = {
    "python": "grpc._channel._InactiveRpcError",
    "java": "io.grpc.StatusRuntimeException",
    "go": "*status.Error",
    "nodejs": "Error",
    "dotnet": "Grpc.Core.RpcException",
    "rust": "tonic::Status",
}
STORE_TYPES = {
    "python": ("psycopg.", "pymysql.", "redis.", "pymongo.", "botocore.", "elasticsearch."),
    "java": ("org.", "java."),
    "go": ("*",),
    "nodejs": ("ReplyError", "MongoServerError", "NoSuchBucket", "ResponseError"),
    "dotnet": ("Npgsql.",),
    "rust": (),
}
"""How the exception types of a language's database clients begin."""
ANY_STORE_TYPE = {
    "python": "sqlalchemy.exc.OperationalError",
    "java": "org.springframework.dao.DataAccessResourceFailureException",
    "go": "*errors.errorString",
    "nodejs": "Error",
    "dotnet": "System.Data.Common.DbException",
    "rust": "StoreError",
}


def say(draw: Random, lines: Lines, peer: str = "upstream", ms: float = 0.0, code: int = 0) -> Mishap:
    """One of the texts, filled in."""
    kind, text = draw.choice(lines)
    seconds = round(ms / 1000)
    words = {
        "peer": peer,
        "ms": f"{ms:.0f}",
        "s": str(seconds),
        "clock": f"00:{seconds // 60:02}:{seconds % 60:02}",
        "code": str(code),
    }
    return Mishap(kind, re.sub(r"<(peer|ms|s|clock|code)>", lambda found: words[found[1]], text))


def store_says(draw: Random, lines: Lines, language: str) -> Mishap:
    """A database's text under a type that a client of that language has."""
    said = say(draw, lines)
    return said if said.type.startswith(STORE_TYPES[language]) else replace(said, type=ANY_STORE_TYPE[language])


def deadline(draw: Random, language: str, peer: str, ms: float) -> Mishap:
    return replace(say(draw, DEADLINE[language], peer, ms), status=504, grpc="DEADLINE_EXCEEDED")
