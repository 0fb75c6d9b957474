"""Rules that go by the deepest error: what it says, and on what kind of span it stands."""

from __future__ import annotations

from collections.abc import Iterable

from otel_diag.analyse.classify import (
    ErrorKind,
    classify,
    error_text,
    error_type_of,
    was_answered_with_error,
)
from otel_diag.analyse.outcome import call_name
from otel_diag.analyse.root_cause.context import Context, Finding
from otel_diag.model import UNKNOWN_SERVICE, RootCauseType, Span, Status

_EARLY_SHARE = 0.5
"""Of the usual duration: an execution that died later than this had begun its work."""

_EARLY_MS = 2_000.0
"""The same without anything to compare with."""

_PEERS_TELL = 3
"""From so many successful peers on, that none of them calls anybody means that nobody is ever called."""

_SILENT_MS = 300_000.0
_SILENT_FACTOR = 3.0
"""An execution that is not known to have ended was lost when nothing has been heard of it for so long, and for so many
times as long as any like it took."""

_STORM = 3
_SAYS_LITTLE = frozenset(
    {ErrorKind.GENERIC, ErrorKind.NONE, ErrorKind.UNSET_CLIENT, ErrorKind.UNAVAILABLE, ErrorKind.CANCELLED}
)
_UNLOADED = ("ImportError", "ModuleNotFoundError", "DeserializationError", "FunctionLoadError")


def quote(span: Span) -> str:
    """The error of a span in words, bounded."""
    kind, text = error_type_of(span), error_text(span)
    said = ": ".join(part for part in (kind, text) if part) or f"status {span.status.value}, no message"
    return said if len(said) <= 200 else said[:199] + "…"


def pre_execution(ctx: Context) -> Iterable[Finding]:
    """The root failed before it called anybody, early; CONFIGURATION_ERROR when its text names a setting."""
    if not ctx.status.is_failure or not _died_early(ctx):
        return
    kind, strength = RootCauseType.PRE_EXECUTION_FAILURE, 0.85 if ctx.baseline.is_learned else 0.7
    if ctx.sign.kind in (ErrorKind.CONFIGURATION, ErrorKind.UNSET_CLIENT):
        kind, strength = RootCauseType.CONFIGURATION_ERROR, 0.9 if ctx.sign.kind == ErrorKind.CONFIGURATION else 0.65
    elif ctx.sign.kind == ErrorKind.VALIDATION and ctx.sign.strength < 0.9:
        pass  # words alone do not tell a rejected request from a bad start
    elif ctx.sign.kind not in (ErrorKind.GENERIC, ErrorKind.NONE, ErrorKind.CANCELLED):
        return
    service, operation, spans, said = _failed_at(ctx)
    usual = ctx.baseline.durations.percentile(0.5) if ctx.baseline.durations.count else None
    compared = f"; successful peers take {usual:,.0f} ms" if usual else ""
    advice = (
        f"Set what {service} misses ({ctx.sign.because}) and check its configuration before it accepts work."
        if kind == RootCauseType.CONFIGURATION_ERROR
        else f"Look at the start of {service}.{operation}: nothing downstream was reached or is at fault."
    )
    yield Finding(
        kind,
        service,
        operation,
        strength,
        f"{service} failed after {ctx.wall_ms:,.0f} ms, before any downstream call{compared}: {said}",
        advice,
        spans,
        duration_ms=ctx.wall_ms,
    )


def _died_early(ctx: Context) -> bool:
    tree = ctx.tree
    if ctx.raw.orphans or len({s.service for s in tree.spans}) > 1 or any(map(ctx.is_call, range(len(tree.spans)))):
        return False
    template = ctx.baseline.template
    usual = ctx.baseline.durations
    if usual.count and ctx.wall_ms > _EARLY_SHARE * usual.percentile(0.5):
        return False
    if template.peers < _PEERS_TELL:
        return bool(usual.count) or ctx.wall_ms <= _EARLY_MS
    calls_somebody = any(share >= 0.5 for share in template.hops.values())
    return calls_somebody or (len(tree.spans) <= 1 and len(template.elements) > 1)


