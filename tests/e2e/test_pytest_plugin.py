"""``pytest --otel-diag``: failed tests, and only they, keep their spans and are diagnosed. Each run is a process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.processes import answer_of, finished

SHOP = """
import asyncio
import threading

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

tracer = trace.get_tracer("shop")


def step(name):
    tracer.start_span(name).end()


def checkout():
    with tracer.start_as_current_span("checkout"):
        step("basket")
        charge()


def charge():
    where = {"server.address": "payments"}
    with tracer.start_as_current_span("POST /charge", kind=SpanKind.CLIENT, attributes=where):
        raise ConnectionRefusedError("payments refused the connection")


def test_checkout():
    checkout()


def test_answer_of_checkout():
    answer = "paid"
    try:
        checkout()
    except ConnectionRefusedError:
        answer = "declined"
    assert answer == "paid"


def test_of_what_hides_its_error():
    with tracer.start_as_current_span("checkout without payment"), pytest.raises(ConnectionRefusedError):
        charge()
    raise AssertionError("not paid")


def test_checkout_in_a_thread():
    thread = threading.Thread(target=pytest.raises, args=(ConnectionRefusedError, checkout))
    thread.start()
    thread.join()
    raise AssertionError("not paid")


def test_checkout_in_a_loop():
    async def main():
        await asyncio.create_task(asyncio.to_thread(step, "before"))
        checkout()

    asyncio.run(main())


@pytest.fixture
def basket():
    step("fill")
    yield
    step("empty")


def test_with_a_fixture(basket):
    step("work")
    raise ValueError("wrong")


@pytest.fixture
def unavailable():
    charge()


def test_setup(unavailable):
    step("never")


@pytest.fixture
def late():
    yield
    charge()


def test_teardown(late):
    step("work")


def test_assertion_alone():
    step("fine")
    raise AssertionError("of the test")


def test_without_spans():
    raise AssertionError("of the test")


def test_that_passes():
    step("fine")


@pytest.mark.xfail
def test_that_is_expected_to_fail():
    checkout()


@pytest.mark.skip
def test_that_is_skipped():
    step("never")


@pytest.mark.xfail(strict=True)
def test_that_should_have_failed():
    step("fine")
"""

KEPT = {
    "checkout",
    "answer_of_checkout",
    "of_what_hides_its_error",
    "checkout_in_a_thread",
    "checkout_in_a_loop",
    "with_a_fixture",
    "setup",
    "teardown",
    "assertion_alone",
    "that_should_have_failed",
}
CALLED = {"checkout", "answer_of_checkout", "checkout_in_a_thread", "checkout_in_a_loop", "setup", "teardown"}
"""Tests that meet a refused connection, whatever they say themselves."""


def printed(directory: Path, *words: str, code: str = SHOP) -> str:
    """What pytest prints about the tests in a directory of their own."""
    (directory / "pytest.ini").touch()
    (directory / "test_shop.py").write_text(code)
    pytest_ = [sys.executable, "-W", "ignore", "-m", "pytest", "-p", "no:cacheprovider", "--tb=short"]
    # Elsewhere it would remove what earlier runs of this suite left, tens of thousands of files, before it ends.
    done = finished([*pytest_, "--basetemp", str(directory / "temporary"), *words], directory)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def files(directory: Path) -> dict[str, Path]:
    """The kept traces by the name of their test."""
    return {path.name.removeprefix("test_shop.py_test_").rpartition("-")[0]: path for path in directory.glob("*.otlp")}


def spans_of(path: Path) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(path.read_bytes())
    return [span for found in request.resource_spans for scope in found.scope_spans for span in scope.spans]


def names_of(path: Path) -> set[str]:
    return {span.name for span in spans_of(path)}


def said_of(output: str, test: str) -> str:
    """What stands in the report of a test under the heading of the plugin."""
    report = re.split(rf"^_+ .*test_{test} _+$", output, flags=re.MULTILINE)[1]
    return re.split(r"^[_=-]+ ", re.split(r"^-+ otel-diag \w+ -+$", report, flags=re.MULTILINE)[1], flags=re.MULTILINE)[
        0
    ]


@pytest.fixture(scope="module", params=[(), ("-n", "2")], ids=["one process", "two workers"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The output of a run of every kind of test, and the directory of their traces."""
    directory = tmp_path_factory.mktemp("shop")
    return printed(directory, "--otel-diag", *request.param), directory / ".otel-diag"


def test_failed_tests_keep_their_spans_and_no_other_does(run: tuple[str, Path]) -> None:
    assert files(run[1]).keys() == KEPT


@pytest.mark.parametrize("test", sorted(CALLED))
def test_the_report_names_what_failed_below_the_test(run: tuple[str, Path], test: str) -> None:
    said = said_of(run[0], test)
    assert "CONNECTION_FAILURE" in said
    assert "POST /charge could not reach payments: ConnectionRefusedError: payments refused the connection" in said


