"""Small vectorised helpers over Arrow text and binary columns."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ESCAPE: Final = "\u241b"
_NUL_MARK: Final = "\u2400"
_ESCAPE_END: Final = _ESCAPE.encode()[-1]
"""Other characters end with this byte too: a suspicion, no proof."""

NO_TEXT: Final = pa.scalar(None, pa.string())
EMPTY_TEXT: Final = pa.scalar("", pa.string())
FALSE: Final = pa.scalar(False, pa.bool_())
_COMMA: Final = pa.scalar(",", pa.string())


@lru_cache(maxsize=256)
def text(value: str) -> pa.Scalar:
    """A typed scalar, made once: given a bare Python value, pyarrow infers its type in every call, at 50 us each."""
    return pa.scalar(value, pa.string())


def texts_of(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


_NOTHING: Final = texts_of(["{}", "[]"])


def hide_nul(text: str) -> str:
    """Make text storable everywhere: U+0000 becomes ``␛␀``, and ``␛`` itself ``␛␛``. :func:`show_nul` undoes it.

    PostgreSQL can store U+0000 neither in text nor in JSON that is read later.
    """
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ESCAPE * 2).replace("\0", _ESCAPE + _NUL_MARK)


def show_nul(text: str) -> str:
    if _ESCAPE not in text:
        return text
    parts = text.split(_ESCAPE * 2)
    return _ESCAPE.join(part.replace(_ESCAPE + _NUL_MARK, "\0") for part in parts)


def json_text(value: object) -> str:
    """Compact JSON; the caller has replaced NaN and Infinity."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _text_bytes(texts: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """The offsets of each text, and the bytes they point into."""
    _, offsets, data = texts.buffers()
    if data is None:
        return np.zeros(len(texts) + 1, np.int32), np.zeros(0, np.uint8)
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return places, np.frombuffer(data, np.uint8)


def _rewritten(
    texts: pa.Array, suspects: Callable[[npt.NDArray[np.uint8]], Bools], rewrite: Callable[[str], str]
) -> pa.Array:
    """Apply a Python function to the few texts with a suspicious byte; the rest is not touched.

    One pass over all bytes at once instead of a regular expression a row: nearly always there is nothing.
    """
    offsets, data = _text_bytes(texts)
    found = np.flatnonzero(suspects(data[offsets[0] : offsets[-1]]))
    if not len(found):
        return texts
    rows = np.unique(np.searchsorted(offsets, found + offsets[0], side="right") - 1)
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    changed = [None if text is None else rewrite(text) for text in texts.take(pa.array(rows)).to_pylist()]
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(changed, texts.type))


def storable(texts: pa.Array) -> pa.Array:
    """:func:`hide_nul` over a column."""
    return _rewritten(texts, lambda data: (data == 0) | (data == _ESCAPE_END), hide_nul)


def json_escaped(texts: pa.Array) -> pa.Array:
    """The inside of a JSON string, without its quotes."""
    return _rewritten(texts, _special_in_json, lambda text: json_text(hide_nul(text))[1:-1])


def _special_in_json(data: npt.NDArray[np.uint8]) -> Bools:
    special: Bools = (data < 0x20) | (data == ord('"')) | (data == ord("\\")) | (data == _ESCAPE_END)
    return special


def concatenated(*parts: pa.Array | str) -> pa.Array:
    """Row by row; null where any part is null."""
    typed = [text(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*typed, EMPTY_TEXT)


def quoted(texts: pa.Array) -> pa.Array:
    return concatenated('"', json_escaped(texts), '"')


def null_if_empty(texts: pa.Array) -> pa.Array:
    offsets, _ = _text_bytes(texts)
    if offsets[0] == offsets[-1]:
        return pa.nulls(len(texts), pa.string())
    if (offsets[1:] > offsets[:-1]).all():
        return texts
    return pc.if_else(pc.equal(texts, EMPTY_TEXT), NO_TEXT, texts)


def nonzero_text(numbers: pa.Array) -> pa.Array:
    """Decimal text, null for zero."""
    if not numbers.null_count and not numbers.to_numpy().any():
        return pa.nulls(len(numbers), pa.string())
    return pc.if_else(pc.equal(numbers, pa.scalar(0, numbers.type)), NO_TEXT, numbers.cast(pa.string()))


def hex_text(ids: pa.Array) -> pa.Array:
    """Lower-case hex of each binary value, whatever its length. No nulls."""
    offsets, data = _text_bytes(ids)
    data = data[offsets[0] : offsets[-1]]
    return pa.StringArray.from_buffers(
        len(ids), pa.py_buffer((offsets - offsets[0]) * np.int32(2)), pa.py_buffer(binascii.hexlify(data.data))
    )


def field(structs: pa.StructArray, name: str) -> pa.Array:
    """A member of a struct column; null where the struct is."""
    # The kernel takes ten times as long as the plain accessor, which ignores the validity of the struct.
    return pc.struct_field(structs, name) if structs.null_count else structs.field(name)


def flattened(lists: pa.ListArray) -> pa.Array:
    """``lists.flatten()``, without its kernel where no list is null."""
    if lists.null_count:
        return lists.flatten()
    ends = np.asarray(lists.offsets)
    return lists.values.slice(ends[0], ends[-1] - ends[0])


def list_offsets(lists: pa.Array) -> npt.NDArray[np.int32]:
    """Offsets into ``flattened(lists)``; a null list counts as empty."""
    if not lists.null_count:
        ends = np.asarray(lists.offsets, np.int32)
        offsets: npt.NDArray[np.int32] = ends - ends[0]
        return offsets
    lengths = pc.fill_null(pc.list_value_length(lists), pa.scalar(0, pa.int32())).to_numpy(zero_copy_only=False)
    return np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])


def owners(offsets: npt.NDArray[np.int32]) -> Int64s:
    """For every flattened value the index of the list it came from."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def joined(offsets: npt.NDArray[np.int32], texts: pa.Array, opening: str, closing: str) -> pa.Array:
    """The texts of each list, separated by commas, in brackets."""
    lists = pa.ListArray.from_arrays(pa.array(offsets), texts)
    return concatenated(opening, pc.binary_join(lists, _COMMA), closing)


