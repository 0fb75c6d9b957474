"""A moment as callers type it: so long ago, or a date and time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

AGE: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime) -> datetime:
    """``2h`` (so long before ``now``; units s m h d w) or ISO 8601, in UTC unless it has an offset.

    Raises ValueError for anything else, and for what no clock shows.
    """
    try:
        if ago := AGE.fullmatch(text.strip().lower()):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
    except OverflowError as error:
        raise ValueError(f"{text!r:.80} is out of range") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
