"""Requests decoded together: an error that one of them causes is its own."""

from __future__ import annotations

import asyncio
from contextlib import closing

from google.protobuf.message import Message

from otel_diag.config import Settings
from otel_diag.decode.requests import Decoded
from otel_diag.errors import BadInput
from otel_diag.receive.commit import GroupCommit
from otel_diag.receive.decoding import HereDecoder, Undecoded
from otel_diag.receive.intake import SIGNALS, Intake
from otel_diag.receive.status import Refusal
from otel_diag.store.base import Store
from tests.receive.requests import request_of

POISON = b"poison"


class Panic(BaseException):
    """As one of an extension module, which is no Exception."""


class Panicking(HereDecoder):
    def decode(self, requests: Undecoded) -> list[Decoded | BadInput]:
        if POISON in requests.payloads:
            raise Panic
        return super().decode(requests)


def test_an_unforeseen_error_refuses_only_the_request_that_caused_it(embedded: Store) -> None:
    signal = SIGNALS[0]
    bodies = [request_of(2).SerializeToString(), POISON, request_of(3).SerializeToString()]

    async def export() -> list[Message | Refusal]:
        with (
            closing(GroupCommit(embedded, settings)) as commits,
            closing(Intake(commits, settings, [Panicking()])) as intake,
        ):
            # The first is being decoded while the others gather.
            await intake.export(signal, request_of(1).SerializeToString(), "default")
            return await asyncio.gather(*(intake.export(signal, body, "default") for body in bodies))

    settings = Settings()  # type: ignore[call-arg]
    first, poisoned, last = asyncio.run(export())
    assert isinstance(poisoned, Refusal)
    assert poisoned.retry_seconds is not None
    assert not isinstance(first, Refusal)
    assert not isinstance(last, Refusal)
