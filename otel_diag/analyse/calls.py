"""Which spans stand for a call to something outside their process, and what that something is called."""

from __future__ import annotations

import re
from typing import Final

from otel_diag.model import Span

_BROKERS: Final = ("messaging.system", "messaging.system.name")
_STORES: Final = ("db.system", "db.system.name", *_BROKERS)
_PEER_NAMES: Final = ("service.peer.name", "peer.service", "server.address", "net.peer.name", "rpc.service")
_HOST_NAMES: Final = ("server.address", "net.peer.name")
_SERVED: Final = ("http.route", "http.target", "url.path")
"""What only the far end of an HTTP call records: on a span without a kind, ``server.address`` is its own then."""

_PUBLIC_HOST: Final = re.compile(r"(?:[a-z0-9_-]+\.)+(?:com|net|org|io|ai|dev|cloud|app|co|run|[a-z]{2})")
_OWN_HOSTS: Final = (".modal.run",)
"""Modal's web endpoints have a public name and are the user's own code."""

_WORD_BREAKS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./:\s]+")


def is_call(span: Span) -> bool:
    """A client or producer span; also one of an SDK that sets no kinds, when it names whom it talks to."""
    if span.kind in ("client", "producer"):
        return True
    if span.kind in ("server", "consumer"):
        return False
    if is_to_a_store(span):
        return True
    return any(span.attributes.get(name) for name in _PEER_NAMES) and not any(n in span.attributes for n in _SERVED)


def is_to_a_store(span: Span) -> bool:
    """Whether the span names a database or a message broker."""
    return any(name in span.attributes for name in _STORES)


def is_to_a_broker(span: Span) -> bool:
    return any(name in span.attributes for name in _BROKERS)


def peer_names(span: Span) -> list[str]:
    """What the span calls its far end, the most telling name first; empty when it names none."""
    return [str(span.attributes[name]) for name in _PEER_NAMES if span.attributes.get(name)]


def is_to_a_third_party(span: Span) -> bool:
    """Whether the far end is a host with a public name, so most likely not one of ours."""
    return any(_is_public(str(span.attributes[name])) for name in _HOST_NAMES if span.attributes.get(name))


def _is_public(name: str) -> bool:
    host = name.partition("//")[2].partition("/")[0] or name
    host = host.partition(":")[0].lower()
    return bool(_PUBLIC_HOST.fullmatch(host)) and not host.endswith(_OWN_HOSTS)


def words(operation: str) -> str:
    """``loadModel``, ``load_model``, ``load-model`` -> ``load Model``, ..."""
    return _WORD_BREAKS.sub(" ", operation)
