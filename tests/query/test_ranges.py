"""Ranges of time in which several traces are read together: all that is in them, little of what is between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, literal, select

from otel_diag.reader import within

DATABASE = create_engine("sqlite://")

DAY = 86_400 * 10**9
RANGES = st.lists(st.tuples(st.integers(0, 10 * DAY), st.integers(0, DAY)), min_size=1, max_size=60).map(
    lambda found: [(first, first + length) for first, length in found]
)


def lies_within(moment: int, ranges: list[tuple[int, int]]) -> bool:
    with DATABASE.connect() as connection:
        return bool(connection.execute(select(within(literal(moment), ranges))).scalar_one())


@given(RANGES, st.data())
def test_what_is_in_a_range_is_found(ranges: list[tuple[int, int]], data: st.DataObject) -> None:
    first, last = data.draw(st.sampled_from(ranges))
    assert lies_within(data.draw(st.integers(first, last)), ranges)


@given(RANGES)
def test_nothing_before_or_after_all_of_them_is(ranges: list[tuple[int, int]]) -> None:
    assert not lies_within(min(first for first, _ in ranges) - 1, ranges)
    assert not lies_within(max(last for _, last in ranges) + 1, ranges)


def test_a_long_gap_is_left_out_and_short_ones_are_not_named() -> None:
    morning, evening = [(n * 10**9, n * 10**9 + 10**8) for n in range(50)], [(DAY, DAY + 10**9)]
    assert not lies_within(DAY // 2, morning + evening)
    assert str(within(literal(0), morning + evening)).count("BETWEEN") == 3
    assert not lies_within(0, [])
