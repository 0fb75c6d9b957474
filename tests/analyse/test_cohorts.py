"""What failed executions have that healthy ones have not: found where it is, and nothing claimed where it is not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_diag.analyse.cohorts import Traits, distinguishing, joined, traits_of_execution, traits_of_span, unusual
from otel_diag.analyse.significance import at_least, other_rate, same_distribution, threshold


def one(number: int, **attributes: object) -> Traits:
    """An execution with an id of its own, on one of three hosts, and what is given."""
    own = {"request.id": f"r-{number}", "db.rows": number * 7 % 50, **attributes}
    span = traits_of_span("router", "1.0", own, {"host.name": f"host-{number % 3}"})
    return joined([traits_of_execution({"model_id": "m", "region": f"region-{number % 2}"}), span])


def many(count: int, first: int = 0, **attributes: object) -> list[Traits]:
    return [one(first + number, **attributes) for number in range(count)]


def test_the_value_that_the_failures_share_is_named_with_its_figures() -> None:
    failed = many(40, **{"router.provider": "p2"})
    healthy = [*many(150, 40, **{"router.provider": "p1"}), *many(10, 190, **{"router.provider": "p2"})]
    (found,) = distinguishing(failed, healthy)
    assert (found.service, found.attribute, found.value) == ("router", "router.provider", "p2")
    assert (found.failed_count, found.healthy_count) == (40, 10)
    assert (found.failed_share, found.healthy_share) == (1.0, 0.0625)
    assert found.score == pytest.approx(0.9375)


def test_one_version_among_two_is_found_whatever_else_differs() -> None:
    rng = random.Random(4)

    def deployed(number: int, version: str) -> Traits:
        own = {"shard": rng.randrange(8), "cache": rng.random() < 0.5}
        return joined([one(number), traits_of_span("modal", version, own, {})])

    failed = [deployed(n, "2.0") for n in range(30)]
    healthy = [deployed(n, "2.0" if n % 5 == 0 else "1.9") for n in range(30, 200)]
    assert [(f.service, f.attribute, f.value) for f in distinguishing(failed, healthy)] == [
        ("modal", "service.version", "2.0")
    ]


def test_a_cold_start_and_a_large_prompt_are_found() -> None:
    rng = random.Random(5)
    failed = many(30)
    cold = [joined([f, traits_of_span("modal", None, {"faas.coldstart": True}, {})]) for f in failed]
    warm = [
        joined([h, traits_of_span("modal", None, {"faas.coldstart": n % 20 == 0}, {})]) for n, h in enumerate(many(100))
    ]
    assert [(f.attribute, f.value) for f in distinguishing(cold, warm)] == [("faas.coldstart", "true")]

    def prompt(low: int, high: int) -> Traits:
        return traits_of_span("modal", None, {"prompt.tokens": rng.randrange(low, high)}, {})

    large = [joined([f, prompt(3_000, 9_000)]) for f in failed]
    small = [joined([h, prompt(100, 3_200)]) for h in many(100)]
    (found,) = distinguishing(large, small)
    assert found.attribute == "prompt.tokens"
    assert found.value.startswith("> ")
    assert 2_500 < float(found.value[2:]) < 3_300
    assert found.failed_share > 0.95 > 0.1 > found.healthy_share


@given(st.integers(0, 50))
def test_cohorts_of_one_kind_do_not_differ(seed: int) -> None:
    rng = random.Random(seed)
    everything = [
        joined(
            [
                one(n, provider=rng.choice("abcd"), tokens=rng.randrange(5_000), flag=rng.random() < 0.3),
                traits_of_span("modal", rng.choice(["1", "2"]), {"gpu": rng.choice(["A10", "H100"])}, {}),
            ]
        )
        for n in range(120)
    ]
    assert distinguishing(everything[:40], everything[40:]) == []


def test_small_numbers_claim_nothing() -> None:
    assert distinguishing(many(2, provider="bad"), many(200, 2, provider="good")) == []
    assert distinguishing(many(4, provider="bad"), many(4, 4, provider="good")) == []
    assert distinguishing([], many(5)) == distinguishing(many(5), []) == []
    # Three on one host of three: one time in 27 by chance.
    assert distinguishing([one(0), one(3), one(6)], many(30, 9)) == []


def test_a_small_difference_is_no_explanation() -> None:
    failed = [*many(30, flag=True), *many(170, 30, flag=False)]
    healthy = [*many(2, 200, flag=True), *many(198, 202, flag=False)]
    assert distinguishing(failed, healthy) == []


def test_what_follows_from_the_failure_does_not_explain_it() -> None:
    failed = many(30, **{"http.response.status_code": 500, "error.type": "Boom", "otel.status_code": "ERROR"})
    assert distinguishing(failed, many(100, 30, **{"http.response.status_code": 200})) == []


def test_attributes_of_the_same_executions_are_one_entry() -> None:
    failed = many(30, **{"router.provider": "p2", "router.pool": "blue"})
    (found,) = distinguishing(failed, many(100, 30, **{"router.provider": "p1", "router.pool": "green"}))
    assert (found.attribute, found.same_as) == ("router.provider", ["router router.pool blue"])


def test_what_was_asked_for_is_skipped() -> None:
    failed = [joined([f, traits_of_execution({"job_id": "nightly"})]) for f in many(30)]
    assert [f.attribute for f in distinguishing(failed, many(100, 30))] == ["job_id"]
    assert distinguishing(failed, many(100, 30), skip=("job_id",)) == []


def test_executions_whose_spans_were_not_read_do_not_count_as_without() -> None:
    unread = [traits_of_execution({"region": "eu"})] * 60
    failed = [*many(30, provider="bad"), *unread]
    found = distinguishing(failed, [*many(100, 30, provider="good"), *unread])
    assert [(f.value, f.failed_share) for f in found if f.attribute == "provider"] == [("bad", 1.0)]


def test_what_hardly_any_peer_has_is_told_of_one_execution() -> None:
    peers = [*many(97, provider="good", tokens="few"), one(97, provider="bad", tokens="few")]
    own = one(500, provider="bad", tokens="few")
    (found,) = unusual(own, peers)
    assert (found.attribute, found.value, found.failed_count, found.healthy_count) == ("provider", "bad", 1, 1)
    (absent,) = unusual(one(500, provider="new", tokens="few"), peers)
    assert (absent.value, absent.healthy_count) == ("new", 0)


def test_a_number_far_from_what_is_usual_is_told() -> None:
    peers = many(60)
    numbered = [joined([p, traits_of_span("modal", None, {"tokens": 100 + n}, {})]) for n, p in enumerate(peers)]
    assert unusual(joined([one(61), traits_of_span("modal", None, {"tokens": 150}, {})]), numbered) == []
    (found,) = unusual(joined([one(61), traits_of_span("modal", None, {"tokens": 9_000}, {})]), numbered)
    assert (found.attribute, found.value, found.healthy_count) == ("tokens", "9000 (usually 129.5)", 0)


def test_an_execution_like_its_peers_has_nothing_unusual() -> None:
    peers = many(60, provider="good")
    assert unusual(one(500, provider="good"), peers) == []
    assert unusual(one(500, provider="other"), peers[:19]) == []
    assert unusual(one(500, provider="other"), many(60)) == []


def test_fishers_exact_test() -> None:
    # The lady tasting tea: all four of eight right.
    assert at_least(4, 4, 4, 8) == pytest.approx(1 / 70)
    assert at_least(3, 4, 4, 8) == pytest.approx(17 / 70)
    assert at_least(0, 4, 4, 8) == 1.0
    assert at_least(200, 200, 200, 400) < 1e-100


def test_kolmogorov_smirnov() -> None:
    assert same_distribution(0.0, 10, 10) == 1.0
    # The 5 % point for large samples is 1.358.
    assert same_distribution(1.358 / 50**0.5, 100_000, 50) == pytest.approx(0.05, abs=0.015)


def test_rates_are_compared_exactly() -> None:
    assert other_rate(5, 0, 1, 1) == pytest.approx(2 / 32)
    assert other_rate(10, 10, 1, 1) == 1.0
    assert other_rate(10, 1, 1, 1) < 0.02
    assert other_rate(10, 1, 10, 1) == pytest.approx(1.0, abs=0.3)
    assert other_rate(5, 0, 1, 0) == other_rate(0, 0, 1, 1) == 1.0


def test_questions_that_cannot_be_answered_do_not_count() -> None:
    assert threshold([1e-6] + [0.5] * 1_000, 0.01) == 0.01
    assert threshold([1e-6] * 5, 0.01) == pytest.approx(0.002)
    assert threshold([], 0.01) == 0.01
