"""OTLP profile requests, wire to Arrow, without a Python object per sample.

Profiles are a development version of OTLP: everything about them stands here. A request has one dictionary, whose
tables (strings, functions, locations, stacks ...) refer to one another by index. They are written as text from the
bottom up, once an entry, and a row takes the texts it refers to. An index that points nowhere spoils the profiles that
reach it, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import Message
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_diag.decode import semconv
from otel_diag.decode.attributes import FlatAttributes, json_numbers, json_values
from otel_diag.decode.columns import (
    EMPTY_TEXT,
    Bools,
    Int64s,
    field,
    flattened,
    json_lists,
    json_object,
    list_offsets,
    nonzero_text,
    null_if_empty,
    null_if_nothing,
    owners,
    quoted,
    storable,
    text,
    texts_of,
)
from otel_diag.decode.records import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Records,
    bad_optional_id,
    content_hash,
    optional_id,
    otlp_rest,
    refuse_expansion,
    tell_twins_apart,
    timestamps,
)
from otel_diag.decode.requests import Flattened, Wire
from otel_diag.errors import BadInput
from otel_diag.model import PROFILE_SCHEMA

MAX_RESOLVED_BYTES: Final = 64 << 20
"""Texts put in the place of their indexes in the attributes of a request: as much as a request holds by itself."""

_PROFILE_ID_BYTES: Final = 16
_UNRESOLVED: Final = -1
"""``key_strindex`` of an attribute with an index that points nowhere."""

_TABLES: Final = (
    "string_table",
    "function_table",
    "mapping_table",
    "attribute_table",
    "location_table",
    "stack_table",
    "link_table",
)

_HASHED: Final = (
    "profile_id",
    "sample_type",
    "sample_unit",
    "period_type",
    "period_unit",
    "period",
    "time_unix_nano",
    "duration_nano",
    "observed_values",
    "observed_unix_nanos",
    "frames",
    "trace_id",
    "span_id",
    "scope_name",
    "scope_version",
    "attributes",
    "profile_attributes",
    "resource_attributes",
    "otlp_rest",
)
"""What the wire said."""


# --------------------------------------------------------------------------------------------------
# Before ptars: texts in the place of their indexes, in the few attributes that are not in the dictionary.


def _resolve(request: Message) -> None:
    """Give attributes their texts, and every table the zero entry it must begin with, in place.

    An attribute with an index that points nowhere is left with ``key_strindex`` -1. Raises BadInput when the texts
    come to too much.
    """
    resolver = _Resolver(request.dictionary)
    for group in request.resource_profiles:
        resolver.resolve(group.resource.attributes)
        for scope in group.scope_profiles:
            resolver.resolve(scope.scope.attributes)
    for entry in request.dictionary.attribute_table:
        if not resolver.resolves_value(entry.value):
            entry.key_strindex = _UNRESOLVED


class _Resolver:
    def __init__(self, dictionary: Message) -> None:
        for name in _TABLES:
            table = getattr(dictionary, name)
            if not table:
                table.append("") if name == "string_table" else table.add()
        self._strings = list(dictionary.string_table)
        self._room = MAX_RESOLVED_BYTES

    def resolve(self, attributes: Iterable[KeyValue]) -> None:
        for attribute in attributes:
            if not self._resolves_pair(attribute):
                attribute.key_strindex = _UNRESOLVED

    def resolves_value(self, value: AnyValue) -> bool:
        """Whether every index in it points somewhere; then they are gone. Nested no deeper than protobuf parses."""
        match value.WhichOneof("value"):
            case "string_value_strindex":
                found = self._text(value.string_value_strindex)
                if found is None:
                    return False
                value.string_value = found
                return True
            case "array_value":
                return all(self.resolves_value(item) for item in value.array_value.values)
            case "kvlist_value":
                return all(self._resolves_pair(item) for item in value.kvlist_value.values)
            case _:
                return True

    def _resolves_pair(self, attribute: KeyValue) -> bool:
        if attribute.key_strindex:
            found = self._text(attribute.key_strindex)
            if found is None:
                return False
            attribute.key = found
            attribute.key_strindex = 0
        return self.resolves_value(attribute.value) if attribute.HasField("value") else True

    def _text(self, index: int) -> str | None:
        if not 0 <= index < len(self._strings):
            return None
        found: str = self._strings[index]
        self._room -= len(found)
        if self._room < 0:
            raise BadInput(
                f"the texts that attributes refer to come to more than {MAX_RESOLVED_BYTES} bytes",
                hint="Send fewer profiles in a request.",
            )
        return found


# --------------------------------------------------------------------------------------------------
# The dictionary.


@dataclass(frozen=True, slots=True)
class _Found:
    """Positions in a table, and which of them an index really pointed to (the others are some valid position)."""

    at: Int64s
    ok: Bools


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the dictionaries of all requests. No request's is empty, see :func:`_resolve`."""

    values: pa.Array
    offsets: npt.NDArray[np.int32]

    @classmethod
    def of(cls, dictionaries: pa.StructArray, name: str) -> _Table:
        lists = field(dictionaries, name)
        return cls(flattened(lists), list_offsets(lists))

    @property
    def request_of(self) -> Int64s:
        return owners(self.offsets)

    def find(self, indexes: pa.Array, request_of: Int64s) -> _Found:
        """What indexes (int32) in these requests point to."""
        wanted = indexes.to_numpy(zero_copy_only=False).astype(np.int64)
        first, end = self.offsets[request_of].astype(np.int64), self.offsets[request_of + 1]
        ok = (wanted >= 0) & (first + wanted < end)
        return _Found(np.where(ok, first + wanted, first), ok)