def _failed_at(ctx: Context) -> tuple[str, str, tuple[str, ...], str]:
    """Service, operation, span ids and words of the deepest error; for an execution without spans, of its runner."""
    if ctx.deepest is not None:
        span = ctx.span(ctx.deepest)
        return span.service, span.operation, (span.span_id,), quote(span)
    if ctx.root is not None:
        span = ctx.span(ctx.root)
        service, operation = span.service, span.operation
    else:
        first = next((peer.elements[0] for peer in ctx.baseline.peers if peer.elements), None)
        service, operation = ctx.baseline.split_element(first, ctx.services) if first else (UNKNOWN_SERVICE, "")
    spans = (ctx.span(ctx.root).span_id,) if ctx.root is not None else ()
    declared = ctx.trace.declared
    said = (declared.error_message if declared else None) or "no message"
    return service, operation, spans, f"the runner recorded: {said[:200]}"


_TEXTS: dict[ErrorKind, tuple[RootCauseType, str, str]] = {
    ErrorKind.CONFIGURATION: (
        RootCauseType.CONFIGURATION_ERROR,
        "is misconfigured",
        "Set what {service} misses ({because}) in its environment or secrets, then redeploy it.",
    ),
    ErrorKind.VALIDATION: (
        RootCauseType.VALIDATION_ERROR,
        "rejected its input",
        "Correct the input that {service}.{operation} rejects; retrying the same request will fail again.",
    ),
    ErrorKind.RATE_LIMIT: (
        RootCauseType.RATE_LIMITED,
        "hit a rate limit",
        "Lower the request rate of {service}.{operation}, or raise the quota; back off as the answer says.",
    ),
    ErrorKind.RESOURCE: (
        RootCauseType.RESOURCE_EXHAUSTED,
        "ran out of a resource",
        "Give {service} more of what ran out ({because}), or bound how much of it one request takes.",
    ),
}


def by_text(ctx: Context) -> Iterable[Finding]:
    """The deepest error names its own kind: a rejected input, a limit, a resource, a setting."""
    if not ctx.status.is_failure or ctx.sign.kind not in _TEXTS:
        return
    kind, words, advice = _TEXTS[ctx.sign.kind]
    service, operation, spans, said = _failed_at(ctx)
    yield Finding(
        kind,
        service,
        operation,
        ctx.sign.strength,
        f"{service}.{operation} {words}: {said}",
        advice.format(service=service, operation=operation, because=ctx.sign.because),
        spans,
        hop=_hop_of(ctx),
    )


def _hop_of(ctx: Context) -> tuple[str, str] | None:
    if ctx.deepest is None or not ctx.is_call(ctx.deepest):
        return None
    return ctx.span(ctx.deepest).service, ctx.callee_name(ctx.deepest)


def retry_storm(ctx: Context) -> Iterable[Finding]:
    """Three or more failed attempts of one call, one after the other, the last of them on the failing chain."""
    for position, node in enumerate(ctx.chain):
        parent = ctx.tree.parents[node]
        span = ctx.span(node)
        attempts = [node]
        if position > 0 and parent == ctx.chain[position - 1]:
            attempts = _attempts(ctx, parent, node)
        resent = span.attributes.get("http.request.resend_count")
        count = max(len(attempts), resent + 1 if isinstance(resent, int) else 0)
        if count < _STORM:
            continue
        ids = tuple(ctx.span(i).span_id for i in reversed(attempts))
        callee = ctx.callee_name(node)
        yield Finding(
            RootCauseType.RETRY_STORM,
            span.service,
            span.operation,
            0.9,
            f"{span.service} tried {span.operation} {count} times in vain, then gave up: {quote(span)}",
            f"Find out why {callee} fails {span.operation}; let {span.service} back off and stop retrying errors "
            "that cannot pass.",
            ids,
            hop=(span.service, callee),
        )
        return


def _attempts(ctx: Context, parent: int, node: int) -> list[int]:
    """Failed siblings that repeat the same call, none overlapping the next, up to the last one made."""
    times = ctx.skew.times
    name = call_name(ctx.span(node))
    same = [c for c in ctx.tree.children[parent] if call_name(ctx.span(c)) == name]
    same.sort(key=lambda c: times[c])
    run: list[int] = []
    for child in same:
        if not ctx.span(child).status.is_failure and child != node:
            run = []
        elif run and times[child][0] < times[run[-1]][1] - 1_000_000:
            return [node]
        else:
            run.append(child)
    return run if node in run else [node]


