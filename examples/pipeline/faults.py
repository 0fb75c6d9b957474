"""The fault switch: what can go wrong with one execution, and the request that makes it go wrong.

A fault travels with its execution (in the job request, then as the header ``x-pipeline-fault``), so one running
pipeline can serve all of them at once. No span ever mentions it: the traces show only what really happened.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

FAULT_HEADER: Final = "x-pipeline-fault"
DEADLINE_HEADER: Final = "x-deadline-seconds"
TOKEN_VARIABLE: Final = "PIPELINE_TOKEN"


class Fault(StrEnum):
    """Where each one happens is said in the README; the values are what ``--faults`` takes."""

    NONE = "none"
    LOST_RESPONSE = "lost_response"
    SLOW_MODEL = "slow_model"
    CONNECTION_REFUSED = "connection_refused"
    VALIDATION_ERROR = "validation_error"
    CRASH = "crash"
    COLD_START = "cold_start"
    RATE_LIMIT = "rate_limit"
    DEATH_BEFORE_ROUTER = "death_before_router"
    CONFIG_ERROR = "config_error"
    RETRY_STORM = "retry_storm"
    QUEUE_DELAY = "queue_delay"


ALL: Final = (
    Fault.LOST_RESPONSE,
    Fault.SLOW_MODEL,
    Fault.CONNECTION_REFUSED,
    Fault.VALIDATION_ERROR,
    Fault.CRASH,
    Fault.COLD_START,
    Fault.RATE_LIMIT,
    Fault.DEATH_BEFORE_ROUTER,
)
"""What ``--faults all`` injects; the others are asked for by name."""

_DEADLINE_S: Final = 2.0
_PATIENT_DEADLINE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """One execution of a job, as the runner receives it."""

    execution_id: int
    job_id: str
    model_id: str
    region: str
    prompt_file: str
    token_variable: str = TOKEN_VARIABLE
    max_tokens: int = 64
    deadline_s: float = _DEADLINE_S
    fault: Fault = Fault.NONE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ExecutionRequest:
        return cls(**{**values, "fault": Fault(values["fault"])})


def parse_faults(text: str) -> tuple[Fault, ...]:
    """The faults of ``all``, ``none`` or a comma-separated list. Raises ValueError for an unknown name."""
    if text == "all":
        return ALL
    names = (name.strip() for name in text.split(","))
    return tuple(fault for name in names if (fault := Fault(name)) is not Fault.NONE)


def changes(fault: Fault, prompt_file: str) -> dict[str, Any]:
    """The fields of :class:`ExecutionRequest` that differ from a healthy request's."""
    match fault:
        case Fault.DEATH_BEFORE_ROUTER:
            return {"prompt_file": f"{prompt_file}.missing"}
        case Fault.CONFIG_ERROR:
            return {"token_variable": f"{TOKEN_VARIABLE}_EU"}
        case Fault.VALIDATION_ERROR:
            return {"max_tokens": -1}
        case Fault.COLD_START | Fault.QUEUE_DELAY:
            return {"deadline_s": _PATIENT_DEADLINE_S}
        case _:
            return {}
