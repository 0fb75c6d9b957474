"""The plugin's options. pytest loads this into every run of its environment, mostly unasked: it imports pytest only."""

from __future__ import annotations

import pytest

DIRECTORY = ".otel-diag"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("otel-diag", "traces of failed tests")
    group.addoption("--otel-diag", action="store_true", help="Diagnose failed tests from their spans.")
    # An option of its own: of `pytest --otel-diag tests` nobody could tell what the last word is.
    group.addoption("--otel-diag-dir", metavar="DIR", help=f"The same, with their traces in DIR ({DIRECTORY}).")
    parser.addini("otel_diag", "Diagnose failed tests from their spans, with their traces in this directory.")


def pytest_configure(config: pytest.Config) -> None:
    directory = config.getoption("otel_diag_dir") or config.getini("otel_diag")
    if not directory and not config.getoption("otel_diag"):
        return
    try:
        from otel_diag.pytest_plugin.failed_tests import FailedTests
    except ImportError as error:
        raise pytest.UsageError(f"--otel-diag: {error}. Install it: pip install 'otel-diag[exporter]'.") from error
    config.pluginmanager.register(FailedTests(config, config.rootpath / (directory or DIRECTORY)), "otel-diag-traces")