@dataclass(frozen=True, slots=True)
class _Texts:
    """What the entries of a table say, and which of them lead to entries that exist only."""

    texts: pa.Array
    ok: Bools

    def take(self, at: Int64s) -> pa.Array:
        refuse_expansion([(self.texts, at)])
        return self.texts.take(pa.array(at))


def _all_ok(offsets: npt.NDArray[np.int32], ok: Bools) -> Bools:
    """For each list whether all of its members are ok."""
    bad = np.bincount(owners(offsets)[~ok], minlength=len(offsets) - 1)
    return np.asarray(bad == 0, bool)


@dataclass(frozen=True, slots=True)
class _Strings:
    table: _Table
    plain: pa.Array
    quoted: pa.Array
    """JSON, null for the empty text."""

    @classmethod
    def of(cls, dictionaries: pa.StructArray) -> _Strings:
        table = _Table.of(dictionaries, "string_table")
        return cls(table, storable(table.values), quoted(null_if_empty(table.values)))

    def texts(self, found: _Found) -> pa.Array:
        """As in a text column, null when empty."""
        refuse_expansion([(self.plain, found.at)])
        return null_if_empty(self.plain.take(pa.array(found.at)))

    def members(self, found: dict[str, _Found]) -> dict[str, pa.Array]:
        """As members of a JSON object."""
        refuse_expansion([(self.quoted, each.at) for each in found.values()])
        return {name: self.quoted.take(pa.array(each.at)) for name, each in found.items()}


@dataclass(frozen=True, slots=True)
class _Attributes:
    """The attribute table: ``sizes`` are texts as long as an attribute will be in JSON, or longer."""

    table: _Table
    ok: Bools
    codes: Int64s
    codes_by_key: dict[str, int]
    values: pa.StructArray
    units: pa.StructArray
    """As AnyValue, null without one."""
    sizes: pa.Array

    @classmethod
    def of(cls, dictionaries: pa.StructArray, strings: _Strings) -> _Attributes:
        table = _Table.of(dictionaries, "attribute_table")
        keys = strings.table.find(field(table.values, "key_strindex"), table.request_of)
        units = strings.table.find(field(table.values, "unit_strindex"), table.request_of)
        refuse_expansion([(strings.plain, keys.at), (strings.plain, units.at)])
        key_texts = strings.table.values.take(pa.array(keys.at))
        unit_texts = null_if_empty(strings.table.values.take(pa.array(units.at)))
        encoded = key_texts.dictionary_encode()
        values = field(table.values, "value")
        texts = pc.coalesce(json_values(values), text("null"))
        return cls(
            table=table,
            ok=keys.ok & units.ok,
            codes=encoded.indices.to_numpy().astype(np.int64),
            codes_by_key={key: code for code, key in enumerate(encoded.dictionary.to_pylist())},
            values=values,
            units=_text_values(unit_texts, values.type),
            sizes=pc.binary_join_element_wise(quoted(key_texts), texts, pc.coalesce(unit_texts, EMPTY_TEXT), text(":")),
        )

    def members(self, lists: pa.ListArray, request_of: Int64s) -> tuple[dict[str, pa.Array], Bools]:
        """``attributes`` and ``attribute_units`` of the owner of each list of indexes, JSON objects or null."""
        offsets = list_offsets(lists)
        owner_of = owners(offsets)
        found = self.table.find(flattened(lists), request_of[owner_of])
        refuse_expansion([(self.sizes, found.at)])
        has_unit = self.units.is_valid().to_numpy(zero_copy_only=False)[found.at]
        units_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(has_unit)])
        members = {
            "attributes": self._objects(offsets, found.at, self.values),
            "attribute_units": self._objects(units_before[offsets].astype(np.int32), found.at[has_unit], self.units),
        }
        ok = _all_ok(offsets, found.ok & self.ok[found.at])
        return {name: null_if_nothing(objects) for name, objects in members.items()}, ok

    def _objects(self, offsets: npt.NDArray[np.int32], at: Int64s, values: pa.StructArray) -> pa.Array:
        flat = FlatAttributes(
            offsets=offsets,
            owners=owners(offsets),
            codes=self.codes[at],
            codes_by_key=self.codes_by_key,
            values=values.take(pa.array(at)),
        )
        return flat.json()


