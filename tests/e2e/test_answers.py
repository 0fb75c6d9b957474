"""What the pipeline's executions are diagnosed as, over every way in."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import pytest
from mcp.client import Client

from tests.e2e.conftest import HEALTHY, JOB, Pipeline, Record
from tests.e2e.processes import answer_of, stdio_server

T = TypeVar("T")

TOOLS = {
    "diagnose_execution",
    "find_timeout_root_cause",
    "compare_with_successful",
    "get_recent_failures",
    "analyze_performance",
    "find_trace_gaps",
    "query_traces",
}

CAUSES = {
    "none": None,
    "lost_response": ("NETWORK_TIMEOUT", "router", "POST /route"),
    "slow_model": ("SERVICE_TIMEOUT", "modal", "generate"),
    "connection_refused": ("CONNECTION_FAILURE", "router", "POST /inference"),
    "validation_error": ("VALIDATION_ERROR", "modal", "modal.inference"),
    "crash": ("MODAL_EXECUTION_FAILURE", "modal", None),
    "cold_start": ("COLD_START", "modal", "modal.inference"),
    "rate_limit": ("RATE_LIMITED", "router", "POST /inference"),
    "death_before_router": ("PRE_EXECUTION_FAILURE", "runner", "runner.execution"),
}
"""What each fault is, where, and the operation where only one can be right."""


def ask_mcp(pipeline: Pipeline, way: str, questions: Callable[[Client], Awaitable[T]]) -> T:
    """Put questions to the MCP server in one session of the SDK's client."""
    place: Any = pipeline.server.mcp if way == "http" else stdio_server(pipeline.server.store)

    async def talk() -> T:
        async with Client(place) as client:
            return await questions(client)

    return anyio.run(talk)


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The structured answer and the Markdown."""
    result = await client.call_tool(tool, arguments)
    (block,) = result.content
    assert not result.is_error, f"{tool} {arguments}: {block.text}"
    return result.structured_content, block.text


def check(record: Record, report: dict[str, Any]) -> None:
    """The report says what was really done."""
    assert (report["execution_id"], report["trace_id"]) == (record.execution_id, record.trace_id)
    assert report["status"] == record.status
    expected = CAUSES[record.injected]
    if expected is None:
        assert (report["verdict"], report["root_cause"]) == ("healthy", None)
        return
    assert report["verdict"] == "root_cause", record
    cause = report["root_cause"]
    kind, service, operation = expected
    assert (cause["root_cause_type"], cause["affected_service"]) == (kind, service)
    assert operation in (None, cause["affected_operation"])


def test_every_fault_was_injected_and_the_rest_left_alone(pipeline: Pipeline) -> None:
    assert sorted(record.injected for record in pipeline.records) == sorted([*CAUSES, *["none"] * (HEALTHY - 1)])


@pytest.mark.parametrize("way", ["http", "stdio"])
def test_mcp_names_the_root_cause_of_every_execution(pipeline: Pipeline, way: str) -> None:
    async def list_and_diagnose(client: Client) -> tuple[Any, list[dict[str, Any]]]:
        tools = (await client.list_tools()).tools
        return tools, [
            (await call(client, "diagnose_execution", {"execution_id": record.execution_id}))[0]
            for record in pipeline.records
        ]

    tools, reports = ask_mcp(pipeline, way, list_and_diagnose)
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.description
        assert tool.input_schema["type"] == tool.output_schema["type"] == "object"
        assert tool.annotations.read_only_hint
    for record, report in zip(pipeline.records, reports, strict=True):
        check(record, report)
        assert report == pipeline.server.diagnosis(record.execution_id), "as REST says"


def test_the_command_line_gives_the_same_diagnosis(pipeline: Pipeline) -> None:
    # A process each: a failed and a healthy one show what holds for all.
    for record in (pipeline.failed[0], pipeline.of("none")):
        report = answer_of("diagnose", record.execution_id, "--store", pipeline.server.store)
        check(record, report)
        assert report == pipeline.server.diagnosis(record.execution_id), "as REST says"


def test_other_questions_agree_over_every_way_in(pipeline: Pipeline) -> None:
    failed = pipeline.of("lost_response").execution_id
    store = pipeline.server.store

    async def ask_all(client: Client) -> list[dict[str, Any]]:
        return [
            (await call(client, "find_trace_gaps", {"execution_id": failed}))[0],
            (await call(client, "find_timeout_root_cause", {"job_id": JOB}))[0],
        ]

    over_mcp = ask_mcp(pipeline, "stdio", ask_all)
    over_rest = [
        pipeline.server.get("trace/gaps", execution_id=failed),
        pipeline.server.post("jobs/timeout-root-cause", job_id=JOB),
    ]
    over_command = [
        answer_of("gaps", failed, "--store", store),
        answer_of("diagnose", "--job-id", JOB, "--store", store),
    ]
    assert over_mcp == over_rest == over_command


def test_every_next_step_can_be_executed_as_it_stands(pipeline: Pipeline) -> None:
    failed = pipeline.of("slow_model")
    first = [
        ("get_recent_failures", {"limit": 20}),
        ("find_timeout_root_cause", {"job_id": JOB}),
        ("analyze_performance", {}),
        ("analyze_performance", {"service": "modal", "operation": "modal.inference"}),
        ("query_traces", {"query": "slowest operations today"}),
        ("query_traces", {"query": f"Why did execution {failed.execution_id} timeout?"}),
        *[
            (tool, {"execution_id": record.execution_id})
            for record in pipeline.records
            for tool in ("diagnose_execution", "compare_with_successful", "find_trace_gaps")
        ],
        ("diagnose_execution", {"trace_id": failed.trace_id}),
    ]

    async def follow(client: Client) -> list[str]:
        waiting, taken, refused = list(first), set(), []
        while waiting:
            tool, arguments = waiting.pop()
            # A moment moves on from answer to answer: one call of the kind stands for all.
            same = json.dumps([tool, {**arguments, "since": None}], sort_keys=True)
            if same in taken:
                continue
            taken.add(same)
            try:
                answer, markdown = await call(client, tool, arguments)
            except AssertionError as error:
                refused.append(str(error))
                continue
            assert answer["next_steps"], (tool, arguments)
            for step in answer["next_steps"]:
                assert step["tool"] in TOOLS
                assert step["why"]
                assert f"{step['tool']} {json.dumps(step['arguments'])}" in markdown
                waiting.append((step["tool"], step["arguments"]))
        assert len(taken) > len(first)
        return refused

    assert ask_mcp(pipeline, "http", follow) == []


def test_markdown_says_what_the_structured_answer_says(pipeline: Pipeline) -> None:
    async def compare_both(client: Client) -> None:
        for record in pipeline.records:
            report, text = await call(client, "diagnose_execution", {"execution_id": record.execution_id})
            assert f"execution {record.execution_id}: {report['status']}, verdict {report['verdict']}" in text
            if cause := report["root_cause"]:
                where = f"`{cause['affected_service']}.{cause['affected_operation']}`"
                assert f"**{cause['root_cause_type']}** at {where}" in text
                assert f"confidence {cause['confidence']:.0%}" in text
                assert all(span in text for span in cause["evidence_spans"][:5])
                assert cause["evidence"] in text
            for service, milliseconds in report["timing_breakdown"].items():
                assert f"- `{service}`: {'missing' if milliseconds == 'missing' else ''}" in text

        failures, text = await call(client, "get_recent_failures", {"limit": 20})
        assert f"# {failures['total_failures']} failures" in text
        for failure in failures["failures"]:
            (row,) = [line for line in text.splitlines() if line.startswith("|") and f" `{failure['id']}` |" in line]
            assert failure["root_cause_type"] in row

        job, text = await call(client, "find_timeout_root_cause", {"job_id": JOB})
        assert f"{job['failed_executions']} of {job['total_executions']} executions failed" in text
        assert all(f"execution {one['execution_id']} |" in text for one in job["analysis"])

        failed = pipeline.of("lost_response").execution_id
        gaps, text = await call(client, "find_trace_gaps", {"execution_id": failed})
        assert f"{len(gaps['gaps'])} gap" in text
        assert f"in {gaps['total_spans']} spans" in text

        comparison, text = await call(client, "compare_with_successful", {"execution_id": failed})
        assert f"against {len(comparison['similar_successful'])} successful" in text
        assert all(f"execution {one['execution_id']} |" in text for one in comparison["similar_successful"])

        performance, text = await call(client, "analyze_performance", {})
        assert f"| total | {performance['total_executions']} |" in text
        assert f"| failed | {performance['failed']} |" in text

    ask_mcp(pipeline, "http", compare_both)


def test_lists_hold_exactly_what_failed(pipeline: Pipeline) -> None:
    async def ask_all(client: Client) -> list[dict[str, Any]]:
        return [
            (await call(client, "get_recent_failures", {"limit": 50, "job_id": JOB}))[0],
            (await call(client, "find_timeout_root_cause", {"job_id": JOB}))[0],
            (await call(client, "query_traces", {"query": f"show me all failures of job {JOB} in the last hour"}))[0],
        ]

    failures, job, question = ask_mcp(pipeline, "http", ask_all)
    by_id = {record.execution_id: record for record in pipeline.failed}
    assert failures["total_failures"] == question["total_results"] == job["failed_executions"] == len(by_id)
    assert job["total_executions"] == len(pipeline.records)
    assert {failure["id"] for failure in failures["failures"]} == by_id.keys()
    for failure in failures["failures"]:
        record = by_id[failure["id"]]
        expected = CAUSES[record.injected]
        assert expected is not None
        assert (failure["root_cause_type"], failure["status"]) == (expected[0], record.status)
