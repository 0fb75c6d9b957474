"""Whatever a body is, it is unpacked within its limit or refused. OTEL_DIAG_FUZZ_EXAMPLES says how many are tried."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from otel_diag.errors import BadInput
from otel_diag.receive.limits import gunzip
from tests.conftest import fuzzed

LIMIT = 1000

members = st.lists(
    st.binary(max_size=600).map(lambda content: gzip.compress(content, mtime=0))
    | st.integers(0, 3000).map(lambda size: gzip.compress(bytes(size), mtime=0)),
    max_size=4,
).map(b"".join)


def unpack_or_refuse(body: bytes) -> None:
    try:
        assert len(gunzip(body, LIMIT)) <= LIMIT
    except BadInput:
        return


@fuzzed
@given(st.binary(max_size=100))
def test_arbitrary_bodies(body: bytes) -> None:
    unpack_or_refuse(body)


@fuzzed
@given(members, st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 255)), max_size=3), st.integers(0, 2**12))
def test_damaged_and_cut_bodies(body: bytes, damage: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(body)
    for position, byte in damage:
        if damaged:
            damaged[position % len(damaged)] = byte
    unpack_or_refuse(bytes(damaged[:end]))
