"""Bounds on what one record may hold: attributes too many are left out, values too long are cut, and both is told.

What is left out is added to the owner's ``dropped_attributes_count``, where OTLP gives it one; what is cut ends in a
mark that names its size. Works on requests as ptars lays them out, whatever their signal. As nearly always nothing
is too large, all it costs then is a look at the greatest length in each column.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from otel_diag.decode.columns import Int64s, flattened, list_offsets, owners

CUT_KEY: Final = "otel_diag.truncated"
"""Key of the mark in a key-value list that was cut."""

_CUT: Final = "[cut by otel-diag: "
_CUT_IN_BASE64: Final = tuple(base64.b64encode(b" " * shift + _CUT.encode())[4:-4].decode() for shift in range(3))
"""The same within base64, wherever in a group of three bytes it begins."""

_MAX_UINT32: Final = np.uint64(2**32 - 1)

_SERIALISED: Final = {"array_value": AnyValue, "kvlist_value": KeyValue, "value": AnyValue}
"""ptars leaves a message in bytes where its type comes a second time: what those bytes are, by the member they are
below."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``attributes`` of one span, event, link, resource, ...; ``value_bytes`` of one text, bytes, array or list."""

    attributes: int
    value_bytes: int


@dataclass(slots=True)
class Cuts:
    """What was too large: for each attribute left out, and each value cut, the index of its request."""

    limits: Limits
    attributes: list[Int64s] = field(default_factory=list)
    values: list[Int64s] = field(default_factory=list)

    def of_requests(self, count: int) -> list[dict[str, int]]:
        """For each of ``count`` requests what was done to it, in words, and how often."""
        words = {
            f"attributes dropped, beyond the first {self.limits.attributes}": self.attributes,
            f"values cut to {self.limits.value_bytes} bytes": self.values,
        }
        done: list[dict[str, int]] = [{} for _ in range(count)]
        for what, found in words.items():
            if found:
                for request, times in zip(*np.unique(np.concatenate(found), return_counts=True), strict=True):
                    done[request][what] = int(times)
        return done


def bounded(requests: pa.RecordBatch, limits: Limits) -> tuple[pa.RecordBatch, Cuts]:
    """The requests, one a row, within the limits."""
    cuts = Cuts(limits)
    rows = np.arange(requests.num_rows)
    columns = [_bounded(column, lambda: rows, cuts, None) for column in requests.columns]
    if not cuts.attributes and not cuts.values:
        return requests, cuts
    return pa.RecordBatch.from_arrays(columns, schema=requests.schema), cuts


def _bounded(column: pa.Array, request_of: Callable[[], Int64s], cuts: Cuts, serialised: Any) -> pa.Array:
    """The column, the very same where nothing is too large. ``serialised``: the message its bytes are, if any."""
    match column:
        case pa.StructArray():
            return _bounded_struct(column, request_of, cuts, serialised)
        case pa.ListArray():
            return _bounded_list(column, request_of, cuts, serialised)
        case pa.StringArray() | pa.BinaryArray():
            return _bounded_values(column, request_of, cuts, serialised)
        case _:
            return column


def _bounded_struct(column: pa.Array, request_of: Callable[[], Int64s], cuts: Cuts, serialised: Any) -> pa.Array:
    names = column.type.names
    old = [column.field(index) for index in range(len(names))]
    new = [
        _bounded(child, request_of, cuts, _SERIALISED.get(name, serialised if name == "values" else None))
        for name, child in zip(names, old, strict=True)
    ]
    if all(after is before for after, before in zip(new, old, strict=True)):
        return column
    if "attributes" in names and "dropped_attributes_count" in names:
        at, counter = names.index("attributes"), names.index("dropped_attributes_count")
        dropped = np.diff(list_offsets(old[at])) - np.diff(list_offsets(new[at]))
        counted = new[counter].to_numpy(zero_copy_only=False).astype(np.uint64) + dropped.astype(np.uint64)
        new[counter] = pa.array(np.minimum(counted, _MAX_UINT32), pa.uint32())
    return pa.StructArray.from_arrays(new, fields=list(column.type), mask=column.is_null())


def _bounded_list(column: pa.Array, request_of: Callable[[], Int64s], cuts: Cuts, serialised: Any) -> pa.Array:
    if not len(column.values):
        return column
    values = flattened(column)
    if serialised is not None and isinstance(values, pa.BinaryArray):
        return _bounded_items(column, values, request_of, cuts, serialised)
    if len(values) > cuts.limits.attributes and isinstance(values, pa.StructArray) and "key" in values.type.names:
        column = _first_attributes(column, request_of, cuts)
        values = flattened(column)
    new = _bounded(values, lambda: request_of()[owners(list_offsets(column))], cuts, serialised)
    if new is values:
        return column
    return pa.ListArray.from_arrays(
        pa.array(list_offsets(column)), new, type=column.type, mask=column.is_null() if column.null_count else None
    )


