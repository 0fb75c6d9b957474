"""Splits a question into words, numbers and quoted texts. Nothing is interpreted here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` as typed (without its quotes); ``word`` for looking up: lower case, typographic marks unified."""

    text: str
    word: str
    quoted: bool = False


_TOKEN: Final = re.compile(
    r"""
      (?P<quoted>"[^"]*" | `[^`]*` | (?<!\w)'[^']+'(?!\w))
    | (?P<stamp>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\w))
    | (?P<route>(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)[ ]+/(?:\S*[\w}/])?)
    | (?P<word>/?\w(?:[\w./:@'%{}-]*[\w}])?)
    | (?P<mark>[<>]=?|[,&=#])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TYPOGRAPHIC: Final = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"', "–": "-", "—": "-", "−": "-", "≥": ">", "≤": "<"}
)
_CONTRACTION: Final = re.compile(r"(?P<stem>.+?)(?P<tail>n't|'s|'re|'ve|'d|'ll|'m)$")
_SPELLED_OUT: Final = {"n't": "not", "'s": "'s", "'re": "are", "'ve": "have", "'d": "would", "'ll": "will", "'m": "am"}
_BEFORE_IS: Final = {"what", "where", "who", "how", "when", "that", "it", "there", "why"}
_LABELLED: Final = re.compile(
    r"(?P<label>execution|exec|run|trace|job|model|region|service|operation|status)(?:[._]?id)?[:#](?P<rest>.+)$"
)
_NUMBERED: Final = re.compile(r"(?P<label>executions?|exec|run)[_-]?(?P<rest>\d+)$")
_IRREGULAR: Final = {"can't": ("can", "not"), "won't": ("will", "not"), "cannot": ("can", "not")}


def tokenise(text: str) -> tuple[Token, ...]:
    """Question marks and other sentence punctuation are dropped; ``execution:5``, ``exec-5`` come apart."""
    return tuple(token for match in _TOKEN.finditer(text.translate(_TYPOGRAPHIC)) for token in _tokens(match))


def _tokens(match: re.Match[str]) -> tuple[Token, ...]:
    text = match.group()
    if match.lastgroup == "quoted":
        inner = text[1:-1].strip()
        return (Token(inner, inner.casefold(), quoted=True),) if inner else ()
    word = text.casefold()
    if match.lastgroup != "word":
        return (Token(text, word),)
    if word in _IRREGULAR:
        return tuple(Token(part, part) for part in _IRREGULAR[word])
    if contraction := _CONTRACTION.match(word):
        stem, tail = contraction["stem"], contraction["tail"]
        spelled_out = "is" if tail == "'s" and stem in _BEFORE_IS else _SPELLED_OUT[tail]
        return (Token(text[: len(stem)], stem), Token(spelled_out, spelled_out))
    if labelled := _LABELLED.match(word) or _NUMBERED.match(word):
        rest = labelled["rest"]
        return (Token(labelled["label"], labelled["label"]), Token(text[-len(rest) :], rest))
    return (Token(text, word),)