def json_object(rows: int, members: dict[str, pa.Array]) -> pa.Array:
    """One JSON object a row from columns of JSON text; a member that is null is left out, '{}' when all are."""
    members = {key: column for key, column in members.items() if column.null_count < len(column)}
    if not members:
        return pa.repeat(text("{}"), rows)
    # pyarrow's null_handling="skip" loses rows in which everything is null, hence the commas by hand.
    texts = [pc.fill_null(concatenated(f'"{key}":', column, ","), EMPTY_TEXT) for key, column in members.items()]
    return concatenated("{", pc.ascii_rtrim(concatenated(*texts), ","), "}")


def json_object_or_null(rows: int, members: dict[str, pa.Array]) -> pa.Array:
    """:func:`json_object`, null where all members are."""
    if all(column.null_count == len(column) for column in members.values()):
        return pa.nulls(rows, pa.string())
    return null_if_nothing(json_object(rows, members))


def json_lists(offsets: npt.NDArray[np.int32], texts: pa.Array) -> pa.Array:
    """A JSON array of the texts of each list, null for an empty one."""
    empty = pa.array(offsets[1:] == offsets[:-1])
    return pc.if_else(empty, NO_TEXT, joined(offsets, texts, "[", "]"))


def null_if_nothing(objects: pa.Array) -> pa.Array:
    """JSON text, null where it is an empty object or array."""
    return pc.if_else(pc.is_in(objects, _NOTHING), NO_TEXT, objects)


def take(column: pa.Array, rows: pa.Array) -> pa.Array:
    """The value at each of these indexes, with little ado for a column of nulls, as many are."""
    return pa.nulls(len(rows), column.type) if column.null_count == len(column) else column.take(rows)
