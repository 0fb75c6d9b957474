"""How sure a difference between two small samples is: exact where it can be, and counted for many questions at once."""

from __future__ import annotations

import math
from collections.abc import Iterable

ALPHA = 0.01
"""The chance that one or more of all differences claimed in one answer are none."""


def at_least(hits: int, drawn: int, with_value: int, total: int) -> float:
    """P(X >= hits) when ``drawn`` of ``total`` are drawn blindly and ``with_value`` of the total have the value.

    Fisher's exact test, one-sided (R. A. Fisher, "On the interpretation of chi-square from contingency tables",
    J. Royal Stat. Soc. 85, 1922).
    """
    most = min(drawn, with_value)
    least = max(hits, drawn + with_value - total, 0)
    if least <= max(0, drawn + with_value - total):
        return 1.0
    everything = _log_choose(total, drawn)
    terms = (
        _log_choose(with_value, k) + _log_choose(total - with_value, drawn - k) - everything
        for k in range(least, most + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def same_distribution(distance: float, first: int, second: int) -> float:
    """The chance of so large a Kolmogorov-Smirnov distance between two samples of one distribution.

    Asymptotic, with M. A. Stephens' correction for small samples ("Use of the Kolmogorov-Smirnov, Cramér-von Mises
    and related statistics without extensive tables", J. Royal Stat. Soc. B 32, 1970); too high where values repeat.
    """
    if distance <= 0 or not first or not second:
        return 1.0
    root = math.sqrt(first * second / (first + second))
    spread = (root + 0.12 + 0.11 / root) * distance
    terms = ((-1) ** (j - 1) * math.exp(-2 * j * j * spread * spread) for j in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def other_rate(count: int, before: int, exposure: float, exposure_before: float) -> float:
    """The chance of so uneven counts when nothing changed, two-sided, of events among so many trials each.

    Given their sum, the count is binomial (J. Przyborowski and H. Wilenski, "Homogeneity of results in testing
    samples from Poisson series", Biometrika 31, 1940). Without trials on one side nothing can be said: 1.
    """
    if exposure <= 0 or exposure_before <= 0 or count + before == 0:
        return 1.0
    share = exposure / (exposure + exposure_before)
    trials = count + before
    if count >= trials * share:
        return min(1.0, 2 * _binomial_at_least(count, trials, share))
    return min(1.0, 2 * _binomial_at_least(before, trials, 1 - share))


def threshold(smallest: Iterable[float], alpha: float = ALPHA) -> float:
    """What each of several p-values must not exceed so that, together, they claim nothing false but with ``alpha``.

    ``smallest``: of each question the least p-value that its counts could have given. Those that could never be
    significant are not counted (R. E. Tarone, "A modified Bonferroni method for discrete data", Biometrics 46, 1990),
    so that a hundred rare values do not hide a common one.
    """
    ordered = sorted(smallest)
    for number in range(1, len(ordered) + 1):
        if number == len(ordered) or ordered[number] > alpha / number:
            return alpha / number
    return alpha


def _binomial_at_least(hits: int, trials: int, share: float) -> float:
    """For no fewer hits than expected: from there on the terms only fall, and what no longer counts is left out."""
    term = math.exp(_log_choose(trials, hits) + hits * math.log(share) + (trials - hits) * math.log1p(-share))
    total = 0.0
    for k in range(hits, trials + 1):
        total += term
        if term <= total * 1e-17:
            break
        term *= (trials - k) / (k + 1) * share / (1 - share)
    return total


def _log_factorial(n: int) -> float:
    return math.lgamma(n + 1)


def _log_choose(n: int, k: int) -> float:
    return _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k)
