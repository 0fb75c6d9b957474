"""Scenarios in which something fails at once: each does it to a draft and labels it, or answers None if it cannot here.

Labels follow the table of root cause types, "most specific first (the first that fits wins)", and name "the span that
carries the decisive evidence": for an error the deepest span that has it.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.labelled.acts import Act, Draft, Place
from benchmarks.labelled.errors import (
    LOST_CONTAINERS,
    OUT_OF_MEMORY_KILLS,
    UNLOADABLE_FUNCTIONS,
    VAGUE_ENDINGS,
    Cause,
    Failure,
    spoken,
)
from benchmarks.labelled.spans import Label, cause
from benchmarks.labelled.stage import quiet
from benchmarks.labelled.worlds import Enter


def raised(draft: Draft, act: Act, why: Failure) -> tuple[Place, ...]:
    """Let a step fail, and name the spans that carry the error."""
    act.failure = why
    act.done = draft.rng.randint(0, len(act.children))
    # By the HTTP conventions a server's span of a bad request has no error status and the client's has: the rejected
    # input is seen on the first, the error on the second.
    return (act.place, act.caller_place) if quiet(act, why) else (act.place,)


def working(draft: Draft) -> Act | None:
    """A step of some service that can fail by itself."""
    return next(iter(draft.acts(Enter.CALL, Enter.INSIDE)), None)


def sending(draft: Draft) -> Act | None:
    """A call of which the sending side has a span, or whose sender is not the root: that would be too early to tell."""
    calls = draft.acts(
        Enter.CALL,
        Enter.OUTSIDE,
        where=lambda act: act.node.client is not None or act.caller is not draft.root.node.service,
    )
    return next((act for act in calls if act.node.enter is Enter.OUTSIDE or act.node.protocol != "modal"), None)


def sender(act: Act) -> Place:
    return act.place if act.node.enter is Enter.OUTSIDE else act.caller_place


def unreached(draft: Draft, why: Cause) -> Label | None:
    """The call never reaches its callee."""
    act = sending(draft)
    if act is None:
        return None
    act.unreached = draft.fail(why, act.caller if act.node.enter is Enter.CALL else act.node.service, act)
    return cause("CONNECTION_FAILURE", sender(act))


def refused(draft: Draft) -> Label | None:
    return unreached(draft, Cause.REFUSED)


def dns(draft: Draft) -> Label | None:
    return unreached(draft, Cause.DNS)


def tls(draft: Draft) -> Label | None:
    return unreached(draft, Cause.TLS)


def reset(draft: Draft) -> Label | None:
    return unreached(draft, draft.rng.choice((Cause.RESET, Cause.UNREACHABLE)))


def fail_call(draft: Draft, act: Act, why: Cause) -> None:
    """Let a call fail, each kind in its own way."""
    if why in (Cause.REFUSED, Cause.RESET, Cause.DNS):
        act.unreached = draft.fail(why, act.caller if act.node.enter is Enter.CALL else act.node.service, act)
    else:
        act.failure, act.done = draft.fail(why, act.node.service, act), 0
        act.work_ms = min(act.work_ms, 2_000.0)


def own_cause(act: Act) -> Cause:
    """What goes wrong at the far end of a call."""
    if act.node.enter is not Enter.OUTSIDE:
        return Cause.BUG
    return Cause.DATABASE if act.node.protocol == "db" else Cause.PROVIDER


def attempts(draft: Draft, act: Act, count: int, why: Cause, last: bool) -> list[Act]:
    """``count`` failed attempts of a call in its parent, one after the other; ``last``: then the parent gives up."""
    parent = act.parent
    assert parent is not None
    place = parent.children.index(act)
    tries = [draft.repeated(act) for _ in range(count)]
    counted = draft.rng.random() < 0.4
    for number, attempt in enumerate(tries):
        fail_call(draft, attempt, why)
        attempt.handled = number < count - 1 or not last
        attempt.pause_ms = 0.0 if number == 0 else draft.rng.uniform(0.5, 1.5) * min(2.0**number * 20, act.call_ms + 30)
        if counted and number:
            attempt.sent["http.request.resend_count"] = number
    parent.children[place : place + 1] = tries if last else [*tries, act]
    return tries


def retry_storm(draft: Draft) -> Label | None:
    """Three or more failed attempts of one call, then giving up, whatever the attempts died of (it is above them)."""
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
    if not calls:
        return None
    act = calls[0]
    unanswered = (Cause.REFUSED, Cause.RESET)
    if act.node.enter is Enter.OUTSIDE:
        why = draft.rng.choice((*unanswered, own_cause(act)))
    else:
        why = draft.rng.choice((*unanswered, Cause.CRASHED, Cause.CRASHED))
    attempts(draft, act, draft.rng.randint(3, 7), why, last=True)
    # The attempts are the evidence; each is a client span and, where it arrived, the server span it caused.
    arrived = act.node.enter is Enter.CALL and why not in unanswered
    return cause("RETRY_STORM", sender(act), *([act.place] if arrived else []))


def invalid(draft: Draft) -> Label | None:
    acts = draft.acts(Enter.CALL, Enter.INSIDE, where=lambda act: act.node.service is not draft.root.node.service)
    if not acts:
        return None
    act = acts[0]
    places = raised(draft, act, draft.fail(Cause.INVALID, act.node.service, act))
    act.done = 0
    act.work_ms = min(act.work_ms, 20.0)
    return cause("VALIDATION_ERROR", *places)


def limited(draft: Draft) -> Label | None:
    """429 of a partner or of a service; with retries it is still that, for it stands above RETRY_STORM."""
    acts = draft.acts(
        Enter.CALL,
        Enter.OUTSIDE,
        where=lambda act: act.node.protocol in ("http", "grpc"),
    )
    if not acts:
        return None
    act = acts[0]
    if act.node.enter is Enter.OUTSIDE and act.parent and not act.parent.parallel and draft.rng.random() < 0.35:
        attempts(draft, act, draft.rng.randint(3, 5), Cause.LIMITED, last=True)
        return cause("RATE_LIMITED", act.place)
    places = raised(draft, act, draft.fail(Cause.LIMITED, act.node.service, act))
    act.done, act.work_ms = 0, min(act.work_ms, 50.0)
    return cause("RATE_LIMITED", *places)


def exhausted(draft: Draft) -> Label | None:
    why = draft.rng.choice((Cause.MEMORY, Cause.MEMORY, Cause.FILES, Cause.SLOTS))
    if why is Cause.SLOTS:
        acts = draft.acts(Enter.OUTSIDE, where=lambda act: act.node.target.system in ("postgresql", "mysql"))
    else:
        acts = draft.acts(Enter.CALL, Enter.INSIDE)
    if not acts:
        return None
    return cause("RESOURCE_EXHAUSTED", *raised(draft, acts[0], draft.fail(why, acts[0].node.service, acts[0])))


def killed(draft: Draft, act: Act, seen: Failure) -> tuple[Place, ...]:
    """The callee's process dies at work. What was announced and never ended is the evidence: all open spans of it."""
    rng = draft.rng
    act.work_ms += rng.uniform(2_000.0, 20_000.0)
    act.kill_ms = act.body_ms * rng.uniform(0.6, 0.95)
    act.seen = seen
    return (act.place, *(inner.place for inner in act.walk() if inner.node.service is act.node.service))


