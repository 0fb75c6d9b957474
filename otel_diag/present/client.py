"""The query service of a running server, asked over REST: the same methods, answers and errors as Queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from otel_diag.errors import Permanent, Transient
from otel_diag.model import (
    AnalysisType,
    Comparison,
    Confirmation,
    ConfirmedCause,
    Declared,
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
from otel_diag.present.wire import ErrorAnswer, ErrorBody, error_of
from otel_diag.query import Filters, Key, Queries

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")

_ANY = Filters()
_SERVICES = TypeAdapter(list[ServiceInfo])
_OPERATIONS = TypeAdapter(list[OperationInfo])
_DECLARED = TypeAdapter(Declared)
_CONFIRMATION = TypeAdapter(Confirmation)
_IDS = TypeAdapter(list[str])
_RAW = TypeAdapter(dict[str, Any])

TIMEOUT_SECONDS = 60.0
"""Longer than any query of the server may run, so that its own error arrives instead of ours."""


class RemoteQueries:
    """Queries of the server at ``url`` (scheme, host and port). Use as a context manager, or call ``close``."""

    def __init__(self, url: str, http: httpx.Client | None = None) -> None:
        """``http``: with the token and the TLS that the server asks for; it is closed with this object."""
        self.url = url
        # A proxy from the environment must never see a loopback call.
        self._http = http or httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
        self._http.base_url = httpx.URL(f"{url.rstrip('/')}/api/v1")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def diagnose(self, key: Key, analysis_type: AnalysisType = "full") -> Report:
        return self._post(Report, "/trace/diagnose", _key(key) | {"analysis_type": analysis_type})

    def diagnose_with_timeline(self, key: Key, analysis_type: AnalysisType = "full") -> tuple[Report, Timeline]:
        return self.diagnose(key, analysis_type), self.timeline(key)

    def timeline(self, key: Key) -> Timeline:
        return self._get(Timeline, "/trace/timeline", _key(key))

    def summary(self, key: Key) -> TraceSummary:
        return self._get(TraceSummary, "/trace/summary", _key(key))

    def timeout_root_cause(self, *, job_id: str | None = None, execution_id: int | None = None) -> JobAnalysis:
        body = _given({"job_id": job_id, "execution_id": execution_id})
        return self._post(JobAnalysis, "/jobs/timeout-root-cause", body)

    def compare_with_successful(self, key: Key) -> Comparison:
        return self._post(Comparison, "/trace/compare-with-successful", _key(key))

    def compare(self, left: Key, right: Key) -> TraceDiff:
        return self._post(TraceDiff, "/trace/compare", {"left": _key(left), "right": _key(right)})

    def recent_failures(self, limit: int = 10, filters: Filters = _ANY) -> RecentFailures:
        return self._get(RecentFailures, "/failures", _filters(filters) | {"limit": limit})

    def performance(self, filters: Filters = _ANY) -> Performance:
        return self._get(Performance, "/performance", _filters(filters))

    def trace_gaps(self, key: Key) -> GapReport:
        return self._get(GapReport, "/trace/gaps", _key(key))

    def ask(self, query: str, execution_id: int | None = None, intent: Mapping[str, Any] | None = None) -> QueryAnswer:
        body = _given({"query": query, "execution_id": execution_id, "intent": intent})
        return self._post(QueryAnswer, "/trace/query", body)

    def search(self, filters: Filters, *, limit: int = 50, offset: int = 0) -> SearchPage:
        return self._get(SearchPage, "/executions", _filters(filters) | {"limit": limit, "offset": offset})

    def services(self, since: datetime | None = None) -> list[ServiceInfo]:
        return self._parse(_SERVICES.validate_json, self._call("GET", "/services", params=_given({"since": since})))

    def operations(self, service: str | None = None, since: datetime | None = None) -> list[OperationInfo]:
        params = _given({"service": service, "since": since})
        return self._parse(_OPERATIONS.validate_json, self._call("GET", "/operations", params=params))

    def service_map(self, since: datetime | None = None) -> ServiceMap:
        return self._get(ServiceMap, "/service-map", _given({"since": since}))

    def trace_ids(self, *, after: str = "", limit: int = 1_000) -> list[str]:
        return self._parse(_IDS.validate_json, self._call("GET", "/traces", params={"after": after, "limit": limit}))

    def raw_trace(self, trace_id: str, *, after: str = "", limit: int | None = None) -> Mapping[str, Any]:
        params = _given({"after": after or None, "limit": limit})
        return self._parse(_RAW.validate_json, self._call("GET", f"/traces/{trace_id}", params=params))

    def declare_execution(self, declared: Declared) -> None:
        self._call("POST", "/executions", json=_given(_DECLARED.dump_python(declared, mode="json")))

    def confirm(self, key: Key, said: Confirmation) -> ConfirmedCause:
        body = _key(key) | _given(_CONFIRMATION.dump_python(said, mode="json"))
        return self._post(ConfirmedCause, "/trace/diagnose/confirm", body)

    def sql(self, statement: str, *, max_rows: int | None = None, validate_only: bool = False) -> SqlResult:
        body = _given({"statement": statement, "max_rows": max_rows, "validate_only": validate_only})
        return self._post(SqlResult, "/sql", body)

    def _get(self, model: type[Model], path: str, params: dict[str, Any]) -> Model:
        return self._parse(model.model_validate_json, self._call("GET", path, params=params))

    def _post(self, model: type[Model], path: str, body: dict[str, Any]) -> Model:
        return self._parse(model.model_validate_json, self._call("POST", path, json=body))

    def _parse(self, parse: Callable[[bytes], T], content: bytes) -> T:
        try:
            return parse(content)
        except ValidationError as error:
            raise Permanent(
                f"the server at {self.url} answers in a form this version does not know",
                hint="Run the same version of otel-diag on both sides.",
            ) from error

    def _call(
        self, method: str, path: str, *, params: dict[str, Any] | None = None, json: dict[str, Any] | None = None
    ) -> bytes:
        try:
            response = self._http.request(method, path, params=params, json=json)
        except httpx.TransportError as error:
            raise Transient(
                f"the server at {self.url} did not answer ({type(error).__name__})",
                hint="Is `otel-diag serve` still running? `otel-diag doctor` tells.",
            ) from error
        if response.is_success:
            return response.content
        raise error_of(response.status_code, _error_body(response))


AnyQueries = Queries | RemoteQueries
"""Whoever answers: the store opened in this process, or a running server."""


def _error_body(response: httpx.Response) -> ErrorBody:
    try:
        return ErrorAnswer.model_validate_json(response.content).error
    except ValidationError as error:
        raise Permanent(
            f"{response.url} answered {response.status_code} without saying why",
            hint="Is another program listening on this port? `otel-diag doctor` tells.",
        ) from error


def _key(key: Key) -> dict[str, Any]:
    return _given(asdict(key))


def _filters(filters: Filters) -> dict[str, Any]:
    return _given(asdict(filters))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not given; times as ISO 8601."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }
