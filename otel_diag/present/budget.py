"""How much an answer may say: what a language model reads is bounded, whatever a trace holds.

An answer that is too large loses the least important entries of its lists and the ends of its texts; its ``totals`` say
how many entries each list had, a shortened text how many characters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from otel_diag.model import Answer, Status

MARKDOWN_TOKENS: Final = 4_000
"""Most tokens of an answer in Markdown."""

STRUCTURED_TOKENS: Final = 8_000
"""Most tokens of an answer as JSON, where it goes to a language model: each MCP tool, and REST's diagnosis."""

MESSAGE_CHARACTERS: Final = 2_000
"""Most characters of an error that a tool returns."""

_TEXTS: Final = (600, 200, 80, 40)
"""Characters of a text, at most; the last is more than an id or a time has."""

_MOST_ITEMS: Final = 200
_ENOUGH_ITEMS: Final = 12
"""Rather than fewer entries, shorter texts."""

_LONGEST_ARGUMENT: Final = 200
_LONGEST_STATEMENT: Final = 3_000
_STATEMENT: Final = "sql_or_call"
"""To be run as it stands: cut only where it alone would fill the answer."""

A = TypeVar("A", bound=Answer)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """Characters of a text, entries of a list."""

    text: int
    items: int


def tokens(text: str) -> int:
    """What a text costs a language model, reckoned at three UTF-8 bytes a token."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def structured(answer: A) -> A:
    """The answer, or as much of it as STRUCTURED_TOKENS of JSON hold."""
    return _fitting(
        lambda limits: answer if limits is None else shortened(answer, limits),
        # As most programs write JSON for a model: with a blank after each comma and colon.
        lambda shown: tokens(json.dumps(json.loads(shown.model_dump_json()), ensure_ascii=False)),
        STRUCTURED_TOKENS,
    )


def markdown(write: Callable[..., str], *answers: Answer) -> str:
    """What ``write`` makes of the answers, or of as much of them as MARKDOWN_TOKENS hold."""

    def written(limits: Limits | None) -> str:
        return write(*(answer if limits is None else shortened(answer, limits) for answer in answers))

    return _fitting(written, tokens, MARKDOWN_TOKENS)


def shortened(answer: A, limits: Limits) -> A:
    """The answer within these limits. Of what is left out, totals are kept; a step that cannot be whole goes."""
    data = answer.model_dump()
    totals: dict[str, int] = {}
    known: Mapping[str, int] = data.pop("totals", {})
    steps = [step for step in data.pop("next_steps", ()) if _is_short(step["arguments"])]
    shown = {name: _cut(value, name, limits, totals) for name, value in data.items()}
    if "next_steps" in type(answer).model_fields:
        shown["next_steps"] = [step | {"why": _clipped(step["why"], limits.text)} for step in steps]
    if "totals" in type(answer).model_fields:
        shown["totals"] = {**totals, **known}
    return type(answer).model_validate(shown)


def _fitting(make: Callable[[Limits | None], R], size: Callable[[R], int], most: int) -> R:
    """What is made with the widest limits that keep it small enough."""
    whole = make(None)
    if size(whole) <= most:
        return whole
    best = make(Limits(_TEXTS[-1], 1))
    for text in _TEXTS:
        low, high = 0, _MOST_ITEMS
        while low < high:
            items = (low + high + 1) // 2
            made = make(Limits(text, items))
            if size(made) <= most:
                low, best = items, made
            else:
                high = items - 1
        if low >= _ENOUGH_ITEMS:
            break
    return best


def _cut(value: Any, path: str, limits: Limits, totals: dict[str, int]) -> Any:
    """A value of a dumped answer; ``path`` names it in ``totals``, entries of lists without their place."""
    if isinstance(value, str):
        return _clipped(value, _LONGEST_STATEMENT if path == _STATEMENT else limits.text)
    if isinstance(value, list):
        if len(value) > limits.items:
            totals[path] = max(len(value), totals.get(path, 0))
        return [_cut(item, path, limits, totals) for item in _most_telling(value, limits.items)]
    if isinstance(value, dict):
        return _cut_members(value, path, limits, totals)
    return value


def _cut_members(value: dict[str, Any], path: str, limits: Limits, totals: dict[str, int]) -> dict[str, Any]:
    if path == "timing_breakdown" and len(value) > limits.items:
        totals[path] = len(value)
        longest = sorted(value, key=lambda name: value[name] if isinstance(value[name], float) else -1.0, reverse=True)
        value = {name: value[name] for name in longest[: limits.items]}
    if "totals" not in value:
        return {_clipped(name, limits.text): _cut(one, f"{path}.{name}", limits, totals) for name, one in value.items()}
    own: dict[str, int] = {}
    members = {name: _cut(one, name, limits, own) for name, one in value.items() if name != "totals"}
    return members | {"totals": {**own, **value["totals"]}}


def _most_telling(items: list[Any], most: int) -> list[Any]:
    """At most so many, in their order: of spans and gaps the failed, the unusual, the critical, the longest; else the
    first."""
    if len(items) <= most or not isinstance(items[0], dict) or "is_anomaly" not in items[0]:
        return items[:most]

    def rank(place: int) -> tuple[bool, bool, bool, float, int]:
        one = items[place]
        failed = "status" in one and Status(one["status"]).is_failure
        return not failed, not one["is_anomaly"], not one.get("critical"), -(one.get("gap_ms") or 0.0), place

    return [items[place] for place in sorted(sorted(range(len(items)), key=rank)[:most])]


def _clipped(text: str, limit: int) -> str:
    """The text as it is, or its beginning and how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def _is_short(arguments: Mapping[str, Any]) -> bool:
    return all(len(str(value)) <= _LONGEST_ARGUMENT for value in arguments.values())
