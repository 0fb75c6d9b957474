"""What the decoders of all signals share: several requests in, one table, and what became of each request.

Decoding has a fixed cost of milliseconds a call (some hundred small Arrow kernels), so requests that wait together
are decoded together. protobuf (upb) parses each first and writes its own bytes again: it rejects garbage and leaves
ptars only canonical input, because ptars panics on some malformed lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import ptars
import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from otel_diag.decode.bounds import Limits, bounded
from otel_diag.decode.columns import Int64s
from otel_diag.decode.utf8 import replace_invalid_utf8
from otel_diag.errors import BadInput

PROFILES_ONLY: Final = frozenset({"key_strindex", "string_value_strindex"})
"""Fields of attributes that only profiles use."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of one request.

    ``batch``: the accepted records in wire order, in their signal's schema. ``records`` counts all records of the
    request, ``reasons`` those left out, by reason. ``sanitised``: texts whose invalid UTF-8 became U+FFFD.
    ``truncated``: what was too large and what was done to it, and how often. ``bytes``: what the batch takes in memory,
    as its share of what was decoded with it. ``noun``: what a record is called, in the plural. ``told``: the spans that
    lines in log records tell of; its own batch is then to be stored too.
    """

    batch: pa.Table
    records: int
    reasons: dict[str, int]
    sanitised: int = 0
    truncated: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    noun: str = "spans"
    told: Decoded | None = None

    @property
    def rejected(self) -> int:
        return sum(self.reasons.values())

    @property
    def message(self) -> str:
        """English, for partial success; empty when there is nothing to say."""
        parts = [f"{count} of {self.records} {self.noun} rejected: {reason}" for reason, count in self.reasons.items()]
        if self.sanitised:
            parts.append(f"invalid UTF-8 in {self.sanitised} texts was replaced by U+FFFD")
        parts += [f"{count} {what}" for what, count in self.truncated.items()]
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Flattened:
    """Several requests as one table. ``request_of_row`` and ``request_of_record`` give the index of the request that
    each accepted row, each record of the wire came in, ascending; ``rejected`` that of each record left out, by
    reason; ``truncated`` that of each accepted record which is not kept whole, by what became of it."""

    table: pa.Table
    request_of_row: Int64s
    request_of_record: Int64s
    rejected: Mapping[str, Int64s]
    truncated: Mapping[str, Int64s] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wire:
    """One signal's export request: its message and how its columns become rows."""

    message: type[Message]
    handler: Any
    """ptars' reader of the message."""
    flatten: Callable[[pa.RecordBatch, pa.Array], Flattened]
    """One row a request, as ptars has it, and the tenant of each. Raises BadInput."""
    noun: str
    prepare: Callable[[Any], None] | None
    """Changes a parsed request before ptars reads it. Raises BadInput."""

    @classmethod
    def of(
        cls,
        message: type[Message],
        flatten: Callable[[pa.RecordBatch, pa.Array], Flattened],
        noun: str,
        prepare: Callable[[Any], None] | None = None,
        unread: Collection[str] = PROFILES_ONLY,
    ) -> Wire:
        """``unread``: names of fields that ``flatten`` does not look at, so that ptars makes no columns of them."""
        descriptor = _without(unread, message.DESCRIPTOR)
        handler = ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)
        return cls(message, handler, flatten, noun, prepare)

    def decode(
        self, payloads: Sequence[bytes], tenants: Sequence[str], limits: Limits | None = None
    ) -> list[Decoded | BadInput]:
        """What became of each request; a bad one does not hurt the others. Without ``limits`` nothing is cut."""
        outcomes: list[Decoded | BadInput | None] = [None] * len(payloads)
        canonical: list[bytes] = []
        sanitised: list[int] = []
        good: list[int] = []
        for position, payload in enumerate(payloads):
            try:
                parsed, repaired = self._canonical(payload)
            except BadInput as error:
                outcomes[position] = error
                continue
            canonical.append(parsed)
            sanitised.append(repaired)
            good.append(position)
        decoded = self._decode_canonical(canonical, [tenants[position] for position in good], sanitised, limits)
        for position, outcome in zip(good, decoded, strict=True):
            outcomes[position] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def decode_one(self, payload: bytes, tenant: str) -> Decoded:
        """One request. Raises BadInput."""
        outcome = self.decode([payload], [tenant])[0]
        if isinstance(outcome, BadInput):
            raise outcome
        return outcome

    def _canonical(self, payload: bytes) -> tuple[bytes, int]:
        """The request as upb writes it, and how many of its texts were repaired."""
        sanitised = 0
        try:
            message = self.message.FromString(payload)
        except DecodeError as error:
            repaired = replace_invalid_utf8(payload, self.message.DESCRIPTOR)
            if repaired is None:
                raise BadInput(f"not an {self.message.DESCRIPTOR.name}: {error}") from error
            payload, sanitised = repaired
            message = self.message.FromString(payload)
        if self.prepare is not None:
            self.prepare(message)
        return message.SerializeToString(), sanitised

    def _decode_canonical(
        self, payloads: Sequence[bytes], tenants: Sequence[str], sanitised: Sequence[int], limits: Limits | None
    ) -> list[Decoded | BadInput]:
        if not payloads:
            return []
        requests = self.handler.list_to_record_batch(list(payloads))
        truncated: Sequence[dict[str, int]] = [{}] * len(payloads)
        if limits is not None:
            requests, cuts = bounded(requests, limits)
            truncated = cuts.of_requests(len(payloads))
        try:
            flat = self.flatten(requests, pa.array(tenants, pa.string()))
        except BadInput as error:
            if len(payloads) == 1:
                return [error]
            alone = [
                self._decode_canonical([payload], [tenant], [repaired], limits)
                for payload, tenant, repaired in zip(payloads, tenants, sanitised, strict=True)
            ]
            return [outcome for outcomes in alone for outcome in outcomes]
        return self._split(flat, sanitised, truncated)

    def _split(
        self, flat: Flattened, sanitised: Sequence[int], truncated: Sequence[dict[str, int]]
    ) -> list[Decoded | BadInput]:
        count = len(sanitised)
        ends = np.searchsorted(flat.request_of_row, np.arange(count), side="right").tolist()
        records = np.bincount(flat.request_of_record, minlength=count).tolist()
        rejected = {reason: np.bincount(of, minlength=count).tolist() for reason, of in flat.rejected.items()}
        not_whole = {what: np.bincount(of, minlength=count).tolist() for what, of in flat.truncated.items()}
        # Asked of every slice, a quarter of a microsecond a span.
        row_bytes = flat.table.get_total_buffer_size() / max(flat.table.num_rows, 1)
        return [
            Decoded(
                batch=flat.table.slice(begin, end - begin),
                records=records[request],
                reasons={reason: counts[request] for reason, counts in rejected.items() if counts[request]},
                sanitised=sanitised[request],
                truncated=truncated[request]
                | {what: counts[request] for what, counts in not_whole.items() if counts[request]},
                bytes=round((end - begin) * row_bytes),
                noun=self.noun,
            )
            for request, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]


def _without(names: Collection[str], descriptor: Descriptor) -> Descriptor:
    """The same message with fields of these names unknown in it, and in the messages it is made of."""
    pool = DescriptorPool()
    added = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        reduced = FileDescriptorProto()
        file.CopyToProto(reduced)
        for message in reduced.message_type:
            fields = [field for field in message.field if field.name not in names]
            del message.field[:]
            message.field.extend(fields)
        pool.Add(reduced)

    add(descriptor.file)
    return pool.FindMessageTypeByName(descriptor.full_name)