def out_of_memory_kill(draft: Draft) -> Label | None:
    """The caller is told that memory was the reason: its span has the error, the callee's misses its end."""
    act = draft.hop(lambda act: not act.parallel)
    if act is None:
        return None
    texts = [text for text in OUT_OF_MEMORY_KILLS if act.node.service.modal or not text[0].startswith("modal.")]
    return cause("RESOURCE_EXHAUSTED", *killed(draft, act, spoken(texts, draft.rng)), act.caller_place)


def on_modal(draft: Draft) -> Act | None:
    return draft.hop(lambda act: act.node.service.modal is not None and not act.parallel)


def container_lost(draft: Draft) -> Label | None:
    """Killed without a word of memory; the caller may have been told."""
    act = on_modal(draft)
    if act is None:
        return None
    if draft.rng.random() < 0.5:
        # "container lost": said on the caller's span, and shown by the callee's that never ended.
        places = killed(draft, act, spoken(LOST_CONTAINERS, draft.rng))
        return cause("MODAL_EXECUTION_FAILURE", *places, act.caller_place)
    return cause("MODAL_EXECUTION_FAILURE", *killed(draft, act, spoken(VAGUE_ENDINGS, draft.rng)))


def preempted(draft: Draft) -> Label | None:
    act = on_modal(draft)
    if act is None:
        return None
    kind, message = draft.rng.choice(
        [
            ("asyncio.exceptions.CancelledError", ""),
            ("KeyboardInterrupt", ""),
            ("modal.exception.InputCancellation", "container is being preempted"),
            ("SystemExit", "143"),
        ]
    )
    act.failure, act.done = Failure(kind, message, type_tells=True), len(act.children)
    act.own["modal.preempted"] = True
    return cause("MODAL_EXECUTION_FAILURE", act.place)


