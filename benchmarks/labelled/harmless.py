"""Red herrings: executions in which something looks wrong, and which are healthy: completed, within their baseline."""

from __future__ import annotations

import math

from benchmarks.labelled.acts import Act, Draft, Record
from benchmarks.labelled.delays import loading, new_version, started_hop
from benchmarks.labelled.errors import Cause
from benchmarks.labelled.failures import attempts, fail_call, own_cause, raised
from benchmarks.labelled.losses import one_span_lost
from benchmarks.labelled.spans import HEALTHY, Label
from benchmarks.labelled.worlds import Enter

LITTLE = 0.05
"""Share of the usual time that may be added to an execution that stays within it."""


def handled_error(draft: Draft) -> Label | None:
    """A call fails, its caller does without, all completes."""
    acts = draft.acts(Enter.CALL, Enter.OUTSIDE, where=lambda act: act.node.protocol != "modal")
    if not acts:
        return None
    act = acts[0]
    causes = [own_cause(act), *([Cause.LIMITED] if act.node.protocol == "http" else [])]
    if act.node.client is not None or act.node.enter is Enter.OUTSIDE:
        causes.append(Cause.REFUSED)  # without a client's span nothing would be seen of it
    fail_call(draft, act, draft.rng.choice(causes))
    act.handled = True
    return HEALTHY


def retried(draft: Draft) -> Label | None:
    """One or two attempts fail at once, the next succeeds."""
    calls = draft.acts(
        Enter.CALL,
        Enter.OUTSIDE,
        where=lambda act: (
            act.parent is not None
            and not act.parent.parallel
            and act.node.protocol != "modal"
            and (act.node.client is not None or act.node.enter is Enter.OUTSIDE)
        ),
    )
    for act in calls:
        room = LITTLE * draft.usual_ms
        if room < 12.0:
            continue
        tries = attempts(
            draft, act, draft.rng.randint(1, 2), draft.rng.choice((Cause.REFUSED, Cause.RESET)), last=False
        )
        for attempt in tries:
            attempt.pause_ms = min(attempt.pause_ms, room / 4)
        act.pause_ms = room / 4
        return HEALTHY
    return None


def off_the_path(draft: Draft) -> Label | None:
    """One of several calls at a time is slow, and still not the last to end."""
    for act in draft.acts(Enter.CALL):
        if act.parent is None or not act.parent.parallel or act.children:
            continue
        longest = max(each.call_ms for each in act.parent.children if each.node.awaited)
        room = 0.85 * longest - act.call_ms
        if room > 1.5 * act.work_ms:
            act.work_ms += min(room, 4.0 * act.work_ms)
            return HEALTHY
    return None


def small_cold_start(draft: Draft) -> Label | None:
    """A cold container in an execution that is within its usual time."""
    act = started_hop(draft)
    if act is None:
        return None
    act.own["faas.coldstart"] = True
    if draft.rng.random() < 0.6:
        loading(draft, act, LITTLE * draft.usual_ms)
    return HEALTHY


def lost_span(draft: Draft) -> Label | None:
    one_span_lost(draft)
    return HEALTHY


def wrong_clock(draft: Draft) -> Label | None:
    """A host's clock is seconds off."""
    others = [service for service in draft.world.services if service is not draft.root.node.service]
    if not others:
        return None
    service = draft.rng.choice(others)
    draft.clocks_ms[service.name] = draft.rng.choice((-1, 1)) * draft.rng.uniform(500.0, 7_000.0)
    return HEALTHY


def a_slow_one(draft: Draft) -> Label | None:
    """The step that takes the most takes long, as one in twenty does."""
    act = max(
        (act for act in draft.root.walk() if act.awaited), key=lambda act: act.node.work.median_ms, default=draft.root
    )
    act.work_ms = act.node.work.median_ms * math.exp(act.node.work.sigma * draft.rng.uniform(1.4, 1.8))
    return HEALTHY


def good_release(draft: Draft) -> Label | None:
    """A new version that is as quick as the last."""
    acts = [act for act in draft.root.walk() if act.node.service.version is not None]
    if not acts:
        return None
    act: Act = draft.rng.choice(acts)
    draft.versions[act.node.service.name] = new_version(act)
    return HEALTHY


def short_queue(draft: Draft) -> Label | None:
    """A callee that says how long it was queued: as long as ever."""
    act = started_hop(draft)
    if act is None:
        return None
    act.own["queue.time_ms"] = round(act.send_ms * draft.rng.uniform(0.5, 0.9), 3)
    return HEALTHY


def straggler(draft: Draft) -> Label | None:
    """Something nobody waits for ends long after the root."""
    acts = [act for act in draft.root.walk() if not act.node.awaited]
    if not acts:
        return None
    acts[0].work_ms += 0.5 * draft.usual_ms
    return HEALTHY


def better_attempt(draft: Draft) -> Label | None:
    """The attempt before failed, this one did not; it is this one's trace that is asked for."""
    if draft.world.identified == "none" or draft.world.together > 1:
        return None
    earlier = Draft(draft.world, draft.rng, draft.repeated(draft.root))
    acts = earlier.acts(Enter.CALL, Enter.INSIDE)
    if not acts:
        return None
    raised(earlier, acts[0], earlier.fail(Cause.BUG, acts[0].node.service, acts[0]))
    draft.attempt, draft.earlier, draft.by_trace = 2, earlier.root, True
    return HEALTHY


def recorded_success(draft: Draft) -> Label | None:
    """The runner says of a completed execution that it completed."""
    if draft.world.identified == "none" or draft.world.together > 1:
        return None
    draft.record = Record("completed", draft.root.body_ms + draft.rng.uniform(0.5, 5.0), None)
    return HEALTHY
