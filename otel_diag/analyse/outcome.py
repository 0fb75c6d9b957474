"""How an execution ended, and the chain of spans along which its failure reached the root."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from string import digits

from rapidfuzz import fuzz

from otel_diag.analyse.calls import is_call, peer_names
from otel_diag.analyse.classify import (
    ErrorKind,
    classify,
    error_text,
    error_type_of,
    http_status,
    is_error,
    was_answered_with_error,
)
from otel_diag.analyse.replies import rehung
from otel_diag.analyse.skew import is_hop
from otel_diag.analyse.tree import NO_PARENT, Times, Tree
from otel_diag.model import Span, Status, Trace

_SEVERITY = (Status.COMPLETED, Status.RUNNING, Status.FAILED, Status.TIMEOUT)
_NO_DIGITS = str.maketrans("", "", digits)
_SIMILAR_TEXT = 80.0
_SYMPTOM_SHARE = 0.3
"""A time-out that took this share of its parent's time is not one the parent shrugs off."""

_LONG_AFTER = 0.5
_LONG_AFTER_NS = 10_000_000
"""Share of its time, and least time, that a parent spends after an error it does not pass on."""

_AT_ONCE = 0.1
_OF_A_DEADLINE = re.compile(
    r"time[d ]*[- ]?out|deadline|budget|in time|not answered|no (?:answer|result|response)|earlier"
)
"""A call that took a tenth of the time-out before it, and speaks of one, was not the one that waited."""

