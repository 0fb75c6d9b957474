"""Lossless codec between OTLP attributes and JSON text.

| OTLP | JSON |
|---|---|
| string | string |
| int64 | integer |
| double | number with "." or "e"; else ``{"$double": "NaN"}`` (any NaN), ``"Infinity"`` or ``"-Infinity"`` |
| bool | true / false |
| bytes | ``{"$bytes": base64}`` |
| array | array |
| key-value list, and the attributes themselves | object, in the order of the wire |
| empty value | null |

A key that starts with ``$`` gets one more ``$``, so the forms above cannot be forged. Of a repeated key the first
value stands under the key; the later ones follow in ``"$duplicates": [[position, key, value], ...]`` (the key there
as it is written in an object). U+0000 is escaped as :func:`otel_diag.decode.columns.hide_nul` says, in keys and
values. The ``*_strindex`` fields belong to profiles and are ignored elsewhere, as OTLP prescribes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_diag.decode.columns import (
    EMPTY_TEXT,
    NO_TEXT,
    Int64s,
    concatenated,
    field,
    flattened,
    hide_nul,
    json_escaped,
    json_text,
    list_offsets,
    null_if_nothing,
    owners,
    show_nul,
    text,
    texts_of,
)

BYTES: Final = "$bytes"
DOUBLE: Final = "$double"
DUPLICATES: Final = "$duplicates"

_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


# --------------------------------------------------------------------------------------------------
# One value at a time: nested values, and the way back.


def _escaped_key(key: str) -> str:
    return hide_nul("$" + key if key.startswith("$") else key)


def _unescaped_key(key: str) -> str:
    return show_nul(key.removeprefix("$"))


def _double(value: float) -> object:
    if math.isfinite(value):
        return value
    return {DOUBLE: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _object(pairs: Iterable[KeyValue], canonical: bool) -> dict[str, object]:
    members: dict[str, object] = {}
    repeated: list[object] = []
    for position, pair in enumerate(sorted(pairs, key=lambda pair: pair.key) if canonical else pairs):
        key, value = _escaped_key(pair.key), _value(pair.value, canonical)
        if key in members:
            repeated.append([position, key, value])
        else:
            members[key] = value
    return {**members, DUPLICATES: repeated} if repeated else members


def _value(value: AnyValue, canonical: bool) -> object:
    kind = value.WhichOneof("value")
    match kind:
        case "string_value":
            return hide_nul(value.string_value)
        case "double_value":
            return _double(value.double_value)
        case "bytes_value":
            return {BYTES: base64.b64encode(value.bytes_value).decode()}
        case "array_value":
            return [_value(item, canonical) for item in value.array_value.values]
        case "kvlist_value":
            return _object(value.kvlist_value.values, canonical)
        case "int_value" | "bool_value":
            return getattr(value, kind)
        case _:
            return None


def otlp_value(value: object) -> dict[str, Any]:
    """A decoded JSON value as OTLP/JSON writes an AnyValue; ``{}`` for the empty value."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case str():
            return {"stringValue": show_nul(value)}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [otlp_value(item) for item in value]}}
        case dict():
            if BYTES in value:
                return {"bytesValue": value[BYTES]}
            if DOUBLE in value:
                return {"doubleValue": value[DOUBLE]}
            return {"kvlistValue": {"values": otlp_attributes(value)}}
        case _:
            raise TypeError(f"not a decoded JSON value: {type(value).__name__}")


def otlp_attributes(members: Mapping[str, object]) -> list[dict[str, Any]]:
    """A decoded JSON object of attributes as OTLP/JSON's list of key and value, duplicates back in their places."""
    pairs = [(key, value) for key, value in members.items() if key != DUPLICATES]
    repeated: Any = members.get(DUPLICATES, ())
    for position, key, value in repeated:
        pairs.insert(position, (key, value))
    return [{"key": _unescaped_key(key), "value": otlp_value(value)} for key, value in pairs]


def load_attributes(text: str) -> dict[str, Any]:
    """A JSON object of attributes for reading: plain keys, the first of duplicates, doubles as floats.

    Bytes stay ``{"$bytes": base64}``, and the escape of U+0000 stays: what is read here may be stored again.
    """
    members: dict[str, Any] = json.loads(text)
    return _plain_object(members) if "$" in text else members


