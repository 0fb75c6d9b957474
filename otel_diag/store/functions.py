"""SQL functions that people call, and their installation: one file a function, ``sql/<backend>/functions/NAME.sql``.

A public function takes an execution id or a trace id and asks as the tenant of the session. It calls the one of the
same name with ``tenant_`` before it, which is told the tenant: that one is what SQL through the server is rewritten to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from otel_diag.model import ENGINE_VERSION
from otel_diag.store.schema import sql_functions

SCOPED: Final = "tenant_"


@dataclass(frozen=True, slots=True)
class SqlFunction:
    """A public function. ``parameters``: what it takes, in order; those in ``defaults`` need not be given.

    ``scoped`` is called in its place, with the tenant and then ``arguments``: its names for the parameters, in its
    order. What it is not given is null.
    """

    name: str
    columns: tuple[str, ...]
    parameters: Mapping[str, type[int] | type[str]]
    defaults: Mapping[str, int]
    scoped: str

    @property
    def arguments(self) -> Mapping[str, str]:
        limited = {"at_most": "limit"} if "limit" in self.parameters else {}
        return {"of_execution": "execution_id", "of_trace": "trace_id", **limited}


_COLUMNS: Final = {
    "diagnose_execution_trace": (
        *("service", "operation", "started_at", "completed_at", "duration_ms", "gap_after_ms", "status"),
        *("error_message", "is_anomaly", "anomaly_reason"),
    ),
    "identify_root_cause": (
        *("root_cause_type", "affected_service", "affected_operation", "evidence", "recommendation", "confidence"),
    ),
    "find_similar_traces": (
        *("similar_execution_id", "similarity_score", "status", "total_duration_ms", "failure_point"),
    ),
}


def _public(name: str, key: str, type_: type[int] | type[str]) -> SqlFunction:
    defaults = {"limit": 5} if name == "find_similar_traces" else {}
    return SqlFunction(
        name=name if type_ is int else f"{name}_by_trace",
        columns=_COLUMNS[name],
        parameters={key: type_, **dict.fromkeys(defaults, int)},
        defaults=defaults,
        scoped=SCOPED + name,
    )


FUNCTIONS: Final = tuple(
    _public(name, key, type_) for name in _COLUMNS for key, type_ in (("execution_id", int), ("trace_id", str))
)
"""What people call: spec/2."""

_PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "duckdb": (f"{SCOPED}unit",),
        "postgres": (f"{SCOPED}unit",),
        # Each is planned once, for its parameters are values: a view's parts are planned wherever they are named.
        "clickhouse": tuple(SCOPED + name for name in ("newest_attempt", "unit_of_trace", "unit", "spans")),
    }
)
"""Functions that the others are made of."""


def names(backend: str) -> tuple[str, ...]:
    """Every function that is installed, those that others call first."""
    return (*_PARTS[backend], *dict.fromkeys(function.scoped for function in FUNCTIONS), *(f.name for f in FUNCTIONS))


def installations(backend: str, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each function whose text is not the one that ``known`` has the digest of: the SQL that installs it, and the SQL
    that notes so."""
    for name, text in texts(backend).items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if known.get(name) != digest:
            # Names come from this module and digests are hexadecimal: nothing to quote.
            yield text, _noted(backend, name, digest)


@cache
def texts(backend: str) -> Mapping[str, str]:
    """The SQL of each function by its name, for this version of the engine."""
    directory = files("otel_diag.store").joinpath("sql", backend, "functions")
    return {
        name: directory.joinpath(f"{name}.sql").read_text("utf-8").replace("{engine_version}", ENGINE_VERSION)
        for name in names(backend)
    }


def _noted(backend: str, name: str, digest: str) -> str:
    values = f"'{name}', '{digest}', CURRENT_TIMESTAMP"
    insert = f"INSERT INTO {sql_functions.name} (name, digest, installed_at) VALUES ({values})"  # noqa: S608
    if backend == "clickhouse":  # the newest row of a name stands
        return insert
    return f"{insert} ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, installed_at = excluded.installed_at"
