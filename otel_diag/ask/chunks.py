"""From words to chunks: every stretch of the question gets one meaning, the longest first, left to right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rapidfuzz.distance import OSA

from otel_diag.ask.intent import Dimension, Window
from otel_diag.ask.lexicon import CORRECTABLE, LONGEST, PHRASES, WORDS, Entry, Kind
from otel_diag.ask.names import Names
from otel_diag.ask.tokens import Token
from otel_diag.ask.windows import NUMBERS, UNITS, match_quantity, match_window


@dataclass(frozen=True, slots=True)
class Cue:
    """A phrase of the lexicon."""

    kind: Kind
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Period:
    window: Window


@dataclass(frozen=True, slots=True)
class Length:
    """A condition on durations, milliseconds; None: open."""

    low_ms: float | None
    high_ms: float | None


@dataclass(frozen=True, slots=True)
class Limit:
    count: int


@dataclass(frozen=True, slots=True)
class ExecutionId:
    value: int


@dataclass(frozen=True, slots=True)
class TraceId:
    value: str


@dataclass(frozen=True, slots=True)
class Grouping:
    dimensions: tuple[Dimension, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Something to look for in error messages."""

    value: str


@dataclass(frozen=True, slots=True)
class Word:
    """Not of the grammar: a name, or something this grammar does not know. ``hint``: what it must be a name of."""

    text: str
    quoted: bool = False
    hint: Dimension | None = None


Chunk = Cue | Period | Length | Limit | ExecutionId | TraceId | Grouping | Text | Word
_Found = tuple[Chunk, int] | None

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}$")
_RANGE: Final = re.compile(r"(?P<low>\d+(?:\.\d+)?)(?P<low_unit>[a-z]*)-(?P<high>\d+(?:\.\d+)?)(?P<high_unit>[a-z]*)$")
_COUNTABLE: Final = (Kind.NOUN, Kind.DIMENSION, Kind.SLOWEST, Kind.MOST)
_MAX_LIMIT: Final = 499
"""A larger number before a plural is an execution ("2193 failures"), or an HTTP code ("504 errors")."""
_HTTP_FAILURES: Final = range(400, 600)
_PLACES: Final = 0.1
"""How far "about 5 s" reaches to either side, as a share."""