def _text_values(texts: pa.Array, any_value: pa.DataType) -> pa.StructArray:
    """Texts as AnyValue, null where there is none."""
    members = [texts if member.name == "string_value" else pa.nulls(len(texts), member.type) for member in any_value]
    return pa.StructArray.from_arrays(members, fields=list(any_value), mask=texts.is_null())


def _functions(dictionaries: pa.StructArray, strings: _Strings) -> tuple[_Table, _Texts, pa.Array]:
    """The function table, its entries as members of a JSON object, and their names in a stack."""
    table = _Table.of(dictionaries, "function_table")
    names = {"function": "name_strindex", "system_name": "system_name_strindex", "file": "filename_strindex"}
    found = {name: strings.table.find(field(table.values, index), table.request_of) for name, index in names.items()}
    start_line = nonzero_text(field(table.values, "start_line"))
    objects = json_object(len(table.values), {**strings.members(found), "start_line": start_line})
    ok = found["function"].ok & found["system_name"].ok & found["file"].ok
    shown = pc.coalesce(strings.texts(found["function"]), strings.texts(found["system_name"]), text("[unknown]"))
    return table, _Texts(objects, ok), pc.replace_substring(shown, ";", ":")


def _mappings(dictionaries: pa.StructArray, strings: _Strings, attributes: _Attributes) -> tuple[_Table, _Texts]:
    table = _Table.of(dictionaries, "mapping_table")
    file = strings.table.find(field(table.values, "filename_strindex"), table.request_of)
    owned, owned_ok = attributes.members(field(table.values, "attribute_indices"), table.request_of)
    numbers = {
        name: nonzero_text(field(table.values, name)) for name in ("memory_start", "memory_limit", "file_offset")
    }
    objects = json_object(len(table.values), {**strings.members({"file": file}), **numbers, **owned})
    return table, _Texts(null_if_nothing(objects), file.ok & owned_ok)


@dataclass(frozen=True, slots=True)
class _Locations:
    table: _Table
    frames: _Texts
    """JSON."""
    folded: _Texts
    """As part of a stack, the calls inlined there included."""

    @classmethod
    def of(cls, dictionaries: pa.StructArray, strings: _Strings, attributes: _Attributes) -> _Locations:
        table = _Table.of(dictionaries, "location_table")
        functions, function_objects, names = _functions(dictionaries, strings)
        mappings, mapping_objects = _mappings(dictionaries, strings, attributes)

        line_lists = field(table.values, "lines")
        offsets = list_offsets(line_lists)
        lines = flattened(line_lists)
        function = functions.find(field(lines, "function_index"), table.request_of[owners(offsets)])
        numbers = {name: nonzero_text(field(lines, name)) for name in ("line", "column")}
        line_objects = _merged(function_objects.take(function.at), json_object(len(lines), numbers))
        lines_ok = _all_ok(offsets, function.ok & function_objects.ok[function.at])

        mapping = mappings.find(field(table.values, "mapping_index"), table.request_of)
        owned, owned_ok = attributes.members(field(table.values, "attribute_indices"), table.request_of)
        addresses = field(table.values, "address")
        members = {
            "lines": json_lists(offsets, line_objects),
            "address": nonzero_text(addresses),
            "mapping": mapping_objects.take(mapping.at),
            **owned,
        }
        ok = lines_ok & mapping.ok & mapping_objects.ok[mapping.at] & owned_ok
        shown = _folded(offsets, _Texts(names, ok).take(function.at))
        hexadecimal = texts_of([f"0x{address:x}" for address in addresses.to_pylist()])
        folded = pc.if_else(pc.equal(shown, EMPTY_TEXT), hexadecimal, shown)
        return cls(table, _Texts(json_object(len(table.values), members), ok), _Texts(folded, ok))


def _merged(objects: pa.Array, others: pa.Array) -> pa.Array:
    """The members of two JSON objects as one object."""
    members = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(objects, 1, -1), pc.utf8_slice_codeunits(others, 1, -1), text(",")
    )
    return pc.binary_join_element_wise(text("{"), pc.ascii_trim(members, ","), text("}"), EMPTY_TEXT)


