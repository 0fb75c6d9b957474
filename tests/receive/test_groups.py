"""Groups: what waits together is worked on together, in order, and side by side only where that pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

import pytest

from otel_diag.receive.groups import Groups, Rules

RULES: Rules[str] = Rules(size=len, limit=6, alike=str.isupper)


class Desk:
    """Takes down each group, and holds it until it is told."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.taken: list[Event] = [Event() for _ in range(10)]
        self.go = [Event() for _ in range(10)]

    def work(self, group: Sequence[str]) -> None:
        number = len(self.groups)
        self.groups.append(list(group))
        self.taken[number].set()
        assert self.go[number].wait(20)
        if "bug" in group:
            raise RuntimeError("a bug")

    def open(self) -> None:
        for event in self.go:
            event.set()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.open()


def test_what_waits_meanwhile_makes_up_the_next_group_of_alike_ones_up_to_the_limit(desk: Desk) -> None:
    groups = Groups("test", desk.work, RULES)
    groups.put(["a"])
    assert desk.taken[0].wait(20)
    groups.put(["b", "cc", "ddd", "e", "F", "larger than any"])
    desk.open()
    groups.close()
    assert desk.groups == [["a"], ["b", "cc", "ddd"], ["e"], ["F"], ["larger than any"]]


def test_the_next_group_starts_meanwhile_once_as_much_waits(desk: Desk) -> None:
    groups = Groups("test", desk.work, RULES, places=2)
    groups.put(["aaa"])
    assert desk.taken[0].wait(20)
    groups.put(["bb"])
    assert not desk.taken[1].wait(0.05)
    groups.put(["c"])
    assert desk.taken[1].wait(20)
    groups.put(["dddddd"])
    assert not desk.taken[2].wait(0.05)
    desk.go[1].set()
    assert desk.taken[2].wait(20)
    desk.open()
    groups.close()
    assert desk.groups == [["aaa"], ["bb", "c"], ["dddddd"]]


def test_little_is_not_enough_for_a_second_group(desk: Desk) -> None:
    groups = Groups("test", desk.work, replace(RULES, enough=3), places=2)
    groups.put(["a"])
    assert desk.taken[0].wait(20)
    groups.put(["bb"])
    assert not desk.taken[1].wait(0.05)
    groups.put(["c"])
    assert desk.taken[1].wait(20)
    desk.open()
    groups.close()
    assert desk.groups == [["a"], ["bb", "c"]]


def test_an_error_nobody_foresaw_costs_no_place(desk: Desk) -> None:
    desk.open()
    groups = Groups("test", desk.work, RULES, places=2)
    for _ in range(4):
        groups.put(["bug"])
    groups.put(["a"])
    groups.close()
    assert desk.groups[-1][-1] == "a"
