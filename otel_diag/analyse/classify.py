"""What an error is about, told from its codes and words.

Codes decide where they are unambiguous, then the exception's type (split into words, so that types never seen
are read as well), then the message. Tables are ordered: the first entry that matches wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from otel_diag.model import Span, Status


class ErrorKind(StrEnum):
    CONFIGURATION = "configuration"
    UNSET_CLIENT = "unset client"
    """Something is None that was to be set up before: a setting where nothing ran yet, an ordinary bug elsewhere."""
    VALIDATION = "validation"
    RATE_LIMIT = "rate limit"
    RESOURCE = "resource"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    CONTAINER = "container"
    CANCELLED = "cancelled"
    UNAVAILABLE = "unavailable"
    """502, 503, UNAVAILABLE: somebody on the way answered that the callee cannot."""
    GENERIC = "generic"
    NONE = "none"
    """No text, type or code at all."""


@dataclass(frozen=True, slots=True)
class ErrorSign:
    """``strength`` 0..1: codes and types weigh more than words. ``because``: what was matched."""

    kind: ErrorKind
    strength: float
    because: str


_HTTP: Final[Mapping[int, ErrorKind]] = {
    400: ErrorKind.VALIDATION,
    408: ErrorKind.TIMEOUT,
    413: ErrorKind.VALIDATION,
    415: ErrorKind.VALIDATION,
    422: ErrorKind.VALIDATION,
    429: ErrorKind.RATE_LIMIT,
    499: ErrorKind.CANCELLED,
    502: ErrorKind.UNAVAILABLE,
    503: ErrorKind.UNAVAILABLE,
    504: ErrorKind.TIMEOUT,
    507: ErrorKind.RESOURCE,
}
_GRPC_NAMES: Final = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "RESOURCE_EXHAUSTED": 8,
    "OUT_OF_RANGE": 11,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}
_GRPC: Final[Mapping[int, ErrorKind]] = {
    1: ErrorKind.CANCELLED,
    3: ErrorKind.VALIDATION,
    4: ErrorKind.TIMEOUT,
    8: ErrorKind.RESOURCE,
    11: ErrorKind.VALIDATION,
    14: ErrorKind.UNAVAILABLE,
}
_NOT_REACHED: Final = re.compile(
    r"refused|no route|unreachable|resol(?:ve|ution)|lookup|no such host|handshake|certificate", re.IGNORECASE
)
"""Of a connection that was never made: a gRPC client says UNAVAILABLE by itself then."""

_VAGUE_CODES: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.CANCELLED})
"""Kinds of codes that say little: words may know better (a 503 that says "out of memory")."""

_SCARCE = (
    r"memory|disk|storage|pool|connections?|resources?|handles?|descriptors?|ports?|threads?|slots?|capacity|heap|gpu|"
    r"vram|inodes?|swap"
)
_CONTAINER = r"containers?|workers?|tasks?|pods?|instances?|nodes?|replicas?|sandbox(?:es)?|vms?|machines?|function"
_PROCESS: Final = re.compile(r"\b(?:workers?|tasks?|process(?:es)?)\b", re.IGNORECASE)
"""Of an application (Celery's, Ray's): they die within a container that lives on. Modal calls containers so, too."""

_LOST = (
    r"lost|kill(?:ed)?|terminat\w+|evict\w*|died|disappear\w*|crash\w*|exit(?:ed)?|vanish\w*|reclaim\w*|stopped|"
    r"shut(?:ting)? ?down|preempt\w*|interrupt\w*"
)

_WORDS: Final[tuple[tuple[ErrorKind, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile("|".join(patterns), re.IGNORECASE))
    for kind, patterns in (
        (
            ErrorKind.RESOURCE,
            (
                r"out.?of.?(?:\w+ )?memory|\boom\b|oom.?kill|cannot allocate|allocation fail|bad.?alloc|enomem",
                r"memory ?error|\bmemory (?:limit|allocation|pressure)|java heap|heap space",
                r"cuda(?!.{0,20}illegal).{0,20}memory",
                r"max\w* queue (?:size|length|depth)|queue (?:is )?(?:full|at capacity)|back-?pressure",
                r"no space left|enospc|disk (?:is )?full|disk quota|volume (?:is )?full|storage (?:is )?full",
                r"too many open|emfile|enfile|file descriptors? (?:limit|exhaust)",
                r"too many (?:clients|connections|threads|processes)|can'?t start new thread|pool ?timeout",
                rf"\b(?:{_SCARCE})\b(?:\W+\w+){{0,4}}?\W+(?:exhaust|deplet|used up)|\bout of resources?",
                (
                    rf"(?:exhaust\w*|deplet\w*|insufficient|ran out of|run out of|not enough|no more|no free)"
                    rf"(?:\W+\w+){{0,3}}?\W+(?:{_SCARCE})\b"
                ),
                r"resource exhausted|resource temporarily unavailable|exit (?:code|status) 137|queue ?pool limit",
                r"connection pool (?:is )?(?:full|limit|exhaust)|connection slots",
                r"connections? from the pool|pooled connections",
                r"pool\b.{0,40} connection is not available",
                r"max\w* number of (?:clients|connections)",
            ),
        ),
        (
            ErrorKind.RATE_LIMIT,
            (
                r"rate.?limit|too many requests|throttl|quota|requests? per|tokens? per (?:min|sec|day|hour)",
                r"throughput.{0,20}exceed|slow ?down|over.?limit|usage (?:cap|limit)|concurrency limit|retry.?after",
                r"request limit|\b429\b|rate exceeded|^limit exceeded",
            ),
        ),
        (
            ErrorKind.CONTAINER,
            (
                r"preempt|evict|crash ?loop|sigkill|sigterm|killed by signal|signal 9\b|spot (?:instance|interrupt)",
                rf"\b(?:{_CONTAINER})\b(?:\W+(?!timed|timeout|refused)\w+){{0,4}}?\W+(?:{_LOST})\b",
                rf"\b(?:{_LOST})\b(?:\W+\w+){{0,2}}?\W+(?:{_CONTAINER})\b",
                (
                    r"(?:could not|couldn'?t|cannot|unable to|failed to|failure to)(?:\W+\w+)? "
                    r"(?:load|import|hydrate|start)(?:\W+\w+){0,3} (?:function|container|image|entrypoint)"
                ),
                (
                    r"(?:function|container|image|entrypoint)(?:\W+\w+){0,2} (?:could not|cannot|failed to) "
                    r"(?:be )?(?:load|import|start|hydrat)"
                ),
                r"(?:image|container|function) (?:build|load|pull|start|import)\w* (?:fail|err)",
                r"(?:while|when|on) (?:loading|importing|hydrating)(?:\W+\w+){0,2}? function",
                r"function\b.{1,80} not found in app|deserializ\w+ failed because|available in the remote environment",
            ),
        ),
        (
            ErrorKind.CONNECTION,
            (
                r"\btls\b|\bssl|certificate|handshake|x509|name resolution|getaddrinfo|\bdns\b|nxdomain|enotfound",
                r"name or service not known|no such host|gai ?error|host not found|nodename|hostname",
                r"resolve(?! placeholder| setting| config)|pkix|cert ?path",
                r"\blookup [\w.-]+(?: on \S+)?: (?!key)",
                r"refused|econn|ehostunreach|enetunreach|no route|unreachable|unknown host",
            ),
        ),
        (
            ErrorKind.CONFIGURATION,
            (
                r"environment|env(?:ironment)?[ _-]?var|misconfigur|(?:not|un)[ -]?configured|no \S+ configured",
                r"(?:improperly|incorrectly|wrongly) configured|config\w*[ _-]?(?:error|missing|invalid|key)",
                (
                    r"(?:missing|invalid|bad|unknown|no|empty|wrong|incomplete) (?:\S+ )?(?:config|setting|credential"
                    r"|secret|api[ _-]?key|access[ _-]?key|token\b(?! limit))"
                ),
                (
                    r"(?:config\w*|settings?|credentials?|secret|api[ _-]?key|option)(?: \S+){0,3} (?:is |was |are )?"
                    r"(?:not|missing|unset|undefined|empty|required|invalid|absent|must)"
                ),
                r"(?:is|was|are) (?:not set|unset)|must be set|no value for",
                r"(?<!reference )not (?:been )?set\b",
                r"client (?:is |was |has )?(?:not|never|un)[ -]?(?:been )?(?:initiali[sz]ed|set|connected|configured)",
                r"uninitiali[sz]ed client|client is none|no default (?:client|endpoint|url)|in (?:the )?config",
                r"(?:settings?|config\w*|variable) [`'\"]?\w+[`'\"]?(?: \w+){0,3} (?:missing|required|absent)",
                r"missing (?:app|encryption) key|connection ?string(?: \w+)? (?:has|is|was) (?:not|empty|missing|null)",
                r"unsupported protocol|missing an '?https?://|no scheme supplied|\btoken (?:is )?missing",
                r"\bno (?:\w+ ){0,3}(?:key|secret|endpoint|url) (?:\w+ ){0,2}(?:specified|provided|given|defined)",
                r"resolve placeholder|(?:is|was|are) not configured|\bno (?:option|section) error",
            ),
        ),
        (
            ErrorKind.VALIDATION,
            (
                r"validat|\bnot valid\b|\bzod\b|unprocessable|bad ?request|malformed|invalid|reject(?:ed|s)",
                r"illegal (?:argument|value)",
                (
                    r"field required|required (?:field|parameter|property|argument)|"
                    r"(?:field|parameter|property|argument)(?: \S+){0,2} (?:is )?(?:required|missing)|"
                    r"missing (?:\w+ )?(?:field|parameter|argument|property)"
                ),
                r"not a valid|unsupported (?:format|media|type)|unexpected (?:field|type|property)",
                r"(?:cannot|can'?t|could not|failed to|unable to) (?:parse|decode|deserial)|parse error|out of range",
                r"schema (?:violation|mismatch|error)|does ?n[o']t (?:match|conform)|must (?:be|have|not be|contain) ",
                r"context length|(?:prompt|input|payload|body|request) (?:\w+ )*too (?:long|large|short|big)",
                r"exceeds (?:the )?max\w* (?:\w+ )?(?:length|size|tokens)|should be (?:a|an|one|less|greater|at)\b",
            ),
        ),
        (
            ErrorKind.TIMEOUT,
            (
                r"time.?out|timed.?out|deadline|took too long|etimedout|gave up (?:waiting|after)|waited",
                r"(?:no|without) (?:\w+ )?(?:response|answer|reply) (?:\w+ )*(?:within|in|after|for)|expired",
                r"did not (?:\w+ )?(?:respond|answer|reply|complete|finish|observe) (?:\w+ )*(?:within|in|after)",
            ),
        ),
        (
            ErrorKind.CANCELLED,
            (
                r"cancel|client (?:has )?(?:closed|disconnected|went away|gone)|aborted by (?:the )?client",
                r"client ?abort|\babort ?error|operation was aborted",
            ),
        ),
        (
            ErrorKind.CONNECTION,
            (
                r"connection|connect (?:error|exception)|connector|disconnect|broken ?pipe|epipe|\beof\b",
                r"socket(?!, malloc)",
                r"reset by|peer closed",
                r"remote (?:end|host|protocol|peer)|(?:cannot|could not|unable to|failed to) (?:\w+ )?connect",
                r"(?:cannot|could not|unable to|failed to) (?:\w+ )?reach",
                r"connect (?:failed|call failed)|network|incomplete (?:read|message|chunk)|stream (?:reset|closed)",
                r"no http response|failed to respond|ended prematurely|unexpected end of (?:stream|file)",
            ),
        ),
        (ErrorKind.UNAVAILABLE, (r"unavailable|bad gateway|no healthy|upstream|overloaded|circuit.?(?:breaker|open)",)),
    )
)
_UNSET: Final = re.compile(
    r"'?NoneType'? object|is none\b|null ?pointer|null reference|of (?:undefined|null)\b|nil pointer|not init\w+ed|"
    r"object reference not set|\bis null\b",
    re.IGNORECASE,
)
_CLIENT: Final = re.compile(
    r"client|session|connection|channel|stub|cursor|engine|pool|\b(?:remote|spawn|map|call|invoke|request|get|post|put|"
    r"send|publish|execute|query|predict|generate|infer|connect|lookup|from_name)\b",
    re.IGNORECASE,
)
"""What is asked of something that calls others: a bug finds None anywhere, an unset client where it is used."""

_BUG_TYPE: Final = re.compile(
    r"^(?:index|key|type|attribute|name|lookup|assertion|zero ?division|arithmetic|recursion|unbound ?local|"
    r"not ?implemented|reference|range) ?error$|null ?pointer|null ?reference|class ?cast|invalid ?cast|"
    r"out ?of ?bounds|index ?out ?of ?range|invalid ?operation|illegal ?state|no ?such ?element|stack ?overflow|"
    r"concurrent ?modification|^panic",
    re.IGNORECASE,
)
_BUG_TEXT: Final = re.compile(
    r"^runtime error:|^panic:|nil pointer dereference|invalid memory address|index out of (?:range|bounds)",
    re.IGNORECASE,
)
"""What a language itself raises where the code is wrong. Its words ("invalid", "out of range", "not set") are about the
code, not about what was asked of it."""

_SAID_IN_A_BUG: Final = frozenset({ErrorKind.RESOURCE, ErrorKind.RATE_LIMIT, ErrorKind.CONFIGURATION})
_MORE_PRECISE: Final[Mapping[ErrorKind, frozenset[ErrorKind]]] = {
    ErrorKind.CONNECTION: frozenset(ErrorKind),
    ErrorKind.TIMEOUT: frozenset({ErrorKind.RESOURCE, ErrorKind.RATE_LIMIT}),
    ErrorKind.CONTAINER: frozenset({ErrorKind.RESOURCE}),
    ErrorKind.UNAVAILABLE: frozenset(ErrorKind) - {ErrorKind.VALIDATION},
    ErrorKind.CANCELLED: frozenset(
        {ErrorKind.RESOURCE, ErrorKind.RATE_LIMIT, ErrorKind.CONTAINER, ErrorKind.TIMEOUT, ErrorKind.CONNECTION}
    ),
}
"""Types that cover much ("ConnectionError": time-outs and pools as well): what a message may make of them."""
_TYPE_IN_TEXT: Final = re.compile(r"((?:[\w$]+[.:]+)*[A-Z][a-z0-9]+(?:[A-Z][A-Za-z0-9]*)+|panic): +(.*)", re.DOTALL)
"""Where the status alone tells the error, as ``str(type): message``."""

_DEADLINE_TYPE: Final = re.compile(r"\btime(?:d)? ?out|\bdeadline", re.IGNORECASE)
_SETTINGS: Final = re.compile(r"\b(?:for|in|of) \w*(?:Settings|Config)\b|\bOptions Validation")
_IN_ENVIRONMENT: Final = re.compile(
    r"\benv\b|environment|\bsettings?\b|config|connection ?string|placeholder", re.IGNORECASE
)
"""A validator that complains about settings: ``1 validation error for Settings``, ``X_URL is required in env``."""

_NOT_CONFIGURED: Final = re.compile(r"\b(?:not|un)[ -]?configured\b|resolve placeholder", re.IGNORECASE)
"""An argument is invalid (PHP, Java) that names what was never set up."""

_PACKAGE: Final = re.compile(r"\bvalidat(?:ion|or|ors)\b|\brate_?limit", re.IGNORECASE)
"""Packages that say what their types do not: ``javax.validation.ConstraintViolationException``."""

_BROKEN_PIPE: Final = re.compile(r"broken ?pipe|epipe", re.IGNORECASE)
"""Where an answer is written: whoever asked has gone."""

_SETTING_NAME: Final = re.compile(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b")
_LOOKUP: Final = re.compile(
    r"key|attribute|lookup|missing|required|not found|undefined|not defined|empty|absent|set\b", re.IGNORECASE
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-/:]+")
_HTTP_STATUS: Final = re.compile(
    r"\b(?:http|status(?: code)?|code|error|response|returned|responded(?: with)?)[ =:/]*(?:\d\.\d )?([45]\d\d)\b|"
    r"^\W*([45]\d\d)\b",
    re.IGNORECASE,
)
_ENVOY_FLAGS: Final = {
    "UF": "connection to the upstream was refused or failed",
    "UH": "no healthy upstream: none is reachable, or all are unreachable",
    "UC": "the upstream closed the connection",
    "UO": "the upstream's connection pool is exhausted",
    "UT": "the upstream request timed out",
    "NR": "no route is configured",
    "RL": "rate limited",
    "DC": "the client disconnected",
}
"""Why Envoy answered by itself (``%RESPONSE_FLAGS%`` in its documentation): often all that its spans say."""

_HTTP_ATTRIBUTES = ("http.response.status_code", "http.status_code")
_GRPC_ATTRIBUTES = ("rpc.grpc.status_code", "rpc.response.status_code")
_ANSWERS = frozenset((*_HTTP_ATTRIBUTES, *_GRPC_ATTRIBUTES))


def http_status(span: Span) -> int | None:
    """The HTTP status of a span's response, from current or deprecated attributes or ``error.type``."""
    for name in _HTTP_ATTRIBUTES:
        code = _integer(span.attributes.get(name))
        if code is not None:
            return code
    code = _integer(span.error_type)
    return code if code is not None and 400 <= code < 600 else None


