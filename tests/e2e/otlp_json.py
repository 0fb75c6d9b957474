"""OTLP/JSON read with nothing but the specification: what two files mean, to compare them field by field.

Shares no code with the product. A field this reader does not know is an error, so nothing escapes the comparison.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Reader = Callable[[Any], Any]
"""From a field's JSON to a hashable value; None when it holds the default, which is the same as absence."""


def spans_in(path: Path) -> Counter[Any]:
    """Every span of a file of OTLP/JSON lines, with its resource and scope, and how often it occurs."""
    return Counter(span for line in lines_of(path) for span in spans_of(json.loads(line)))


def lines_of(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    yield from (line for line in text.split("\n") if line.strip())


def spans_of(request: dict[str, Any]) -> Iterator[Any]:
    """Each span of a request as (resource, resource schema, scope, scope schema, span), hashable."""
    for group in request.get("resourceSpans", []):
        _check(group, {"resource", "schemaUrl", "scopeSpans"})
        resource = _message(_RESOURCE)(group.get("resource") or {})
        for part in group.get("scopeSpans", []):
            _check(part, {"scope", "schemaUrl", "spans"})
            scope = _message(_SCOPE)(part.get("scope") or {})
            schemas = group.get("schemaUrl") or None, part.get("schemaUrl") or None
            yield from ((resource, scope, schemas, _message(_SPAN)(span)) for span in part.get("spans", []))


def _check(message: dict[str, Any], known: Iterable[str]) -> None:
    assert message.keys() <= set(known), f"unknown fields: {message.keys() - set(known)}"


def _message(fields: dict[str, Reader]) -> Reader:
    def read(message: dict[str, Any]) -> Any:
        _check(message, fields)
        values = ((name, fields[name](value)) for name, value in sorted(message.items()) if value is not None)
        return tuple((name, value) for name, value in values if value is not None) or None

    return read


def _each(read: Reader) -> Reader:
    # An element keeps its place even when every field of it is a default.
    return lambda items: tuple(read(item) for item in items) or None


def _text(value: str) -> str | None:
    return value or None


def _hex(value: str) -> str | None:
    return value.lower() or None


def _integer(value: int | str) -> int | None:
    return int(value) or None


def _any_value(value: dict[str, Any]) -> Any:
    """(kind, value); an empty text or a zero is a value here, and not the same as none at all."""
    given = [(kind, inner) for kind, inner in value.items() if inner is not None]
    if not given:
        return "empty"
    ((kind, inner),) = given
    match kind:
        case "stringValue" | "boolValue":
            return kind, inner
        case "intValue":
            return kind, int(inner)
        case "doubleValue":
            return kind, repr(float(inner))  # so that NaN equals itself, and -0.0 is not 0.0
        case "bytesValue":
            return kind, base64.b64decode(inner)
        case "arrayValue":
            return kind, tuple(_any_value(item) for item in inner.get("values", []))
        case "kvlistValue":
            return kind, tuple(_pair(item) for item in inner.get("values", []))
    raise AssertionError(f"unknown kind of value: {kind}")


def _pair(pair: dict[str, Any]) -> Any:
    _check(pair, {"key", "value"})
    return pair.get("key", ""), _any_value(pair.get("value") or {})


_ATTRIBUTES: dict[str, Reader] = {"attributes": _each(_pair), "droppedAttributesCount": _integer}
_RESOURCE: dict[str, Reader] = dict(_ATTRIBUTES)
_SCOPE: dict[str, Reader] = {**_ATTRIBUTES, "name": _text, "version": _text}
_EVENT: dict[str, Reader] = {**_ATTRIBUTES, "timeUnixNano": _integer, "name": _text}
_LINK: dict[str, Reader] = {**_ATTRIBUTES, "traceId": _hex, "spanId": _hex, "traceState": _text, "flags": _integer}
_SPAN: dict[str, Reader] = {
    **_ATTRIBUTES,
    "traceId": _hex,
    "spanId": _hex,
    "parentSpanId": _hex,
    "traceState": _text,
    "flags": _integer,
    "name": _text,
    "kind": _integer,
    "startTimeUnixNano": _integer,
    "endTimeUnixNano": _integer,
    "events": _each(_message(_EVENT)),
    "droppedEventsCount": _integer,
    "links": _each(_message(_LINK)),
    "droppedLinksCount": _integer,
    "status": _message({"code": _integer, "message": _text}),
}
