"""Requests are bounded before anything is decoded."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from otel_diag.errors import BadInput, Transient
from otel_diag.receive.limits import Budget, TooLarge, gunzip

LIMIT = 100_000
GZIP = gzip.compress(b"abc")


@pytest.mark.parametrize("sizes", [[LIMIT], [LIMIT - 1, 1], [0, LIMIT, 0]])
def test_a_body_that_just_fits(sizes: list[int]) -> None:
    assert len(gunzip(b"".join(gzip.compress(bytes(size)) for size in sizes), LIMIT)) == LIMIT


@pytest.mark.parametrize("sizes", [[LIMIT + 1], [LIMIT, 1], [1] * (LIMIT // 500) + [LIMIT]])
def test_a_body_one_byte_too_large(sizes: list[int]) -> None:
    with pytest.raises(TooLarge):
        gunzip(b"".join(gzip.compress(bytes(size)) for size in sizes), LIMIT)


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(500 * LIMIT))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        gunzip(bomb, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * LIMIT + len(bomb)


@pytest.mark.parametrize("body", [b"x", GZIP[:-1], GZIP + b"trailing"], ids=["nothing", "cut", "trailing"])
def test_what_is_not_gzip(body: bytes) -> None:
    with pytest.raises(BadInput):
        gunzip(body, LIMIT)


def test_members_without_end_are_refused_at_once() -> None:
    with pytest.raises(BadInput, match="more than 1000 members"):
        gunzip(gzip.compress(b"") * 500_000, LIMIT)


def test_a_budget_lets_a_large_request_in_only_alone() -> None:
    budget = Budget(10)
    with budget.spend(50), pytest.raises(Transient), budget.spend(1):
        pass
    with budget.spend(6), budget.spend(4), pytest.raises(Transient), budget.spend(1):
        pass
    with budget.spend(10):
        pass


def test_requests_pile_up_when_several_stay_not_when_many_pass() -> None:
    now = 0.0
    budget = Budget(1_000, clock=lambda: now)
    for _ in range(300):  # three seconds of a sender that awaits each answer
        with budget.spend(10):
            now += 0.009
        now += 0.001
    assert 0.8 < budget.mean_requests < 1
    with budget.spend(10), budget.spend(10), budget.spend(10):
        now += 3.0
        assert 2.8 < budget.mean_requests < 3
    now += 0.01
    assert budget.mean_requests > 2, "an instant without requests is no rest"
    now += 3.0
    assert budget.mean_requests < 0.2