def plain(value: Any) -> Any:
    """:func:`load_attributes` for a value that is parsed already."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        if BYTES in value:
            return value
        if DOUBLE in value:
            return _NON_FINITE[value[DOUBLE]]
        return _plain_object(value)
    return value


def _plain_object(members: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("$"): plain(value) for key, value in members.items() if key != DUPLICATES}


# --------------------------------------------------------------------------------------------------
# Whole columns.


class Texts(NamedTuple):
    """``sent``: JSON in the order of the wire. ``canonical``: as much in the order of the keys, not always JSON.

    The second is for hashing: attributes are a map, and whoever builds them from one (the Collector's log receivers do)
    sends them in another order the next time.
    """

    sent: pa.Array
    canonical: pa.Array


@dataclass(frozen=True, slots=True)
class FlatAttributes:
    """The attributes of many owners (spans, resources, ...), one below the other.

    ``offsets``: where each owner's begin; per attribute ``owners``: index of its owner, ``codes``: number of its key,
    ``values``: struct array. ``codes_by_key`` is in the order of the codes.
    """

    offsets: npt.NDArray[np.int32]
    owners: Int64s
    codes: Int64s
    codes_by_key: dict[str, int]
    values: pa.StructArray

    @classmethod
    def of(cls, lists: pa.ListArray) -> FlatAttributes:
        """From ptars' list<struct<key, value, ...>>, one list per owner."""
        pairs = flattened(lists)
        keys = field(pairs, "key").dictionary_encode()
        offsets = list_offsets(lists)
        return cls(
            offsets=offsets,
            owners=owners(offsets),
            codes=keys.indices.to_numpy().astype(np.int64),
            codes_by_key={key: code for code, key in enumerate(keys.dictionary.to_pylist())},
            values=field(pairs, "value"),
        )

    def json(self) -> pa.Array:
        """One JSON object per owner, in the order of the wire."""
        return self._as_sent(self._keys(), _Bodies.of(self.values))

    def texts(self) -> Texts:
        """:meth:`json`, and what is the same for the same attributes in another order."""
        keys, bodies = self._keys(), _Bodies.of(self.values)
        places = np.empty(len(keys), np.int64)
        places[[self.codes_by_key[key] for key in sorted(self.codes_by_key)]] = np.arange(len(keys))
        by_key = np.argsort(self.owners * len(keys) + places[self.codes], kind="stable")
        canonical = self._in_order(by_key, keys, bodies.canonical(self.values))
        return Texts(self._as_sent(keys, bodies), canonical)

    def _in_order(self, order: Int64s, keys: list[str], bodies: _Bodies) -> pa.Array:
        """Keys and values of each owner one after the other: an object without braces, its strings not closed."""
        openings = texts_of([f",{key}{quote}" for key in keys for quote in ("", '"')])
        fragments = np.empty(2 * len(order), np.int64)
        fragments[::2] = (self.codes * 2 + bodies.is_string)[order]
        fragments[1::2] = bodies.at[order] + len(openings)
        pool = pa.concat_arrays([openings, bodies.pool])
        lists = pa.ListArray.from_arrays(pa.array(self.offsets * np.int32(2)), pool.take(pa.array(fragments)))
        return pc.binary_join(lists, EMPTY_TEXT)

    def _as_sent(self, keys: list[str], bodies: _Bodies) -> pa.Array:
        """One JSON object per owner.

        Every object is a list of fragments, two an attribute and one to close, taken from one pool and joined in one
        go: each text is copied twice.
        """
        owner_count, count = len(self.offsets) - 1, len(self.codes)
        if not count:
            return pa.repeat(text("{}"), owner_count)
        is_string = bodies.is_string
        # What comes before a value: the end of the value before it, the key, and a quote before a string.
        openings = [end + key + quote for end in ("{", ",", '",') for key in keys for quote in ("", '"')]
        pool = pa.concat_arrays([texts_of([*openings, "{}", "}", '"}']), bodies.pool])
        begins = self.offsets[:-1][np.diff(self.offsets) > 0]
        before = np.ones(count, np.int64)
        before[1:] += is_string[:-1]
        before[begins] = 0
        nonempty = np.diff(self.offsets) > 0
        closing = np.zeros(owner_count, np.int64)
        closing[nonempty] = 1 + is_string[self.offsets[1:][nonempty] - 1]

        offsets = self.offsets.astype(np.int64) * 2 + np.arange(owner_count + 1)
        fragments = np.empty(offsets[-1], np.int64)
        at = np.arange(count) * 2 + self.owners
        fragments[at] = (before * len(keys) + self.codes) * 2 + is_string
        fragments[at + 1] = bodies.at + len(openings) + 3
        fragments[offsets[1:] - 1] = len(openings) + closing
        lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pool.take(pa.array(fragments)))
        return _with_duplicates(pc.binary_join(lists, EMPTY_TEXT), keys, self)

    def _keys(self) -> list[str]:
        """What stands before the values, by code."""
        return [json_text(_escaped_key(key)) + ":" for key in self.codes_by_key]


