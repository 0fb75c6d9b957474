"""Which executions are alike: edit distance over the tree-aware sequence of their elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from otel_diag.analyse.baseline import Peer
from otel_diag.analyse.summary import Summary

THRESHOLD: Final = 0.7


def similarity(a: Sequence[str], b: Sequence[str]) -> float:
    """0..1: one less the edit distance over encoded elements (depth included), per element of the longer one.

    Two empty sequences are equal (1.0).
    """
    return _score(*_as_numbers(a, b, {}))


def rank_similar(
    summary: Summary, candidates: Iterable[Peer], limit: int, threshold: float = THRESHOLD
) -> list[tuple[Peer, float]]:
    """The candidates at least as similar as ``threshold``, at most ``limit``.

    Same model and region first, then same model, then the rest; within these the most similar, then the newest.
    """
    numbers: dict[str, int] = {}
    scores: dict[tuple[str, ...], float] = {summary.elements: 1.0}
    scored: list[tuple[Peer, float]] = []
    for peer in candidates:
        if peer.elements not in scores:  # most of them have one of a few shapes
            scores[peer.elements] = _score(*_as_numbers(summary.elements, peer.elements, numbers))
        if scores[peer.elements] >= threshold:
            scored.append((peer, scores[peer.elements]))
    scored.sort(key=lambda pair: _rank(summary, *pair))
    return scored[:limit]


def nearest_names(wanted: str, names: Iterable[str], limit: int = 5) -> list[str]:
    """The names most like ``wanted``, best first; for "did you mean"."""
    return [name for name, _, _ in process.extract(wanted, list(dict.fromkeys(names)), limit=limit)]


def _rank(summary: Summary, peer: Peer, score: float) -> tuple[int, float, float, str]:
    same_model = peer.model_id == summary.model_id
    same_region = peer.region == summary.region
    newest = -peer.started_at.timestamp() if peer.started_at is not None else 0.0
    return (0 if same_model and same_region else 1 if same_model else 2, -score, newest, peer.trace_id or "")


def _as_numbers(a: Sequence[str], b: Sequence[str], numbers: dict[str, int]) -> tuple[list[int], list[int]]:
    return (
        [numbers.setdefault(e, len(numbers)) for e in a],
        [numbers.setdefault(e, len(numbers)) for e in b],
    )


def _score(a: Sequence[int], b: Sequence[int]) -> float:
    return float(Levenshtein.normalized_similarity(a, b))