@pytest.mark.parametrize("test", ["of_what_hides_its_error", "assertion_alone", "that_should_have_failed"])
def test_a_failure_of_the_test_alone_is_not_blamed_on_what_it_called(run: tuple[str, Path], test: str) -> None:
    said = said_of(run[0], test)
    assert "No error in a span has reached the test." in said
    assert "confidence" not in said
    assert ("! payments refused the connection" in said) == (test == "of_what_hides_its_error"), "in the timeline"


def test_a_test_without_spans_says_so(run: tuple[str, Path]) -> None:
    assert said_of(run[0], "without_spans").strip() == "No span was recorded while the test ran."


def test_a_trace_is_whole_and_the_tests_own(run: tuple[str, Path]) -> None:
    kept = files(run[1])
    assert names_of(kept["with_a_fixture"]) == {"test_shop.py::test_with_a_fixture", "fill", "work", "empty"}
    for path in kept.values():
        spans = spans_of(path)
        (root,) = (span for span in spans if not span.parent_span_id)
        assert root.name.startswith("test_shop.py::test_")
        assert {span.trace_id for span in spans} == {root.trace_id}, "threads begin traces of their own"
        assert {span.parent_span_id for span in spans} <= {b"", *(span.span_id for span in spans)}
        assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in spans)


def test_a_trace_can_be_imported_and_asked_about(run: tuple[str, Path], tmp_path: Path) -> None:
    output, directory = run
    path = files(directory)["checkout"]
    assert f"Its spans: otel-diag import .otel-diag/{path.name}" in output
    store = f"duckdb:///{tmp_path / 'store.duckdb'}"
    (imported,) = answer_of("import", path, "--store", store)
    assert (imported["stored"], imported["duplicates"]) == (4, 0)
    cause = answer_of("diagnose", spans_of(path)[0].trace_id.hex(), "--store", store)["root_cause"]
    assert (cause["root_cause_type"], cause["affected_operation"]) == ("CONNECTION_FAILURE", "POST /charge")


def test_unasked_it_does_nothing_and_loads_nothing(tmp_path: Path) -> None:
    code = """
import sys

def test_what_is_loaded():
    ours = sorted(name for name in sys.modules if name.startswith(("otel_diag", "opentelemetry")))
    assert ours == ["otel_diag", "otel_diag.pytest_plugin", "otel_diag.pytest_plugin.options"]
    raise AssertionError("and no more")
"""
    output = printed(tmp_path, code=code)
    assert "AssertionError: and no more" in output
    assert "-- otel-diag" not in output
    assert not (tmp_path / ".otel-diag").exists()


@pytest.mark.parametrize("how", ["option", "ini"])
def test_the_directory_can_be_chosen(tmp_path: Path, how: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\notel_diag = kept\n" if how == "ini" else "")
    words = [] if how == "ini" else ["--otel-diag-dir", "kept"]
    assert "CONNECTION_FAILURE" in printed(tmp_path, *words, "-k", "test_checkout")
    assert files(tmp_path / "kept").keys() == {"checkout", "checkout_in_a_thread", "checkout_in_a_loop"}


def test_the_applications_own_provider_stays(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("""
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "its-own-name"})))
""")
    output = printed(tmp_path, "--otel-diag", "-k", "test_checkout")
    assert "its-own-name.POST /charge could not reach payments" in output
    assert "Overriding" not in output


def test_a_span_that_ends_while_the_others_are_read_stops_nothing(tmp_path: Path) -> None:
    code = """
import signal

import pytest
from opentelemetry import trace

tracer = trace.get_tracer("shop")

def alarm(*_):
    tracer.start_span("alarm").end()
    signal.setitimer(signal.ITIMER_REAL, 0.0002)

@pytest.fixture
def alarms():
    signal.signal(signal.SIGALRM, alarm)
    alarm()
    yield
    signal.signal(signal.SIGALRM, signal.SIG_IGN)

def test_interrupted(alarms):
    for _ in range(5_000):
        tracer.start_span("step").end()
    raise AssertionError("read now")
"""
    output = printed(tmp_path, "--otel-diag", code=code)
    assert "1 failed" in output
    (path,) = files(tmp_path / ".otel-diag").values()
    assert names_of(path) == {"test_shop.py::test_interrupted", "step", "alarm"}


def test_traces_that_cannot_be_written_are_diagnosed_all_the_same(tmp_path: Path) -> None:
    output = printed(tmp_path, "--otel-diag-dir", "/dev/null", "-k", "test_checkout")
    assert "CONNECTION_FAILURE" in output
    assert "Its spans could not be written to" in output