def grpc_status(span: Span) -> int | None:
    for name in _GRPC_ATTRIBUTES:
        value = span.attributes.get(name)
        code = _integer(value)
        if code is not None:
            return code
        if isinstance(value, str) and value.upper() in _GRPC_NAMES:
            return _GRPC_NAMES[value.upper()]
    return None


def is_error(span: Span) -> bool:
    """Whether the span failed by its status, or answered an error that its status leaves unsaid (a server's 4xx)."""
    if span.status.is_failure:
        return True
    if span.status == Status.RUNNING or not span.attributes:
        return False
    if not span.error_type and _ANSWERS.isdisjoint(span.attributes):  # most spans, and this is asked of all of them
        return False
    code = http_status(span)
    return (code is not None and code >= 400) or (grpc_status(span) or 0) != 0


def was_answered_with_error(span: Span) -> bool:
    """Whether the callee (and not the network) said no: the call carries a response code."""
    return http_status(span) is not None or (grpc_status(span) or 0) in (2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16)


def error_type_of(span: Span) -> str:
    if span.error_type:
        return span.error_type
    return str(_exception_attribute(span, "exception.type") or span.attributes.get("error.type") or "")


def error_text(span: Span) -> str:
    """The message of the span's failure, from its status, its exception event or Envoy's flags; '' without one."""
    said = span.error_message or str(_exception_attribute(span, "exception.message") or "")
    return said or _ENVOY_FLAGS.get(str(span.attributes.get("response_flags", "")).partition(",")[0], "")


