"""Whatever the bytes are, a decoder decodes or refuses them. OTEL_DIAG_FUZZ_EXAMPLES says how many each decoder gets.

Inputs are decoded some at a time, as requests that wait are: what a bad one does to its neighbours shows, and 100,000
of them take minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_diag.decode.bounds import Limits
from otel_diag.decode.logs import LOGS
from otel_diag.decode.metrics import METRICS
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.profiles import PROFILES
from otel_diag.decode.requests import Decoded, Wire
from otel_diag.decode.traces import TRACES
from otel_diag.errors import BadInput
from tests.conftest import FUZZ_EXAMPLES, fuzzed
from tests.decode.golden import GOLDEN
from tests.decode.strategies import indexes

TOGETHER = 20
WIRES = {"traces": TRACES, "metrics": METRICS, "logs": LOGS, "profiles": PROFILES}
LIMITS = (None, Limits(attributes=1, value_bytes=64))

every_signal = pytest.mark.parametrize("signal", WIRES)
# Two tests a decoder: so many inputs in all.
fuzzed_together = settings(fuzzed, max_examples=-(-FUZZ_EXAMPLES // (2 * TOGETHER)))


def decode(wire: Wire, payload: bytes, limits: Limits | None = None) -> Decoded | BadInput:
    """The outcome, looked at: a batch must be sound."""
    (outcome,) = wire.decode([payload], ["default"], limits)
    if isinstance(outcome, Decoded):
        outcome.batch.validate(full=True)
        assert 0 <= outcome.rejected <= outcome.records
    return outcome


def decode_together(wire: Wire, payloads: Sequence[bytes], limits: Limits | None = None) -> None:
    for outcome in wire.decode(payloads, ["default"] * len(payloads), limits):
        if isinstance(outcome, Decoded):
            outcome.batch.validate(full=True)
            assert 0 <= outcome.rejected <= outcome.records


def some(inputs: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(inputs, min_size=TOGETHER, max_size=TOGETHER)


@every_signal
@fuzzed_together
@given(payloads=some(st.binary(max_size=200)), limits=st.sampled_from(LIMITS))
def test_arbitrary_bytes_are_decoded_or_refused(signal: str, payloads: list[bytes], limits: Limits | None) -> None:
    decode_together(WIRES[signal], payloads, limits)


changes = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4)


@every_signal
@fuzzed_together
@given(damages=some(st.tuples(changes, st.none() | st.integers(0, 2**16))), limits=st.sampled_from(LIMITS))
def test_damaged_requests_are_decoded_or_refused(
    signal: str, damages: list[tuple[list[tuple[int, int]], int | None]], limits: Limits | None
) -> None:
    sound = GOLDEN[signal]().SerializeToString()
    payloads = []
    for damage, cut in damages:
        payload = bytearray(sound)
        for position, byte in damage:
            payload[position % len(payload)] = byte
        payloads.append(bytes(payload if cut is None else payload[: cut % len(payload)]))
    decode_together(WIRES[signal], payloads, limits)


def keys_of(wire: Wire) -> list[str]:
    """The names of all fields of a request, as JSON has them."""
    found: dict[str, list[str]] = {}

    def visit(descriptor: Any) -> None:
        if descriptor.full_name not in found:
            found[descriptor.full_name] = [field.json_name for field in descriptor.fields]
            for field in descriptor.fields:
                if field.message_type is not None:
                    visit(field.message_type)

    visit(wire.message.DESCRIPTOR)
    return sorted({name for names in found.values() for name in names})


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)


@every_signal
@fuzzed_together
@given(data=st.data())
def test_arbitrary_json_is_decoded_or_refused(signal: str, data: st.DataObject) -> None:
    wire = WIRES[signal]
    keys = st.sampled_from(keys_of(wire))
    objects = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=15,
    )
    top = wire.message.DESCRIPTOR.fields[0].json_name
    payloads = []
    for drawn in data.draw(some(st.binary(max_size=60) | objects)):
        text = drawn if isinstance(drawn, bytes) else json.dumps({top: drawn}).encode()
        try:
            payloads.append(json_to_request(text, wire.message.DESCRIPTOR))
        except BadInput:
            continue
    decode_together(wire, payloads)


@fuzzed_together
@given(data=st.data())
def test_profiles_with_indexes_that_point_anywhere_are_decoded_or_rejected(data: st.DataObject) -> None:
    """As many indexes as the request has, each replaced now and then."""
    request = GOLDEN["profiles"]()
    anywhere = indexes | st.sampled_from([-1, 99, 2**31 - 1, -(2**31)])

    def visit(message: Any) -> None:
        for field, value in message.ListFields():
            if field.message_type is not None:
                for child in value if field.is_repeated else [value]:
                    visit(child)
            elif field.name.endswith(("_index", "_strindex")) and data.draw(st.integers(0, 5)) == 0:
                setattr(message, field.name, data.draw(anywhere))
            elif field.name.endswith("_indices") and data.draw(st.integers(0, 5)) == 0:
                value[:] = data.draw(st.lists(anywhere, max_size=3))

    visit(request)
    outcome = decode(PROFILES, request.SerializeToString())
    assert isinstance(outcome, Decoded)
    assert outcome.rejected + bool(outcome.batch.num_rows) == outcome.records == 1
