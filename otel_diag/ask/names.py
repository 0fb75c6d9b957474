"""Which known name a word of the question stands for: exactly, in another spelling, in part, or with a typo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rapidfuzz.distance import OSA

from otel_diag.ask.intent import Dimension, Known
from otel_diag.ask.tokens import Token, tokenise

_SEPARATORS: Final = re.compile(r"[^0-9a-z]+")
_REGION: Final = re.compile(
    r"(?:us|eu|ap|af|sa|ca|me|il|asia|europe|uk|gov|northamerica|southamerica|australia|africa)"
    r"[-_](?:gov-)?(?:north|south|east|west|central)\w*(?:-\d+)?[a-z]?$",
    re.IGNORECASE,
)
_MODEL: Final = re.compile(
    r"(?:llama|gpt|claude|gemini|gemma|mistral|mixtral|qwen|phi|deepseek|falcon|bert|whisper|command|yi|grok)[\w.-]*$"
    r"|.*(?<!\w)\d+(?:\.\d+)?b(?!\w).*$",
    re.IGNORECASE,
)
_LONGEST_NAME: Final = 8
"""Words of a name that are looked at together."""


@dataclass(frozen=True, slots=True)
class Named:
    """A word that stands for names of one dimension; ``service`` too where it was "service.operation".

    ``note`` says how it was read where that is not obvious.
    """

    dimension: Dimension
    values: tuple[str, ...]
    service: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A typo that is as near to one name as to another."""

    text: str
    candidates: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.text!r} could be {' or '.join(map(repr, self.candidates))}: which one do you mean?"


def never_seen(dimension: Dimension, text: str) -> Named:
    """A name that nothing known is near to: taken at its word, which the note says."""
    return Named(dimension, (text,), note=f"no {dimension.value} {text!r} has been seen; used as given")


def squash(name: str) -> str:
    """Letters and digits only, lower case: what is left of a name when its punctuation is not remembered."""
    return _SEPARATORS.sub("", name.casefold())


def looks_like_a_name(text: str) -> bool:
    """Whether it is spelled as programs name things, not as people write: punctuation or digits inside, camelCase."""
    return bool(re.search(r"[._/:-]|\d", text)) or bool(re.search(r"[a-z][A-Z]", text))