def _folded(offsets: npt.NDArray[np.int32], texts: pa.Array) -> pa.Array:
    """The texts of each list, the last first, separated by ``;``."""
    of = owners(offsets)
    backwards = offsets[of].astype(np.int64) + offsets[of + 1] - 1 - np.arange(len(texts))
    lists = pa.ListArray.from_arrays(pa.array(offsets), texts.take(pa.array(backwards)))
    return pc.binary_join(lists, text(";"))


@dataclass(frozen=True, slots=True)
class _Stacks:
    table: _Table
    frames: _Texts
    folded: _Texts

    @classmethod
    def of(cls, dictionaries: pa.StructArray, locations: _Locations) -> _Stacks:
        table = _Table.of(dictionaries, "stack_table")
        lists = field(table.values, "location_indices")
        offsets = list_offsets(lists)
        location = locations.table.find(flattened(lists), table.request_of[owners(offsets)])
        ok = _all_ok(offsets, location.ok & locations.frames.ok[location.at])
        frames = json_lists(offsets, locations.frames.take(location.at))
        return cls(table, _Texts(frames, ok), _Texts(_folded(offsets, locations.folded.take(location.at)), ok))


# --------------------------------------------------------------------------------------------------
# Samples.


def _flatten(requests: pa.RecordBatch, tenants: pa.Array) -> Flattened:
    """All samples of the requests as rows of PROFILE_SCHEMA. Counted, and rejected, are profiles."""
    profiles = Records.of(requests, "profiles", "profiles")
    dictionaries = requests.column("dictionary")
    strings = _Strings.of(dictionaries)
    attributes = _Attributes.of(dictionaries, strings)
    locations = _Locations.of(dictionaries, strings, attributes)
    stacks = _Stacks.of(dictionaries, locations)
    links = _Table.of(dictionaries, "link_table")

    shared, shared_ok = _profile_columns(profiles, strings, attributes)
    sample_lists = field(profiles.values, "samples")
    profile_of = owners(list_offsets(sample_lists))
    samples = profiles.parts(flattened(sample_lists), profile_of)
    request_of = samples.request_of
    stack = stacks.table.find(field(samples.values, "stack_index"), request_of)
    link = links.find(field(samples.values, "link_index"), request_of)
    own, own_ok = attributes.members(field(samples.values, "attribute_indices"), request_of)
    samples_ok = stack.ok & stacks.frames.ok[stack.at] & link.ok & own_ok
    link_ids_ok = ~(
        bad_optional_id(field(links.values, "trace_id"), TRACE_ID_BYTES)
        | bad_optional_id(field(links.values, "span_id"), SPAN_ID_BYTES)
    )
    offsets = list_offsets(sample_lists)
    checks = {
        "an attribute of the resource or scope has an index outside the dictionary": ~_context_ok(profiles),
        "an index points outside the dictionary": ~(shared_ok & _all_ok(offsets, samples_ok)),
        "a link has ids of the wrong length": ~_all_ok(offsets, link_ids_ok[link.at]),
        "profile_id must be empty or 16 bytes": bad_optional_id(
            field(profiles.values, "profile_id"), _PROFILE_ID_BYTES
        ),
    }
    accepted, rejected = profiles.accepted(checks)
    kept = ~np.logical_or.reduce(list(checks.values()))[profile_of]
    columns = {
        **{name: (column, profile_of[kept]) for name, column in shared.items()},
        **{name: (column, np.flatnonzero(kept)) for name, column in own.items()},
        "frames": (stacks.frames.texts, stack.at[kept]),
        "stack": (stacks.folded.texts, stack.at[kept]),
        "trace_id": (optional_id(field(links.values, "trace_id"), TRACE_ID_BYTES), link.at[kept]),
        "span_id": (optional_id(field(links.values, "span_id"), SPAN_ID_BYTES), link.at[kept]),
    }
    samples = samples.filter(kept)
    table = _table(samples, columns, tenants.take(pa.array(samples.request_of)))
    payloads = pc.greater(pc.binary_length(field(accepted.values, "original_payload")), pa.scalar(0, pa.int32()))
    with_payload = payloads.to_numpy(zero_copy_only=False).astype(bool)
    return Flattened(
        table=table,
        request_of_row=samples.request_of,
        request_of_record=profiles.request_of,
        rejected=rejected,
        truncated={"original payloads not kept, only their samples": accepted.request_of[with_payload]},
    )