def unloadable(draft: Draft) -> Label | None:
    """The function could not be loaded: no code of it ran, so the caller's span has it."""
    act = on_modal(draft)
    if act is None:
        return None
    act.unreached = spoken(UNLOADABLE_FUNCTIONS, draft.rng, http=500)
    return cause("MODAL_EXECUTION_FAILURE", act.caller_place)


def dependency(draft: Draft) -> Label | None:
    acts = draft.acts(Enter.OUTSIDE)
    if not acts:
        return None
    act = acts[0]
    act.failure = draft.fail(own_cause(act), act.node.service, act)
    return cause("DEPENDENCY_FAILURE", act.place)


def dependency_timeout(draft: Draft) -> Label | None:
    """No answer of something without spans: nobody can say whether it worked, finished, or never saw the request."""
    acts = draft.acts(Enter.OUTSIDE)
    if not acts:
        return None
    act = acts[0]
    act.deadline_ms = draft.rng.choice((1_000.0, 2_000.0, 5_000.0, 10_000.0, 30_000.0))
    act.lost = True
    return cause("DEPENDENCY_FAILURE", act.place)


def bug(draft: Draft) -> Label | None:
    act = working(draft)
    if act is None:
        return None
    return cause("SERVICE_ERROR", *raised(draft, act, draft.fail(Cause.BUG, act.node.service, act)))


def wordless(draft: Draft) -> Label | None:
    """A service answers 500 and says nothing about it."""
    act = draft.hop()
    if act is None:
        return None
    places = raised(draft, act, draft.fail(Cause.BUG, act.node.service, act))
    act.silent = True
    return cause("SERVICE_ERROR", *places)


def bad_leaf(draft: Draft) -> Label | None:
    """One of hundreds of calls fails."""
    if not draft.world.fan_out:
        return None
    act = draft.rng.choice(draft.root.children)
    why, kind = draft.rng.choice(((Cause.BUG, "SERVICE_ERROR"), (Cause.MEMORY, "RESOURCE_EXHAUSTED")))
    return cause(kind, *raised(draft, act, draft.fail(why, act.node.service, act)))


def before_anything(draft: Draft, why: Cause) -> tuple[Place, ...] | None:
    """The root fails within a fiftieth of the usual time, by itself or in a function that it calls first."""
    root, rng = draft.root, draft.rng
    if draft.usual_ms < 400.0 or root.node.protocol == "messaging":
        return None
    failure = draft.fail(why, root.node.service, root)
    first = root.children[0] if root.children else None
    root.work_ms = rng.uniform(1.0, min(60.0, draft.usual_ms / 50))
    if first and first.node.enter is Enter.INSIDE and not first.children and not root.parallel and rng.random() < 0.5:
        first.failure, first.work_ms = failure, root.work_ms
        # "the root failed", but the function within has the error first.
        return root.place, first.place
    root.failure, root.done = failure, 0
    return (root.place,)


def pre_execution(draft: Draft) -> Label | None:
    places = before_anything(draft, Cause.BUG)
    if places is None:
        return None
    # "in a small part of the usual time": without any peer the usual time is not known, and what is left is an error
    # inside a service.
    types = ("PRE_EXECUTION_FAILURE",) if draft.peers else ("PRE_EXECUTION_FAILURE", "SERVICE_ERROR")
    return cause(types, *places)


