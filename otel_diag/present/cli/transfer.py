"""Import and export: spans from files to wherever they are stored, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from otel_diag.delivery import Receiver, Taken
from otel_diag.errors import BadInput, Transient
from otel_diag.present.cli.files import Announced, Broken, Lines, Part, Skipped, Spans, batches
from otel_diag.present.client import AnyQueries

MAX_ATTEMPTS: Final = 8
MAX_WAIT_SECONDS: Final = 10.0
PAGE_SPANS: Final = 10_000


class Sender(Protocol):
    def __call__(self, request: Spans | Announced) -> Taken:
        """Deliver one request; when it returns, its spans, or that they started, are committed.

        Raises BadInput, Transient, Unauthenticated, Forbidden.
        """
        ...


@dataclass(slots=True)
class Imported:
    """One file: ``spans = stored + duplicates + rejected``, and what could not be read at all. Of a log also the spans
    that only started, and its lines by what became of them."""

    file: str
    spans: int = 0
    stored: int = 0
    duplicates: int | None = 0
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    announced: int = 0
    lines: Lines | None = None

    @property
    def whole(self) -> bool:
        return not self.rejected and not self.broken

    def add(self, request: Spans, taken: Taken) -> None:
        self.spans += request.spans
        self.stored += taken.stored
        self.rejected.update(taken.rejected)
        if taken.duplicates is None or self.duplicates is None:
            self.duplicates = None
        else:
            self.duplicates += taken.duplicates


def import_parts(parts: Iterable[Part], name: str, send: Sender, progress: Callable[[], None]) -> Imported:
    """Send every span of what was read. Raises Transient when the receiver stays away."""
    result = Imported(name)

    def spans() -> Iterator[Spans]:
        for part in parts:
            match part:
                case Spans():
                    yield part
                case Announced():
                    send(part)
                    result.announced += part.spans
                case Lines():
                    result.lines = part
                case Skipped(signal):
                    result.skipped[signal] += 1
                case Broken():
                    result.broken.append(part)

    for request in batches(spans()):
        try:
            taken = send(request)
        except BadInput as error:
            taken = Taken(0, 0, {error.message: request.spans})
        result.add(request, taken)
        progress()
    return result


def imported_json(result: Imported) -> dict[str, Any]:
    """What ``import --json`` says of a file. Where ``duplicates`` is null, ``stored`` counts them too."""
    return {
        "file": result.file,
        "spans": result.spans,
        "stored": result.stored,
        "duplicates": result.duplicates,
        "rejected": dict(result.rejected),
        "skipped": dict(result.skipped),
        "broken": [asdict(broken) for broken in result.broken],
        **({"announced": result.announced, "lines": asdict(result.lines)} if result.lines else {}),
    }


class HttpSender:
    """Sends to a running server's OTLP/HTTP endpoint, again while it says "try again"."""

    def __init__(self, otlp_http: str, http: httpx.Client) -> None:
        """``http``: with the token and the TLS that the server asks for; it is closed with this object."""
        self._receiver = Receiver(otlp_http, http)
        self._patiently = Retrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_exponential(multiplier=0.2, max=MAX_WAIT_SECONDS),
        )

    def __call__(self, request: Spans | Announced) -> Taken:
        try:
            return self._patiently(self._receiver.send, request.signal, request.payload, request.spans)
        except RetryError as error:
            raise Transient(
                f"the server did not take the spans in {MAX_ATTEMPTS} attempts: {error.last_attempt.exception()}",
                hint="Look at the server's log; what was imported so far is stored, importing again is safe.",
            ) from error

    def close(self) -> None:
        self._receiver.close()


def trace_ids(queries: AnyQueries) -> Iterator[str]:
    """The id of every stored trace, in order, a page at a time."""
    after = ""
    while page := queries.trace_ids(after=after):
        yield from page
        after = page[-1]


def trace_pages(queries: AnyQueries, trace_id: str, size: int = PAGE_SPANS) -> Iterator[Mapping[str, Any]]:
    """A stored trace as OTLP/JSON requests, of some ``size`` spans when it has more. Raises NotFound."""
    after, more = "", True
    while more:
        page = queries.raw_trace(trace_id, after=after, limit=size)
        ids = [
            span["spanId"]
            for resource in page["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
        if ids or not after:
            yield page
        last = max(ids, default=after)
        more = len(ids) >= size and last > after
        after = last


def trace_ids_by_digits(queries: AnyQueries) -> Callable[[str, int], str]:
    """Finds the stored trace that begins with these eight digits and has a span within a day of this time (Unix
    nanoseconds). The digits and zeros when there is none, or several."""

    def found(digits: str, at: int) -> str:
        ids = [each for each in queries.trace_ids(after=digits, limit=_ALIKE) if each.startswith(digits)]
        near = [each for each in ids if abs(_started(queries, each) - at) < _DAY_NANOS]
        return near[0] if len(near) == 1 else digits.ljust(32, "0")

    return found


_ALIKE: Final = 10
_DAY_NANOS: Final = 86_400 * 10**9


def _started(queries: AnyQueries, trace_id: str) -> int:
    (resource, *_) = queries.raw_trace(trace_id, limit=1)["resourceSpans"]
    return int(resource["scopeSpans"][0]["spans"][0]["startTimeUnixNano"])