def _first_attributes(column: pa.Array, request_of: Callable[[], Int64s], cuts: Cuts) -> pa.Array:
    offsets = list_offsets(column)
    lengths = np.diff(offsets)
    if lengths.max() <= cuts.limits.attributes:
        return column
    values = flattened(column)
    within = np.arange(len(values)) - np.repeat(offsets[:-1], lengths) < cuts.limits.attributes
    cuts.attributes.append(request_of()[owners(offsets)[~within]])
    ends = np.cumsum(np.minimum(lengths, cuts.limits.attributes), dtype=np.int32)
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([np.zeros(1, np.int32), ends])),
        values.filter(pa.array(within)),
        type=column.type,
        mask=column.is_null() if column.null_count else None,
    )


def _bounded_values(column: pa.Array, request_of: Callable[[], Int64s], cuts: Cuts, serialised: Any) -> pa.Array:
    """Texts and bytes one by one."""
    limit = cuts.limits.value_bytes
    content = column.buffers()[2]
    if content is None or content.size <= limit:
        return column
    large = np.diff(_byte_offsets(column)) > limit
    if not large.any():
        return column
    cuts.values.append(request_of()[large])
    cut = [
        _cut(value.as_py(), limit) if serialised is None else _cut_message(serialised, value.as_py(), limit)
        for value in column.filter(pa.array(large))
    ]
    return pc.replace_with_mask(column, pa.array(large), pa.array(cut, column.type))


def _bounded_items(
    column: pa.Array, items: pa.Array, request_of: Callable[[], Int64s], cuts: Cuts, serialised: Any
) -> pa.Array:
    """Arrays and key-value lists, whose items are messages in bytes: as large as all of their items."""
    limit = cuts.limits.value_bytes
    if items.buffers()[2].size <= limit:
        return column
    large = np.diff(_byte_offsets(items)[list_offsets(column)]) > limit
    if not large.any():
        return column
    cuts.values.append(request_of()[large])
    lists = column.to_pylist()
    for index in large.nonzero()[0].tolist():
        lists[index] = _cut_items(serialised, lists[index], limit)
    return pa.array(lists, column.type)


def _byte_offsets(column: pa.Array) -> Any:
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]


# --------------------------------------------------------------------------------------------------
# One large value.


def _mark(size: int, unit: str) -> str:
    return f" {_CUT}{size} {unit}]"


def tells_cut(text: str) -> bool:
    """Whether a stored text, or JSON, holds the mark of a value that was cut."""
    return _CUT in text or ('{"$bytes"' in text and any(mark in text for mark in _CUT_IN_BASE64))


def _cut(value: Any, limit: int) -> Any:
    """The beginning of a text or of bytes, and the mark, together no longer than ``limit`` bytes."""
    if isinstance(value, str):
        encoded = value.encode()
        mark = _mark(len(encoded), "bytes")
        return encoded[: limit - len(mark)].decode(errors="ignore") + mark
    mark = _mark(len(value), "bytes")
    return value[: limit - len(mark)] + mark.encode()


def _cut_message(message: Any, serialised: bytes, limit: int) -> bytes:
    value = message.FromString(serialised)
    _shorten(value, limit)
    shortened: bytes = value.SerializeToString()
    return shortened


def _cut_items(message: Any, items: Sequence[bytes], limit: int) -> list[bytes]:
    values = (KeyValueList if message is KeyValue else ArrayValue)(values=map(message.FromString, items)).values
    _keep_first(values, limit)
    return [value.SerializeToString() for value in values]


def _shorten(value: Any, limit: int) -> None:
    """Cut an AnyValue or KeyValue in place. Nested no deeper than protobuf parses."""
    if isinstance(value, KeyValue):
        if len(value.key.encode()) > limit:
            value.key = _cut(value.key, limit)
        value = value.value
    kind = value.WhichOneof("value")
    if kind in ("string_value", "bytes_value"):
        if value.ByteSize() > limit:
            setattr(value, kind, _cut(getattr(value, kind), limit))
    elif kind in ("array_value", "kvlist_value"):
        _keep_first(getattr(value, kind).values, limit)


def _keep_first(values: Any, limit: int) -> None:
    """The first items that come to no more than ``limit`` bytes, a large one shortened, and a mark for the rest."""
    mark = AnyValue(string_value=_mark(len(values), "items").strip())
    room = limit - len(CUT_KEY) - mark.ByteSize() - _OVERHEAD
    for index, item in enumerate(values):
        if item.ByteSize() > room > _WORTH_SHORTENING:
            _shorten(item, room - _OVERHEAD)
        room -= item.ByteSize()
        if room < 0:
            del values[index:]
            values.append(KeyValue(key=CUT_KEY, value=mark) if isinstance(item, KeyValue) else mark)
            return


_OVERHEAD: Final = 32
"""More than the tags and lengths around one value."""

_WORTH_SHORTENING: Final = 256
"""Bytes; less would hardly hold more than the mark."""