@dataclass(frozen=True, slots=True)
class Chunker:
    """What the recognisers look at. ``tokens`` are already corrected."""

    tokens: tuple[Token, ...]
    names: Names
    now: datetime

    def chunks(self) -> tuple[Chunk, ...]:
        recognisers: tuple[Callable[[int, Chunk | None], _Found], ...] = (
            self._quoted,
            self._text,
            self._identity,
            self._hinted_name,
            self._window,
            self._length,
            self._http_code,
            self._limit,
            self._name,
            self._number,
            self._grouping,
            self._cue,
        )
        chunks: list[Chunk] = []
        at = 0
        while at < len(self.tokens):
            previous = chunks[-1] if chunks else None
            for recognise in recognisers:
                found = recognise(at, previous)
                if found is not None:
                    chunk, at = found
                    break
            else:
                chunk, at = Word(self.tokens[at].text), at + 1
            chunks.append(chunk)
        return tuple(chunks)

    def _word(self, at: int) -> str:
        return self.tokens[at].word if at < len(self.tokens) and not self.tokens[at].quoted else ""

    def _entries(self, at: int) -> tuple[tuple[Entry, ...], int]:
        """The longest phrase of the lexicon at a position; hyphens in a word count as spaces."""
        for length in range(min(LONGEST, len(self.tokens) - at), 0, -1):
            part = self.tokens[at : at + length]
            if any(token.quoted for token in part):
                continue
            words = tuple(token.word for token in part)
            if entries := PHRASES.get(words) or PHRASES.get(tuple(" ".join(words).replace("-", " ").split())):
                return entries, at + length
        return (), at

    def _first(self, at: int, kinds: Sequence[Kind]) -> tuple[Entry, int] | None:
        """The entry of one of these kinds that starts at the position, shorter phrases allowed."""
        for length in range(min(LONGEST, len(self.tokens) - at), 0, -1):
            words = tuple(token.word for token in self.tokens[at : at + length])
            for entry in PHRASES.get(words, ()):
                if entry.kind in kinds:
                    return entry, at + length
        return None

    def _quoted(self, at: int, previous: Chunk | None) -> _Found:
        token = self.tokens[at]
        if not token.quoted:
            return None
        hint = _dimension_of(previous)
        if (
            hint is None
            and token.word not in self.names
            and (
                _asks_for_text(previous)
                or self._in_the_error(at + 1)
                or (" " in token.text and not _introduces_a_name(previous))
            )
        ):
            return Text(token.text), at + 1
        return Word(token.text, quoted=True, hint=hint), at + 1

    def _in_the_error(self, at: int) -> bool:
        """ "... in the error (message)" after a quotation."""
        return (
            self._word(at) == "in"
            and {self._word(at + 1), self._word(at + 2)} & {"error", "errors", "message"} != set()
        )

    def _text(self, at: int, _: Chunk | None) -> _Found:
        """ "mentioning connection refused today": the words up to the next time, or all."""
        found = self._first(at, (Kind.TEXT,))
        if found is None or found[1] >= len(self.tokens) or self.tokens[found[1]].quoted:
            return None
        start = end = found[1]
        while end < len(self.tokens) and not self.tokens[end].quoted and not match_window(self.tokens, end, self.now):
            if self._word(end) in ("in", "for", "from", "per", "by") and end > start:
                break
            end += 1
        text = " ".join(token.text for token in self.tokens[start:end])
        return (Text(text), end) if end > start else None

    def _identity(self, at: int, previous: Chunk | None) -> _Found:
        word = self._word(at)
        if word == "#" and self._word(at + 1).isdecimal():
            return ExecutionId(int(self._word(at + 1))), at + 2
        if _TRACE_ID.match(word):
            return TraceId(word), at + 1
        if word.isdecimal() and isinstance(previous, Cue) and previous.kind == Kind.NOUN and not _is_plural(previous):
            return ExecutionId(int(word)), at + 1
        return None

    def _hinted_name(self, at: int, previous: Chunk | None) -> _Found:
        """The word after "job", "model", "service" ...: its name, unless it is a word of the grammar."""
        hint = _dimension_of(previous)
        token = self.tokens[at]
        if hint is None or (isinstance(previous, Cue) and _is_plural(previous)):
            return None
        if self._spelled_over(at):
            return None
        if token.word in ("id", "name", "named", "called", "=") and at + 1 < len(self.tokens):
            return Word(self.tokens[at + 1].text, self.tokens[at + 1].quoted, hint), at + 2
        if self._entries(at)[0] and token.word not in self.names:
            return None
        if self._entries(at)[0] and hint != Dimension.JOB and token.word in WORDS:
            return None
        if match_window(self.tokens, at, self.now) or match_quantity(self.tokens, at):
            return None
        return Word(token.text, hint=hint), at + 1

    def _spelled_over(self, at: int) -> tuple[str, int] | None:
        found = self.names.spelled_over(self.tokens, at)
        if found is None or all(token.word in WORDS for token in self.tokens[at : found[1]]):
            return None
        return found

    def _window(self, at: int, _: Chunk | None) -> _Found:
        found = match_window(self.tokens, at, self.now)
        return (Period(found[0]), found[1]) if found else None

    def _length(self, at: int, previous: Chunk | None) -> _Found:
        """ "longer than 5 s", "in 10-30ms", "between 10 and 30 ms", a bare "13 ms"."""
        comparison = self._first(at, (Kind.LONGER, Kind.SHORTER, Kind.ABOUT))
        start = comparison[1] if comparison else at
        while comparison and self._word(start) in ("than", "about", "just", "the"):
            start += 1
        span = self._range(start + 1 if self._word(start) in ("between", "from") else start)
        if span is not None:
            return Length(span[0], span[1]), span[2]
        quantity = match_quantity(self.tokens, start)
        if quantity is None:
            return None
        number, unit, after = quantity
        value = _milliseconds(number, unit)
        kind = comparison[0].kind if comparison else Kind.ABOUT
        if kind == Kind.LONGER or (
            kind == Kind.ABOUT
            and self._word(after) in ("or", "and")
            and self._word(after + 1) in ("more", "longer", "above", "over")
        ):
            return Length(value, None), after + (2 if kind == Kind.ABOUT else 0)
        if kind == Kind.SHORTER:
            return Length(None, value), after
        return Length(value * (1 - _PLACES), value * (1 + _PLACES)), after

    def _range(self, at: int) -> tuple[float, float, int] | None:
        if (match := _RANGE.match(self._word(at))) is not None:
            after, high_unit = at + 1, match["high_unit"]
            if not high_unit and self._word(after) in UNITS:
                high_unit, after = self._word(after), after + 1
            low_unit = match["low_unit"] or high_unit
            if high_unit in UNITS and low_unit in UNITS:
                low, high = float(match["low"]), float(match["high"])
                return _milliseconds(low, low_unit), _milliseconds(high, high_unit), after
            return None
        low_quantity = match_quantity(self.tokens, at)
        middle = low_quantity[2] if low_quantity else at + 1
        if self._word(middle) not in ("to", "and", "-", "through"):
            return None
        high_quantity = match_quantity(self.tokens, middle + 1)
        if high_quantity is None:
            return None
        high, unit, after = high_quantity
        if low_quantity is not None:
            return _milliseconds(low_quantity[0], low_quantity[1]), _milliseconds(high, unit), after
        if not re.match(r"\d+(?:\.\d+)?$", self._word(at)):
            return None
        return _milliseconds(float(self._word(at)), unit), _milliseconds(high, unit), after

    def _http_code(self, at: int, previous: Chunk | None) -> _Found:
        """ "504 errors", "HTTP 429", "status 500"."""
        word = self._word(at)
        if word in ("http", "code") and self._word(at + 1).isdecimal():
            return self._http_code(at + 1, Cue(Kind.SUMMARY, "", "status"))
        if not word.isdecimal() or int(word) not in _HTTP_FAILURES:
            return None
        labelled = isinstance(previous, Cue) and previous.text in ("status", "error", "code", "http")
        if not labelled and self._word(at + 1) not in ("error", "errors", "response", "responses", "status"):
            return None
        if int(word) == 429:
            return Cue(Kind.CAUSE, "RATE_LIMITED", word), at + 1
        return Text(word), at + 1

    def _limit(self, at: int, _: Chunk | None) -> _Found:
        """ "top 5", "last 10" (failures), "5 slowest", "10 failed executions"."""
        top = self._first(at, (Kind.TOP,))
        start = top[1] if top else at
        number = _integer(self._word(start))
        if number is not None and top:
            return Limit(number), start + 1
        if top and self._first(start, (Kind.NOUN, Kind.DIMENSION, Kind.STATUS)):
            noun = self._first(start, (Kind.NOUN, Kind.DIMENSION, Kind.STATUS))
            singular = noun is not None and not self._word(noun[1] - 1).endswith("s")
            if singular and self._word(at) in ("last", "latest", "newest", "first", "most"):
                return Limit(1), start
            return None
        if number is None or number > _MAX_LIMIT or self._word(at) in ("a", "an", "one"):
            return None
        return (Limit(number), at + 1) if self._counts_something(at + 1) else None

    def _counts_something(self, at: int) -> bool:
        """Whether a plural or a superlative follows, with only adjectives and a name or two in between."""
        for position in range(at, min(at + 4, len(self.tokens))):
            entries, _ = self._entries(position)
            word = self._word(position)
            if any(entry.kind in (Kind.SLOWEST, Kind.MOST, Kind.TOP) for entry in entries):
                return True
            if any(entry.kind in (*_COUNTABLE, Kind.STATUS, Kind.CAUSE) for entry in entries) and word.endswith("s"):
                return True
            if entries and not any(entry.kind in (Kind.STATUS, Kind.FILLER, Kind.CAUSE) for entry in entries):
                return False
        return False

    def _number(self, at: int, _: Chunk | None) -> _Found:
        word = self._word(at)
        return (ExecutionId(int(word)), at + 1) if word.isdecimal() and len(word) < 19 else None

    def _name(self, at: int, _: Chunk | None) -> _Found:
        if found := self._spelled_over(at):
            return Word(found[0]), found[1]
        token = self.tokens[at]
        if token.word in self.names and token.word not in WORDS and not token.word.isdecimal():
            return Word(token.text), at + 1
        return None

    def _grouping(self, at: int, _: Chunk | None) -> _Found:
        """ "per region", "by model and service", "hourly"."""
        cue = self._first(at, (Kind.GROUP,))
        if cue is None:
            return None
        if cue[0].value:
            return Grouping((Dimension(cue[0].value),)), cue[1]
        dimensions: list[Dimension] = []
        position = after = cue[1]
        while True:
            while self._word(position) in ("the", "each", "every", "all", "by", "per", "different", "our"):
                position += 1
            if self._first(position, (Kind.METRIC,)):
                break
            found = self._first(position, (Kind.DIMENSION,)) or self._by_other(position)
            if found is None:
                break
            dimensions.append(Dimension(found[0].value))
            position = after = found[1]
            if self._word(position) not in ("and", ",", "x", "&", "then", "by", "per"):
                break
            position += 1
        if not dimensions or (self._word(cue[1] - 1) == "by" and self._names_one(after)):
            return None
        return Grouping(tuple(dict.fromkeys(dimensions))), after

    def _by_other(self, at: int) -> tuple[Entry, int] | None:
        """Words that are dimensions only after "by" or "per"."""
        words = {
            "cause": Dimension.ROOT_CAUSE,
            "causes": Dimension.ROOT_CAUSE,
            "reason": Dimension.ROOT_CAUSE,
            "error": Dimension.ERROR,
            "status": Dimension.STATUS,
            "outcome": Dimension.STATUS,
            "hour": Dimension.HOUR,
            "day": Dimension.DAY,
            "message": Dimension.ERROR,
        }
        if (self._word(at), self._word(at + 1)) in (("root", "cause"), ("root", "causes")):
            return Entry(Kind.DIMENSION, Dimension.ROOT_CAUSE), at + 2
        dimension = words.get(self._word(at))
        return (Entry(Kind.DIMENSION, dimension), at + 1) if dimension else None

    def _names_one(self, at: int) -> bool:
        """Whether a name follows: "by model llama3" filters, it does not group."""
        return at < len(self.tokens) and (self.tokens[at].quoted or self._word(at) in self.names)

    def _cue(self, at: int, _: Chunk | None) -> _Found:
        entries, after = self._entries(at)
        if not entries:
            return None
        text = " ".join(token.word for token in self.tokens[at:after])
        return Cue(entries[0].kind, entries[0].value, text), after


