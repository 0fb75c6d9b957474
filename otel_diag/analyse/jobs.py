"""What the executions of a job, or failures across jobs, have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from otel_diag.analyse.baseline import HopTemplate, Peer, decode_element
from otel_diag.model import FailurePattern, Status

MAX_PATTERNS: Final = 10
_EXAMPLES: Final = 5
_MOSTLY: Final = 0.7
_EXPECTED: Final = 0.8
_VARIABLE = re.compile(
    r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{12,}\b|\d+(?:\.\d+)?|'[^']*'|\"[^\"]*\"", re.IGNORECASE
)


def job_pattern(executions: Sequence[Peer]) -> str:
    """One sentence on how a job's executions ended: counts, durations, what is absent, what they share."""
    failed = [e for e in executions if e.status.is_failure]
    if not executions:
        return "no executions"
    if not failed:
        running = sum(e.status == Status.RUNNING for e in executions)
        still = f", {running} still running" if running else ""
        return f"none of {len(executions)} failed{still}"
    parts = [f"{len(failed)} of {len(executions)} {_ended(failed)}{_duration_range(failed)}"]
    absent, conclusion = _absent(executions, failed)
    if absent:
        parts.append(f" with no {absent} span")
    shared = [*_shared_cause(failed), *_concentration(executions, failed)]
    sentence = "".join(parts)
    if conclusion:
        sentence += f": {conclusion}"
    return "; ".join([sentence, *shared])


def failure_patterns(failures: Sequence[Peer]) -> list[FailurePattern]:
    """What failures share: causes and error texts that at least two have, then a model, region or job of most.

    Half of the failures on one of two models says nothing; nine in ten do. Most frequent first within each.
    """
    readers: tuple[tuple[str, Callable[[Peer], str | None], float], ...] = (
        ("{}", _cause_and_point, 0.0),
        ('error "{}"', lambda p: error_template(p.error_message), 0.0),
        ("model {}", lambda p: p.model_id, _MOSTLY),
        ("region {}", lambda p: p.region, _MOSTLY),
        ("job {}", lambda p: p.job_id, _MOSTLY),
    )
    found: list[tuple[bool, FailurePattern]] = []
    for words, read, share in readers:
        groups: dict[str, list[Peer]] = {}
        for failure in failures:
            value = read(failure)
            if value:
                groups.setdefault(value, []).append(failure)
        found += [
            (
                share > 0,
                FailurePattern(
                    pattern=words.format(value),
                    count=len(members),
                    total=len(failures),
                    example_ids=[_id_of(member) for member in members[:_EXAMPLES]],
                ),
            )
            for value, members in groups.items()
            if len(members) > 1 and len(members) >= share * len(failures)
        ]
    found.sort(key=lambda entry: (entry[0], -entry[1].count))
    return [pattern for _, pattern in found[:MAX_PATTERNS]]


def error_template(message: str | None) -> str | None:
    """The message with numbers, ids and quoted values replaced, so that the same error reads the same."""
    return _VARIABLE.sub("<*>", message.strip())[:200] if message and message.strip() else None


def _id_of(peer: Peer) -> int | str:
    return peer.execution_id if peer.execution_id is not None else peer.trace_id or ""


def _ended(failed: Sequence[Peer]) -> str:
    timeouts = sum(e.status == Status.TIMEOUT for e in failed)
    if timeouts == len(failed):
        return "timed out"
    return "failed" if not timeouts else f"failed ({timeouts} of them timed out)"


def _duration_range(failed: Sequence[Peer]) -> str:
    known = sorted(e.duration_ms for e in failed if e.duration_ms is not None)
    if not known:
        return ""
    low, high = _rounded(known[0]), _rounded(known[-1])
    if low == high:
        return f" in {low} ms"
    return f" in {low}-{high} ms"


def _rounded(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 10 else f"{ms:.1f}"


def _plain_elements(peer: Peer) -> list[str]:
    return list(dict.fromkeys(decode_element(element)[1] for element in peer.elements))


def _absent(executions: Sequence[Peer], failed: Sequence[Peer]) -> tuple[str, str]:
    """The outermost callee that successful executions of the job reach and none of the failed ones does."""
    template = HopTemplate.learn([e for e in executions if e.status == Status.COMPLETED])
    seen = {element for e in failed for element in _plain_elements(e)}
    for (caller, callee), share in template.hops.items():
        if share >= _EXPECTED and callee not in seen:
            service, sender = callee.partition(".")[0], caller.partition(".")[0]
            return service, f"{sender} never reached {service}"
    if not any(e.hops for e in failed) and len({_root(e) for e in failed}) == 1 and all(e.elements for e in failed):
        root = _root(failed[0])
        return "", f"{root} called no other service"
    if not any(e.elements for e in failed):
        return "", "no span of any of them arrived"
    return "", ""


def _root(peer: Peer) -> str:
    return decode_element(peer.elements[0])[1].partition(".")[0] if peer.elements else ""


def _shared_cause(failed: Sequence[Peer]) -> Iterable[str]:
    for words, read in (("{} of {}: {}", _cause_and_point), ('{} of {} say "{}"', _template_of)):
        counted = Counter(value for e in failed if (value := read(e)))
        if counted:
            value, count = counted.most_common(1)[0]
            if count >= _MOSTLY * len(failed):
                yield words.format(count, len(failed), value)


def _cause_and_point(peer: Peer) -> str | None:
    if peer.root_cause_type is None:
        return None
    return f"{peer.root_cause_type.value} at {peer.failure_point}" if peer.failure_point else peer.root_cause_type.value


def _template_of(peer: Peer) -> str | None:
    return error_template(peer.error_message)


def _concentration(executions: Sequence[Peer], failed: Sequence[Peer]) -> Iterable[str]:
    """A model or region in which the failures lie and the others do not."""
    readers: tuple[tuple[str, Callable[[Peer], str | None]], ...] = (
        ("region", lambda e: e.region),
        ("model", lambda e: e.model_id),
    )
    for name, read in readers:
        everywhere = {value for e in executions if (value := read(e))}
        bad = {value for e in failed if (value := read(e))}
        if len(bad) == 1 and len(everywhere) > 1:
            yield f"all in {name} {next(iter(bad))}"