def setting(draft: Draft) -> Label | None:
    places = before_anything(draft, Cause.SETTING)
    return None if places is None else cause("CONFIGURATION_ERROR", *places)


def unhealthy_provider(draft: Draft) -> Label | None:
    """The router takes a provider that it knows to be unhealthy; the call of it fails."""
    choices = draft.acts(Enter.INSIDE, where=lambda act: act.node.chooses)
    if not choices or choices[0].parent is None:
        return None
    choice, rng = choices[0], draft.rng
    call = next((act for act in choices[0].parent.children if act.node.gpu and act.node.enter is Enter.CALL), None)
    if call is None:
        return None
    provider = rng.choice(("modal-us-east", "together", "bedrock-eu", "gpu-pool-b"))
    choice.own |= {
        "router.provider": provider,
        "router.provider_healthy": False,
        "router.candidates": f"{provider},modal-us-west",
    }
    # The type is that of the error; the decisive evidence is the error, or the span that says what the router knew.
    if rng.random() < 0.5:
        call.unreached = draft.fail(Cause.REFUSED, call.caller, replace_protocol(call, "http"))
        return cause("CONNECTION_FAILURE", call.caller_place, choice.place)
    places = raised(draft, call, draft.fail(Cause.CRASHED, call.node.service, call))
    return cause("SERVICE_ERROR", *places, choice.place)


def replace_protocol(act: Act, protocol: str) -> Act:
    """The act as another protocol would see it, for the wording of its error only."""
    return replace(act, node=replace(act.node, protocol=protocol))


def second_error(draft: Draft) -> Label | None:
    """An error that the parent handles, and later the one that counts."""
    calls = draft.acts(
        Enter.CALL,
        Enter.OUTSIDE,
        where=lambda act: act.parent is not None and not act.parent.parallel and act.node.protocol != "modal",
    )
    for first in calls:
        assert first.parent is not None
        after = first.parent.children[first.parent.children.index(first) + 1 :]
        fatal = next((act for act in after if act.node.enter in (Enter.CALL, Enter.INSIDE)), None)
        if fatal is None:
            continue
        fail_call(draft, first, draft.rng.choice((Cause.REFUSED, own_cause(first))))
        first.handled = True
        return cause("SERVICE_ERROR", *raised(draft, fatal, draft.fail(Cause.BUG, fatal.node.service, fatal)))
    return None


def second_attempt(draft: Draft) -> Label | None:
    """Two attempts of an execution, each in a trace of its own, both fail in the same way."""
    if draft.world.identified == "none" or draft.world.together > 1:
        return None
    act = working(draft)
    if act is None:
        return None
    label = cause("SERVICE_ERROR", *raised(draft, act, draft.fail(Cause.BUG, act.node.service, act)))
    draft.attempt, draft.earlier = 2, draft.root
    return label


def linked_failure(draft: Draft) -> Label | None:
    """The consumer of messages from other traces fails."""
    if not draft.world.linked:
        return None
    return draft.rng.choice((bug, dependency, invalid))(draft)


def failure_beside_stragglers(draft: Draft) -> Label | None:
    """Something nobody waits for goes on long after the end; the failure is elsewhere."""
    stragglers = [act for act in draft.root.walk() if not act.node.awaited]
    if not stragglers:
        return None
    stragglers[0].work_ms += draft.usual_ms * draft.rng.uniform(0.5, 1.5)
    return bug(draft)


def root_lost(draft: Draft) -> Label | None:
    """The root's span never came; the error did."""
    act = next(iter(draft.acts(Enter.CALL)), None)
    if act is None or draft.world.together > 1:
        return None
    draft.root.hide_own = True
    draft.by_trace = draft.world.identified == "root"
    return cause("SERVICE_ERROR", *raised(draft, act, draft.fail(Cause.BUG, act.node.service, act)))


def late_failure(draft: Draft) -> Label | None:
    """What explains the failure comes a good while after the rest has been summarised."""
    act = draft.hop()
    if act is None:
        return None
    for inner in act.walk():
        inner.late = True
    return cause("SERVICE_ERROR", *raised(draft, act, draft.fail(Cause.BUG, act.node.service, act)))
