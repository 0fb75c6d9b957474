"""Log records, data points and samples in a store: whole, once, and joined to spans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from otel_diag.config import Settings
from otel_diag.decode.requests import Decoded
from otel_diag.decode.wires import WIRES
from otel_diag.query import Queries
from otel_diag.receive.intake import SIGNALS, Signal
from otel_diag.store.base import Appended, Store
from tests.decode.golden import GOLDEN, SPAN_ID, TRACE_ID

TABLES = (Path(__file__).parents[2] / "docs" / "tables.md").read_text("utf-8")


def decoded(signal: Signal, request: Any, tenant: str = "default") -> Decoded:
    return WIRES[signal.name].decode_one(request.SerializeToString(), tenant)


def documented(before: str) -> str:
    """The query that docs/tables.md shows after these words."""
    return TABLES.partition(before)[2].partition("```sql\n")[2].partition("```")[0]


def test_rows_come_back_as_they_went_in_and_once(store: Store) -> None:
    for signal in SIGNALS:
        batch = decoded(signal, GOLDEN[signal.name]()).batch
        assert batch.num_rows >= 2
        assert store.append(batch, signal.table) == Appended(stored=batch.num_rows, duplicates=0)
        assert store.append(batch, signal.table) == Appended(stored=0, duplicates=batch.num_rows)

        columns = [signal.table.table.c[name] for name in signal.table.schema.names]
        stored = store.select(select(*columns))
        assert stored.schema.types == signal.table.schema.types
        # As text: NaN is not equal to itself.
        assert sorted(map(repr, stored.to_pylist())) == sorted(map(repr, batch.to_pylist()))


def test_times_no_clock_ever_showed_are_kept(store: Store) -> None:
    for signal in SIGNALS:
        for nanos in (0, 2**64 - 1):
            request = GOLDEN[signal.name]()
            for name in ("start_time_unix_nano", "time_unix_nano", "observed_time_unix_nano"):
                set_everywhere(request, name, nanos)
            batch = decoded(signal, request).batch
            assert store.append(batch, signal.table).stored == batch.num_rows
            assert store.append(batch, signal.table).duplicates == batch.num_rows
        times = store.select(select(signal.table.table.c[signal.table.time])).column(0).to_pylist()
        assert {time % 2**64 for time in times} == {0, 2**64 - 1}


def set_everywhere(message: Any, name: str, value: int) -> None:
    if name in message.DESCRIPTOR.fields_by_name:
        setattr(message, name, value)
    for field, found in message.ListFields():
        if field.message_type is not None:
            for child in found if field.is_repeated else [found]:
                set_everywhere(child, name, value)


@pytest.mark.parametrize("name", ["logs", "profiles"])
def test_what_happened_twice_is_stored_twice_and_a_retry_not_at_all(store: Store, name: str) -> None:
    """Log records and samples have no id: two that are alike within a request are two."""
    (signal,) = (signal for signal in SIGNALS if signal.name == name)
    request = GOLDEN[name]()
    scoped = (
        request.resource_logs[0].scope_logs[0].log_records
        if name == "logs"
        else request.resource_profiles[0].scope_profiles[0].profiles[0].samples
    )
    scoped.add().CopyFrom(scoped[0])
    once, again = decoded(signal, request).batch, decoded(signal, request).batch
    assert once.num_rows == 3
    assert store.append(once, signal.table) == Appended(stored=3, duplicates=0)
    assert store.append(again, signal.table) == Appended(stored=0, duplicates=3)


@pytest.fixture
def queries(store: Store) -> Queries:
    """Every signal's golden request, once for each of two tenants."""
    for signal in SIGNALS:
        for tenant in ("default", "other"):
            store.append(decoded(signal, GOLDEN[signal.name](), tenant).batch, signal.table)
    return Queries(store, Settings(), tenant="default")


def test_logs_points_and_samples_are_joined_to_spans(queries: Queries) -> None:
    logs = queries.sql(documented("The logs of a trace").replace("5b8efff798038103d269b633813fc60c", TRACE_ID.hex()))
    assert logs.columns == ["logged_at", "severity", "service", "operation", "body_text"]
    assert [row[1:] for row in logs.rows] == [["error", "router", "call", "no answer after 82 s"]]

    join = documented("Which spans stand behind").replace("AND p.measured_at > now() - INTERVAL '1 hour'", "")
    assert "WHERE p.kind = 'histogram'" in join
    assert queries.sql(join).rows == [["latency", 25.0, "router", "call", 0.001]]

    samples = queries.sql(
        "SELECT s.operation, p.stack, sum(p.value) AS total FROM profile_samples p "
        "JOIN trace_spans s ON s.trace_id = p.trace_id AND s.span_id = p.span_id "
        f"WHERE p.span_id = '{SPAN_ID.hex()}' GROUP BY s.operation, p.stack"
    )
    assert samples.rows == [["call", "main;encode;0x7f00", 11]]


def test_a_tenant_sees_its_own_rows_only(queries: Queries, store: Store) -> None:
    for signal in SIGNALS:
        table = signal.table.table
        everybody = store.select(select(func.count()).select_from(table)).column(0)[0].as_py()
        seen = queries.sql(f"SELECT count(*) AS rows_seen, max(tenant) AS tenant FROM {table.name}").rows
        assert seen == [[everybody // 2, "default"]]
