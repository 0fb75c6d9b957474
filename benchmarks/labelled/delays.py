"""Scenarios about time: callers that give up, and executions that complete far too late.

With at least 20 peers a delay is several times what such executions take at most. "With fewer, the constants 5 s (gap),
60 s (network gap), 120 s (operation) hold": there it is longer than the largest that applies.
"""

from __future__ import annotations

import math

from benchmarks.labelled.acts import Act, Draft, Place
from benchmarks.labelled.errors import Cause, Failure
from benchmarks.labelled.spans import Label, cause
from benchmarks.labelled.worlds import Enter, Node, Spread, Target

DEADLINES_MS = (500, 1_000, 2_000, 3_000, 5_000, 10_000, 15_000, 20_000, 30_000, 60_000, 90_000, 120_000, 240_000)
NETWORK_GAP_MS = 60_000.0
OPERATION_MS = 120_000.0


def deadline(draft: Draft, act: Act) -> float:
    """A time-out as people set them: well above what the call takes, and above what clocks can hide."""
    clocks = max(draft.world.clock_spread_ms, *(abs(clock) for clock in draft.clocks_ms.values()), 0.0)
    least = max(3.0 * act.call_ms, act.call_ms + 8.0 * clocks, 450.0)
    fitting = [value for value in DEADLINES_MS if value >= least]
    return float(draft.rng.choice(fitting[:3])) if fitting else least


def lost_response(draft: Draft) -> Label | None:
    """The callee finished; its answer never came."""
    act = draft.hop()
    if act is None:
        return None
    act.deadline_ms, act.lost = deadline(draft, act), True
    return cause("NETWORK_TIMEOUT", act.place)


def slow_network(draft: Draft) -> Label | None:
    """The callee is as quick as ever; request and answer are under way for too long."""
    act = draft.hop()
    if act is None:
        return None
    act.deadline_ms = deadline(draft, act)
    act.send_ms = act.deadline_ms * draft.rng.uniform(0.1, 0.35)
    act.return_ms = act.deadline_ms * draft.rng.uniform(1.0, 2.0)
    return cause("NETWORK_TIMEOUT", act.place)


def never_arrived(draft: Draft) -> Label | None:
    """The callee "never saw the request": peers show its span, here there is none; the caller's span has the error."""
    act = draft.hop(lambda act: act.node.client is not None and act.node.chance == 1.0)
    if act is None or not draft.enough:
        return None
    act.deadline_ms = deadline(draft, act)
    act.unreached = draft.fail(Cause.TIMED_OUT, act.caller, act)
    act.pause_ms = 0.0
    return cause("NETWORK_TIMEOUT", act.caller_place)


def skewed_lost_response(draft: Draft) -> Label | None:
    """The same with clocks that are seconds apart in this execution."""
    act = draft.hop(lambda act: act.caller is not act.node.service)
    if act is None:
        return None
    draft.clocks_ms[act.node.service.name] = draft.rng.choice((-1, 1)) * draft.rng.uniform(1_500.0, 6_000.0)
    act.deadline_ms, act.lost = deadline(draft, act), True
    return cause("NETWORK_TIMEOUT", act.place)


def slow_callee(draft: Draft, act: Act) -> tuple[Act, tuple[Place, ...]]:
    """Let something below a hop take longer than the caller waits; that, and the places by which it may be named."""
    rng = draft.rng
    assert act.deadline_ms is not None
    extra = act.deadline_ms * rng.uniform(1.3, 3.0)
    below = [
        inner
        for inner in act.walk()
        if inner.node.enter in (Enter.CALL, Enter.INSIDE, Enter.OUTSIDE) and inner is not act and inner.awaited
    ]
    slow = rng.choice(below) if below and rng.random() < 0.5 else act
    slow.work_ms += extra
    if slow.node.service is act.node.service:
        # "the callee was still working" is said of the callee's span, "the slow self time" of the function within it.
        return slow, (act.place, slow.place)
    if slow.node.enter is Enter.INSIDE:
        entry = slow
        while entry.node.enter is Enter.INSIDE and entry.parent is not None:
            entry = entry.parent
        return slow, (slow.place, entry.place)
    return slow, (slow.place,)


