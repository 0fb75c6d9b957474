"""Settings: where they come from, and what becomes of a file that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_diag.config import Settings, embedded_path
from otel_diag.errors import BadInput


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OTEL_DIAG_STORE", "DATABASE_URL", "OTEL_DIAG_PORT", "OTEL_DIAG_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_nearer_source_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("otel-diag.toml").write_text('port = 1\nstore = "duckdb:///file.duckdb"\n')
    assert (Settings().port, Settings().store) == (1, "duckdb:///file.duckdb")
    monkeypatch.setenv("OTEL_DIAG_PORT", "2")
    monkeypatch.setenv("DATABASE_URL", "postgresql://alias/db")
    assert (Settings().port, Settings().store) == (2, "postgresql://alias/db")
    monkeypatch.setenv("OTEL_DIAG_STORE", "postgresql://own/db")
    assert Settings(port=3).port == 3
    assert Settings().store == "postgresql://own/db"


def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("otel-diag.toml").write_text("store = [")
    with pytest.raises(BadInput, match=r"otel-diag\.toml"):
        Settings()
    monkeypatch.setenv("OTEL_DIAG_CONFIG", "elsewhere.toml")
    with pytest.raises(BadInput, match=r"elsewhere\.toml"):
        Settings()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("duckdb:////var/lib/x.duckdb", Path("/var/lib/x.duckdb")),
        ("duckdb:///x.duckdb?a=b", Path("x.duckdb")),
        ("duckdb://", None),
        ("duckdb:///:memory:", None),
        ("postgresql:///var/lib", None),
        ("clickhousedb:////var/lib/spans?interface=chdb", Path("/var/lib/spans")),
        ("clickhousedb:///var/my%20spans?interface=chdb", Path("/var/my spans")),
        ("clickhousedb://?interface=chdb", None),
        ("clickhousedb://host/var", None),
    ],
)
def test_which_stores_are_files(url: str, path: Path | None) -> None:
    assert embedded_path(url) == (path.absolute() if path and not path.is_absolute() else path)