class Names:
    """The known names, indexed. Build one per question: it is linear in the number of names."""

    def __init__(self, known: Known) -> None:
        self._names = tuple((dimension, name) for dimension, names in known.by_dimension() for name in sorted(names))
        self._exact: dict[str, list[tuple[Dimension, str]]] = {}
        self._squashed: dict[str, list[tuple[Dimension, str]]] = {}
        self._by_words: dict[tuple[str, ...], str] = {}
        for dimension, name in self._names:
            self._exact.setdefault(name.casefold(), []).append((dimension, name))
            self._squashed.setdefault(squash(name), []).append((dimension, name))
            words = tuple(token.word for token in tokenise(name))
            if 1 < len(words) <= _LONGEST_NAME:
                self._by_words[words] = name

    def __contains__(self, word: str) -> bool:
        return word.casefold() in self._exact

    def spelled_over(self, tokens: Sequence[Token], at: int) -> tuple[str, int] | None:
        """A known name that several words spell ("POST /v1/infer", "us east"): the name, the position after it."""
        for length in range(min(_LONGEST_NAME, len(tokens) - at), 1, -1):
            part = tokens[at : at + length]
            words = tuple(token.word for token in part)
            if name := self._by_words.get(words):
                return name, at + length
            together = squash("".join(words))
            if len(together) > 3 and all(word.isalnum() for word in words) and together in self._squashed:
                return self._squashed[together][0][1], at + length
        return None

    def resolve(self, text: str, hint: Dimension | None) -> Named | Ambiguous | None:
        """The known name meant, in the hinted dimension if there is a hint; None: nothing known is near."""
        for find in (self._as_written, self._as_element, self._in_part):
            found = self._prefer(text, find(text), hint)
            if found is not None:
                return found
        return self._misspelled(text, hint)

    def likely_dimension(self, text: str) -> Dimension:
        """What a name that was never seen most likely names: what its siblings do ("demo-1"), else by spelling."""
        family = _family(text)
        siblings = [dimension for dimension, name in self._names if family != text and _family(name) == family]
        return siblings[0] if siblings else _dimension_by_spelling(text)

    def _as_written(self, text: str) -> Iterator[tuple[Dimension, str]]:
        spelled = self._exact.get(text.casefold())
        if spelled is None and text.casefold().endswith("s"):
            spelled = self._exact.get(text.casefold()[:-1])
        yield from spelled or self._squashed.get(squash(text), [])

    def _as_element(self, text: str) -> Iterator[tuple[Dimension, str]]:
        """``service.operation`` where both are known: the pair, as an operation."""
        for position in (match.start() for match in re.finditer(r"\.", text)):
            services = [
                name for kind, name in self._exact.get(text[:position].casefold(), ()) if kind == Dimension.SERVICE
            ]
            operations = [
                name
                for kind, name in self._exact.get(text[position + 1 :].casefold(), ())
                if kind == Dimension.OPERATION
            ]
            if services and operations:
                yield Dimension.OPERATION, f"{services[0]}\0{operations[0]}"

    def _in_part(self, text: str) -> Iterator[tuple[Dimension, str]]:
        """Names of which the text is a whole part ("modal" of "modal-inference") or a long beginning."""
        word = text.casefold()
        if len(word) < 3:
            return
        for dimension, name in self._names:
            folded = name.casefold()
            starts = (
                len(word) >= 5
                and folded.startswith(word)
                and not (word[-1].isdecimal() and folded[len(word) :][:1].isdecimal())
            )
            if starts or word in _SEPARATORS.split(folded):
                yield dimension, name

    def _prefer(self, text: str, found: Iterator[tuple[Dimension, str]], hint: Dimension | None) -> Named | None:
        candidates = list(found)
        if hint is not None:
            candidates = [pair for pair in candidates if pair[0] == hint]
        if not candidates:
            return None
        dimension = candidates[0][0]
        values = tuple(name for kind, name in candidates if kind == dimension)
        if "\0" in values[0]:
            service, operation = values[0].split("\0")
            return Named(dimension, (operation,), service=service)
        others = sorted({kind.value for kind, _ in candidates} - {dimension.value})
        notes = []
        if len(values) > 1 or squash(values[0]) not in (squash(text), squash(text).removesuffix("s")):
            notes.append(f"{text!r} was read as the {dimension.value} {_enumerate(values)}")
        if others:
            notes.append(f"{text!r} is also the name of a known {_enumerate(others)}; taken as the {dimension.value}")
        return Named(dimension, values, note="; ".join(notes) or None)

    def _misspelled(self, text: str, hint: Dimension | None) -> Named | Ambiguous | None:
        near = [
            (distance, dimension, name)
            for dimension, name in self._names
            if (hint is None or dimension == hint) and (distance := _typos(text, name)) is not None
        ]
        if not near:
            return None
        best = min(distance for distance, _, _ in near)
        nearest = [(dimension, name) for distance, dimension, name in near if distance == best]
        if len({name for _, name in nearest}) > 1:
            return Ambiguous(text, tuple(sorted({name for _, name in nearest})))
        dimension, name = nearest[0]
        return Named(dimension, (name,), note=f"{text!r} was read as the {dimension.value} {name!r}")


def _typos(text: str, name: str) -> int | None:
    """Typing errors between the two, or None when they are too far apart to be the same name.

    Part by part where both have as many parts, so that "us-east" never becomes "us-west"; digits never change.
    """
    left, right = text.casefold(), name.casefold()
    if re.findall(r"\d+", left) != re.findall(r"\d+", right):
        return None
    left_parts, right_parts = _SEPARATORS.split(left), _SEPARATORS.split(right)
    if len(left_parts) != len(right_parts):
        left_parts, right_parts = [squash(left)], [squash(right)]
    total = 0
    for one, other in zip(left_parts, right_parts, strict=True):
        allowed = 0 if len(other) < 4 else 1 if len(other) < 8 else 2
        distance = OSA.distance(one, other, score_cutoff=allowed)
        if distance > allowed:
            return None
        total += distance
    return total if total <= 2 else None


def _enumerate(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _dimension_by_spelling(text: str) -> Dimension:
    if _REGION.match(text):
        return Dimension.REGION
    if _MODEL.match(text):
        return Dimension.MODEL
    if re.match(r"(?:job|batch)[-_.]", text, re.IGNORECASE):
        return Dimension.JOB
    if re.search(r"[._/]|[a-z][A-Z]|\s", text):
        return Dimension.OPERATION
    return Dimension.SERVICE


def _family(name: str) -> str:
    """The name with its numbers left out."""
    return re.sub(r"\d+", "#", name.casefold())
