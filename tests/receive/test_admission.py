"""Who is let in, at the edges of each bound."""

from __future__ import annotations

import pytest

from otel_diag.errors import Transient
from otel_diag.receive.admission import Quota, QuotaExceeded, Room, Slots


def test_a_quota_is_a_second_s_worth_that_fills_again() -> None:
    now = [100.0]
    quota = Quota(10, clock=lambda: now[0])
    quota.admit("a")
    quota.charge("a", 9)
    quota.admit("a")
    quota.charge("a", 26)  # known only once decoded: 25 are owed
    with pytest.raises(QuotaExceeded) as refused:
        quota.admit("a")
    assert refused.value.retry_seconds == pytest.approx(2.6)
    quota.admit("b")
    now[0] += 2.4
    with pytest.raises(QuotaExceeded):
        quota.admit("a")
    now[0] += refused.value.retry_seconds - 2.4
    quota.admit("a")
    now[0] += 1_000
    quota.charge("a", 10)
    with pytest.raises(QuotaExceeded):
        quota.admit("a")


def test_no_quota_admits_everything() -> None:
    quota = Quota(0)
    quota.charge("a", 10**9)
    quota.admit("a")


def test_room_is_shared_and_given_back() -> None:
    room = Room(10)
    with room.hold() as one:
        one(50)  # alone, a body may be of any size
        one(50)
        with room.hold() as other, pytest.raises(Transient):
            other(1)
    with room.hold() as one, room.hold() as other:
        one(6)
        other(4)
        with pytest.raises(Transient):
            one(1)
    with room.hold() as one:
        one(11)


def test_slots_are_given_back() -> None:
    slots = Slots(1)
    for _ in range(2):
        with slots.one(), pytest.raises(Transient), slots.one():
            pass