def _exception_attribute(span: Span, name: str) -> Any:
    for event in reversed(span.events):
        if name in event.attributes:
            return event.attributes[name]
    return None


def classify(span: Span) -> ErrorSign:
    """What this failed span's error is about."""
    if span.attributes.get("modal.preempted") is True:
        return ErrorSign(ErrorKind.CONTAINER, 0.95, "modal.preempted")
    error_type, text = error_type_of(span), error_text(span)
    if not error_type and (prefixed := _TYPE_IN_TEXT.match(text)):
        error_type, text = prefixed.groups()
    sign = _classify(error_type, text, http_status(span), grpc_status(span), span.status == Status.TIMEOUT)
    answers = span.kind not in ("client", "producer")
    if answers and sign.kind == ErrorKind.CONNECTION and _BROKEN_PIPE.search(sign.because):
        return replace(sign, kind=ErrorKind.CANCELLED)
    return sign


def classify_code(span: Span) -> ErrorSign | None:
    """What the code alone says that the span was answered with; None without one, or of one that says little."""
    return next(_of_codes(http_status(span), grpc_status(span)), None)


def tells_of_a_process(sign: ErrorSign) -> bool:
    """Whether what was lost is a process of an application rather than what it ran in."""
    return _PROCESS.search(sign.because) is not None


