"""What attributes mean: the alias table of the typed columns, and the status of a span.

Names come from the semantic conventions of OpenTelemetry (its GenAI ones first), then OpenInference, then
OpenLLMetry (Traceloop); deprecated predecessors are read too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otel_diag.decode.attributes import FlatAttributes
from otel_diag.decode.columns import FALSE, NO_TEXT, field, null_if_empty, storable, text, texts_of
from otel_diag.model import Status


@dataclass(frozen=True, slots=True)
class Seconds:
    """An attribute measured in seconds, for a column in milliseconds."""

    name: str


Alias = str | Seconds


@dataclass(frozen=True, slots=True)
class Column:
    """A typed column and the attributes it is read from, best first. The span's own come before its resource's.

    A value the type cannot hold counts as absent: text takes strings and integers, int64 and int32 take integers and
    decimal strings, float64 takes numbers and decimal strings.
    """

    type: pa.DataType
    names: tuple[Alias, ...]


_TEXT: Final = pa.string()
_INT: Final = pa.int64()
_DOUBLE: Final = pa.float64()
_NO_DOUBLE: Final = pa.scalar(None, _DOUBLE)

ALIASES: Final[dict[str, Column]] = {
    "execution_id": Column(_INT, ("execution.id",)),
    "attempt": Column(pa.int32(), ("execution.attempt",)),
    "job_id": Column(_TEXT, ("job.id",)),
    "model_id": Column(
        _TEXT, ("model.id", "gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "modal.model")
    ),
    "region": Column(_TEXT, ("region", "cloud.region")),
    "service_version": Column(_TEXT, ("service.version", "build.id", "vcs.ref.head.revision")),
    "model_provider": Column(
        _TEXT, ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "router.provider")
    ),
    "operation_type": Column(
        _TEXT, ("gen_ai.operation.name", "openinference.span.kind", "llm.request.type", "traceloop.span.kind")
    ),
    "conversation_id": Column(
        _TEXT, ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
    ),
    "input_tokens": Column(
        _INT,
        (
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "llm.token_count.prompt",
            "llm.usage.prompt_tokens",
        ),
    ),
    "output_tokens": Column(
        _INT,
        (
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "llm.usage.completion_tokens",
        ),
    ),
    "cache_creation_input_tokens": Column(
        _INT,
        (
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "llm.token_count.prompt_details.cache_write",
        ),
    ),
    "cache_read_input_tokens": Column(
        _INT,
        (
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "llm.token_count.prompt_details.cache_read",
        ),
    ),
    "cost_usd": Column(_DOUBLE, ("gen_ai.usage.cost", "llm.cost.total", "gen_ai.usage.total_cost")),
    "ttft_ms": Column(_DOUBLE, ("gen_ai.ttft_ms", Seconds("gen_ai.response.time_to_first_chunk"))),
    "queue_time_ms": Column(_DOUBLE, ("queue.time_ms",)),
    "inference_time_ms": Column(_DOUBLE, ("inference.time_ms",)),
}
"""Column of ``model.SPAN_SCHEMA`` -> where its value comes from."""

_HTTP_STATUS: Final = Column(_INT, ("http.response.status_code", "http.status_code"))
_GRPC_STATUS: Final = Column(_INT, ("rpc.grpc.status_code",))
_RPC_STATUS: Final = Column(_TEXT, ("rpc.response.status_code",))
_ERROR_TYPE: Final = Column(_TEXT, ("error.type",))
_EXCEPTION_TYPE: Final = Column(_TEXT, ("exception.type",))
_EXCEPTION_MESSAGE: Final = Column(_TEXT, ("exception.message",))


def typed_columns(
    own: FlatAttributes, resources: FlatAttributes, resource_of: pa.Array, names: Collection[str] = ALIASES.keys()
) -> dict[str, pa.Array]:
    """These columns of the alias table, one row per record: its own attributes first, then those of its resource."""
    columns = {}
    for name in names:
        column = ALIASES[name]
        values = read(column, own)
        if any(_name(alias) in resources.codes_by_key for alias in column.names):
            values = pc.coalesce(values, read(column, resources).take(resource_of))
        columns[name] = values
    return columns


def read(column: Column, attributes: FlatAttributes) -> pa.Array:
    """The column, one row per owner, null where it has none of the attributes. Of a repeated key the first counts."""
    owners = len(attributes.offsets) - 1
    present = [alias for alias in column.names if _name(alias) in attributes.codes_by_key]
    if not present:
        return pa.nulls(owners, column.type)
    chosen = np.full(owners, -1, np.int64)
    values = []
    filled = 0
    for alias in reversed(present):
        at = np.flatnonzero(attributes.codes == attributes.codes_by_key[_name(alias)])
        converted = _converted(attributes.values, pa.array(at), column.type, alias)
        if len(present) == 1 and np.array_equal(attributes.owners[at], np.arange(owners)):
            return converted  # every owner has the attribute, once
        usable = converted.is_valid().to_numpy(zero_copy_only=False)
        # Later assignments win: the first of a repeated key, and the best name, are written last.
        chosen[attributes.owners[at[usable]][::-1]] = (filled + np.nonzero(usable)[0])[::-1]
        values.append(converted)
        filled += len(converted)
    return pa.concat_arrays(values).take(pa.array(chosen, mask=chosen < 0))


def _name(alias: Alias) -> str:
    return alias.name if isinstance(alias, Seconds) else alias


def _converted(values: pa.StructArray, at: pa.Array, wanted: pa.DataType, alias: Alias) -> pa.Array:
    """The values at these positions in the type that is wanted, null where they do not fit it."""

    def member(name: str) -> pa.Array:
        return field(values, name).take(at)

    # An attribute usually has values of one kind; the others are looked for where that leaves a gap.
    if wanted == _TEXT:
        strings = member("string_value")
        texts = null_if_empty(strings)
        return storable(pc.coalesce(texts, member("int_value").cast(_TEXT)) if strings.null_count else texts)
    if wanted == _DOUBLE:
        numbers = member("double_value")
        if numbers.null_count:
            decimal = _matching(member("string_value"), r"^-?\d{1,15}(\.\d{1,15})?$").cast(_DOUBLE)
            numbers = pc.coalesce(numbers, member("int_value").cast(_DOUBLE, safe=False), decimal)
        finite = pc.if_else(pc.is_finite(numbers), numbers, _NO_DOUBLE)
        return pc.multiply(finite, pa.scalar(1000.0, _DOUBLE)) if isinstance(alias, Seconds) else finite
    numbers = member("int_value")
    if numbers.null_count:
        numbers = pc.coalesce(numbers, _decimal_int64(member("string_value")))
    if wanted == _INT:
        return numbers
    fits = pc.equal(numbers.cast(wanted, safe=False).cast(_INT), numbers)
    return pc.if_else(fits, numbers, pa.scalar(None, _INT)).cast(wanted)


def _matching(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, NO_TEXT)


def _decimal_int64(texts: pa.Array) -> pa.Array:
    """Decimal text that fits 64 bits; anything else is null."""
    # Nineteen digits can exceed int64, and Arrow's cast would refuse the whole column: compare as text first.
    digits = _matching(texts, r"^-?\d{1,19}$")
    bare = pc.utf8_ltrim(digits, "-")
    limit = pc.if_else(pc.starts_with(digits, "-"), text("9223372036854775808"), text("9223372036854775807"))
    fits = pc.or_(pc.less(pc.utf8_length(bare), pa.scalar(19, pa.int32())), pc.less_equal(bare, limit))
    return pc.if_else(fits, digits, NO_TEXT).cast(_INT)


# --------------------------------------------------------------------------------------------------
# Status.

_OK, _ERROR = 1, 2
_ERROR_CODE: Final = pa.scalar(_ERROR, pa.int32())
_SET_CODES: Final = pa.array([_OK, _ERROR], pa.int32())
_CLIENT_ERROR: Final = pa.scalar(400, _INT)
_SERVER_ERROR: Final = pa.scalar(500, _INT)
_HTTP_TIMEOUTS: Final = (408, 504)
_GRPC_DEADLINE_EXCEEDED: Final = 4

_TIMEOUT_TYPE: Final = r"(?i)time_?d?_?out|deadline_?exceeded|^(408|504)$"
_TIMEOUT_TEXT: Final = (
    r"(?i)\btimed[ -]?out\b|\bdeadline[ _](has )?(been )?(exceeded|expired)|DeadlineExceeded"
    r"|\w(Timeout|TimedOut)(Error|Exception)?\b|\bTimeout(Error|Exception|RejectedException)\b"
    r"|\btimeout of [\d.]+ ?(ms|s|seconds)\b|\bdeadline has elapsed|\bdid not observe any item\b"
    r"|\btime-?out(error)?\b( |: |$)(after|while|waiting|exceeded|expired|reached|occurred|$)"
    r"|\b(gateway|request|read|write|connect|connection|response|operation|upstream|client|server|socket|i/?o)"
    r" time-?out\b"
)
# "invalid timeout value" is a rejected setting, not a deadline that passed.
_REJECTED_TYPE: Final = r"(?i)validation|config|valueerror|typeerror|keyerror|illegalargument|^400$|^422$"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Columns ``status``, ``error_type`` and ``error_message``."""

    status: pa.Array
    error_type: pa.Array
    error_message: pa.Array


