"""Error messages as templates, and which of them are new, gone or changed between two windows."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.analyse.templates import (
    ANY,
    LONGEST,
    Errors,
    common_template,
    counted,
    error_changes,
    error_template,
    merged,
)

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("job 17 of 0xff at 'x'", "job <*> of <*> at <*>"),
        ("connection refused: modal:8000", "connection refused: modal:<*>"),
        ("10.0.0.1:8080 refused", "<*> refused"),
        ("[fe80::1]:443 down since 12:30:45", "<*> down since <*>"),
        ("POST https://router.internal/infer?id=7 failed", "POST <*> failed"),
        ("cannot open /var/lib/x/a.txt: No such file", "cannot open <*>: No such file"),
        ("cannot open C:\\models\\a.bin", "cannot open <*>"),
        ("prompt file prompts/17.txt does not exist", "prompt file prompts/<*>.txt does not exist"),
        (
            "request 3fa85f64-5717-4562-b3fc-2c963f66afa6 failed at 2026-01-05T12:00:00.123Z",
            "request <*> failed at <*>",
        ),
        ("container ta-01JABCDEF9XYZ lost", "container <*> lost"),
        ("sha 8f14e45fce of worker-3", "sha <*> of worker-<*>"),
        ("no answer within 30.5s, \n\t after 3 tries", "no answer within <*>s, after <*> tries"),
        ("it's 5 o'clock and 'a b'", "it's <*> o'clock and <*>"),
        # What says which error it is stays.
        ("status code 503 from router 7", "status code 503 from router <*>"),
        ("HTTP 429 Too Many Requests", "HTTP 429 Too Many Requests"),
        ("Client error '404 Not Found' for url 'http://x/1'", "Client error '404 Not Found' for url <*>"),
        ("500 Server Error: oops for url: http://x", "500 Server Error: oops for url: <*>"),
        ("500 rows failed", "<*> rows failed"),
        ("model llama3.2-1b not found", "model llama3.2-1b not found"),
        ("std::bad_alloc", "std::bad_alloc"),
        ("   ", None),
        ("", None),
        (None, None),
    ],
)
def test_what_varies_is_replaced_and_what_tells_errors_apart_stays(message: str | None, template: str | None) -> None:
    assert error_template(message) == template


@given(st.text(max_size=400))
def test_a_template_is_one_short_line_and_its_own_template(message: str) -> None:
    template = error_template(message)
    if template is not None:
        assert len(template) <= LONGEST
        assert len(template.splitlines()) <= 1
        assert common_template(message, message) == template


def test_a_word_with_many_values_is_a_parameter_and_one_with_few_is_not() -> None:
    models = [f"model {name} not found" for name in ("alpha", "beta", "gamma", "delta")]
    kept = ["connection refused by peer", "connection reset by peer", "connection closed by peer"]
    general = merged([*models, *kept])
    assert {general[text] for text in models} == {"model <*> not found"}
    assert [general[text] for text in kept] == kept
    assert [merged(models[:3])[text] for text in models[:3]] == models[:3]


def test_two_parameters_are_found_and_the_word_between_them_is_kept() -> None:
    texts = [
        f"user {user} could not {verb} bucket {bucket} now"
        for verb in ("read", "write")
        for user, bucket in zip(("ann", "bob", "cid", "dan"), ("red", "tan", "sky", "sea"), strict=True)
    ]
    assert set(merged(texts).values()) == {f"user <*> could not {verb} bucket <*> now" for verb in ("read", "write")}


@given(st.permutations([f"a {w} b {v}" for w in "mnopq" for v in "xyzuv"] + ["one", "two words", "a b c d e f"]))
def test_merging_does_not_depend_on_the_order(texts: list[str]) -> None:
    assert merged(texts) == merged(sorted(texts))


def test_short_messages_are_not_merged_into_nothing() -> None:
    words = ["boom", "bang", "crash", "oops", "a b", "a c", "a d", "a e"]
    assert merged(words) == {word: word for word in words}


def test_messages_counted_together_share_what_they_have_in_common() -> None:
    assert common_template("bad node a at 1", "bad node f at 2") == "bad node <*> at <*>"
    assert common_template("one two", "one") == "one two"


def errors(**counts: int) -> list[Errors]:
    return [
        Errors(text.replace("_", " "), count, NOON, NOON + timedelta(minutes=5), (n,))
        for n, (text, count) in enumerate(counts.items())
    ]


def test_new_gone_and_changed() -> None:
    here, there = counted(errors(disk_full=6, no_slot=80, refused=30), errors(no_slot=5, lost=7, refused=28))
    changes = error_changes(here, there, 1_000, 1_000)
    assert [(one.template, one.count, one.first_seen, one.example_ids) for one in changes.new] == [
        ("disk full", 6, NOON, [0])
    ]
    assert [(one.template, one.count_before, one.last_seen) for one in changes.gone] == [
        ("lost", 7, NOON + timedelta(minutes=5))
    ]
    assert [(one.template, one.count, one.count_before, one.rate) for one in changes.changed] == [
        ("no slot", 80, 5, 0.08)
    ]


def test_small_numbers_are_neither_new_nor_gone() -> None:
    here, there = counted(errors(disk_full=4), errors(lost=4))
    changes = error_changes(here, there, 1_000, 1_000)
    assert (changes.new, changes.gone, changes.changed) == ([], [], [])


def test_more_traffic_is_no_change() -> None:
    here, there = counted(errors(refused=100, odd=5), errors(refused=10))
    changes = error_changes(here, there, 10_000, 1_000)
    assert (changes.new, changes.changed) == ([], [])
    assert error_changes(here, there, 10_000, 0).new == []


def test_the_same_error_with_another_parameter_is_not_new() -> None:
    names = ["ann", "bob", "cid", "dan"]
    before = [Errors(f"user {name} is unknown", 5, NOON, NOON) for name in names]
    now = [Errors("user eve is unknown", 20, NOON, NOON)]
    here, there = counted(now, before)
    assert here.keys() == there.keys() == {f"user {ANY} is unknown"}
    assert error_changes(here, there, 100, 100).new == []


def test_windows_of_one_kind_do_not_differ() -> None:
    rng = random.Random(3)
    for _ in range(50):
        windows = [{f"error_{name}": rng.randrange(20, 40) for name in "abcdefgh"} for _ in range(2)]
        here, there = counted(errors(**windows[0]), errors(**windows[1]))
        changes = error_changes(here, there, 1_000, 1_000)
        assert (changes.new, changes.gone) == ([], [])
        assert len(changes.changed) <= 1