def classify_text(message: str | None, *, timed_out: bool = False) -> ErrorSign:
    """As :func:`classify`, for an error known by its message alone."""
    prefixed = _TYPE_IN_TEXT.match(message or "")
    error_type, text = prefixed.groups() if prefixed else ("", message or "")
    return _classify(error_type, text, None, None, timed_out)


@lru_cache(maxsize=4096)
def _classify(error_type: str, message: str, http: int | None, grpc: int | None, timed_out: bool) -> ErrorSign:
    type_words = _split_type(error_type)
    if named := _PACKAGE.search(error_type):
        type_words = f"{named.group(0)} {type_words}"
    grpc = grpc if grpc is not None else _GRPC_NAMES.get(error_type.rpartition(".")[2].upper())
    http = http if http is not None else _http_in(message)
    worded = _by_words(type_words, message)
    for coded in _of_codes(http, grpc):
        kind = coded.kind
        if kind in (ErrorKind.RESOURCE, ErrorKind.VALIDATION) and worded.kind == ErrorKind.RATE_LIMIT:
            return worded
        if kind in _VAGUE_CODES and worded.kind not in (ErrorKind.GENERIC, ErrorKind.NONE, ErrorKind.CONNECTION):
            return worded
        if kind == ErrorKind.UNAVAILABLE and worded.kind == ErrorKind.CONNECTION and _NOT_REACHED.search(message):
            return worded
        return coded
    if http == 500 and worded.kind == ErrorKind.VALIDATION and not re.search("valid", worded.because, re.IGNORECASE):
        return ErrorSign(ErrorKind.GENERIC, 0.6, f"HTTP {http}")  # it did not say so to whoever asked
    if timed_out and worded.kind not in (ErrorKind.RESOURCE, ErrorKind.RATE_LIMIT):
        return ErrorSign(ErrorKind.TIMEOUT, 0.9, "status timeout")
    if worded.kind == ErrorKind.NONE and (http is not None or grpc):
        return ErrorSign(ErrorKind.GENERIC, 0.6, f"HTTP {http}" if http is not None else f"gRPC {grpc}")
    return worded