def connection(ctx: Context) -> Iterable[Finding]:
    """The call never reached the callee."""
    if not ctx.status.is_failure or ctx.sign.kind not in (ErrorKind.CONNECTION, ErrorKind.UNAVAILABLE):
        return
    service, operation, spans, said = _failed_at(ctx)
    strength = 0.9 if ctx.sign.kind == ErrorKind.CONNECTION else 0.7
    if ctx.deepest is not None:
        if ctx.sign.kind == ErrorKind.UNAVAILABLE and not _unreachable(ctx, ctx.deepest):
            return
        if ctx.callees(ctx.deepest):
            strength = 0.5
    elif ctx.sign.kind == ErrorKind.UNAVAILABLE:
        return
    callee = ctx.callee_name(ctx.deepest) if ctx.deepest is not None else "its peer"
    yield Finding(
        RootCauseType.CONNECTION_FAILURE,
        service,
        operation,
        strength,
        f"{service}.{operation} could not reach {callee}: {said}",
        f"Check that {callee} is up and that its address, port, DNS name and certificate are what {service} uses.",
        spans,
        hop=(service, callee),
    )


def _unreachable(ctx: Context, node: int) -> bool:
    """An 'unavailable' is the network's when the far end is ours, and has left no sign of the call."""
    if not ctx.is_call(node) or ctx.callees(node):
        return False
    instrumented = ctx.is_instrumented(node)
    return instrumented is True or (instrumented is None and not was_answered_with_error(ctx.span(node)))


def container(ctx: Context) -> Iterable[Finding]:
    """Modal's own failures, and any container lost in mid-call: its spans were announced or begun, never finished."""
    if not ctx.status.is_failure:
        return
    lost = [i for i in ctx.running if i != ctx.root]
    begun = _begun_below(ctx)
    if ctx.sign.kind == ErrorKind.CONTAINER:
        yield _container_lost(ctx, lost or begun, ctx.sign.strength, f"it says so ({ctx.sign.because})")
    elif ctx.deepest is not None and _could_not_load(ctx.span(ctx.deepest)):
        yield _container_lost(ctx, [], 0.85, "the function could not load")
    elif ctx.sign.kind not in (ErrorKind.CONNECTION, *_SAYS_LITTLE):
        return
    elif lost:
        yield _container_lost(ctx, lost, 0.85, "its span was announced and never finished")
    elif begun and ctx.sign.kind in (ErrorKind.CONNECTION, ErrorKind.UNAVAILABLE):
        yield _container_lost(ctx, begun, 0.75, "it had begun to work, but the span of the call itself never came")


def lost(ctx: Context) -> Iterable[Finding]:
    """It runs by all that is known, and has long ceased to give a sign: nobody was left to record a failure."""
    longest = max((peer.duration_ms or 0.0 for peer in ctx.baseline.peers), default=0.0)
    if ctx.status != Status.RUNNING or not ctx.running or ctx.silent_ms <= max(_SILENT_MS, _SILENT_FACTOR * longest):
        return
    top, innermost = ctx.span(ctx.running[0]), ctx.span(ctx.running[-1])
    within = f", in {innermost.service}.{innermost.operation}" if innermost is not top else ""
    compared = f"; the longest like it took {longest / 1e3:,.1f} s" if longest else ""
    yield Finding(
        RootCauseType.MODAL_EXECUTION_FAILURE,
        top.service,
        top.operation,
        0.75,
        f"{top.service}.{top.operation} was announced and never finished{within}: no sign of it for "
        f"{ctx.silent_ms / 60_000:,.0f} min{compared}",
        f"Look at the log of {top.service} around its last sign (killed, out of memory, preempted), and run it again.",
        tuple(ctx.span(node).span_id for node in ctx.running),
    )


def _begun_below(ctx: Context) -> list[int]:
    """What the callee of the failed call had begun: spans whose parent, the call's own span, never came."""
    if ctx.deepest is None:
        return []
    return [callee for callee in ctx.callees(ctx.deepest) if callee in ctx.raw.orphans]


def _could_not_load(span: Span) -> bool:
    if not any(name.startswith("modal.") for name in span.attributes):
        return False
    return error_type_of(span).rpartition(".")[2] in _UNLOADED