def outcome(
    *,
    kinds: pa.Array,
    status_codes: pa.Array,
    status_messages: pa.Array,
    attributes: FlatAttributes,
    exceptions: tuple[pa.Array, pa.Array],
) -> Outcome:
    """Derive the status of each span (spec/1).

    The status code decides when it is set. When it is UNSET, the semantic conventions say what should have been an
    error: an HTTP server span with 5xx, an HTTP client span with 4xx or 5xx, an RPC client span with a code other
    than OK. A failed span is a ``timeout`` when its error type, message or code says deadline.

    ``exceptions``: type and message of each span's last exception event; ``kinds`` as in ``model.SPAN_SCHEMA``.
    ``error_type`` is error.type, else the exception's type; ``error_message`` the exception's message, else the
    status message. Both are kept on spans that did not fail: an error that was handled is evidence too.
    """
    http, grpc, rpc = (read(column, attributes) for column in (_HTTP_STATUS, _GRPC_STATUS, _RPC_STATUS))
    exception_type, exception_message = exceptions
    error_type = pc.coalesce(read(_ERROR_TYPE, attributes), exception_type)
    message = pc.coalesce(exception_message, status_messages)

    failed = pc.equal(status_codes, _ERROR_CODE)
    signs = _signs_of_failure(kinds, http, grpc, rpc)
    if signs:
        unset = pc.invert(pc.is_in(status_codes, _SET_CODES))
        failed = pc.or_(failed, pc.and_(unset, _any(signs)))
    status = pc.if_else(failed, text(Status.FAILED), text(Status.COMPLETED))
    if pc.any(failed).as_py():
        late = _says_deadline(error_type, exception_type, [message, status_messages], http, grpc, rpc)
        status = pc.if_else(pc.and_(failed, late), text(Status.TIMEOUT), status)
    return Outcome(status, error_type, message)