def _of_codes(http: int | None, grpc: int | None) -> Iterator[ErrorSign]:
    for code, table, name in ((http, _HTTP, "HTTP"), (grpc, _GRPC, "gRPC")):
        if code is not None and code in table:
            yield ErrorSign(table[code], 0.95, f"{name} {code}")


def _by_words(type_words: str, message: str) -> ErrorSign:
    if _BUG_TYPE.search(type_words) or _BUG_TEXT.search(message):
        return _bug(type_words, message)
    typed, said = _of_type(type_words), _matched(message, 0.75)
    if ErrorKind.VALIDATION in (typed and typed.kind, said and said.kind):
        about = _SETTINGS.search(type_words) or _SETTINGS.search(message) or _SETTING_NAME.search(message)
        if about and (about.re is _SETTINGS or _IN_ENVIRONMENT.search(message)):
            return ErrorSign(ErrorKind.CONFIGURATION, 0.75, about.group(0))
    if typed is not None and typed.kind == ErrorKind.VALIDATION and _NOT_CONFIGURED.search(message):
        return ErrorSign(ErrorKind.CONFIGURATION, 0.75, message)
    if typed is not None:
        return said if said is not None and said.kind in _MORE_PRECISE.get(typed.kind, ()) else typed
    return said or _setting(type_words, message) or _unset(type_words, message) or _other(type_words, message)


