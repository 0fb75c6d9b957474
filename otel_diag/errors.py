"""The errors that cross a module boundary.

Each says what happened and, in ``hint``, what the user can do next. Presenters and receivers map the
classes to their protocol's status in one place each; an exception that is none of these is a bug.
"""

from __future__ import annotations


class OtelDiagError(Exception):
    """Base of every error raised on purpose. ``hint`` is one sentence: what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Transient(OtelDiagError):
    """May succeed when tried again: storage busy or down, queue full."""


class Permanent(OtelDiagError):
    """Will fail again in the same way: data the store can never take, a broken invariant."""


class BadInput(OtelDiagError):
    """The caller's input is malformed or contradictory; nothing was stored or run."""


class NotFound(OtelDiagError):
    """The thing asked for is not in the store. ``nearest`` lists ids that are, closest first."""

    def __init__(self, message: str, *, hint: str = "", nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.nearest = nearest


class Unauthenticated(OtelDiagError):
    """Nobody known asks: no token, or one that is not known."""


class Forbidden(OtelDiagError):
    """Who asks is known and may not do this."""


class Unsupported(OtelDiagError):
    """This backend or build cannot do that; it refuses rather than approximates."""


class Conflict(Transient):
    """Another writer changed the same rows first; the transaction was rolled back."""


class StartupError(OtelDiagError):
    """The process cannot start: port taken, store locked, database down, schema too new."""


class StoreInUse(StartupError):
    """Another process holds the embedded store; it may let go in a moment."""
