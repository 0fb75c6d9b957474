"""Rules for what is not there: never called, called but not exported, still arriving."""

from __future__ import annotations

from collections.abc import Iterable

from otel_diag.analyse.baseline import MIN_EXECUTIONS
from otel_diag.analyse.classify import ErrorKind, is_error
from otel_diag.analyse.gaps import FEWEST_PEERS
from otel_diag.analyse.root_cause.context import Context, Finding
from otel_diag.analyse.root_cause.errors import quote
from otel_diag.model import MissingHop, RootCauseType, Status

_ALWAYS = 0.9
"""Share of peers from which the absence of a hop counts against an execution that completed."""

_VAGUE = (
    ErrorKind.GENERIC,
    ErrorKind.NONE,
    ErrorKind.UNSET_CLIENT,
    ErrorKind.CANCELLED,
    ErrorKind.UNAVAILABLE,
)


def missing_service(ctx: Context) -> Iterable[Finding]:
    """An expected hop was never called, and nothing explains why."""
    if ctx.status == Status.RUNNING or _is_explained(ctx):
        return
    for hop in ctx.missing:
        if (
            hop.reason == "never_called"
            and _counts(ctx, hop)
            and _is_sure(ctx, hop)
            and not _follows_an_error(ctx, hop)
        ):
            yield Finding(
                RootCauseType.MISSING_SERVICE,
                hop.service,
                hop.operation,
                min(0.9, 0.9 * (hop.share_of_peers or 0.0)),
                hop.detail,
                f"Find out why {hop.caller} skipped {hop.service}: a condition, a feature flag, an early return.",
                _ids_of(ctx, hop),
                hop=_ends(hop),
            )
            return


def _is_explained(ctx: Context) -> bool:
    """Whether an error tells why it failed. What only its runner recorded does when it names a kind of its own."""
    if not ctx.status.is_failure:
        return False
    silent = (ErrorKind.NONE,) if ctx.deepest is not None else (ErrorKind.NONE, ErrorKind.GENERIC)
    return ctx.sign.kind not in silent


def _counts(ctx: Context, hop: MissingHop) -> bool:
    if ctx.status.is_failure:
        return True
    return len(ctx.baseline.peers) >= MIN_EXECUTIONS and (hop.share_of_peers or 0.0) >= _ALWAYS


def incomplete(ctx: Context) -> Iterable[Finding]:
    """What would explain the failure was called, and its spans did not come (or not yet)."""
    if ctx.status.is_failure:
        yield from _incomplete_failure(ctx)
    elif ctx.root is not None and _lost_its_root(ctx, ctx.root):
        top = ctx.span(ctx.root)
        reason = "still_arriving" if ctx.still_arriving else "not_exported"
        words = "has not come yet" if ctx.still_arriving else "never came"
        said = f"the root of the trace {words}: {len(ctx.tree.spans)} spans below it have, and how it ended is unknown"
        # Firm although the data is poor: that it is poor is what it says.
        yield _incomplete(top.service, top.operation, reason, said, 0.9, (top.span_id,), None)
    elif ctx.status == Status.COMPLETED:
        for hop in ctx.missing:
            if hop.reason != "never_called" and _counts(ctx, hop) and _is_more_than_a_span(ctx, hop):
                yield _incomplete(
                    hop.service, hop.operation, hop.reason, hop.detail, 0.6, _ids_of(ctx, hop), _ends(hop)
                )
                return


def _lost_its_root(ctx: Context, top: int) -> bool:
    """Whether the span above all others is missing: not where the execution is one of several in its trace, and begins
    below something else; nor where executions like it lack theirs, too, called by what sends its spans elsewhere."""
    if top not in ctx.raw.orphans or ctx.trace.shared:
        return False
    return sum(not peer.complete for peer in ctx.baseline.peers) < FEWEST_PEERS


def _incomplete_failure(ctx: Context) -> Iterable[Finding]:
    node = ctx.deepest
    if node is None or ctx.sign.kind not in _VAGUE:
        return
    if ctx.is_call(node) and not ctx.callees(node) and ctx.is_instrumented(node):
        if not ctx.failed_by_itself(node):
            yield not_here_yet(ctx, node)
        return
    for hop in ctx.missing:
        if hop.reason != "never_called" and ctx.sign.kind == ErrorKind.NONE:
            # Firm: nothing else is said of the failure.
            yield _incomplete(hop.service, hop.operation, hop.reason, hop.detail, 0.6, _ids_of(ctx, hop), _ends(hop))
            return


def not_here_yet(ctx: Context, call: int) -> Finding:
    """A failed call of ours without a span of its far end: they are on their way, or were never exported."""
    span = ctx.span(call)
    service, operation = ctx.expected_callee(call) or (span.service, span.operation)
    reason = "still_arriving" if ctx.still_arriving else "not_exported"
    words = "are still arriving" if ctx.still_arriving else "were never exported"
    said = f"{span.service}.{span.operation} failed ({quote(span)}), and the spans of {ctx.callee_name(call)} {words}"
    return _incomplete(service, operation, reason, said, 0.6, (span.span_id,), (span.service, service))


def _incomplete(
    service: str,
    operation: str,
    reason: str,
    said: str,
    strength: float,
    spans: tuple[str, ...],
    hop: tuple[str, str] | None,
) -> Finding:
    advice = (
        "Ask again in a few seconds: the trace is younger than its spans' delay."
        if reason == "still_arriving"
        else f"Check the exporter of {service}: endpoint, sampling, and a flush before its process or container ends."
    )
    return Finding(RootCauseType.INCOMPLETE_TRACE, service, operation, strength, said, advice, spans, hop=hop)


def _whole_subtree(ctx: Context, hop: MissingHop) -> bool:
    """Everything below the hop is absent, and that is more than one span: not one lost in transit."""
    under = ctx.baseline.template.under(f"{hop.service}.{hop.operation}")
    return len(under) > 1 and not any(ctx.span(i).element in under for i in ctx.raw.orphans)


def _is_more_than_a_span(ctx: Context, hop: MissingHop) -> bool:
    """All that is below the hop is absent, or all that its service does: one span may be lost on its way."""
    if _whole_subtree(ctx, hop):
        return True
    if any(span.service == hop.service for span in ctx.tree.spans):
        return False
    template = ctx.baseline.template
    own = [
        element
        for element, share in template.elements.items()
        if share >= _ALWAYS and element.startswith(f"{hop.service}.")
    ]
    return len(own) > 1


def _follows_an_error(ctx: Context, hop: MissingHop) -> bool:
    """Whether its caller's service failed: an error that was handled explains what was not done then."""
    if ctx.status.is_failure or hop.caller is None:
        return False
    caller, _ = ctx.baseline.split_element(hop.caller, ctx.services)
    return any(span.service == caller and is_error(span) for span in ctx.tree.spans)


def _is_sure(ctx: Context, hop: MissingHop) -> bool:
    """One lost span does not look like this: the call itself is absent, or all that is below it."""
    return ctx.status.is_failure or not _ids_of(ctx, hop) or _whole_subtree(ctx, hop)


def _ids_of(ctx: Context, hop: MissingHop) -> tuple[str, ...]:
    return tuple(span.span_id for span in ctx.tree.spans if span.element == hop.caller)[:5]


def _ends(hop: MissingHop) -> tuple[str, str] | None:
    return (hop.caller, hop.service) if hop.caller else None
