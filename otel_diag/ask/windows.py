"""Times as people write them: "last hour", "since yesterday", "between 14:00 and 15:30", "on 2026-11-20". All UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from otel_diag.ask.intent import ALL_TIME, Window
from otel_diag.ask.tokens import Token

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)

UNITS: Final[dict[str, timedelta]] = {
    unit: length
    for units, length in (
        ("us microsecond microseconds", timedelta(microseconds=1)),
        ("ms msec msecs millisecond milliseconds", timedelta(milliseconds=1)),
        ("s sec secs second seconds", timedelta(seconds=1)),
        ("m min mins minute minutes", MINUTE),
        ("h hr hrs hour hours", HOUR),
        ("d day days", DAY),
        ("w wk week weeks", WEEK),
        ("month months", timedelta(days=30)),
    )
    for unit in units.split()
}
_COUNTED: Final = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
NUMBERS: Final[dict[str, float]] = {word: value for value, word in enumerate(_COUNTED)} | {
    "a": 1,
    "an": 1,
    "half": 0.5,
    "couple": 2,
    "few": 3,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "fifty": 50,
}

_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?$")
_ATTACHED: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)-?(?P<unit>[a-z]+)$")
_CLOCK: Final = re.compile(r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d))?)?(?P<half>am|pm)?(?:utc|z)?$")
_ORDINAL: Final = re.compile(r"(?P<day>\d{1,2})(?:st|nd|rd|th)?$")
_ROLLING: Final = {"last", "past", "previous", "prior", "preceding", "latest"}
_LEADING: Final = {"in", "over", "during", "within", "for", "on", "at", "from", "of", "throughout"}
_ARTICLES: Final = {"the", "my", "our"}
_ALL_TIME: Final = (("all", "time"), ("ever",), ("of", "all", "time"), ("since", "the", "beginning"))

WORDS: Final = frozenset(
    {word for word in UNITS if len(word) > 4}
    | set(_WEEKDAYS)
    | {month for month in _MONTHS if len(month) > 5}
    | {"yesterday", "today", "tonight", "midnight", "morning", "afternoon", "evening", "previous", "between", "since"}
)
"""Words of this part of the grammar that a typo is worth correcting to."""


@dataclass(frozen=True, slots=True)
class _Period:
    """A stretch of time; a moment is one that ends when it starts."""

    start: datetime
    end: datetime
    label: str


_Match = tuple[_Period, int]


def match_quantity(tokens: Sequence[Token], at: int) -> tuple[float, str, int] | None:
    """ "24h", "2 days", "an hour", "half an hour", "a few minutes": number, unit as typed, position after it."""
    if at >= len(tokens) or tokens[at].quoted:
        return None
    word = tokens[at].word
    if (attached := _ATTACHED.match(word)) and attached["unit"] in UNITS:
        return float(attached["number"]), attached["unit"], at + 1
    if word == "a" and _word(tokens, at + 1) in ("couple", "few", "half"):
        return match_quantity(tokens, at + 1)
    number = float(word) if _NUMBER.match(word) else NUMBERS.get(word)
    if number is None:
        return None
    after = at + 1
    while word in ("couple", "half") and _word(tokens, after) in ("of", "a", "an"):
        after += 1
    unit = _word(tokens, after)
    return (number, unit, after + 1) if unit in UNITS else None


def match_window(tokens: Sequence[Token], at: int, now: datetime) -> tuple[Window, int] | None:
    """The longest time expression that starts at ``at``, with the position after it. ``now`` must be aware."""
    now = now.astimezone(UTC)
    for phrase in _ALL_TIME:
        if tuple(token.word for token in tokens[at : at + len(phrase)]) == phrase:
            return Window(ALL_TIME, now, "all time", explicit=True), at + len(phrase)
    found = _bounded(tokens, at, now) or _named(tokens, at, now)
    if found is None:
        return None
    period, after = found
    return Window(period.start, period.end, period.label, explicit=True), after


def _word(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].word if at < len(tokens) and not tokens[at].quoted else ""


def _skip(tokens: Sequence[Token], at: int, words: set[str]) -> int:
    while _word(tokens, at) in words:
        at += 1
    return at


def _bounded(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    """Expressions with a bound: since, after, before, until, from ... to, between ... and, around."""
    cue = _word(tokens, at)
    if cue not in ("since", "after", "before", "until", "till", "from", "between", "around", "at", "starting"):
        return None
    first = _period(tokens, _skip(tokens, at + 1, {"about", "from", "at", "on"} | _ARTICLES), now)
    if first is None:
        return None
    begin, after = first
    if cue in ("from", "between") and _word(tokens, after) in ("to", "until", "till", "and", "through", "-"):
        second = _period(tokens, after + 1, now)
        if second is None:
            return None
        end, after = second
        until = end.end
        if until < begin.start and end.start == end.end:  # "between 14:00 and 15:00", asked at 14:30
            until += DAY
        until = max(until, begin.start)
        return _Period(begin.start, min(until, max(now, begin.start)), f"{begin.label} to {end.label}"), after
    if cue in ("since", "after", "starting") or (cue == "from" and begin.start == begin.end):
        start = begin.end if cue == "after" and begin.end <= now else begin.start
        return _Period(start, now, f"since {begin.label}"), after
    if cue in ("before", "until", "till"):
        moment = begin.start == begin.end
        start = begin.start.replace(hour=0, minute=0, second=0, microsecond=0) if moment else ALL_TIME
        return _Period(start, begin.start, f"before {begin.label}"), after
    if cue in ("around", "at") and begin.start == begin.end:
        quarter = 15 * MINUTE
        return _Period(begin.start - quarter, begin.start + quarter, f"within 15 minutes of {begin.label}"), after
    return None


def _named(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    """A stretch named as such, after an optional preposition: "in the last hour", "today", "on Monday"."""
    start = _skip(tokens, _skip(tokens, at, _LEADING), _ARTICLES)
    found = _period(tokens, start, now)
    if found is None or found[0].start == found[0].end:
        return None
    return found


def _period(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    return (
        _ago(tokens, at, now)
        or _rolling(tokens, at, now)
        or _day_and_time(tokens, at, now)
        or _calendar(tokens, at, now)
    )


def _ago(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    quantity = match_quantity(tokens, at)
    if quantity is None or _word(tokens, quantity[2]) not in ("ago", "back"):
        return None
    number, unit, after = quantity
    start = now - number * UNITS[unit]
    return _Period(start, min(start + UNITS[unit], now), f"{number:g} {unit} ago"), after + 1


def _rolling(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    """ "last hour", "past 2 days". "last week", "last month": the calendar's, as people mean them."""
    cue = _word(tokens, at)
    if cue not in _ROLLING:
        return None
    unit = _word(tokens, at + 1)
    if unit in UNITS and len(unit) > 2:
        if cue in ("last", "previous") and unit in ("week", "month"):
            return _previous_calendar(unit, now), at + 2
        return _Period(now - UNITS[unit], now, f"last {unit}"), at + 2
    quantity = match_quantity(tokens, at + 1)
    if quantity is None:
        return None
    number, unit, after = quantity
    return _Period(now - number * UNITS[unit], now, f"last {number:g} {unit}"), after


