"""Scenarios about what is not there: calls that were not made, spans that were not exported, executions without any."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.labelled.acts import Act, Draft, Record
from benchmarks.labelled.errors import Cause
from benchmarks.labelled.spans import Label, cause
from benchmarks.labelled.worlds import Enter

UNKNOWN = Label(frozenset({"UNKNOWN"}), None, frozenset({"root_cause", "inconclusive"}))
"""Failed, "and the evidence fits nothing"; no span carries it, and "INCONCLUSIVE is an answer"."""

ARRIVING = Label(frozenset({"INCOMPLETE_TRACE"}), None, frozenset({"root_cause", "inconclusive"}))
"""What is there is no more than a part: which span would name it is open, and so is whether to name anything yet."""

EMPTY_WORDS = (None, "failed", "unknown error", "exit status 1")


def never_called(draft: Draft) -> Label | None:
    """The execution completes without a hop that every peer has."""
    if not draft.enough:
        return None
    act = draft.hop(
        lambda act: (
            act.parent is not None
            and act.node.chance == 1.0
            and all(other.node.service is not act.node.service for other in draft.root.walk() if not within(other, act))
            and certain(act.parent)
        )
    )
    if act is None or act.parent is None:
        return None
    act.parent.children.remove(act)
    # There is no span of it: "the span that carries the decisive evidence" can only be the one that should have made
    # the call, or the name of what is missing.
    return cause("MISSING_SERVICE", act.place, act.caller_place, act.parent.place)


def within(act: Act, top: Act) -> bool:
    return act is top or (act.parent is not None and within(act.parent, top))


def certain(act: Act) -> bool:
    """Every execution does it."""
    return act.node.chance == 1.0 and (act.parent is None or certain(act.parent))


def not_exported(draft: Draft) -> Label | None:
    """A call is answered with an error, and its callee has no span, as it has in peers: called, not exported."""
    if not draft.enough:
        return None
    act = draft.hop(
        lambda act: (
            act.node.client is not None and act.node.protocol == "http" and act.node.chance == 1.0 and certain(act)
        )
    )
    if act is None:
        return None
    callee = act.node.service
    act.failure = replace(draft.fail(Cause.BUG, callee, act), http=500)
    for inner in act.walk():
        if inner.node.service is callee:
            inner.hide_own = True
        if inner is not act and inner.caller is callee:
            inner.hide_client = True
    # The error is on the client's span; what is missing is the callee's.
    return cause("INCOMPLETE_TRACE", act.caller_place, act.place)


def still_arriving(draft: Draft) -> Label | None:
    """Asked for while the root is still running: what has ended so far is there."""
    if draft.world.identified == "root":
        draft.by_trace = True
    draft.arriving = True
    return ARRIVING


def declarable(draft: Draft) -> bool:
    return draft.world.identified != "none" and draft.world.together == 1 and bool(draft.world.labels)


def recorded_early_death(draft: Draft) -> Label | None:
    """The runner recorded an execution that died before its first span."""
    if not declarable(draft) or not draft.peers or draft.usual_ms < 400.0:
        return None
    rng, root = draft.rng, draft.root
    setting = rng.random() < 0.4
    why = draft.fail(Cause.SETTING if setting else Cause.BUG, root.node.service, root)
    draft.spanless = True
    draft.record = Record("failed", rng.uniform(2.0, min(60.0, draft.usual_ms / 50)), f"{why.type}: {why.message}")
    # Without any span there is no place to point to.
    return Label(frozenset({"CONFIGURATION_ERROR" if setting else "PRE_EXECUTION_FAILURE"}), None)


def recorded_failure(draft: Draft) -> Label | None:
    """Every span completed in its usual time; the runner says that it failed, and not why."""
    if draft.world.identified == "none" or draft.world.together > 1:
        return None
    if draft.peers == 0 and draft.rng.random() < 0.5:
        draft.spanless = True
    draft.record = Record("failed", draft.root.body_ms, draft.rng.choice(EMPTY_WORDS))
    return UNKNOWN


def one_span_lost(draft: Draft) -> None:
    """Any span but the root's is not exported."""
    act = draft.rng.choice([act for act in draft.root.walk() if act.parent is not None])
    if act.node.enter is Enter.OUTSIDE or (act.node.client is not None and draft.rng.random() < 0.5):
        act.hide_client = True
    else:
        act.hide_own = True
