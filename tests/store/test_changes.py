"""Upsert, accumulate, delete: all of the changes or none."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Table, delete, select

from otel_diag.errors import Conflict, Permanent
from otel_diag.model import Status
from otel_diag.store.base import Accumulate, Delete, Store, Upsert
from otel_diag.store.schema import diagnoses, executions, operation_rollups, trace_arrivals
from tests.store.batches import trace_batch, trace_id
from tests.store.changed import NOON, execution, rollup


def rows(store: Store, table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.select(select(table).order_by(*table.primary_key)).to_pylist()
    return found


def test_upsert_inserts_and_then_replaces_the_whole_row(store: Store) -> None:
    store.apply([Upsert(executions, [execution(1, job_id="a", error_message="x"), execution(2)])])
    store.apply([Upsert(executions, [execution(1, status=Status.FAILED, job_id="b"), execution(3)])])

    stored = rows(store, executions)
    assert [row["execution_id"] for row in stored] == [1, 2, 3]
    assert stored[0] == execution(1, status="failed", job_id="b") | dict.fromkeys(
        ["model_id", "region", "completed_at", "error_message", "trace_id"]
    )


def test_of_two_rows_with_one_key_the_last_stands(store: Store) -> None:
    store.apply([Upsert(executions, [execution(1, job_id="a"), execution(1, job_id="b")])])

    assert [row["job_id"] for row in rows(store, executions)] == ["b"]


def test_json_columns_keep_their_text(store: Store) -> None:
    text = '{"b": 1,  "a":[1.0,1e3], "a": "\\u00e9 é"}'
    key = {"tenant": "default", "unit_id": "u", "engine_version": "1", "content_key": -(2**63)}
    store.apply([Upsert(diagnoses, [key | {"computed_at": NOON, "verdict": "healthy", "report": text}])])

    assert rows(store, diagnoses)[0]["report"] == text


def test_accumulate_adds_to_what_is_there(store: Store) -> None:
    store.apply([Accumulate(operation_rollups, [rollup("a", 1, 0.5), rollup("b", 2, 1.0)])])
    store.apply([Accumulate(operation_rollups, [rollup("a", 10, 0.25), rollup("c", -3, -1.5)])])

    assert rows(store, operation_rollups) == [rollup("a", 11, 0.75), rollup("b", 2, 1.0), rollup("c", -3, -1.5)]


def test_changes_are_made_in_order(store: Store) -> None:
    store.apply([Upsert(executions, [execution(number) for number in (1, 2)])])
    store.apply(
        [
            Delete(delete(executions).where(executions.c.execution_id.in_([1, 2])), expect=2),
            Upsert(executions, [execution(2, job_id="new"), execution(3)]),
            Upsert(executions, [execution(3, job_id="newer")]),
        ]
    )

    assert [(row["execution_id"], row["job_id"]) for row in rows(store, executions)] == [(2, "new"), (3, "newer")]


def test_a_delete_that_finds_other_than_expected_undoes_everything(store: Store) -> None:
    store.append(trace_batch(1, 3))
    gone = delete(trace_arrivals).where(trace_arrivals.c.trace_id == trace_id(1))
    store.apply([Delete(gone, expect=1)])

    with pytest.raises(Conflict):
        store.apply([Upsert(executions, [execution(1)]), Delete(gone, expect=1)])

    assert rows(store, executions) == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([execution(1), execution(2, status=None)], id="required value missing"),
        pytest.param([execution(1) | {"colour": "red"}], id="unknown column"),
        pytest.param([execution("one")], id="wrong type"),
        pytest.param([execution(2**63)], id="out of range"),
    ],
)
def test_rows_that_can_never_be_stored_are_refused_whole(store: Store, wrong: Sequence[dict[str, Any]]) -> None:
    with pytest.raises(Permanent):
        store.apply([Upsert(executions, [execution(7)]), Upsert(executions, wrong)])

    assert rows(store, executions) == []


def test_nothing_to_change_is_nothing(store: Store) -> None:
    store.apply([])
    store.apply([Upsert(executions, []), Accumulate(operation_rollups, [])])

    assert rows(store, executions) == []


def test_thousands_of_rows_in_one_change(store: Store) -> None:
    for job_id in ("first", "second"):
        store.apply([Upsert(executions, [execution(number, job_id=job_id) for number in range(5000)])])

    assert {row["job_id"] for row in rows(store, executions)} == {"second"}
    assert len(rows(store, executions)) == 5000


def test_threads_that_add_to_the_same_rows_lose_nothing(store: Store) -> None:
    operations = [f"operation {number}" for number in range(50)]
    start = Barrier(4)

    def add(backwards: bool) -> None:
        start.wait()
        for _ in range(5):
            ordered = reversed(operations) if backwards else operations
            store.apply([Accumulate(operation_rollups, [rollup(operation, 1, 1.0) for operation in ordered])])

    threads = [Thread(target=add, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {row["sample_count"] for row in rows(store, operation_rollups)} == {20}
