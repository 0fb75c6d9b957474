"""Bodies and query strings of the REST API, as OpenAPI describes them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from otel_diag.model import MAX_NOTE, MAX_SAID, AnalysisType, Confirmation, Declared, RootCauseType, Status
from otel_diag.present.inputs import check_trace_id, make_filters, make_key
from otel_diag.query import Filters, Key

ExecutionId = Annotated[
    int, Field(description="Execution id, a 64-bit integer.", ge=-(2**63), le=2**63 - 1, examples=[2193])
]
TraceId = Annotated[str, Field(description="Trace id, 32 hexadecimal digits.")]
Since = Annotated[str | None, Query(description="Start of the window: an age such as 30m, 24h, 7d, or ISO 8601.")]
Until = Annotated[str | None, Query(description="End of the window, in the same form; now by default.")]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeyBody(Request):
    """One execution or one trace: exactly one of the two."""

    execution_id: ExecutionId | None = None
    trace_id: TraceId | None = None

    def key(self) -> Key:
        return make_key(self.execution_id, self.trace_id)


class DiagnoseBody(KeyBody):
    analysis_type: AnalysisType = Field("full", description="How much to answer; the verdict is in every one.")


class ConfirmBody(KeyBody):
    """What somebody says of the verdict about one execution or trace."""

    confirmed: bool = Field(True, description="False: the verdict was wrong.")
    root_cause_type: RootCauseType | None = Field(None, description="What it was; without, as the verdict says.")
    affected_service: str | None = Field(None, max_length=MAX_SAID)
    affected_operation: str | None = Field(None, max_length=MAX_SAID)
    note: str | None = Field(None, max_length=MAX_NOTE, description="What really was the cause, and what fixed it.")
    by: str | None = Field(None, max_length=MAX_SAID, description="Who says so.")

    def said(self) -> Confirmation:
        return Confirmation(**self.model_dump(exclude={"execution_id", "trace_id"}))


class QueryBody(Request):
    query: str = Field(min_length=1, max_length=2_000, examples=["Why did execution 2193 timeout?"])
    execution_id: ExecutionId | None = None
    intent: dict[str, Any] | None = Field(
        None,
        description="The question as the caller understands it; then nobody else reads it. A refusal lists the fields.",
        examples=[{"intent": "measure", "metric": "p95", "group_by": ["region"], "since": "7d"}],
    )


class CompareBody(Request):
    left: KeyBody
    right: KeyBody


class JobBody(Request):
    """A job, or the job of one execution: exactly one of the two."""

    job_id: str | None = Field(None, min_length=1)
    execution_id: ExecutionId | None = None


class SqlBody(Request):
    statement: str = Field(min_length=1, max_length=50_000, examples=["SELECT count(*) FROM trace_spans"])
    max_rows: int | None = Field(None, ge=1, description="Most rows to return; the server has its own limit.")
    validate_only: bool = Field(False, description="Check the statement without running it.")


class ExecutionBody(Request):
    """An execution as its runner recorded it; it needs no span. Times carry an offset."""

    execution_id: ExecutionId
    status: Status
    started_at: AwareDatetime
    completed_at: AwareDatetime | None = None
    job_id: str | None = None
    model_id: str | None = None
    region: str | None = None
    error_message: str | None = None
    trace_id: TraceId | None = None

    def declared(self) -> Declared:
        values: dict[str, Any] = self.model_dump()
        if self.trace_id is not None:
            values["trace_id"] = check_trace_id(self.trace_id)
        return Declared(**values)


class ExecutionAccepted(BaseModel):
    execution_id: int


def key_of_query(
    execution_id: Annotated[ExecutionId | None, Query()] = None,
    trace_id: Annotated[TraceId | None, Query()] = None,
) -> Key:
    return make_key(execution_id, trace_id)


def filters_of_query(
    status: Annotated[str | None, Query(description="completed, failed, timeout or running.")] = None,
    job_id: str | None = None,
    model_id: str | None = None,
    region: str | None = None,
    service: Annotated[str | None, Query(description="Executions that touch this service.")] = None,
    operation: Annotated[str | None, Query(description="Executions that touch this operation.")] = None,
    root_cause_type: Annotated[str | None, Query(description="As in the answer of trace/diagnose.")] = None,
    since: Since = None,
    until: Until = None,
) -> Filters:
    return make_filters(
        status=status,
        job_id=job_id,
        model_id=model_id,
        region=region,
        service=service,
        operation=operation,
        root_cause_type=root_cause_type,
        since=since,
        until=until,
    )


KeyQuery = Annotated[Key, Depends(key_of_query)]
FiltersQuery = Annotated[Filters, Depends(filters_of_query)]