def _bug(type_words: str, message: str) -> ErrorSign:
    """A bug, unless it is how a missing setting or an exhausted resource came to light."""
    found = _setting(type_words, message) or _unset(type_words, message)
    if found is None:
        said = _matched(message, 0.75)
        about_settings = said is not None and (said.kind != ErrorKind.CONFIGURATION or _IN_ENVIRONMENT.search(message))
        found = said if said is not None and said.kind in _SAID_IN_A_BUG and about_settings else None
    return found or _other(type_words, message)


def _of_type(type_words: str) -> ErrorSign | None:
    found = _matched(type_words, 0.9)
    if _DEADLINE_TYPE.search(type_words) and (found is None or found.kind == ErrorKind.VALIDATION):
        return ErrorSign(ErrorKind.TIMEOUT, 0.9, type_words)
    return found


def _matched(text: str, strength: float) -> ErrorSign | None:
    for kind, pattern in _WORDS:
        found = pattern.search(text)
        if found:
            return ErrorSign(kind, strength, found.group(0))
    return None


def _setting(type_words: str, message: str) -> ErrorSign | None:
    named = _SETTING_NAME.search(message)
    if named and (_LOOKUP.search(type_words) or _LOOKUP.search(message)):
        return ErrorSign(ErrorKind.CONFIGURATION, 0.75, named.group(0))
    return None


def _unset(type_words: str, message: str) -> ErrorSign | None:
    unset = _UNSET.search(message) or _UNSET.search(type_words)
    return ErrorSign(ErrorKind.UNSET_CLIENT, 0.5, unset.group(0)) if unset and _CLIENT.search(message) else None


def _other(type_words: str, message: str) -> ErrorSign:
    if type_words or message:
        return ErrorSign(ErrorKind.GENERIC, 0.6, type_words or message)
    return ErrorSign(ErrorKind.NONE, 0.3, "")


def _split_type(error_type: str) -> str:
    """``pkg.GpuMemoryExhausted`` -> ``Gpu Memory Exhausted``; codes and ``_OTHER`` say nothing."""
    last = re.split(r"[./]|::", error_type)[-1]
    return "" if last.isdecimal() or last == "_OTHER" else _CAMEL.sub(" ", last).strip()


def _http_in(message: str) -> int | None:
    found = _HTTP_STATUS.search(message)
    return int(found.group(1) or found.group(2)) if found else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) <= 5:
        return int(value)
    return None