def slow_server(draft: Draft) -> Label | None:
    """The callee works on after its caller has given up; or stops when it notices."""
    act = draft.hop()
    if act is None:
        return None
    act.deadline_ms = deadline(draft, act)
    slow, places = slow_callee(draft, act)
    if slow.node.service is act.node.service and draft.rng.random() < 0.5:
        act.cancelled = draft.fail(Cause.GONE, act.node.service, act)
    return cause("SERVICE_TIMEOUT", *places)


CARELESS = {
    "python": "RuntimeError",
    "go": "*errors.errorString",
    "java": "java.lang.IllegalStateException",
    "node": "Error",
    "rust": "anyhow::Error",
}


def symptom(draft: Draft) -> Label | None:
    """A call times out, the caller carries on without its answer, and fails over that a little later."""
    rng = draft.rng
    for act in draft.acts(Enter.CALL, where=lambda act: act.node.client is not None):
        if act.parent is None or act.parent.parallel:
            continue
        later = act.parent.children[act.parent.children.index(act) + 1 :]
        follow = next((each for each in later if each.node.enter in (Enter.OUTSIDE, Enter.INSIDE)), None)
        if follow is None:
            continue
        act.deadline_ms = deadline(draft, act)
        _, places = slow_callee(draft, act)
        act.handled = True
        what = act.node.target.host.partition(".")[0]
        message = rng.choice(
            (
                f"no result of {what}: earlier call timed out",
                f"deadline already exceeded while waiting for {what}",
                f"request budget used up, {what} has not answered in time",
            )
        )
        consequence = Failure(CARELESS[follow.node.service.language], message)
        if follow.node.enter is Enter.OUTSIDE:
            follow.unreached = consequence
        else:
            follow.failure, follow.done, follow.work_ms = consequence, 0, min(follow.work_ms, 3.0)
        return cause("SERVICE_TIMEOUT", *places)
    return None


def far_too_long(draft: Draft, act: Act) -> float:
    """Milliseconds that no ordinary execution of this world takes for anything."""
    rng = draft.rng
    if not draft.enough:
        return rng.uniform(1.1, 3.0) * OPERATION_MS
    ordinary = act.node.work.median_ms * math.exp(3.0 * act.node.work.sigma)
    return max(6.0 * ordinary, 1.5 * draft.usual_wall_ms, 150.0, 8.0 * draft.world.clock_spread_ms) * rng.uniform(
        1.0, 2.5
    )


def slow_work(draft: Draft, *enters: Enter) -> Act | None:
    act = next(iter(draft.acts(*enters)), None)
    if act is not None:
        act.work_ms += far_too_long(draft, act)
    return act


def degraded(draft: Draft) -> Label | None:
    """A service takes far longer than ever for one step."""
    act = slow_work(draft, Enter.CALL, Enter.INSIDE)
    return None if act is None else cause("PERFORMANCE_DEGRADATION", act.place)


def degraded_dependency(draft: Draft) -> Label | None:
    act = slow_work(draft, Enter.OUTSIDE)
    return None if act is None else cause("PERFORMANCE_DEGRADATION", act.place)


def deployed(draft: Draft) -> Label | None:
    """A new version makes one step slow."""
    if not draft.enough:
        return None
    act = next(iter(draft.acts(Enter.CALL, Enter.INSIDE, where=lambda act: act.node.service.version is not None)), None)
    if act is None:
        return None
    act.work_ms += far_too_long(draft, act)
    draft.versions[act.node.service.name] = new_version(act)
    return cause("PERFORMANCE_DEGRADATION", act.place)


def new_version(act: Act) -> str:
    major, minor, _ = (act.node.service.version or "1.0.0").split(".")
    return f"{major}.{int(minor) + 1}.0"


def slow_return(draft: Draft) -> Label | None:
    """The answer comes, but long after the callee had finished, and nobody's own work is slow."""
    act = draft.hop(lambda act: act.node.client is not None)
    if act is None or not draft.enough:
        return None
    act.return_ms += far_too_long(draft, act)
    # The time is the client span's own; "the answer that was finished but not heard" is the callee's.
    return cause("PERFORMANCE_DEGRADATION", act.caller_place, act.place)