def _container_lost(ctx: Context, lost: list[int], strength: float, because: str) -> Finding:
    service, operation, spans, said = _failed_at(ctx)
    hop = _hop_of(ctx)
    if lost:
        span = ctx.span(lost[0])
        service, operation = span.service, span.operation
        expected = ctx.expected_callee(ctx.deepest) if ctx.deepest is not None else None
        if span.end_unix_nano is not None and expected is not None and expected[0] == service:
            operation = expected[1]
        spans = (*(ctx.span(i).span_id for i in lost), *spans)
    return Finding(
        RootCauseType.MODAL_EXECUTION_FAILURE,
        service,
        operation,
        strength,
        f"the container of {service}.{operation} was lost in mid-call: {because}; {said}",
        f"Look at the container log of {service} around the end of {operation} (preemption, kill, crash); make the "
        "call retryable on another container.",
        tuple(dict.fromkeys(spans)),
        hop=hop,
    )


def unhandled(ctx: Context) -> Iterable[Finding]:
    """What is left: an error inside a service, or on a call to something that makes no spans."""
    if ctx.deepest is None or not ctx.status.is_failure or ctx.sign.kind not in _SAYS_LITTLE:
        return
    node, span = ctx.deepest, ctx.span(ctx.deepest)
    version = f" (version {span.service_version})" if span.service_version else ""
    if ctx.is_call(node) and not ctx.callees(node):
        if ctx.is_instrumented(node):
            if ctx.failed_by_itself(node):
                yield _refused(ctx, node)
            return  # the far end is ours: what happened there is not in the trace (see absent.py)
        callee = ctx.callee_name(node)
        yield Finding(
            RootCauseType.DEPENDENCY_FAILURE,
            span.service,
            span.operation,
            0.8,
            f"{span.service}.{span.operation}, a call to {callee} (not instrumented), failed: {quote(span)}",
            f"Check {callee} itself, and what {span.service} does when {span.operation} fails."
            + _provider_advice(ctx, node),
            (span.span_id,),
            hop=(span.service, callee),
        )
        return
    says_nothing = classify(span).kind == ErrorKind.NONE and ctx.sign.kind == ErrorKind.NONE
    yield Finding(
        RootCauseType.SERVICE_ERROR,
        span.service,
        span.operation,
        0.4 if says_nothing else 0.8,
        f"the deepest error on the way to the root is in {span.service}.{span.operation}{version}: {quote(span)}",
        f"Read the code and logs of {span.service}.{span.operation}{version} at this error; compare with the last "
        "version that worked.",
        (span.span_id,),
        duration_ms=span.duration_ms,
    )


def _refused(ctx: Context, node: int) -> Finding:
    span, callee = ctx.span(node), ctx.callee_name(node)
    said = f"{span.service}.{span.operation} failed before {callee} had begun to work: {quote(span)}"
    return Finding(
        RootCauseType.SERVICE_ERROR,
        span.service,
        span.operation,
        0.7,
        said,
        f"Look at how {span.service} makes this call: address, credentials, what it sends. {callee} was not at work.",
        (span.span_id,),
        hop=(span.service, callee),
        duration_ms=span.duration_ms,
    )


def _provider_advice(ctx: Context, node: int) -> str:
    """A router that chose a provider it knew to be unhealthy."""
    at = node
    while at >= 0:
        attributes = ctx.span(at).attributes
        if attributes.get("router.provider_healthy") is False:
            provider = attributes.get("router.provider", "the provider")
            return f" {ctx.span(at).service} chose {provider} although it was marked unhealthy: exclude such providers."
        at = ctx.tree.parents[at]
    return ""


def unknown(ctx: Context) -> Iterable[Finding]:
    """Failed, and the spans do not show where."""
    if not ctx.status.is_failure or ctx.deepest is not None:
        return
    service, operation, spans, said = _failed_at(ctx)
    strength = 0.5 if ctx.trace.declared is not None and ctx.trace.declared.error_message else 0.3
    yield Finding(
        RootCauseType.UNKNOWN,
        service,
        operation,
        strength,
        f"the execution ended as {ctx.status.value}, but no span shows the failure: {said}",
        f"Record exceptions on the spans of {service}, so that the next failure says what it is.",
        spans,
    )