def _context_ok(profiles: Records) -> Bools:
    """Which profiles are in a resource and a scope all of whose attributes could be resolved."""

    def ok(owners_of: pa.Array) -> Bools:
        lists = field(owners_of, "attributes")
        indexes = field(flattened(lists), "key_strindex").to_numpy(zero_copy_only=False)
        return _all_ok(list_offsets(lists), indexes != _UNRESOLVED)

    resources, scopes = field(profiles.resources, "resource"), field(profiles.scopes, "scope")
    return ok(resources)[profiles.resource_of] & ok(scopes)[profiles.scope_of]


def _profile_columns(
    profiles: Records, strings: _Strings, attributes: _Attributes
) -> tuple[dict[str, pa.Array], Bools]:
    """What the samples of a profile share, and which profiles have indexes of their own that point somewhere."""
    values, request_of = profiles.values, profiles.request_of
    columns: dict[str, pa.Array] = {}
    oks = []
    for kind in ("sample", "period"):
        for part, name in (("type", f"{kind}_type"), ("unit", f"{kind}_unit")):
            indexes = pc.fill_null(field(field(values, f"{kind}_type"), f"{part}_strindex"), pa.scalar(0, pa.int32()))
            found = strings.table.find(indexes, request_of)
            columns[name] = strings.texts(found)
            oks.append(found.ok)
    owned, owned_ok = attributes.members(field(values, "attribute_indices"), request_of)
    time = field(values, "time_unix_nano").to_numpy()
    columns |= {
        "profile_id": optional_id(field(values, "profile_id"), _PROFILE_ID_BYTES),
        "period": field(values, "period"),
        "started_at": timestamps(time),
        "time_unix_nano": pa.array(time.view(np.int64)),
        "duration_nano": field(values, "duration_nano").view(pa.int64()),
        "profile_attributes": pc.coalesce(owned["attributes"], text("{}")),
        "profile_attribute_units": owned["attribute_units"],
        "dropped_attributes_count": nonzero_text(field(values, "dropped_attributes_count")),
        "original_payload_format": quoted(null_if_empty(field(values, "original_payload_format"))),
    }
    return columns, np.logical_and.reduce([*oks, owned_ok])


_IN_REST: Final = (
    "attribute_units",
    "profile_attribute_units",
    "dropped_attributes_count",
    "original_payload_format",
)


def _table(samples: Records, shared: dict[str, tuple[pa.Array, Int64s]], tenants: pa.Array) -> pa.Table:
    """``shared``: columns by name, each with the position of the value of every sample."""
    rows = len(samples.values)
    context = samples.context([pair for pair in shared.values() if pa.types.is_string(pair[0].type)])
    taken = {name: column.take(pa.array(at)) for name, (column, at) in shared.items()}
    rest = {name: taken.pop(name) for name in _IN_REST}
    values, times = field(samples.values, "values"), field(samples.values, "timestamps_unix_nano")
    version = semconv.read(semconv.ALIASES["service_version"], context.resource_attributes)
    columns = {
        "tenant": tenants,
        **taken,
        "attributes": pc.coalesce(taken["attributes"], text("{}")),
        "value": pa.array(_totals(values, times)),
        "observed_values": json_lists(list_offsets(values), json_numbers(flattened(values))),
        "observed_unix_nanos": json_lists(list_offsets(times), json_numbers(flattened(times))),
        "service_version": version.take(context.to_resource),
        **context.columns,
        "otlp_rest": otlp_rest(rows, {**context.rest, **rest}),
    }
    hashes = content_hash(columns, _HASHED, context.canonical)
    columns["content_hash"] = tell_twins_apart(hashes, samples.request_of)
    return pa.Table.from_arrays([columns[name] for name in PROFILE_SCHEMA.names], schema=PROFILE_SCHEMA)


def _totals(values: pa.ListArray, times: pa.ListArray) -> Int64s:
    """The sum of each sample's values, at most what 64 bits hold; without values the number of its times."""
    offsets = list_offsets(values)
    totals = np.diff(list_offsets(times)).astype(np.int64)
    some = np.flatnonzero(np.diff(offsets))
    if len(some):
        found = flattened(values).to_numpy()
        sums = np.add.reduceat(found, offsets[some])
        about = np.add.reduceat(found.astype(np.float64), offsets[some])
        limits = np.iinfo(np.int64)
        several = np.diff(offsets)[some] > 1
        sums[several & (about >= 2.0**63)] = limits.max
        sums[several & (about < -(2.0**63))] = limits.min
        totals[some] = sums
    return totals


PROFILES: Final = Wire.of(ExportProfilesServiceRequest, _flatten, "profiles", _resolve, unread=())