def _signs_of_failure(kinds: pa.Array, http: pa.Array, grpc: pa.Array, rpc: pa.Array) -> list[pa.Array]:
    """What says that a span failed whose status code is UNSET: true, false or null."""
    server, client = pc.equal(kinds, text("server")), pc.equal(kinds, text("client"))
    signs = []
    if _has_values(http):
        signs.append(pc.and_(server, pc.greater_equal(http, _SERVER_ERROR)))
        signs.append(pc.and_(client, pc.greater_equal(http, _CLIENT_ERROR)))
    if _has_values(grpc):
        signs.append(pc.and_(client, pc.not_equal(grpc, pa.scalar(0, _INT))))
    if _has_values(rpc):
        signs.append(pc.and_(client, pc.invert(pc.is_in(pc.coalesce(rpc, text("OK")), texts_of(["OK", "0"])))))
    return signs


def _has_values(column: pa.Array) -> bool:
    return bool(column.null_count < len(column))


def _says_deadline(
    error_type: pa.Array,
    exception_type: pa.Array,
    messages: Sequence[pa.Array],
    http: pa.Array,
    grpc: pa.Array,
    rpc: pa.Array,
) -> pa.Array:
    types = [error_type, exception_type]
    codes = [
        *(pc.match_substring_regex(column, _TIMEOUT_TYPE) for column in types),
        pc.is_in(http, pa.array(_HTTP_TIMEOUTS, _INT)),
        pc.equal(grpc, pa.scalar(_GRPC_DEADLINE_EXCEEDED, _INT)),
        pc.is_in(rpc, texts_of(["DEADLINE_EXCEEDED", str(_GRPC_DEADLINE_EXCEEDED)])),
    ]
    words = _any([pc.match_substring_regex(column, _TIMEOUT_TEXT) for column in messages])
    rejected = _any([pc.match_substring_regex(column, _REJECTED_TYPE) for column in types])
    return pc.or_(_any(codes), pc.and_(words, pc.invert(rejected)))


def _any(conditions: Sequence[pa.Array]) -> pa.Array:
    """True where one of them is; null counts as false."""
    result = pc.fill_null(conditions[0], FALSE)
    for condition in conditions[1:]:
        result = pc.or_(result, pc.fill_null(condition, FALSE))
    return result


def last_exceptions(
    names: pa.Array, owner_of: np.ndarray[tuple[int], np.dtype[np.int64]], attributes: FlatAttributes, spans: int
) -> tuple[pa.Array, pa.Array]:
    """Type and message of the last ``exception`` event of each span, null without one.

    ``names``, ``owner_of`` (index of the span) and ``attributes`` describe the events, in wire order.
    """
    at = np.nonzero(pc.equal(names, text("exception")).to_numpy(zero_copy_only=False))[0]
    if not len(at):
        return pa.nulls(spans, _TEXT), pa.nulls(spans, _TEXT)
    last = np.full(spans, -1, np.int64)
    last[owner_of[at]] = at
    rows = pa.array(last, mask=last < 0)
    return read(_EXCEPTION_TYPE, attributes).take(rows), read(_EXCEPTION_MESSAGE, attributes).take(rows)
