"""Statements as people read and re-run them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects import postgresql


def as_text(statement: Select[Any]) -> str:
    """The statement with its values written in, in SQL that every store here runs."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return str(compiled)
