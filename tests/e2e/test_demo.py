"""The demo as a script runs it: every diagnosis right, without and with peers, and nothing left running."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.processes import PROGRAM, environment
from tests.e2e.test_answers import CAUSES


@pytest.mark.timeout(240)
def test_the_demo_is_right_about_every_execution_and_leaves_nothing_behind() -> None:
    # Every process of the demo inherits the pipe of standard error: its end is read only when all are gone.
    done = subprocess.run(
        [*PROGRAM, "demo", "--healthy", "8"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=200,
        env=environment() | {"DEMO_EXIT": "1"},
    )
    lines = done.stdout.splitlines()
    cases = [json.loads(line) for line in lines[-(2 * (len(CAUSES) - 1) + 8) :]]
    said = {(case["execution_id"], case["injected"]): case for case in cases}
    assert len(said) == len(cases)
    for case in cases:
        cause = CAUSES[case["injected"]]
        assert case == {
            "execution_id": case["execution_id"],
            "injected": case["injected"],
            "verdict": "root_cause" if cause else "healthy",
            "root_cause_type": cause[0] if cause else None,
            "affected_service": cause[1] if cause else None,
        }
    injected = [case["injected"] for case in cases]
    assert {fault: injected.count(fault) for fault in CAUSES} == {
        fault: 8 if fault == "none" else 2 for fault in CAUSES
    }
    assert done.returncode == 0