def _previous_calendar(unit: str, now: datetime) -> _Period:
    midnight = _midnight(now)
    if unit == "week":
        end = midnight - timedelta(days=now.weekday())
        return _Period(end - WEEK, end, "last week")
    end = midnight.replace(day=1)
    return _Period((end - DAY).replace(day=1), end, "last month")


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _calendar(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    midnight, words = _midnight(now), (_word(tokens, at), _word(tokens, at + 1))
    starts = {
        "hour": now.replace(minute=0, second=0, microsecond=0),
        "day": midnight,
        "week": midnight - timedelta(days=now.weekday()),
        "month": midnight.replace(day=1),
    }
    if words[0] in ("this", "current") and words[1] in starts:
        return _Period(starts[words[1]], now, f"this {words[1]}"), at + 2
    parts = {"morning": (0, 12), "afternoon": (12, 18), "evening": (18, 24)}
    day_parts = {f"this {part}": (midnight, hours) for part, hours in parts.items()}
    day_parts |= {f"yesterday {part}": (midnight - DAY, hours) for part, hours in parts.items()}
    day_parts |= {"last night": (midnight - DAY, (18, 30)), "last evening": (midnight - DAY, (18, 24))}
    if found := day_parts.get(" ".join(words)):
        base, (first, last) = found
        begin = base + first * HOUR
        return _Period(begin, min(base + last * HOUR, max(now, begin)), " ".join(words)), at + 2
    if words[0] == "overnight":
        return _Period(midnight - 6 * HOUR, min(now, midnight + 6 * HOUR), "overnight"), at + 1
    if words[0] == "tonight":
        return _Period(midnight, now, "today"), at + 1
    day = _day(tokens, at, now)
    if day is None:
        return None
    start, label, after = day
    end = start + DAY
    return _Period(start, now if start <= now < end else end, label), after


def _day(tokens: Sequence[Token], at: int, now: datetime) -> tuple[datetime, str, int] | None:
    """A whole day by name or date: midnight at its start, what to call it, the position after."""
    midnight, word = _midnight(now), _word(tokens, at)
    if word == "today":
        return midnight, word, at + 1
    if word == "yesterday":
        return midnight - DAY, word, at + 1
    if word == "last" and _word(tokens, at + 1) in _WEEKDAYS:
        return _day(tokens, at + 1, now)
    if word.removesuffix("s") in _WEEKDAYS:
        back = (now.weekday() - _WEEKDAYS.index(word.removesuffix("s"))) % 7
        return midnight - timedelta(days=back or 7), word, at + 1
    return _date(tokens, at, now)


def _date(tokens: Sequence[Token], at: int, now: datetime) -> tuple[datetime, str, int] | None:
    """ISO "2026-11-20", "20 November", "Nov 20th", each with an optional year after it."""
    first, second = _word(tokens, at), _word(tokens, at + 1)
    if len(first) == 10:
        try:
            return datetime.combine(date.fromisoformat(first), time(), UTC), first, at + 1
        except ValueError:
            return None
    for month_word, day_word in ((first, second), (second, first)):
        month, ordinal = _month(month_word), _ORDINAL.match(day_word)
        if month is None or ordinal is None:
            continue
        year_word = _word(tokens, at + 2)
        year = int(year_word) if len(year_word) == 4 and year_word.isdecimal() else now.year
        try:
            start = datetime(year, month, int(ordinal["day"]), tzinfo=UTC)
        except ValueError:
            return None
        if start > now and year_word != str(year):
            start = start.replace(year=year - 1)
        return start, start.date().isoformat(), at + (3 if year_word == str(year) else 2)
    return None


def _month(word: str) -> int | None:
    matches = [number for number, name in enumerate(_MONTHS, start=1) if word and word in (name, name[:3])]
    return matches[0] if matches else None


def _day_and_time(tokens: Sequence[Token], at: int, now: datetime) -> _Match | None:
    """A moment: "14:00", "2 pm", "noon yesterday", "Monday at 9am", an ISO date-time."""
    if (stamp := _word(tokens, at)) and len(stamp) > 10 and stamp[4:5] == "-":
        try:
            moment = datetime.fromisoformat(stamp.upper())
        except ValueError:
            return None
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _Period(moment, moment, moment.isoformat()), at + 1
    if clock := _clock(tokens, at):
        offset, label, after = clock
        if day := _day(tokens, _skip(tokens, after, {"on"}), now):
            start, day_label, after = day
            return _Period(start + offset, start + offset, f"{day_label} {label}"), after
        moment = _midnight(now) + offset
        if moment > now:
            return _Period(moment - DAY, moment - DAY, f"yesterday {label}"), after
        return _Period(moment, moment, label), after
    if day := _day(tokens, at, now):
        start, day_label, after = day
        if clock := _clock(tokens, _skip(tokens, after, {"at"})):
            offset, label, after = clock
            return _Period(start + offset, start + offset, f"{day_label} {label}"), after
    return None


def _clock(tokens: Sequence[Token], at: int) -> tuple[timedelta, str, int] | None:
    word = _word(tokens, at)
    if word in ("noon", "midnight"):
        return (12 * HOUR if word == "noon" else timedelta()), word, at + 1
    match = _CLOCK.match(word)
    if match is None:
        return None
    half, after = match["half"], at + 1
    if half is None and _word(tokens, after) in ("am", "pm"):
        half, after = _word(tokens, after), after + 1
    hour, minute, second = int(match["hour"]), int(match["minute"] or 0), int(match["second"] or 0)
    if half is None and match["minute"] is None:
        return None  # a bare number is not a time
    if half is not None and not 1 <= hour <= 12:
        return None
    if half is not None:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    after = _skip(tokens, after, {"utc", "gmt"})
    return timedelta(hours=hour, minutes=minute, seconds=second), f"{hour:02d}:{minute:02d}", after


def rolling(length: timedelta, label: str, now: datetime) -> Window:
    """A default: the stretch of this length up to now, marked as not asked for."""
    now = now.astimezone(UTC)
    return Window(now - length, now, label, explicit=False)


def default_window(now: datetime, *, failures: bool = False) -> Window:
    """The window where none is asked for: the last hour of failures, of everything else the last 24 hours."""
    return rolling(HOUR, "last hour (default)", now) if failures else rolling(DAY, "last 24 hours (default)", now)


def preceding(window: Window) -> Window:
    """The window of the same length that ends where this one starts."""
    length = window.until - window.since
    start = max(window.since, ALL_TIME + length) - length
    return Window(start, window.since, f"the same length of time before {window.label}", explicit=False)


def counterpart(baseline: Window, now: datetime) -> tuple[Window, Window]:
    """The two windows meant by somebody who names only the earlier: "slower than yesterday" is today and yesterday.

    A baseline that reaches up to now ("than in the last hour") is the window itself, compared with the one before.
    """
    now = now.astimezone(UTC)
    midnight = _midnight(now)
    starts = {
        "yesterday": (midnight, "today"),
        "last week": (midnight - now.weekday() * DAY, "this week"),
        "last month": (midnight.replace(day=1), "this month"),
    }
    start, label = starts.get(baseline.label, (baseline.until, f"since {baseline.label}"))
    if start >= now:
        label = baseline.label if baseline.label.startswith("last") else f"since {baseline.label}"
        main = replace(baseline, label=label)
        return main, preceding(main)
    return Window(start, now, label, explicit=False), baseline
