"""Everything the rules look at, worked out once per diagnosis."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from otel_diag.analyse.baseline import MIN_EXECUTIONS, Baseline, OperationStats
from otel_diag.analyse.calls import is_call, is_to_a_store, is_to_a_third_party, peer_names
from otel_diag.analyse.classify import (
    ErrorKind,
    ErrorSign,
    classify,
    classify_code,
    classify_text,
    error_text,
    error_type_of,
    http_status,
    is_error,
    tells_of_a_process,
    was_answered_with_error,
)
from otel_diag.analyse.critical_path import critical_path, self_times
from otel_diag.analyse.examined import Examined
from otel_diag.analyse.gaps import EXPECTED_SHARE, FEWEST_PEERS, callee_spans, missing_hops
from otel_diag.analyse.outcome import Outcome, find_root, outcome_of, unawaited
from otel_diag.analyse.replies import rehung
from otel_diag.analyse.skew import Skew, estimate_skew, is_hop
from otel_diag.analyse.tree import NO_PARENT, Tree
from otel_diag.model import NANOS_PER_MS, MissingHop, RootCauseType, Span, Status, Trace

_ADOPTION_WORK: Final = 2_000_000
"""Orphans times spans that may be compared in search of a parent: keeps a 100,000-span trace under a second."""

_MOST_READ: Final = 20_000
"""Characters of errors of spans that are no calls which are read for it: a thousand take some milliseconds."""

_TURNED_AWAY: Final = frozenset({401, 403, 407})
_TURNED_AWAY_TEXT: Final = re.compile(
    r"unauthori[sz]ed|unauthenticated|forbidden|(?:permission|access) ?denied|"
    r"auth(?:entication|orization)? ?(?:error|failed)|"
    r"(?:^\W*|(?:http|status|code|error|response)[ :=/]*)(?:401|403|407)\b",
    re.IGNORECASE,
)
_AT_ONCE: Final = 0.1
"""Of the usual time of a call: in less, its far end has not been at work."""

_NO_SIGN: Final = ErrorSign(ErrorKind.NONE, 0.3, "")


@dataclass(frozen=True, slots=True)
class Finding:
    """One possible cause, as a rule sees it. ``strength`` 0..1: how well the evidence fits this type.

    ``spans``: ids of the spans that carry the evidence, the decisive one first; ``hop``: (caller, callee) services.
    """

    type: RootCauseType
    service: str
    operation: str
    strength: float
    evidence: str
    recommendation: str
    spans: tuple[str, ...] = ()
    hop: tuple[str, str] | None = None
    duration_ms: float | None = None
    gap_ms: float | None = None


@dataclass(frozen=True)
class Context:
    """``raw`` is the forest as received; in ``tree`` orphans hang under the span that most likely caused them, and
    consumers under the one that waits for their reply (same indices). Times come from ``skew``: adjusted, in ns."""

    trace: Trace
    baseline: Baseline
    raw: Tree
    tree: Tree
    skew: Skew
    outcome: Outcome
    now: datetime
    still_arriving: bool

    @property
    def status(self) -> Status:
        return self.outcome.status

    @property
    def root(self) -> int | None:
        return self.outcome.root

    @property
    def chain(self) -> tuple[int, ...]:
        return self.outcome.chain

    @property
    def deepest(self) -> int | None:
        """The span whose error reached the root."""
        return self.chain[-1] if self.chain else None

    def span(self, node: int) -> Span:
        return self.tree.spans[node]

    @cached_property
    def services(self) -> frozenset[str]:
        return frozenset(span.service for span in self.tree.spans)

    def ms(self, node: int) -> float:
        """Length of a span; a running one counts until the last thing known of the trace."""
        start, end = self.skew.times[node]
        return (end - start) / NANOS_PER_MS

    @cached_property
    def after_root(self) -> tuple[int, ...]:
        """What messages set off and what ends last, after the root: the last of it, what sent that, and so on up."""
        late = set() if self.root is None else set(unawaited(self.tree, self.skew.times, self.root))
        node = max(late, key=lambda n: (self.skew.times[n][1], -n), default=NO_PARENT)
        found = []
        while node != NO_PARENT:
            if node in late:
                found.append(node)
            node = self.tree.parents[node]
        return tuple(found)

    @cached_property
    def whole_ms(self) -> float:
        """From the start of the root to the last end of it and of what messages set off."""
        if self.root is None or not self.after_root:
            return self.wall_ms
        return (self.skew.times[self.after_root[0]][1] - self.skew.times[self.root][0]) / NANOS_PER_MS

    @cached_property
    def whole_critical_ms(self) -> dict[int, float]:
        """Time on the critical path of the root and of each span of :attr:`after_root`, by span."""
        totals = dict(self.critical_ms)
        for node in self.after_root:
            totals |= self.critical_below(node)
        return totals

    @cached_property
    def wall_ms(self) -> float:
        """First start to last end of the main tree, or what the runner recorded."""
        if self.root is not None:
            return self.ms(self.root)
        declared = self.trace.declared
        if declared is None or declared.completed_at is None:
            return 0.0
        return (declared.completed_at - declared.started_at).total_seconds() * 1e3

    @cached_property
    def durations(self) -> OperationStats:
        """Wall times of successful executions that did the same work."""
        return self.baseline.durations_like({span.element for span in self.tree.spans})

    @property
    def duration_limit_ms(self) -> float | None:
        """Above this the execution is slow for its kind; None when that was not learned."""
        learned = self.baseline.is_learned and self.durations.count >= MIN_EXECUTIONS
        return self.durations.limit_ms(3.0) if learned else None

    @cached_property
    def sign(self) -> ErrorSign:
        """What the failure is about: the deepest error that says anything."""
        for node in reversed(self.chain):
            found = classify(self.span(node))
            if found.kind == ErrorKind.GENERIC:
                return self._answered(node) or found
            if found.kind == ErrorKind.CONTAINER and tells_of_a_process(found) and not self._is_on_modal:
                return replace(found, kind=ErrorKind.GENERIC)
            if found.kind != ErrorKind.NONE:
                return found
        declared = self.trace.declared
        if declared is not None and declared.status.is_failure:
            return classify_text(declared.error_message, timed_out=declared.status == Status.TIMEOUT)
        return _NO_SIGN

    def _answered(self, node: int) -> ErrorSign | None:
        """What its service made of an error that does not say what it is about, where it answered that the input was
        wrong (400, 422, INVALID_ARGUMENT)."""
        service = self.span(node).service
        while node != NO_PARENT and self.span(node).service == service:
            if self.span(node).kind == "server":
                found = classify_code(self.span(node))
                return found if found is not None and found.kind == ErrorKind.VALIDATION else None
            node = self.tree.parents[node]
        return None

    @cached_property
    def _is_on_modal(self) -> bool:
        return any(
            "modal" in span.service.lower()
            or span.operation.lower().startswith("modal")
            or any(name.startswith("modal.") for name in span.attributes)
            for span in self.tree.spans
        )

    @cached_property
    def spans_by_id(self) -> dict[str, Span]:
        return {span.span_id: span for span in self.tree.spans}

    @cached_property
    def own_ms(self) -> list[float]:
        return [ns / NANOS_PER_MS for ns in self_times(self.tree, self.skew.times)]

    @cached_property
    def critical_ms(self) -> dict[int, float]:
        """Time on the critical path of the root, by span."""
        return {} if self.root is None else self.critical_below(self.root)

    @cached_property
    def critical_subtree_ms(self) -> dict[int, float]:
        """The same of each span with all that is below it; spans without any are absent."""
        totals = dict(self.critical_ms)
        for node in reversed(self.tree.preorder):
            parent = self.tree.parents[node]
            if parent != NO_PARENT and node in totals:
                totals[parent] = totals.get(parent, 0.0) + totals[node]
        return totals

    def critical_below(self, top: int) -> dict[int, float]:
        totals: dict[int, float] = {}
        for segment in critical_path(self.tree, self.skew.times, top):
            totals[segment.span] = totals.get(segment.span, 0.0) + segment.length / NANOS_PER_MS
        return totals

    @cached_property
    def missing(self) -> tuple[MissingHop, ...]:
        # As received: an orphan that found a place below a call is not therefore what answered it.
        return missing_hops(self.raw, self.baseline, still_arriving=self.still_arriving)

    @cached_property
    def elements(self) -> Counter[str]:
        """How many spans each element has."""
        return Counter(span.element for span in self.tree.spans)

    @cached_property
    def elements_below(self) -> Counter[tuple[str, str]]:
        """How many spans of an element hang directly below spans of another: {(above, below): spans}."""
        pairs = ((parent, child) for child, parent in enumerate(self.tree.parents) if parent != NO_PARENT)
        return Counter((self.span(parent).element, self.span(child).element) for parent, child in pairs)

    @cached_property
    def running(self) -> tuple[int, ...]:
        return tuple(i for i in self.tree.preorder if self.span(i).end_unix_nano is None)

    @property
    def silent_ms(self) -> float:
        """Since the last start or end that is known, by the clocks that recorded it."""
        last = max((span.end_unix_nano or span.start_unix_nano for span in self.tree.spans), default=0)
        return self.now.timestamp() * 1e3 - last / NANOS_PER_MS

    def callees(self, node: int) -> list[int]:
        """The far ends of calls made by a span, in start order. An orphan that found its place there is none of them
        where peers show that another service answers."""
        expected = {service for service, _ in self._unreached(node)}
        return [
            callee
            for callee in callee_spans(self.tree, node)
            if not expected
            or self.raw.parents[callee] == self.tree.parents[callee]
            or self.span(callee).service in expected
        ]

    def is_call(self, node: int) -> bool:
        """Whether the span stands for a call to something outside its process."""
        return is_call(self.span(node))

    def is_instrumented(self, node: int) -> bool | None:
        """Whether the far end of a call makes spans of its own, by what peers show; None when unknown."""
        span = self.span(node)
        template = self.baseline.template
        answered = template.callee_of(span.element)
        if answered is not None:
            return answered[1] >= 0.5 * template.elements.get(span.element, 1.0)
        if template.elements.get(span.element, 0.0) > 0 or is_to_a_store(span):
            return False
        services = {s.service for s in self.tree.spans} - {span.service}
        if services & set(peer_names(span)):
            return True
        return False if is_to_a_third_party(span) else None

    def failed_by_itself(self, call: int) -> bool:
        """Whether a failed call of ours, without a span of its far end, shows that none was made there: who asked was
        turned away (401, 403, 407), or the caller's own code failed in a small part of the time the call usually takes.
        """
        span = self.span(call)
        if (code := http_status(span)) is not None or was_answered_with_error(span):
            return code in _TURNED_AWAY
        if _TURNED_AWAY_TEXT.search(f"{error_type_of(span)} {error_text(span)}"):
            return True
        usual = self.baseline.operations.get((span.service, span.operation))
        if usual is None or usual.count < FEWEST_PEERS or not error_type_of(span):
            return False
        own = classify(span).kind in (ErrorKind.GENERIC, ErrorKind.UNSET_CLIENT)
        return own and self.ms(call) <= _AT_ONCE * usual.percentile(0.5)

    def unreached(self, node: int) -> tuple[str, str] | None:
        """(service, operation) of the first call that peers make from this span and that left no trace here."""
        return next(iter(self._unreached(node)), None)

    def _unreached(self, node: int) -> list[tuple[str, str]]:
        element = self.span(node).element
        present = {self.span(child).element for child in self.tree.children[node]}
        usual = EXPECTED_SHARE * self.baseline.template.elements.get(element, 1.0)
        absent = [
            callee
            for (caller, callee), share in self.baseline.template.hops.items()
            if caller == element and callee not in present and share >= usual
        ]
        if self.baseline.template.peers < FEWEST_PEERS:
            return []
        return [self.baseline.split_element(callee, self.services) for callee in absent]

    def callee_name(self, node: int) -> str:
        """What to call the far end of a call in words: its service, as spans, peers or attributes name it."""
        for callee in self.callees(node):
            return self.span(callee).service
        answered = self.expected_callee(node)
        if answered is not None:
            return answered[0]
        names = peer_names(self.span(node))
        return names[0] if names else "the callee"

    def expected_callee(self, node: int) -> tuple[str, str] | None:
        """(service, operation) that answers this call in peers: whom it names, where calls share their name."""
        if named := self._named(node):
            return named
        if unreached := self.unreached(node):
            return unreached
        answered = self.baseline.template.callee_of(self.span(node).element)
        if answered is None:
            return None
        return self.baseline.split_element(answered[0], self.services)

    def _named(self, node: int) -> tuple[str, str] | None:
        span = self.span(node)
        hosts = {re.split(r"[.:/]", name)[0] for name in peer_names(span)} | {*peer_names(span)}
        answered = [
            (share, self.baseline.split_element(callee, self.services))
            for (caller, callee), share in self.baseline.template.hops.items()
            if caller == span.element
        ]
        return max(((share, ends) for share, ends in answered if ends[0] in hosts), default=(0.0, None))[1]


def build_context(examined: Examined, baseline: Baseline, *, now: datetime, still_arriving: bool) -> Context:
    raw = examined.tree
    adopted = raw.adopt(_adoptions(raw, baseline))
    skew = examined.skew if adopted is raw else estimate_skew(adopted)
    tree = adopted.adopt(rehung(adopted, skew.times))
    return Context(
        trace=examined.trace,
        baseline=baseline,
        raw=raw,
        tree=tree,
        skew=skew,
        outcome=examined.outcome if tree is raw else outcome_of(examined.trace, tree, skew.times),
        now=now,
        still_arriving=still_arriving,
    )


def _adoptions(tree: Tree, baseline: Baseline) -> Mapping[int, int]:
    """Where spans that lost their parent most likely belong: {orphan: parent}.

    A link names the cause; else the call that has no far end and speaks of that service; else the shortest span
    that encloses it. Nothing is guessed for the root, nor once the work limit is reached.
    """
    root = find_root(tree)
    parents = list(tree.parents)
    caused = tree.linked_parents()
    adopted: dict[int, int] = {}
    budget = _ADOPTION_WORK
    lost = {*tree.orphans}
    open_calls = _open_calls(tree) if lost else frozenset[int]()
    for top in tree.roots:
        if top == root:
            continue
        candidates = [caused[top]] if top in caused and not _is_above(parents, top, caused[top]) else []
        if not candidates and top in lost and budget > 0 and not _shares_parent(tree, top, root):
            budget -= len(tree.spans)
            likely = _likely_parents(tree, baseline, parents, top, open_calls)
            candidates = [i for i in likely if not _shares_parent(tree, top, _top_of(parents, i))]
        if candidates:
            adopted[top] = parents[top] = candidates[0]
    return adopted


def _open_calls(tree: Tree) -> frozenset[int]:
    """Calls that something of ours should have answered, without a far end."""
    found: set[int] = set()
    read = 0
    for i, span in enumerate(tree.spans):
        if any(is_hop(span, tree.spans[c]) for c in tree.children[i]):
            continue
        if is_call(span) and not is_to_a_store(span) and not is_to_a_third_party(span):
            found.add(i)
        elif read < _MOST_READ and is_error(span):
            read += len(error_text(span))
            if classify(span).kind in (ErrorKind.CONNECTION, ErrorKind.UNAVAILABLE):
                found.add(i)
    return frozenset(found)


def _likely_parents(
    tree: Tree, baseline: Baseline, parents: list[int], top: int, open_calls: frozenset[int]
) -> list[int]:
    orphan = tree.spans[top]
    end = orphan.end_unix_nano if orphan.end_unix_nano is not None else orphan.start_unix_nano
    unplaced = not any(s.service == orphan.service for i, s in enumerate(tree.spans) if parents[i] != NO_PARENT)
    begun = bisect_right(tree.spans, orphan.start_unix_nano, key=lambda span: span.start_unix_nano)
    ranked: list[tuple[int, int, int]] = []
    for i in (*range(begun), *(i for i in open_calls if i >= begun)):
        span = tree.spans[i]
        encloses = i < begun and (
            span.end_unix_nano is None or span.end_unix_nano >= min(end, orphan.start_unix_nano + 1)
        )
        score = 0
        if i in open_calls and span.service != orphan.service:
            answered = baseline.template.callee_of(span.element)
            named = orphan.service in peer_names(span) or (
                answered is not None and answered[0].startswith(f"{orphan.service}.")
            )
            score = 4 if named else 2
        if not encloses and score < (2 if unplaced else 4):
            continue
        length = (span.end_unix_nano or span.start_unix_nano) - span.start_unix_nano
        ranked.append((-score - 3 * encloses, length, i))
    ranked.sort()
    return [i for _, _, i in ranked if not _is_above(parents, top, i)]


def _shares_parent(tree: Tree, top: int, other: int | None) -> bool:
    """Whether the span that both hung under is the same one that never came: neither belongs below the other."""
    return other is not None and other != top and tree.spans[top].parent_span_id == tree.spans[other].parent_span_id


def _top_of(parents: list[int], node: int) -> int:
    while parents[node] != NO_PARENT:
        node = parents[node]
    return node


def _is_above(parents: list[int], top: int, node: int) -> bool:
    """Whether ``top`` is ``node`` or above it."""
    while node not in (NO_PARENT, top):
        node = parents[node]
    return node == top
