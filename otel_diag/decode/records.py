"""What the records of every signal share: resource and scope, ids, times, refusals, content hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from otel_diag.decode import semconv
from otel_diag.decode.attributes import FlatAttributes, json_objects
from otel_diag.decode.columns import (
    NO_TEXT,
    Bools,
    Int64s,
    field,
    flattened,
    hex_text,
    joined,
    json_lists,
    json_object,
    json_object_or_null,
    list_offsets,
    nonzero_text,
    null_if_empty,
    owners,
    quoted,
    storable,
    take,
    text,
    texts_of,
)
from otel_diag.errors import BadInput
from otel_diag.model import UNKNOWN_SERVICE

MAX_EXPANDED_BYTES: Final = 1 << 30
"""Every row repeats what it shares with others (its resource, scope, metric, stack); requests that come to more are
refused: 64 MiB could ask for terabytes."""

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

# 1971 and 2261: inside, nanoseconds fit every engine's timestamps; outside is a clock gone mad (0, 2^64-1).
_MIN_NANOS: Final = 31_536_000 * 10**9
_MAX_NANOS: Final = 9_183_110_400 * 10**9

UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Context:
    """What stands around rows, one row each.

    ``columns``: ``service``, ``scope_name``, ``scope_version`` and ``resource_attributes``. ``rest``: JSON of what they
    do not hold, null where that is nothing, by its member of ``otlp_rest``. ``canonical``: what stands for a column in
    the content hash. ``resource_attributes`` has one owner a resource, and ``to_resource`` is the resource of each row.
    """

    columns: dict[str, pa.Array]
    canonical: dict[str, pa.Array]
    rest: dict[str, pa.Array]
    resource_attributes: FlatAttributes
    to_resource: pa.Array


@dataclass(frozen=True, slots=True)
class Records:
    """The records (spans, log records, ...) of several requests as ptars has them, and where each came in.

    ``scope_of``: index into ``scopes`` of each record, ascending, and so on outwards.
    """

    values: pa.StructArray
    scope_of: Int64s
    scopes: pa.StructArray
    resource_of_scope: Int64s
    resources: pa.StructArray
    request_of_resource: Int64s

    @classmethod
    def of(cls, requests: pa.RecordBatch, signal: str, records: str) -> Records:
        """From the columns of an export request: ``resource_<signal>`` > ``scope_<signal>`` > ``records``."""
        resource_lists = requests.column(f"resource_{signal}")
        resources = flattened(resource_lists)
        scope_lists = field(resources, f"scope_{signal}")
        scopes = flattened(scope_lists)
        record_lists = field(scopes, records)
        return cls(
            values=flattened(record_lists),
            scope_of=owners(list_offsets(record_lists)),
            scopes=scopes,
            resource_of_scope=owners(list_offsets(scope_lists)),
            resources=resources,
            request_of_resource=owners(list_offsets(resource_lists)),
        )

    @property
    def resource_of(self) -> Int64s:
        return self.resource_of_scope[self.scope_of]

    @property
    def request_of(self) -> Int64s:
        return self.request_of_resource[self.resource_of]

    def parts(self, values: pa.StructArray, record_of: Int64s) -> Records:
        """What the records consist of (data points, samples) as records themselves."""
        return replace(self, values=values, scope_of=self.scope_of[record_of])

    def accepted(self, checks: Mapping[str, Bools]) -> tuple[Records, dict[str, Int64s]]:
        """The records that no check finds bad, and by reason the requests of the others, which count once."""
        kept = np.ones(len(self.values), bool)
        rejected = {}
        for reason, bad in checks.items():
            fresh = bad & kept
            if fresh.any():
                rejected[reason] = self.request_of[fresh]
                kept &= ~bad
        return (self.filter(kept), rejected) if rejected else (self, rejected)

    def filter(self, kept: Bools) -> Records:
        return replace(self, values=self.values.filter(pa.array(kept)), scope_of=self.scope_of[kept])

    def context(self, repeated: Sequence[tuple[pa.Array, Int64s]] = ()) -> Context:
        """What stands around the records.

        ``repeated``: texts that the caller will repeat, and the index of the text for each row. Raises BadInput when
        all that is repeated comes to more than MAX_EXPANDED_BYTES.
        """
        resource_of, scope_of = self.resource_of, self.scope_of
        to_resource, to_scope = pa.array(resource_of), pa.array(scope_of)
        resource = field(self.resources, "resource")
        scope = field(self.scopes, "scope")
        attributes = FlatAttributes.of(field(resource, "attributes"))
        texts = attributes.texts()
        services = pc.coalesce(semconv.read(_SERVICE, attributes), text(UNKNOWN_SERVICE))
        of_resource = {
            "service": services,
            "resource_attributes": texts.sent,
            "resource": _resource_rest(self.resources, resource),
        }
        of_scope = {
            "scope_name": null_if_empty(storable(field(scope, "name"))),
            "scope_version": null_if_empty(storable(field(scope, "version"))),
            "scope": _scope_rest(self.scopes, scope),
        }
        refuse_expansion(
            [
                *((column, resource_of) for column in of_resource.values()),
                *((column, scope_of) for column in of_scope.values()),
                *repeated,
            ]
        )
        columns = {name: take(column, to_resource) for name, column in of_resource.items()}
        columns |= {name: take(column, to_scope) for name, column in of_scope.items()}
        rest = {name: columns.pop(name) for name in ("resource", "scope")}
        # Hashed before it is repeated: resources are long, and all of it would be copied for every row.
        canonical = {"resource_attributes": _hashes(texts.canonical).take(to_resource)}
        return Context(columns, canonical, rest, attributes, to_resource)


_SERVICE: Final = semconv.Column(pa.string(), ("service.name",))


def refuse_expansion(repeated: Sequence[tuple[pa.Array, Int64s]]) -> None:
    """Raise BadInput when texts, each repeated for the rows that have its index, come to too much."""
    some = [(column, index) for column, index in repeated if column.null_count < len(column)]
    expanded = sum(int(text_sizes(column)[index].sum()) for column, index in some)
    if expanded > MAX_EXPANDED_BYTES:
        raise BadInput(
            f"what records share (resource attributes, scope ...), repeated for each, comes to {expanded} bytes",
            hint="Send fewer records in a request, or smaller attributes of resource and scope.",
        )


def text_sizes(texts: pa.Array) -> Int64s:
    """Bytes of each, 0 for null."""
    sizes = pc.binary_length(texts)
    return np.asarray(pc.fill_null(sizes, pa.scalar(0, pa.int32())) if sizes.null_count else sizes, np.int64)


def otlp_rest(rows: int, members: dict[str, pa.Array]) -> pa.Array:
    """The column ``otlp_rest`` from columns of JSON: null where all of it is absent."""
    return json_object_or_null(rows, members)


def _resource_rest(resources: pa.StructArray, resource: pa.StructArray) -> pa.Array:
    return json_object_or_null(
        len(resources),
        {
            "dropped_attributes_count": nonzero_text(field(resource, "dropped_attributes_count")),
            "schema_url": quoted(null_if_empty(field(resources, "schema_url"))),
            "entity_refs": _entity_refs(field(resource, "entity_refs")),
        },
    )


def _entity_refs(lists: pa.ListArray) -> pa.Array:
    references = flattened(lists)
    if not len(references):
        return pa.nulls(len(lists), pa.string())

    def texts(name: str) -> pa.Array:
        keys = field(references, name)
        return joined(list_offsets(keys), quoted(flattened(keys)), "[", "]")

    objects = json_object(
        len(references),
        {
            "schema_url": quoted(field(references, "schema_url")),
            "type": quoted(field(references, "type")),
            "id_keys": texts("id_keys"),
            "description_keys": texts("description_keys"),
        },
    )
    return json_lists(list_offsets(lists), objects)


def _scope_rest(scopes: pa.StructArray, scope: pa.StructArray) -> pa.Array:
    return json_object_or_null(
        len(scopes),
        {
            "attributes": json_objects(field(scope, "attributes")),
            "dropped_attributes_count": nonzero_text(field(scope, "dropped_attributes_count")),
            "schema_url": quoted(null_if_empty(field(scopes, "schema_url"))),
        },
    )


def enum_names(codes: pa.Array, names: Sequence[str]) -> pa.Array:
    """The name of each enum value, the decimal of one that is not known."""
    found = codes.to_numpy()
    known = texts_of(names).take(pa.array(found, mask=(found < 0) | (found >= len(names))))
    return known if not known.null_count else pc.coalesce(known, codes.cast(pa.string()))


# --------------------------------------------------------------------------------------------------
# Ids and times.


def bad_id(ids: pa.Array, size: int) -> Bools:
    """Neither ``size`` bytes nor zero."""
    zero = pc.equal(ids, pa.scalar(bytes(size), pa.binary()))
    bad: Bools = (text_sizes(ids) != size) | zero.to_numpy(zero_copy_only=False)
    return bad


def bad_optional_id(ids: pa.Array, size: int) -> Bools:
    """Neither ``size`` bytes nor empty."""
    sizes = text_sizes(ids)
    bad: Bools = (sizes != 0) & (sizes != size)
    return bad


def optional_id(ids: pa.Array, size: int) -> pa.Array:
    """Hex; an id of zeros is none, as W3C trace context has it."""
    texts = hex_text(ids)
    none = pc.is_in(texts, texts_of(["", "00" * size]))
    return pc.if_else(none, NO_TEXT, texts)


def is_sane(nanos: UInt64s) -> Bools:
    """Whether a time can be a timestamp in every store."""
    return (nanos >= _MIN_NANOS) & (nanos < _MAX_NANOS)


def timestamps(nanos: UInt64s) -> pa.Array:
    """UTC microseconds, null outside 1971..2261."""
    micros = pa.array(nanos.view(np.int64) // 1000, pa.int64(), mask=~is_sane(nanos))
    return micros.view(pa.timestamp("us", tz="UTC"))


# --------------------------------------------------------------------------------------------------
# Content hash.


def content_hash(columns: Mapping[str, pa.Array], names: Sequence[str], canonical: Mapping[str, pa.Array]) -> pa.Array:
    """xxh3 of each row's values of these columns, each ended by U+0000, which no stored text contains (absent = empty).

    ``canonical`` has what to hash in a column's place, see :class:`~otel_diag.decode.attributes.Texts`.
    """
    found = [canonical.get(name, columns[name]) for name in names]
    texts = [column if column.type == pa.string() else column.cast(pa.string()) for column in found]
    return _hashes(pc.binary_join_element_wise(*texts, text("\0"), null_handling="replace", null_replacement=""))


def _hashes(texts: pa.Array) -> pa.Array:
    """xxh3 of each text, as int64. No nulls."""
    if not len(texts):
        return pa.array([], pa.int64())
    # A Python loop over one buffer costs about 0.3 us a row; hashing column by column in numpy costs more.
    data = memoryview(texts.buffers()[2])
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[: len(texts) + 1].tolist()
    digest = xxhash.xxh3_64_intdigest
    hashes = [digest(data[start:end]) for start, end in pairwise(offsets)]
    return pa.array(np.array(hashes, np.uint64).view(np.int64))


def tell_twins_apart(hashes: pa.Array, request_of: Int64s) -> pa.Array:
    """The hashes, but a record's that stands several times in its request is another each time.

    For records without an id: the second of two equal log lines is no duplicate. A retry of the request has the same
    twins, in the same order.
    """
    plain = hashes.to_numpy()
    order = np.lexsort((plain, request_of))
    ordered, requests = plain[order], request_of[order]
    first = np.ones(len(plain), bool)
    first[1:] = (ordered[1:] != ordered[:-1]) | (requests[1:] != requests[:-1])
    if first.all():
        return hashes
    positions = np.arange(len(plain))
    nth = positions - np.maximum.accumulate(np.where(first, positions, 0))
    told = np.empty_like(plain)
    told[order] = ordered ^ (nth * _ODD)
    return pa.array(told)


_ODD: Final = np.int64(0x1E3779B97F4A7C15)
"""Spreads small numbers over 64 bits; the product wraps."""