def correct(tokens: Sequence[Token], names: Names) -> tuple[tuple[Token, ...], tuple[str, ...]]:
    """Typing errors in the words of the grammar put right, and what was put right.

    Only one error in a word of six letters or more, and only where no known name is spelled like it.
    """
    corrected: list[Token] = []
    notes: list[str] = []
    for token in tokens:
        better = None if token.quoted or token.word in names else _correction(token.word)
        if better is not None and names.resolve(token.text, None) is None:
            notes.append(f"{token.text!r} was read as {better!r}")
            corrected.append(Token(better, better))
        else:
            corrected.append(token)
    return tuple(corrected), tuple(notes)


def _correction(word: str) -> str | None:
    if len(word) < 5 or not word.isalpha() or word in WORDS or word in CORRECTABLE or word in UNITS or word in NUMBERS:
        return None
    near = [candidate for candidate in CORRECTABLE if OSA.distance(word, candidate, score_cutoff=1) <= 1]
    stems = {candidate.rstrip("s") for candidate in near}
    if len(stems) != 1:
        return None
    stem = stems.pop()
    return stem if stem in WORDS and not word.endswith("s") else min(near, key=len)


def _dimension_of(chunk: Chunk | None) -> Dimension | None:
    return Dimension(chunk.value) if isinstance(chunk, Cue) and chunk.kind == Kind.DIMENSION else None


def _asks_for_text(chunk: Chunk | None) -> bool:
    return isinstance(chunk, Cue) and (chunk.kind == Kind.TEXT or chunk.text in ("error", "message", "error message"))


def _introduces_a_name(chunk: Chunk | None) -> bool:
    kinds = (Kind.LINK, Kind.ABOUT, Kind.LONGER, Kind.SHORTER)
    return isinstance(chunk, Cue) and chunk.kind in kinds and chunk.text not in ("with", "having")


def _is_plural(cue: Cue) -> bool:
    return cue.text.endswith("s") and cue.text != "status" and not cue.text.endswith("ss")


def _milliseconds(number: float, unit: str) -> float:
    return number * (UNITS[unit] / timedelta(milliseconds=1))


def _integer(word: str) -> int | None:
    if word.isdecimal():
        return int(word)
    value = NUMBERS.get(word)
    return int(value) if value is not None and value >= 1 and word not in ("a", "an", "few", "couple") else None