_SYMPTOMS = frozenset(
    {ErrorKind.GENERIC, ErrorKind.UNSET_CLIENT, ErrorKind.CANCELLED, ErrorKind.CONNECTION, ErrorKind.NONE}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``root``: index of the span that speaks for the execution, None without spans.

    ``chain``: from the root, or from the message whose work failed after it, to the deepest span whose error
    propagated to there; empty unless a span failed.
    """

    root: int | None
    status: Status
    chain: tuple[int, ...]


def find_root(tree: Tree) -> int | None:
    """The top that speaks for the execution: of the newest attempt, one that nobody here caused (by a link) before
    others, a true root before an orphan, the earliest."""
    if not tree.roots:
        return None
    lost, caused = {*tree.orphans}, tree.linked_parents()

    def rank(top: int) -> tuple[int, bool, bool, int]:
        return -(tree.spans[top].attempt or 0), top in caused, top in lost, top

    return min(tree.roots, key=rank)


def outcome_of(trace: Trace, tree: Tree, times: Times) -> Outcome:
    """Status and failing chain. What the runner declared wins over the spans when it is a failure (spec/2)."""
    root = find_root(tree)
    if root is None:
        return Outcome(None, trace.declared.status if trace.declared else Status.COMPLETED, ())
    status = tree.spans[root].status
    if root in tree.orphans:
        root = max(tree.roots, key=lambda top: (_SEVERITY.index(tree.spans[top].status), -top))
        status = tree.spans[root].status
    if trace.declared is not None and (trace.declared.status.is_failure or status == Status.RUNNING):
        status = trace.declared.status
    chain = failing_chain(tree, times, root) if is_error(tree.spans[root]) else ()
    if not chain and status == Status.COMPLETED:
        later = unawaited(tree, times, root)
        if (failed := _failed_later(tree, times, later)) is not None:
            status = max(tree.spans[failed].status, Status.FAILED, key=_SEVERITY.index)
            chain = failing_chain(tree, times, failed)
        elif any(tree.spans[node].status == Status.RUNNING for node in later):
            status = Status.RUNNING
    if not chain and status.is_failure:
        chain = _chain_below(tree, times, root)
    return Outcome(root, status, chain)


def unawaited(tree: Tree, times: Times, root: int) -> list[int]:
    """The spans, in start order, that begin what a message set off and that end after the root, or run still: nobody
    above them learns how it ends, so they speak for themselves."""
    begun = [
        node
        for node, sender in _set_off(tree).items()
        if tree.spans[node].status == Status.RUNNING or times[node][1] > max(times[root][1], times[sender][1])
    ]
    awaited = rehung(tree, times) if begun else {}
    return [node for node in begun if node not in awaited]


def _set_off(tree: Tree) -> dict[int, int]:
    """{span that begins what a message set off: the span that sent it, by parent or by link}"""
    caused = tree.linked_parents()
    found = {}
    for node, span in enumerate(tree.spans):
        sender = tree.parents[node] if tree.parents[node] != NO_PARENT else caused.get(node, NO_PARENT)
        if sender == NO_PARENT or (span.kind != "consumer" and tree.spans[sender].kind != "producer"):
            continue
        if is_hop(tree.spans[sender], span):
            found[node] = sender
    return found


def _failed_later(tree: Tree, times: Times, later: Sequence[int]) -> int | None:
    """The first of what messages set off that failed after the root, and was not done with success later: delivered
    again by the broker, or sent again from within."""
    failed = [node for node in later if is_error(tree.spans[node])]
    if not failed:
        return None
    set_off, done = _set_off(tree), dict[tuple[int, str], int]()
    for node, sender in set_off.items():
        if not _unfinished_or_failed(tree.spans[node]):
            work = sender, call_name(tree.spans[node])
            done[work] = max(times[node][0], done.get(work, times[node][0]))

    def was_done(node: int) -> bool:
        name = call_name(tree.spans[node])
        if done.get((set_off[node], name), times[node][1] - 1) >= times[node][1]:
            return True
        below = (tree.spans[n] for n in tree.walk(node) if n in set_off and n != node)
        return any(call_name(span) == name and not _unfinished_or_failed(span) for span in below)

    return next((node for node in sorted(failed, key=lambda n: times[n][1]) if not was_done(node)), None)


def _chain_below(tree: Tree, times: Times, root: int) -> tuple[int, ...]:
    """The root does not show the failure (it runs still, or only its runner told): start at its failed child."""
    child = _explaining_child(tree, times, root)
    return () if child is None else failing_chain(tree, times, child)


def failing_chain(tree: Tree, times: Times, top: int) -> tuple[int, ...]:
    """From a failed span down to the deepest error that explains it."""
    chain = [top]
    while (child := _explaining_child(tree, times, chain[-1])) is not None:
        chain.append(child)
    return tuple(chain)


def _explaining_child(tree: Tree, times: Times, node: int) -> int | None:
    """The failed child whose error became that of ``node``; None when it failed by itself."""
    span = tree.spans[node]
    failed = [
        child for child in tree.children[node] if is_error(tree.spans[child]) and _was_heard(tree, times, node, child)
    ]
    failed = _not_recovered(tree, times, node, failed)
    if not failed:
        return None
    failed.sort(key=lambda child: times[child])
    cause = _timeout_behind_symptoms(tree, times, node, failed)
    if cause is not None:
        return cause
    matching = [child for child in failed if _same_error(span, tree.spans[child])]
    if not matching and _went_on(tree, times, node, failed[-1]):
        return None
    if not matching:
        matching = [c for c in failed if classify(tree.spans[c]).kind != ErrorKind.CANCELLED]
    return _decisive(times, matching or failed)


def _was_heard(tree: Tree, times: Times, node: int, child: int) -> bool:
    """Whether the child's failure can have reached ``node``: not when it came after ``node`` had ended, nor when
    ``node`` went on waiting for an answer that had long been given."""
    span, below = tree.spans[node], tree.spans[child]
    end, child_end = times[node][1], times[child][1]
    slack = max((end - times[node][0]) // 50, 20_000_000)
    if child_end > end + slack:
        return not is_hop(span, below) or classify(span).kind != ErrorKind.TIMEOUT
    if is_hop(span, below) and classify(span).kind == ErrorKind.TIMEOUT and below.status == Status.FAILED:
        waited_on = end - child_end
        return waited_on <= max(slack, (end - times[node][0]) * 3 // 10)
    return True


def _not_recovered(tree: Tree, times: Times, node: int, failed: Sequence[int]) -> list[int]:
    """Those of the failed children of ``node`` whose call did not succeed in a later attempt.

    Of a fan-out, what starts later is another call.
    """
    if not failed:
        return []
    last_success: dict[tuple[str, str], int] = {}
    for other in tree.children[node]:
        if not _unfinished_or_failed(tree.spans[other]):
            name = _call(tree.spans[other])
            last_success[name] = max(times[other][0], last_success.get(name, times[other][0]))
    followed = {c for c in failed if last_success.get(_call(tree.spans[c]), times[c][1] - 1) >= times[c][1]}
    recovered = followed - _fan_outs(tree, times, node) if followed else followed
    return [child for child in failed if child not in recovered]


def _unfinished_or_failed(span: Span) -> bool:
    return is_error(span) or span.status == Status.RUNNING


def call_name(span: Span) -> str:
    """Element without digits: the attempts of one call share it ("attempt 1", "attempt 2")."""
    return span.element.translate(_NO_DIGITS)


def _call(span: Span) -> tuple[str, str]:
    """What is called, and where: HTTP clients name all their calls alike ("GET")."""
    where = peer_names(span)[:1] or [str(span.attributes.get("url.full") or span.attributes.get("http.url") or "")]
    return call_name(span), where[0].partition("?")[0].translate(_NO_DIGITS)


def _timeout_behind_symptoms(tree: Tree, times: Times, node: int, failed: Sequence[int]) -> int | None:
    """A time-out that took much of the time, when all that failed after it may well be its consequence."""
    start, end = times[node]
    starts = [times[child][0] for child in failed]  # in this order
    for position, child in enumerate(failed):
        if times[child][1] - times[child][0] < _SYMPTOM_SHARE * (end - start):
            continue
        later = max(position + 1, bisect_left(starts, times[child][1]))
        if later == len(failed) or classify(tree.spans[child]).kind != ErrorKind.TIMEOUT:
            continue
        if all(_is_symptom(tree, times, child, c) for c in failed[later:]):
            return child
    return None


def _is_symptom(tree: Tree, times: Times, timed_out: int, later: int) -> bool:
    """Whether what failed after a time-out may well be its consequence: a bug that an absent answer brings out, or a
    span that was over in no time and speaks of a deadline all the same."""
    span = tree.spans[later]
    if span.service != tree.spans[timed_out].service:
        return False
    kind = classify(span).kind
    if not is_call(span):
        return kind in _SYMPTOMS or kind == ErrorKind.TIMEOUT
    waited = times[timed_out][1] - times[timed_out][0]
    at_once = times[later][1] - times[later][0] <= _AT_ONCE * waited
    told = f"{error_type_of(span)} {error_text(span)}".lower()
    of_it = bool(_OF_A_DEADLINE.search(told)) or any(name.lower() in told for name in peer_names(tree.spans[timed_out]))
    return at_once and not was_answered_with_error(span) and (kind == ErrorKind.TIMEOUT or of_it)


def _went_on(tree: Tree, times: Times, node: int, child: int) -> bool:
    """Whether the parent went on after this child had failed, so that the error it ended with is another one.

    It did other work with success, or took long by itself and then had something else to say; an error that is passed
    on ends the parent at once.
    """
    span = tree.spans[node]
    speaks = error_text(span) or (error_type_of(span) and not is_hop(span, tree.spans[child]))
    if not speaks:
        return False
    if ErrorKind.TIMEOUT in (classify(span).kind, classify(tree.spans[child]).kind):
        return False
    end = times[child][1]
    start, parent_end = times[node]
    others = [other for other in tree.children[node] if end < times[other][1] and times[other][0] < parent_end]
    # Other work, begun after this child had ended, succeeded. One of many alike may have been asked for before: a
    # fan-out that starts its calls one by one does not look at their outcome until the end.
    name = call_name(tree.spans[child])
    later = [o for o in others if times[o][0] >= end and not _unfinished_or_failed(tree.spans[o])]
    if any(call_name(tree.spans[other]) != name for other in later):
        return True
    if later and child not in _fan_outs(tree, times, node):
        return True
    went_on_alone = not others and parent_end - end > max(_LONG_AFTER * (parent_end - start), _LONG_AFTER_NS)
    return went_on_alone and bool(error_text(span)) and not is_hop(span, tree.spans[child])


def _fan_outs(tree: Tree, times: Times, node: int) -> set[int]:
    """The calls below ``node`` that ran beside others like them."""
    alike: dict[str, list[int]] = {}
    for child in tree.children[node]:
        alike.setdefault(call_name(tree.spans[child]), []).append(child)
    found: set[int] = set()
    for calls in alike.values():
        calls.sort(key=lambda c: times[c])
        starts = [times[call][0] for call in calls]
        latest: list[tuple[int, int]] = []  # of the calls up to each: the two last ends
        first = second = times[calls[0]][0]
        for call in calls:
            first, second = sorted((first, second, times[call][1]), reverse=True)[:2]
            latest.append((first, second))
        for call in calls:
            start, end = times[call]
            begun = bisect_left(starts, end)  # before it had ended; itself among them, unless it took no time
            if begun and latest[begun - 1][1 if end > start else 0] > start:
                found.add(call)
    return found


def _same_error(parent: Span, child: Span) -> bool:
    told, said = error_text(parent), error_text(child)
    if told and not said:
        # A client span often has its status code and nothing else: "the router answered 502".
        kind = error_type_of(child) or str(http_status(child) or "")
        return bool(kind) and re.search(rf"\b{re.escape(kind)}\b", told) is not None
    if not told:
        return bool(error_type_of(parent)) and error_type_of(parent) == error_type_of(child)
    return said in told or told in said or fuzz.token_set_ratio(told, said) >= _SIMILAR_TEXT


def _decisive(times: Times, failed: Sequence[int]) -> int:
    """One after the other: the last, after which the parent gave up. At the same time: the first to fail."""
    last = max(failed, key=lambda c: times[c])
    together = [c for c in failed if times[c][1] > times[last][0]]
    return min(together or [last], key=lambda c: (times[c][1], times[c][0]))
