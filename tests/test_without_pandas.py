"""pandas, which pyarrow would load where it is installed, stays out of our processes; who wants it still gets it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

pytest.importorskip("pandas", reason="pandas is not installed, so nothing would load it")


@pytest.mark.parametrize(
    "program", [["otel_diag.present.cli", "--version"], ["otel_diag.receive.decoding_process", "FD"]]
)
def test_our_programs_do_not_load_it(program: list[str]) -> None:
    ours, theirs = socket.socketpair()
    ours.close()  # the decoding process ends when nobody can send it anything
    with theirs:
        words = [str(theirs.fileno()) if word == "FD" else word for word in program]
        command = [sys.executable, "-X", "importtime", "-m", *words]
        done = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0, done.stderr
    assert "pyarrow" in loaded
    assert "pandas.core" not in loaded  # its own name is listed when it is only looked for


def test_who_imports_it_gets_it() -> None:
    script = (
        "from otel_diag.without_pandas import keep_pandas_out; keep_pandas_out(); keep_pandas_out()\n"
        "import pyarrow, pandas, sys\n"
        "assert pyarrow.array([1, 2]).to_pylist() == pandas.Series([1, 2]).to_list()\n"
        "assert not any('without_pandas' in type(finder).__module__ for finder in sys.meta_path)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