def json_objects(lists: pa.ListArray) -> pa.Array:
    """One JSON object a list of attributes, null for an empty one."""
    if not len(flattened(lists)):
        return pa.nulls(len(lists), pa.string())
    return null_if_nothing(FlatAttributes.of(lists).json())


def json_values(values: pa.StructArray) -> pa.Array:
    """The JSON text of each AnyValue; null where there is none, which the empty value (``null``) is not."""
    return _joined(values, _Bodies.of(values))


def value_texts(values: pa.StructArray) -> Texts:
    """:func:`json_values`, and what is the same for the same members in another order."""
    bodies = _Bodies.of(values)
    canonical = bodies.canonical(values)
    sent = _joined(values, bodies)
    return Texts(sent, sent if canonical is bodies else _joined(values, canonical))


def _joined(values: pa.StructArray, bodies: _Bodies) -> pa.Array:
    quotes = _CLOSINGS.take(pa.array(bodies.is_string))
    texts = bodies.pool.take(pa.array(bodies.at))
    return pc.if_else(values.is_valid(), concatenated(quotes, texts, quotes), NO_TEXT)


def json_numbers(numbers: pa.Array) -> pa.Array:
    """The JSON text of each integer or double as attributes write it; null stays null."""
    return _double_texts(numbers) if pa.types.is_floating(numbers.type) else _plain_texts(numbers)


_CLOSINGS: Final = texts_of(["", '"'])


class _Bodies(NamedTuple):
    """``pool``: JSON texts, strings without their quotes. For each AnyValue ``at``, its place in the pool, and
    ``is_string``, 1 if it is one."""

    pool: pa.Array
    at: Int64s
    is_string: npt.NDArray[np.int8]

    @classmethod
    def of(cls, values: pa.StructArray) -> _Bodies:
        rows = len(values)
        nothing = cls(texts_of(["null"]), np.zeros(rows, np.int64), np.zeros(rows, np.int8))
        return nothing._encoded(values, _ENCODERS)

    def canonical(self, values: pa.StructArray) -> _Bodies:
        """With the members of objects in the order of their keys; itself where there is no object."""
        encoders = {name: encode for name, encode in _CANONICAL_ENCODERS.items() if self._objects(field(values, name))}
        return self._encoded(values, encoders)

    def _objects(self, column: pa.Array) -> bool:
        """Whether there may be an object in a member of the values: encoding again in Python is for few."""
        if column.null_count == len(column):
            return False
        texts = self.pool.take(pa.array(self.at[column.is_valid().to_numpy(zero_copy_only=False)]))
        return bool(pc.any(pc.match_substring(texts, "{")).as_py())

    def _encoded(self, values: pa.StructArray, encoders: Mapping[str, Callable[[pa.Array], pa.Array]]) -> _Bodies:
        """With the texts of these members of the oneof, where a value has one."""
        pools, at, is_string = [self.pool], self.at.copy(), self.is_string.copy()
        filled = len(self.pool)
        for name, encode in encoders.items():
            column = field(values, name)
            if column.null_count == len(column):
                continue
            found = column.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
            pools.append(encode(column.drop_null()))
            at[found] = np.arange(filled, filled + len(found))
            filled += len(found)
            if name == "string_value":
                is_string[found] = 1
        return _Bodies(pa.concat_arrays(pools), at, is_string) if len(pools) > 1 else self


