"""The REST API: one thin route a question, all under ``/api/v1``; beside it health checks and the MCP endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.routing import BaseRoute

import otel_diag
from otel_diag.auth import LOOPBACK_HOSTS, Access
from otel_diag.errors import BadInput
from otel_diag.model import (
    Comparison,
    ConfirmedCause,
    GapReport,
    JobAnalysis,
    OperationInfo,
    Performance,
    QueryAnswer,
    RecentFailures,
    Report,
    SearchPage,
    ServiceInfo,
    ServiceMap,
    SqlResult,
    Timeline,
    TraceDiff,
    TraceSummary,
)
from otel_diag.present import budget
from otel_diag.present.inputs import check_trace_id, make_key, parse_moment
from otel_diag.present.rest import described, errors
from otel_diag.present.rest.guard import CALLER, HostGuard, TokenGuard
from otel_diag.present.rest.requests import (
    CompareBody,
    ConfirmBody,
    DiagnoseBody,
    ExecutionAccepted,
    ExecutionBody,
    ExecutionId,
    FiltersQuery,
    JobBody,
    KeyBody,
    KeyQuery,
    QueryBody,
    Since,
    SqlBody,
)
from otel_diag.present.wire import ErrorAnswer
from otel_diag.query import Queries

QueriesOf = Callable[[str], Queries]
"""The query service of a tenant."""


def _of_caller(request: Request) -> Queries:
    queries_of: QueriesOf = request.app.state.queries_of
    return queries_of(CALLER.get())


Asked = Annotated[Queries, Depends(_of_caller)]

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No token, or one that is not known, where tokens are configured."},
    403: {"model": ErrorAnswer, "description": "The token has not the role for this."},
    404: {"model": ErrorAnswer, "description": "Not in the store; the hint names the nearest ids."},
    422: {"model": ErrorAnswer, "description": "Invalid or contradictory input."},
    503: {"model": ErrorAnswer, "description": "The store is busy or down; try again."},
}


def build_app(
    queries_of: QueriesOf,
    access: Access,
    *,
    ready: Callable[[], bool],
    metrics: CollectorRegistry | None = None,
    mcp: MCPServer[Any] | None = None,
    allowed_hosts: Collection[str] = LOOPBACK_HOSTS,
) -> FastAPI:
    """The ASGI application of the people's port. Each request sees the tenant only that ``access`` says it may.

    ``ready`` says whether ingest and queries work (it may block; it runs in a thread). ``metrics`` are shown at
    ``/metrics``, ``mcp`` is served at ``/mcp``.
    ``allowed_hosts``: names, without port, under which browsers and programs may address this server.
    """
    mcp_routes = _mcp_routes(mcp) if mcp is not None else []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if mcp is None:
            yield
        else:
            async with mcp.session_manager.run():
                yield

    app = FastAPI(
        title="otel-diag",
        version=otel_diag.__version__,
        summary="Why an execution failed or was slow, with evidence.",
        lifespan=lifespan,
        # FastAPI's own pages load their scripts from another site.
        docs_url=None,
        redoc_url=None,
        # Spans when the process has a tracer provider: for questions. MCP's SDK makes its own.
        telemetry={
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: not scope["path"].startswith("/api/"),
        },
    )
    app.state.queries_of = queries_of
    app.add_middleware(TokenGuard, access=access)
    app.add_middleware(HostGuard, hosts=allowed_hosts)
    errors.install(app)
    app.include_router(_health(ready, metrics or CollectorRegistry()))
    app.add_api_route(
        "/docs", lambda: HTMLResponse(described.page(app.openapi()), headers=described.HEADERS), include_in_schema=False
    )
    app.include_router(_diagnosis(), prefix="/api/v1", tags=["diagnosis"], responses=_ERRORS)
    app.include_router(_catalogue(), prefix="/api/v1", tags=["catalogue"], responses=_ERRORS)
    # Routes, not a mount: a mount at the root would answer every unknown path and method by itself.
    app.router.routes.extend(mcp_routes)
    return app


def _mcp_routes(mcp: MCPServer[Any]) -> list[BaseRoute]:
    # Host and Origin are checked by HostGuard, which stands in front of every route.
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return mcp.streamable_http_app(stateless_http=True, json_response=True, transport_security=unchecked).routes


def _health(ready: Callable[[], bool], registry: CollectorRegistry) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="The process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", summary="Ingest and queries work", responses={503: {"model": ErrorAnswer}})
    def readyz() -> JSONResponse:
        if ready():
            return JSONResponse({"status": "ready"})
        hint = "Starting, stopping, or the store is down; the server's log says which."
        return errors.answer(503, "not_ready", "ingest or queries do not work", hint, {"Retry-After": "1"})

    @routes.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return routes


def _diagnosis() -> APIRouter:
    routes = APIRouter()

    @routes.post("/trace/diagnose", summary="Why an execution failed or was slow")
    def diagnose(queries: Asked, body: DiagnoseBody) -> Report:
        return budget.structured(queries.diagnose(body.key(), body.analysis_type))

    @routes.post("/trace/diagnose/confirm", summary="Say whether a verdict was right, and what the cause really was")
    def confirm(queries: Asked, body: ConfirmBody) -> ConfirmedCause:
        return queries.confirm(body.key(), body.said())

    @routes.get("/trace/timeline", summary="The spans of an execution or trace in start order")
    def timeline(queries: Asked, key: KeyQuery) -> Timeline:
        return queries.timeline(key)

    @routes.get("/trace/timeline/{execution_id}", summary="The spans of an execution in start order")
    def timeline_of_execution(queries: Asked, execution_id: ExecutionId) -> Timeline:
        return queries.timeline(make_key(execution_id))

    @routes.get("/trace/summary", summary="Counts, duration and first error of an execution or trace")
    def summary(queries: Asked, key: KeyQuery) -> TraceSummary:
        return queries.summary(key)

    @routes.get("/trace/summary/{execution_id}", summary="Counts, duration and first error of an execution")
    def summary_of_execution(queries: Asked, execution_id: ExecutionId) -> TraceSummary:
        return queries.summary(make_key(execution_id))

    @routes.get("/trace/gaps", summary="Where time passed with nothing running, and which hops are missing")
    def gaps(queries: Asked, key: KeyQuery) -> GapReport:
        return queries.trace_gaps(key)

    @routes.post("/trace/query", summary="A question in plain English")
    def ask(queries: Asked, body: QueryBody) -> QueryAnswer:
        return queries.ask(body.query, body.execution_id, body.intent)

    @routes.post("/trace/compare", summary="What differs between two executions or traces")
    def compare(queries: Asked, body: CompareBody) -> TraceDiff:
        return queries.compare(body.left.key(), body.right.key())

    @routes.post("/trace/compare-with-successful", summary="What differs from the nearest successful executions")
    def compare_with_successful(queries: Asked, body: KeyBody) -> Comparison:
        return queries.compare_with_successful(body.key())

    @routes.post("/jobs/timeout-root-cause", summary="What the failed executions of a job have in common")
    def timeout_root_cause(queries: Asked, body: JobBody) -> JobAnalysis:
        if (body.job_id is None) == (body.execution_id is None):
            raise BadInput("give exactly one of job_id and execution_id", hint="execution_id stands for its job.")
        return queries.timeout_root_cause(job_id=body.job_id, execution_id=body.execution_id)

    return routes


def _catalogue() -> APIRouter:
    routes = APIRouter()

    @routes.post("/executions", status_code=201, summary="Record an execution, with or without spans")
    def declare(queries: Asked, body: ExecutionBody) -> ExecutionAccepted:
        queries.declare_execution(body.declared())
        return ExecutionAccepted(execution_id=body.execution_id)

    @routes.get("/executions", summary="Search executions, newest first")
    def search(
        queries: Asked,
        filters: FiltersQuery,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> SearchPage:
        return queries.search(filters, limit=limit, offset=offset)

    @routes.get("/failures", summary="Recent failures and what they share")
    def failures(
        queries: Asked, filters: FiltersQuery, limit: Annotated[int, Query(ge=1, le=1_000)] = 10
    ) -> RecentFailures:
        return queries.recent_failures(limit, filters)

    @routes.get("/performance", summary="Success rate and durations, against the window before")
    def performance(queries: Asked, filters: FiltersQuery) -> Performance:
        return queries.performance(filters)

    @routes.get("/services", summary="Services seen")
    def services(queries: Asked, since: Since = None) -> list[ServiceInfo]:
        return queries.services(parse_moment(since))

    @routes.get("/operations", summary="Operations seen, with counts and durations")
    def operations(queries: Asked, service: str | None = None, since: Since = None) -> list[OperationInfo]:
        return queries.operations(service, parse_moment(since))

    @routes.get("/service-map", summary="Who calls whom")
    def service_map(queries: Asked, since: Since = None) -> ServiceMap:
        return queries.service_map(parse_moment(since))

    @routes.get("/traces", summary="Ids of stored traces in order, a page at a time")
    def trace_ids(
        queries: Asked,
        after: Annotated[str, Query(description="The last id of the page before.")] = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    ) -> list[str]:
        return queries.trace_ids(after=after, limit=limit)

    @routes.get("/traces/{trace_id}", summary="A trace as it was received, in OTLP/JSON")
    def raw_trace(
        queries: Asked,
        trace_id: str,
        after: Annotated[str, Query(description="With limit: the greatest span id of the page before.")] = "",
        limit: Annotated[int | None, Query(ge=1, le=10_000, description="Spans of a page; without it, all.")] = None,
    ) -> dict[str, Any]:
        return dict(queries.raw_trace(check_trace_id(trace_id), after=after, limit=limit))

    @routes.post("/sql", summary="One read-only SELECT")
    def sql(queries: Asked, body: SqlBody) -> SqlResult:
        return queries.sql(body.statement, max_rows=body.max_rows, validate_only=body.validate_only)

    return routes