def one_by_one(draft: Draft) -> Label | None:
    """N+1: what was asked for once or twice is asked for row by row."""
    if not draft.enough or draft.world.fan_out:
        return None
    calls = draft.acts(
        Enter.OUTSIDE,
        Enter.CALL,
        where=lambda act: act.parent is not None and not act.parent.parallel and not act.children,
    )
    for act in calls:
        assert act.parent is not None
        count = max(30, math.ceil(2.5 * draft.usual_wall_ms / act.call_ms))
        if count > 250 or count * act.call_ms < 200.0:
            continue
        place = act.parent.children.index(act)
        act.parent.children[place : place + 1] = [draft.repeated(act) for _ in range(count)]
        sends = act.node.client is not None or act.node.enter is Enter.OUTSIDE
        caller = act.place if act.node.enter is Enter.OUTSIDE else act.caller_place
        # The repeated operation: seen from the caller and, where it is instrumented, from the callee.
        return cause("PERFORMANCE_DEGRADATION", act.place, *([caller] if sends else []))
    return None


LOADING = (
    "load_model",
    "model.load",
    "download_weights",
    "modal.enter",
    "Initialization",
    "warm_up",
    "load checkpoint",
)


def loading(draft: Draft, act: Act, ms: float) -> Act:
    """A span that only a cold container has, at the beginning of ``act``."""
    node = Node(
        Enter.INSIDE,
        act.node.service,
        draft.rng.choice(LOADING),
        "none",
        Spread(ms, 0.0),
        Spread(0.0, 0.0),
        Target("self"),
    )
    load = Act(node, act, ms, 0.0, 0.0, False)
    act.children.insert(0, load)
    return load


def started_hop(draft: Draft) -> Act | None:
    """A hop whose callee runs in containers that come and go; Modal's first."""
    hops = draft.acts(Enter.CALL, where=lambda act: not act.parallel)
    return next((act for act in hops if act.node.service.modal), next(iter(hops), None))


def cold_start(draft: Draft) -> Label | None:
    """The callee starts late because its container had to start, and says so; or loads first."""
    act = started_hop(draft)
    if act is None:
        return None
    ms = far_too_long(draft, act)
    if draft.rng.random() < 0.5:
        act.send_ms += ms
        act.own["faas.coldstart"] = True
        return cause("COLD_START", act.place)
    load = loading(draft, act, ms)
    if not draft.enough or draft.rng.random() < 0.6:
        act.own["faas.coldstart"] = True
        # "a cold-start marker or a load span": both are there, each on its own span.
        return cause("COLD_START", act.place, load.place)
    return cause("COLD_START", load.place)


def queued(draft: Draft) -> Label | None:
    """The callee starts late; nothing says why."""
    act = started_hop(draft)
    if act is None or act.node.client is None:
        return None
    act.send_ms += max(far_too_long(draft, act), 0.0 if draft.enough else 1.2 * NETWORK_GAP_MS)
    return cause("QUEUE_DELAY", act.place)


def queue_declared(draft: Draft) -> Label | None:
    """The callee starts late and says how long it was queued."""
    act = started_hop(draft)
    if act is None:
        return None
    waited = far_too_long(draft, act)
    act.send_ms += waited
    act.own["queue.time_ms"] = round(waited * draft.rng.uniform(0.97, 1.0), 3)
    return cause("QUEUE_DELAY", act.place)


def slow_with_few_peers(draft: Draft) -> Label | None:
    """Some times slower than a handful of peers, below every constant: nobody can tell yet."""
    if draft.enough:
        return None
    act = next(iter(draft.acts(Enter.CALL, Enter.INSIDE, where=lambda act: not act.children)), None)
    if act is None:
        return None
    act.work_ms *= draft.rng.uniform(2.5, 4.0)
    return None if act.work_ms > 0.5 * OPERATION_MS else Label(verdicts=frozenset({"healthy", "inconclusive"}))