def _double_texts(column: pa.Array) -> pa.Array:
    texts = column.cast(pa.string())
    numbers = column.to_numpy(zero_copy_only=False)
    # Only what reads as an integer needs its ".0", and only what has no fraction can.
    whole = np.floor(numbers) == numbers
    if whole.any():
        found = texts.filter(pa.array(whole))
        whole[whole] = ~pc.match_substring_regex(found, "[.en]").to_numpy(zero_copy_only=False)
        texts = concatenated(texts, pc.if_else(pa.array(whole), text(".0"), EMPTY_TEXT))
    special = ~np.isfinite(numbers)
    if column.null_count:
        special &= column.is_valid().to_numpy(zero_copy_only=False)
    if not special.any():
        return texts
    written = [json_text(_double(value)) for value in numbers[special].tolist()]
    return pc.replace_with_mask(texts, pa.array(special), texts_of(written))


def _each(column: pa.Array, encode: Callable[[Any], object]) -> pa.Array:
    """Python for the rare kinds: one call per value."""
    return texts_of([json_text(encode(value)) for value in column.to_pylist()])


def _bytes_texts(column: pa.Array) -> pa.Array:
    return _each(column, lambda value: {BYTES: base64.b64encode(value).decode()})


def _array_texts(column: pa.Array, canonical: bool = False) -> pa.Array:
    return _each(column, lambda array: [_value(AnyValue.FromString(item), canonical) for item in array["values"]])


def _kvlist_texts(column: pa.Array, canonical: bool = False) -> pa.Array:
    return _each(column, lambda kvlist: _object(map(_key_value, kvlist["values"]), canonical))


def _key_value(item: bytes | dict[str, Any]) -> KeyValue:
    """ptars leaves a message in bytes where its type comes a second time, so one level later below a bare AnyValue."""
    if isinstance(item, bytes):
        pair: KeyValue = KeyValue.FromString(item)
        return pair
    return KeyValue(key=item["key"], value=AnyValue.FromString(item["value"] or b""))


def _plain_texts(column: pa.Array) -> pa.Array:
    return column.cast(pa.string())


_ENCODERS: Final[dict[str, Callable[[pa.Array], pa.Array]]] = {
    "string_value": json_escaped,
    "int_value": _plain_texts,
    "bool_value": _plain_texts,
    "double_value": _double_texts,
    "bytes_value": _bytes_texts,
    "array_value": _array_texts,
    "kvlist_value": _kvlist_texts,
}
"""Member of the value's oneof -> JSON text of a column without nulls; strings without their quotes."""

_CANONICAL_ENCODERS: Final = {
    "array_value": partial(_array_texts, canonical=True),
    "kvlist_value": partial(_kvlist_texts, canonical=True),
}


def _with_duplicates(objects: pa.Array, keys: list[str], flat: FlatAttributes) -> pa.Array:
    """Rewrite the objects of owners that repeat a key; usually there is none."""
    slots = flat.owners * len(keys) + flat.codes
    if (slots[1:] > slots[:-1]).all():  # the keys of all owners are in one order, as they often are
        return objects
    ordered = np.sort(slots)
    repeating = np.unique(ordered[1:][ordered[1:] == ordered[:-1]] // len(keys))
    if not len(repeating):
        return objects
    rewritten = [_object_with_duplicates(keys, flat, owner) for owner in repeating.tolist()]
    mask = np.zeros(len(objects), bool)
    mask[repeating] = True
    return pc.replace_with_mask(objects, pa.array(mask), texts_of(rewritten))


def _object_with_duplicates(keys: list[str], flat: FlatAttributes, owner: int) -> str:
    first, last = int(flat.offsets[owner]), int(flat.offsets[owner + 1])
    seen: set[int] = set()
    members: list[str] = []
    repeated: list[str] = []
    codes = flat.codes[first:last].tolist()
    values = json_values(flat.values.slice(first, last - first)).fill_null("null").to_pylist()
    for position, (code, value) in enumerate(zip(codes, values, strict=True)):
        key = keys[code]
        if code in seen:
            repeated.append(f"[{position},{key[:-1]},{value}]")
        else:
            seen.add(code)
            members.append(key + value)
    return "{" + ",".join([*members, f'"{DUPLICATES}":[{",".join(repeated)}]']) + "}"
