"""Decoding in a process of its own gives what decoding here gives, and outlives its process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from otel_diag.decode.bounds import Limits
from otel_diag.decode.requests import Decoded
from otel_diag.errors import BadInput, Transient
from otel_diag.receive.decoding import HereDecoder, ProcessDecoder, Undecoded
from tests.receive.requests import request_of

LIMITS = Limits(attributes=100, value_bytes=1_000)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessDecoder]:
    with closing(ProcessDecoder()) as decoder:
        yield decoder


def undecoded(*payloads: bytes, kind: str = "traces") -> Undecoded:
    return Undecoded(kind, payloads, [f"tenant {number}" for number in range(len(payloads))], LIMITS)


def test_the_same_as_here(elsewhere: ProcessDecoder) -> None:
    bad_ids = request_of(3, bad_ids=1).SerializeToString()
    long_value = request_of(2, padding=5_000).SerializeToString()
    empty = request_of(0).SerializeToString()
    requests = undecoded(bad_ids, b"\xff garbage", long_value, empty)
    for here, there in zip(HereDecoder().decode(requests), elsewhere.decode(requests), strict=True):
        if isinstance(here, BadInput):
            assert isinstance(there, BadInput)
            assert (there.message, there.hint) == (here.message, here.hint)
            continue
        assert isinstance(there, Decoded)
        assert there.batch.to_pylist() == here.batch.to_pylist()
        assert (there.message, there.rejected, there.truncated) == (here.message, here.rejected, here.truncated)


@pytest.mark.parametrize("kind", ["metrics", "logs", "profiles"])
def test_nothing_to_decode_in_any_signal(elsewhere: ProcessDecoder, kind: str) -> None:
    (outcome,) = elsewhere.decode(undecoded(b"", kind=kind))
    assert isinstance(outcome, Decoded)
    assert outcome.records == 0


def test_an_unforeseen_error_ends_no_process(elsewhere: ProcessDecoder) -> None:
    with pytest.raises(Transient):
        elsewhere.decode(undecoded(b"", kind="no signal"))
    assert len(elsewhere.decode(undecoded(request_of(1).SerializeToString()))) == 1


def test_what_stops_the_server_does_not_stop_its_decoding(elsewhere: ProcessDecoder) -> None:
    payload = undecoded(request_of(1).SerializeToString())
    elsewhere.decode(payload)
    assert elsewhere.pid is not None
    for stop in (signal.SIGINT, signal.SIGTERM):
        os.kill(elsewhere.pid, stop)
    assert len(elsewhere.decode(payload)) == 1


def test_a_process_that_dies_is_replaced() -> None:
    with closing(ProcessDecoder()) as decoder:
        payload = request_of(1).SerializeToString()
        decoder.decode(undecoded(payload))
        assert decoder.pid is not None
        os.kill(decoder.pid, signal.SIGKILL)
        with pytest.raises(Transient):
            decoder.decode(undecoded(payload))
        (outcome,) = decoder.decode(undecoded(payload))
        assert isinstance(outcome, Decoded)


def test_calls_side_by_side_get_their_own_answers(elsewhere: ProcessDecoder) -> None:
    sizes = [1 + number % 7 for number in range(60)]

    def decoded(size: int) -> int:
        (outcome,) = elsewhere.decode(undecoded(request_of(size).SerializeToString()))
        assert isinstance(outcome, Decoded)
        return outcome.batch.num_rows

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(decoded, sizes)) == sizes


def test_calls_under_way_when_the_process_dies_are_told_and_the_next_one_is_answered() -> None:
    payload = undecoded(request_of(1).SerializeToString())
    with closing(ProcessDecoder()) as decoder, ThreadPoolExecutor(2) as pool:
        decoder.decode(payload)
        assert decoder.pid is not None
        os.kill(decoder.pid, signal.SIGSTOP)
        calls = [pool.submit(decoder.decode, payload) for _ in range(2)]
        with pytest.raises(TimeoutError):
            calls[1].result(0.2)
        os.kill(decoder.pid, signal.SIGKILL)
        for call in calls:
            assert isinstance(call.exception(20), Transient)
        assert len(decoder.decode(payload)) == 1
