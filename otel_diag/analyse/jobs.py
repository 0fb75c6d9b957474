"""What the executions of a job, or failures across jobs, have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from otel_diag.analyse.baseline import HopTemplate, Peer, decode_element
from otel_diag.analyse.significance import ALPHA, at_least
from otel_diag.analyse.templates import error_template, merged
from otel_diag.model import FailurePattern, Status

MAX_PATTERNS: Final = 10
_EXAMPLES: Final = 5
_MOSTLY: Final = 0.7
_OFTEN: Final = 0.3
_EXPECTED: Final = 0.8
_MIN_CLUSTER: Final = 3
_CLUSTER_FROM_MS: Final = 1_000.0
_WORSE: Final = 0.2
_CLUSTER_WIDTH: Final = 1.02
"""Durations within 2 % of each other are one deadline: clients notice it some milliseconds late."""


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
    timed = deadline(failed, [e for e in executions if e.status == Status.COMPLETED])
    if timed is not None and len(timed.members) >= _MOSTLY * len(failed):
        shared.append(f"{len(timed.members)} of {len(failed)} {timed.words}")
    begun = onset(executions)
    return "; ".join([sentence, *shared, *([] if begun is None else [begun.words])])


def job_patterns(executions: Sequence[Peer]) -> list[FailurePattern]:
    """What the failures of a job share, measured against its successful executions where that says more."""
    failed = [e for e in executions if e.status.is_failure]
    patterns = failure_patterns(failed, [e for e in executions if e.status == Status.COMPLETED])
    unreached = _unreached(executions, failed)
    if unreached is not None:
        patterns.insert(0, _pattern(*unreached, len(failed)))
    return patterns[:MAX_PATTERNS]


def failure_patterns(failures: Sequence[Peer], successful: Sequence[Peer] = ()) -> list[FailurePattern]:
    """What failures share: causes, error texts and deadlines that at least two have, then a model, region, version or
    job of most.

    Half of the failures on one of two models says nothing; nine in ten do. Most frequent first within each.
    """
    templates = {message: error_template(message) for message in {failure.error_message for failure in failures}}
    general = merged(filter(None, templates.values()))
    readers: tuple[tuple[str, Callable[[Peer], str | None], float], ...] = (
        ("{}", _cause_and_point, 0.0),
        ('error "{}"', lambda p: general.get(templates[p.error_message] or ""), 0.0),
        ("failed at {}", lambda p: p.failure_point if p.root_cause_type is None else None, 0.0),
        ("model {}", lambda p: p.model_id, _MOSTLY),
        ("region {}", lambda p: p.region, _MOSTLY),
        ("version {}", lambda p: p.service_version, _MOSTLY),
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
            (share > 0, _pattern(words.format(value), members, len(failures)))
            for value, members in groups.items()
            if len(members) > 1 and len(members) >= share * len(failures)
        ]
    timed = deadline(failures, successful)
    if timed is not None:
        found.append((False, _pattern(timed.words, timed.members, len(failures))))
    found.sort(key=lambda entry: (entry[0], -entry[1].count))
    return [pattern for _, pattern in found[:MAX_PATTERNS]]


def _pattern(words: str, members: Sequence[Peer], total: int) -> FailurePattern:
    examples = [_id_of(member) for member in members[:_EXAMPLES]]
    return FailurePattern(pattern=words, count=len(members), total=total, example_ids=examples)


@dataclass(frozen=True, slots=True)
class Deadline:
    """Failures that ended after the same time; ``ms`` is the shortest of theirs: nobody gives up early."""

    ms: float
    members: tuple[Peer, ...]

    @property
    def words(self) -> str:
        return f"ended after {self.ms / 1e3:,.1f} s each, as with a configured deadline"


def deadline(failed: Sequence[Peer], successful: Sequence[Peer] = ()) -> Deadline | None:
    """The duration, from a second on, at which most failures end together: at least three, and three in ten.

    None where successful executions end there too, as far as their number can tell.
    """
    timed = sorted(
        ((e.duration_ms, _id_of(e), e) for e in failed if (e.duration_ms or 0.0) >= _CLUSTER_FROM_MS),
        key=lambda entry: (entry[0], str(entry[1])),
    )
    durations = [duration for duration, _, _ in timed if duration is not None]
    first, last = _densest(durations)
    count = last - first
    if count < _MIN_CLUSTER or count < _OFTEN * len(failed):
        return None
    others = [e.duration_ms for e in successful if e.duration_ms is not None]
    low, high = durations[first] / _CLUSTER_WIDTH, durations[first] * _CLUSTER_WIDTH
    there = sum(low <= ms <= high for ms in others)
    if others and at_least(count, len(failed), count + there, len(failed) + len(others)) > ALPHA:
        return None
    return Deadline(durations[first], tuple(e for _, _, e in timed[first:last]))


def _densest(durations: Sequence[float]) -> tuple[int, int]:
    """The range of sorted durations within 2 % of each other that holds the most; the shortest of these."""
    best, last = (0, 0), 0
    for first, shortest in enumerate(durations):
        while last < len(durations) and durations[last] <= shortest * _CLUSTER_WIDTH:
            last += 1
        if last - first > best[1] - best[0]:
            best = (first, last)
    return best


@dataclass(frozen=True, slots=True)
class Onset:
    """When failing began: ``failed_before`` of ``before`` executions started earlier, ``failed_since`` of ``since``."""

    moment: datetime
    failed_before: int
    before: int
    failed_since: int
    since: int
    within_a_day: bool

    @property
    def words(self) -> str:
        moment = f"{self.moment:%H:%M}" if self.within_a_day else f"{self.moment:%Y-%m-%d %H:%M}"
        before = f"{self.failed_before:,}" if self.failed_before else "none"
        return f"{before} of {self.before:,} failed before {moment} UTC, {self.failed_since:,} of {self.since:,} since"


def onset(executions: Sequence[Peer]) -> Onset | None:
    """The start of a failure from which on they fail more often: the likeliest change point of a binomial rate.

    None unless at least a fifth more of the executions fail since, and chance does not explain it: Fisher's exact test
    at 1 %, for as many times as could have been chosen.
    """
    timed = sorted((e.started_at, str(_id_of(e)), e.status.is_failure) for e in executions if e.started_at is not None)
    failed = np.array([bad for _, _, bad in timed], bool)
    total, bad = len(failed), int(failed.sum())
    starts = np.flatnonzero(failed)
    starts = starts[starts > 0]
    if not starts.size or bad == total:
        return None
    before = np.concatenate([[0], np.cumsum(failed)])[starts]
    gain = _log_likelihood(before, starts) + _log_likelihood(bad - before, total - starts)
    gain[before * (total - starts) >= (bad - before) * starts] = -np.inf
    at = int(np.argmax(gain))
    split, failed_before = int(starts[at]), int(before[at])
    since, failed_since = total - split, bad - failed_before
    if failed_since / since - failed_before / split < _WORSE:
        return None
    if at_least(failed_since, since, bad, total) * len(starts) > ALPHA:
        return None
    moment = timed[split][0]
    same_day = timed[0][0].astimezone(UTC).date() == timed[-1][0].astimezone(UTC).date()
    return Onset(moment.astimezone(UTC), failed_before, split, failed_since, since, same_day)


def _log_likelihood(hits: npt.NDArray[np.int64], trials: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of so many hits at their own rate."""
    share = np.clip(hits / trials, 1e-12, 1 - 1e-12)
    return np.asarray(hits * np.log(share) + (trials - hits) * np.log1p(-share), np.float64)


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


def _unreached(executions: Sequence[Peer], failed: Sequence[Peer]) -> tuple[str, list[Peer]] | None:
    """The outermost callee that successful executions of the job reach and three in ten failed ones do not."""
    template = HopTemplate.learn([e for e in executions if e.status == Status.COMPLETED])
    seen = [(e, {*_plain_elements(e)}) for e in failed]
    for (_, callee), share in template.hops.items():
        without = [e for e, elements in seen if callee not in elements]
        if share >= _EXPECTED and len(without) > 1 and len(without) >= _OFTEN * len(failed):
            return f"failed before reaching {callee}", without
    return None


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
        ("version", lambda e: e.service_version),
    )
    for name, read in readers:
        everywhere = {value for e in executions if (value := read(e))}
        bad = {value for e in failed if (value := read(e))}
        if len(bad) == 1 and len(everywhere) > 1:
            yield f"all in {name} {next(iter(bad))}"
