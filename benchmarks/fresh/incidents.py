"""What goes wrong, or only looks as if, and the right answer by the letter of the specification.

Each incident is a function of a setting (a system, how many peers, a source of chance) that answers None where it
cannot happen or could not be told. Quotations are from the table and the paragraph on thresholds and places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from benchmarks.fresh import sayings
from benchmarks.fresh.replay import Played, Trouble
from benchmarks.fresh.sayings import Mishap, say
from benchmarks.fresh.systems import Ask, Both, Emit, Endpoint, Local, System, Use, endpoints, steps_of
from benchmarks.labelled.spans import HEALTHY, Label, Span, cause

LEARNED = 20
"""From so many peers on, thresholds are theirs; with fewer the constants hold."""
OVER_NETWORK_GAP_MS = (66_000.0, 150_000.0)
OVER_OPERATION_MS = (128_000.0, 240_000.0)
T = TypeVar("T")
Judge = Callable[[Played], Label]


@dataclass(frozen=True)
class Setting:
    draw: Random
    system: System
    peers: int
    has_id: bool
    skewed: bool

    @property
    def learned(self) -> bool:
        return self.peers >= LEARNED

    def reached(self) -> list[Endpoint]:
        """Endpoints whose failure is the execution's: what the root waits for, and consumers with their own trace."""
        detached = self.has_id and all(
            step.linked for end in endpoints(self.system.root) for step in steps_of(end) if isinstance(step, Emit)
        )
        return list(endpoints(self.system.root, messages=detached))

    def inner(self) -> list[Endpoint]:
        return self.reached()[1:]

    def asks(self, *via: str, seen: bool = False) -> list[tuple[Endpoint, Ask]]:
        """Calls with their callers; ``seen``: only those whose client leaves a span."""
        return [
            (end, step)
            for end in self.reached()
            for step in steps_of(end)
            if isinstance(step, Ask)
            and (not via or step.via in via)
            and (not seen or end.service.clients or step.via == "modal")
        ]

    def uses(self, *kinds: str) -> list[tuple[Endpoint, Use]]:
        return [(e, s) for e in self.reached() for s in steps_of(e) if isinstance(s, Use) and s.system in kinds]

    def usual_ms(self) -> float:
        return usual_ms(self.system.root)


@dataclass(frozen=True)
class Incident:
    scenario: str
    judge: Judge
    troubles: dict[str, Trouble] = field(default_factory=dict)
    kind: str = "fault"
    edit: Callable[[Played], None] | None = None
    """Loses spans, or has them come late."""
    versions: dict[str, str] = field(default_factory=dict)
    recorded: tuple[str, float, str] | None = None
    """Status, milliseconds and message by POST /executions."""
    spanless: bool = False
    by_trace: bool = False
    arriving: bool = False


Maker = Callable[[Setting], Incident | None]
Broken = tuple[Endpoint, Local | Use | None]
"""An endpoint, and the step in it that breaks; None: its own code."""


def usual_ms(endpoint: Endpoint) -> float:
    def of(step: object) -> float:
        match step:
            case Local():
                return step.ms
            case Use():
                return step.ms * step.times
            case Ask():
                return usual_ms(step.to)
            case Both():
                return max(map(of, step.steps))
            case _:
                return 3.0

    return sum(map(of, endpoint.steps))


def place(span: Span) -> tuple[str, str]:
    return span.service.name, span.name


def at(kind: str, *keys: str) -> Judge:
    """That type, at the last span of any of the keys."""
    return lambda played: cause(kind, *(place(played.seen[key][-1]) for key in keys if played.seen.get(key)))


def healthy(_: Played) -> Label:
    return HEALTHY


def pick(draw: Random, found: list[T]) -> T | None:
    return draw.choice(found) if found else None


def works(s: Setting, within: Endpoint | None = None) -> list[Broken]:
    """Where code of a service runs that leaves a span.

    Not a consumer's own: where it has a trace to itself, a failure before its first call could be called the root's.
    """
    ends = endpoints(within, messages=False) if within else (end for end in s.inner() if end.entry != "message")
    found: list[Broken] = []
    for end in ends:
        found.append((end, None))
        found += [(end, step) for step in locals_of(end)]
    return found


def locals_of(end: Endpoint) -> list[Local]:
    """Named work; of a thousand alike, one."""
    named = [step for step in steps_of(end) if isinstance(step, Local) and step.name]
    return named if len(named) < 50 else [named[len(named) // 3], named[-1]]


def key_of(broken: Broken) -> str:
    return broken[1].key if broken[1] else broken[0].key


def code_fails(s: Setting, scenario: str, kind: str, lines: dict[str, sayings.Lines]) -> Incident | None:
    """An exception in a service's own code."""
    broken = pick(s.draw, works(s))
    if broken is None:
        return None
    mishap = say(s.draw, lines[broken[0].service.language])
    after = broken[1] is None and s.draw.random() < 0.6
    return Incident(scenario, at(kind, key_of(broken)), {key_of(broken): Trouble(mishap=mishap, after=after)})


# errors


def bug(s: Setting) -> Incident | None:
    return code_fails(s, "exception in a service", "SERVICE_ERROR", sayings.BUG)


def bug_after_the_answer(s: Setting) -> Incident | None:
    """At the root, when everything below has answered."""
    root = s.system.root
    if not any(isinstance(step, Ask) for step in steps_of(root)):
        return None
    mishap = say(s.draw, sayings.BUG[root.service.language])
    return Incident(
        "exception at the root, late", at("SERVICE_ERROR", root.key), {root.key: Trouble(mishap, after=True)}
    )


def bad_leaf(s: Setting) -> Incident | None:
    if s.system.name != "tiles":
        return None
    end = s.inner()[-1]
    leaf = locals_of(end)[0]
    mishap = say(s.draw, sayings.BUG[end.service.language])
    return Incident("one bad leaf of a thousand", at("SERVICE_ERROR", leaf.key), {leaf.key: Trouble(mishap)})


def exhausted(s: Setting) -> Incident | None:
    return code_fails(s, "memory, disk, files", "RESOURCE_EXHAUSTED", sayings.EXHAUSTED)


def store_full(s: Setting) -> Incident | None:
    found = pick(s.draw, s.uses(*sayings.STORE_FULL))
    if found is None:
        return None
    end, use = found
    mishap = sayings.store_says(s.draw, sayings.STORE_FULL[use.system], end.service.language)
    trouble = Trouble(mishap, tries=s.draw.choice((1, 1, 3)))
    return Incident("database has no room", at("RESOURCE_EXHAUSTED", use.key), {use.key: trouble})


def dependency(s: Setting) -> Incident | None:
    found = pick(s.draw, s.uses(*sayings.STORE_DOWN, "http", "genai"))
    if found is None:
        return None
    return Incident(
        "dependency answers with an error",
        at("DEPENDENCY_FAILURE", found[1].key),
        {found[1].key: Trouble(dependency_error(s.draw, *found), tries=s.draw.choice((1, 1, 2)))},
    )


def dependency_error(draw: Random, end: Endpoint, use: Use) -> Mishap:
    if use.system in sayings.STORE_DOWN:
        return sayings.store_says(draw, sayings.STORE_DOWN[use.system], end.service.language)
    status = draw.choice((500, 502, 503))
    return Mishap("InternalServerError", f"Error code: {status} - the server had an error while processing", status)


def dependency_timeout(s: Setting) -> Incident | None:
    """Nothing tells whether it still worked, so neither timeout row fits: "a client span to something that is not
    instrumented"."""
    found = pick(s.draw, s.uses("http", "genai"))
    if found is None:
        return None
    end, use = found
    limit = s.draw.choice((10_000.0, 30_000.0, 60_000.0))
    mishap = sayings.deadline(s.draw, end.service.language, use.peer, limit)
    trouble = Trouble(mishap, deadline_ms=limit)
    return Incident("dependency gives no answer", at("DEPENDENCY_FAILURE", use.key), {use.key: trouble})


def unhealthy_provider(s: Setting) -> Incident | None:
    if s.system.name != "hosted_models":
        return None
    end, use = s.uses("genai")[0]
    chosen = Trouble(mark={"router.provider": use.peer, "router.provider_healthy": False, "router.candidates": "a,b"})
    troubles = {locals_of(end)[0].key: chosen, use.key: Trouble(dependency_error(s.draw, end, use))}
    return Incident("router picks an unhealthy provider", at("DEPENDENCY_FAILURE", use.key), troubles)


def rejected_judge(kind: str, end: Endpoint, ask: Ask) -> Judge:
    """ "the span that carries the decisive evidence (the error ...)": the callee's; where a 4xx leaves it unset, the
    code is on it and the error on the client's, so either."""

    def judge(played: Played) -> Label:
        server = played.seen[end.key][-1]
        return cause(kind, place(server), *(() if server.failed else (place(played.seen[ask.key][-1]),)))

    return judge


def rejected(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks())
    if found is None:
        return None
    end = found[1].to
    mishap = say(s.draw, sayings.REJECTED[end.service.language])
    mishap = replace(mishap, status=s.draw.choice((400, 422)), grpc="INVALID_ARGUMENT")
    return Incident("rejected input", rejected_judge("VALIDATION_ERROR", end, found[1]), {end.key: Trouble(mishap)})


def limited(s: Setting) -> Incident | None:
    found = pick(s.draw, s.uses("http", "genai"))
    if found is None:
        return None
    use = found[1]
    mishap = replace(say(s.draw, limits_of(use)), status=429)
    trouble = Trouble(mishap, tries=s.draw.choice((1, 3, 4)), counts=s.draw.random() < 0.5)
    return Incident("third party limits the rate", at("RATE_LIMITED", use.key), {use.key: trouble})


def limits_of(use: Use) -> sayings.Lines:
    """What that provider says; of a plain HTTP call only the status shows."""
    provider = use.peer.split(".")[1]
    return tuple(line for line in sayings.LIMITED if line[0].startswith(provider)) or sayings.LIMITED


def limited_inside(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("http", "grpc"))
    if found is None:
        return None
    ask = found[1]
    mishap = Mishap("TooManyRequests", "quota of 600 requests per minute exceeded", 429, "RESOURCE_EXHAUSTED")
    return Incident(
        "service limits the rate", rejected_judge("RATE_LIMITED", ask.to, ask), {ask.to.key: Trouble(mishap)}
    )


# calls that fail


def unreached(draw: Random, language: str, peer: str) -> Mishap:
    return replace(say(draw, sayings.UNREACHED[language], peer), status=503, grpc="UNAVAILABLE")


def no_connection(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("http", "grpc"))
    if found is None:
        return None
    end, ask = found
    trouble = Trouble(unreached(s.draw, end.service.language, ask.to.service.name), tries=s.draw.choice((1, 1, 2)))
    return Incident("callee not reached", at("CONNECTION_FAILURE", ask.key), {ask.key: trouble})


def no_connection_outside(s: Setting) -> Incident | None:
    found = pick(s.draw, s.uses("http", "genai", "redis", "postgresql", "mysql", "mongodb"))
    if found is None:
        return None
    end, use = found
    mishap = replace(unreached(s.draw, end.service.language, use.peer), status=599)
    return Incident("dependency not reached", at("CONNECTION_FAILURE", use.key), {use.key: Trouble(mishap)})


def storm_unreached(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("http", "grpc", seen=True))
    if found is None:
        return None
    end, ask = found
    mishap = unreached(s.draw, end.service.language, ask.to.service.name)
    trouble = Trouble(mishap, tries=s.draw.randint(3, 7), counts=s.draw.random() < 0.4)
    return Incident("retries, never reached", at("RETRY_STORM", ask.key), {ask.key: trouble})


def storm_failing(s: Setting) -> Incident | None:
    """ "failed attempts of one call" are the client's, "the error" is in the callee: either."""
    found = pick(s.draw, s.asks("http", "grpc", seen=True))
    if found is None:
        return None
    ask = found[1]
    mishap = replace(say(s.draw, sayings.BUG[ask.to.service.language]), status=s.draw.choice((500, 503)))
    troubles = {ask.key: Trouble(tries=s.draw.randint(3, 5)), ask.to.key: Trouble(mishap, after=s.draw.random() < 0.5)}
    return Incident("retries, callee fails", at("RETRY_STORM", ask.key, ask.to.key), troubles)


def storm_outside(s: Setting) -> Incident | None:
    found = pick(s.draw, s.uses("http", "genai", "mysql"))
    if found is None:
        return None
    end, use = found
    trouble = Trouble(dependency_error(s.draw, end, use), tries=s.draw.randint(3, 6), counts=s.draw.random() < 0.4)
    return Incident("retries, dependency fails", at("RETRY_STORM", use.key), {use.key: trouble})


def limit_ms(s: Setting, ask: Ask) -> float:
    """A deadline that what is called keeps easily."""
    given = s.draw.choice(
        (30_000.0, 60_000.0, 120_000.0, 240_000.0) if s.skewed else (8_000.0, 15_000.0, 30_000.0, 90_000.0)
    )
    return max(given, 6 * usual_ms(ask.to))


def lost_answer(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks())
    if found is None:
        return None
    ask = found[1]
    trouble = Trouble(deadline_ms=limit_ms(s, ask), lost="answer", proxied=s.draw.random() < 0.2)
    return Incident("answer lost", at("NETWORK_TIMEOUT", ask.to.key), {ask.key: trouble})


def lost_request(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("http", "grpc", seen=True))
    if found is None or not s.learned:
        return None
    ask = found[1]
    trouble = Trouble(deadline_ms=limit_ms(s, ask), lost="request")
    return Incident("request lost", at("NETWORK_TIMEOUT", ask.key), {ask.key: trouble})


def slow_callee(s: Setting) -> Incident | None:
    """ "the callee was still working": the slow span, or the endpoint it runs in."""
    found = pick(s.draw, s.asks())
    if found is None:
        return None
    ask = found[1]
    slow = pick(s.draw, slow_spots(s, ask.to))
    assert slow is not None
    limit = limit_ms(s, ask)
    waits = Trouble(deadline_ms=limit, proxied=s.draw.random() < 0.2, cancels=s.draw.random() < 0.3)
    troubles = {ask.key: waits, key_of(slow): Trouble(extra_ms=limit * s.draw.uniform(1.2, 2.0))}
    return Incident("callee too slow for its caller", at("SERVICE_TIMEOUT", key_of(slow), slow[0].key), troubles)


def slow_spots(s: Setting, within: Endpoint) -> list[Broken]:
    uses: list[Broken] = [
        (end, step) for end in endpoints(within, messages=False) for step in steps_of(end) if isinstance(step, Use)
    ]
    return works(s, within) + uses


def symptom(s: Setting) -> Incident | None:
    """The timeout is caught, and the budget it ate fails the caller a little later."""
    base = s.draw.choice((lost_answer, slow_callee))(s)
    if base is None:
        return None
    key = next(key for key, trouble in base.troubles.items() if trouble.deadline_ms)
    end, ask = next(found for found in s.asks() if found[1].key == key)
    if not (end.service.clients or ask.via == "modal"):
        return None
    waited = (base.troubles[key].deadline_ms or 0.0) / 1000
    texts = (
        (
            "BudgetExceeded",
            f"no time left in the request's budget after {waited:.0f}s waiting for {ask.to.service.name}",
        ),
        ("DeadlineExceeded", f"parent deadline passed {waited:.0f}s after start, aborting"),
    )
    mishap = replace(say(s.draw, texts), status=504, grpc="DEADLINE_EXCEEDED")
    troubles = base.troubles | {key: replace(base.troubles[key], caught=True), end.key: Trouble(mishap, after=True)}
    return replace(base, scenario="error after an earlier timeout", troubles=troubles)


# at the start


def stillborn(s: Setting, scenario: str, kind: str, lines: dict[str, sayings.Lines]) -> Incident:
    root = s.system.root
    mishap = say(s.draw, lines[root.service.language])
    if s.has_id and s.draw.random() < 0.35:
        record = ("failed", s.draw.uniform(8, 35), f"{mishap.type}: {mishap.text}")
        return Incident(f"{scenario}, no span", lambda _: Label(frozenset({kind})), recorded=record, spanless=True)
    return Incident(scenario, at(kind, root.key), {root.key: Trouble(mishap)})


def setting_missing(s: Setting) -> Incident | None:
    return stillborn(s, "setting missing", "CONFIGURATION_ERROR", sayings.SETTING)


def died_at_once(s: Setting) -> Incident | None:
    """ "in a small part of the usual time": what is usual has to be known."""
    if s.peers < 6 or s.usual_ms() < 400:
        return None
    return stillborn(s, "died before the first call", "PRE_EXECUTION_FAILURE", sayings.STILLBORN)


# Modal


def killed(s: Setting, scenario: str, kind: str, lines: sayings.Lines, preempted: bool = False) -> Incident | None:
    """ "announced span never finished", and the caller's error: either; of what never finished, any span."""
    found = pick(s.draw, s.asks("modal"))
    if found is None:
        return None
    ask = found[1]

    def judge(played: Played) -> Label:
        open_ = [span for spans in played.traces.values() for span in spans if span.end_ms is None]
        return cause(kind, place(played.seen[ask.key][-1]), *map(place, open_))

    trouble = Trouble(
        killed=s.draw.uniform(0.2, 0.9),
        killed_as=say(s.draw, lines),
        mark={"modal.preempted": True} if preempted else {},
    )
    return Incident(scenario, judge, {ask.key: trouble})


def container_lost(s: Setting) -> Incident | None:
    return killed(s, "Modal container lost", "MODAL_EXECUTION_FAILURE", sayings.MODAL_GONE)


def container_preempted(s: Setting) -> Incident | None:
    marked = s.draw.random() < 0.6
    return killed(s, "Modal container preempted", "MODAL_EXECUTION_FAILURE", sayings.MODAL_PREEMPTED, marked)


def container_oom(s: Setting) -> Incident | None:
    return killed(s, "Modal container out of memory", "RESOURCE_EXHAUSTED", sayings.MODAL_OOM)


def no_load(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("modal"))
    if found is None:
        return None
    ask = found[1]
    trouble = Trouble(say(s.draw, sayings.MODAL_NO_LOAD), extra_ms=s.draw.uniform(200, 9_000))
    return Incident("Modal function does not load", at("MODAL_EXECUTION_FAILURE", ask.key), {ask.key: trouble})


# slow


def delay_ms(s: Setting, constant: tuple[float, float]) -> float:
    """Far over what the peers take, or over the constant that holds without them."""
    if s.learned:
        return max(8 * s.usual_ms(), s.draw.uniform(9_000, 45_000))
    return s.draw.uniform(*constant)


def cold_start(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("modal"))
    if found is None or s.skewed:
        return None
    ask = found[1]
    mark: dict[str, str | int | float | bool] = {"faas.coldstart": True}
    name = s.draw.choice(("load_model", "download_weights", "container boot"))
    if s.draw.random() < 0.5:
        marked = not s.learned or s.draw.random() < 0.5
        load = Trouble(mark=mark if marked else {}, load=(name, delay_ms(s, OVER_OPERATION_MS)))
        keys = (f"{ask.to.key}.load", *((ask.to.key,) if marked else ()))
        return Incident("cold start, load in a span", at("COLD_START", *keys), {ask.to.key: load})
    troubles = {ask.key: Trouble(wait_ms=delay_ms(s, OVER_NETWORK_GAP_MS)), ask.to.key: Trouble(mark=mark)}
    return Incident("cold start, before the callee", at("COLD_START", ask.to.key), troubles)


def queued(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks(seen=True))
    if found is None or s.skewed:
        return None
    ask = found[1]
    wait = delay_ms(s, OVER_NETWORK_GAP_MS)
    told = Trouble(mark={"queue.time_ms": wait} if ask.via == "modal" and s.draw.random() < 0.5 else {})
    scenario = "GPU queue" if ask.via == "modal" else "callee starts late"
    return Incident(scenario, at("QUEUE_DELAY", ask.to.key), {ask.key: Trouble(wait_ms=wait), ask.to.key: told})


def backlog(s: Setting) -> Incident | None:
    emits = [step for end in endpoints(s.system.root) for step in steps_of(end) if isinstance(step, Emit)]
    emit = pick(s.draw, emits)
    if emit is None or s.skewed:
        return None
    trouble = Trouble(wait_ms=delay_ms(s, OVER_NETWORK_GAP_MS))
    return Incident("message waits for its consumer", at("QUEUE_DELAY", emit.to.key), {emit.key: trouble})


def degraded(s: Setting) -> Incident | None:
    slow = pick(s.draw, slow_spots(s, s.system.root))
    assert slow is not None
    key = key_of(slow)
    return Incident(
        "one operation slow",
        at("PERFORMANCE_DEGRADATION", key),
        {key: Trouble(extra_ms=delay_ms(s, OVER_OPERATION_MS))},
    )


def regression(s: Setting) -> Incident | None:
    base = degraded(s)
    if base is None or not s.learned:
        return None
    key = next(iter(base.troubles))
    end = next(e for e, step in slow_spots(s, s.system.root) if key_of((e, step)) == key)
    version = s.draw.choice(("1.5.0", "2026.12.0", "v38", "deadbee"))
    return replace(base, scenario="slow since a deployment", versions={end.service.name: version})


def query_per_row(s: Setting) -> Incident | None:
    """ "one operation's self time": the query's in sum, or of what sends them."""
    found = pick(s.draw, s.uses("postgresql", "mysql", "mongodb", "redis"))
    if found is None or not s.learned or found[0] not in endpoints(s.system.root, messages=False):
        return None
    end, use = found
    times = min(900, math.ceil(max(4_000.0, 6 * s.usual_ms()) / use.ms))
    if times * use.ms < 3 * s.usual_ms() or times < 20:
        return None
    judge = at("PERFORMANCE_DEGRADATION", use.key, end.key)
    return Incident("a query for each row", judge, {use.key: Trouble(times=times)})


def slow_for_nobody_knows(s: Setting) -> Incident | None:
    """Under every constant, and too few peers to learn from: no root cause can be named."""
    spots = [spot for spot in slow_spots(s, s.system.root) if spot[1] is not None]
    slow = pick(s.draw, spots)
    if s.learned or slow is None:
        return None
    label = Label(verdicts=frozenset({"healthy", "inconclusive"}))
    troubles = {key_of(slow): Trouble(extra_ms=s.draw.uniform(1_000, 4_000))}
    return Incident("slower, few peers", lambda _: label, troubles, kind="undecidable")


# spans that are not there


def never_called(s: Setting) -> Incident | None:
    """No span failed, and the root took its usual time, so no row above fits. "the span that carries the decisive
    evidence" is not there: its caller, or the hop's own names."""
    root = s.system.root
    ask = pick(s.draw, [step for step in root.steps if isinstance(step, Ask)])
    if ask is None or not s.learned or not s.has_id:
        return None
    label = cause("MISSING_SERVICE", (root.service.name, root.name), (ask.to.service.name, ask.to.name))
    record = ("failed", s.usual_ms(), s.draw.choice(("empty result", "0 of 1 answers", "no output was produced")))
    troubles = {ask.key: Trouble(skipped=True), root.key: Trouble(extra_ms=usual_ms(ask.to))}
    return Incident("never called", lambda _: label, troubles, recorded=record)


def not_exported(s: Setting) -> Incident | None:
    """A service between two others sends nothing: its caller has its answer, what it called is orphaned.

    Nothing says which span stands for what is missing: the caller's, the missing one, or an orphan. When it answered
    well, both "spans are missing because they were not exported" and "completed, and within its baseline" hold; when it
    answered 500, both the former and "the deepest error is inside a service".
    """
    calls = [found for found in s.asks("http", seen=True) if any(isinstance(step, Ask) for step in found[1].to.steps)]
    found = pick(s.draw, calls)
    if found is None or s.peers < 6:
        return None
    ask = found[1]
    missing = ask.to.service.name
    failing = s.draw.random() < 0.5

    def judge(played: Played) -> Label:
        spans = [span for spans in played.traces.values() for span in spans]
        lost = {span.span_id for span in spans if span.service.name == missing}
        orphans = [span for span in spans if span.parent_id in lost and span.service.name != missing]
        places = [place(played.seen[ask.key][-1]), (missing, ask.to.name), *map(place, orphans)]
        if failing:
            return cause(("INCOMPLETE_TRACE", "SERVICE_ERROR"), *places)
        return replace(cause("INCOMPLETE_TRACE", *places), verdicts=frozenset({"root_cause", "healthy"}))

    mishap = say(s.draw, sayings.BUG[ask.to.service.language])
    return Incident(
        f"called but not exported, {'failed' if failing else 'completed'}",
        judge,
        {ask.to.key: Trouble(mishap, after=True)} if failing else {},
        kind="fault" if failing else "harmless",
        edit=without(missing),
    )


def without(service: str) -> Callable[[Played], None]:
    """Takes out what a service would have sent."""

    def edit(played: Played) -> None:
        played.drop({id(span) for spans in played.traces.values() for span in spans if span.service.name == service})

    return edit


UNFINISHED = Label(frozenset({"INCOMPLETE_TRACE"}), None, frozenset({"root_cause", "inconclusive"}))
"""Table: "not exported or are still arriving"; "verdict: root_cause, healthy ... or inconclusive" leaves both open
where nothing is known of the outcome."""


def root_lost(s: Setting) -> Incident | None:
    if not any(isinstance(step, Ask) for step in s.system.root.steps) or s.system.name == "tiles":
        return None
    edit = without(s.system.root.service.name)
    return Incident("root not exported", lambda _: UNFINISHED, edit=edit, by_trace=True)


def still_arriving(s: Setting) -> Incident | None:
    lost = root_lost(s)
    return lost and replace(lost, scenario="still arriving", arriving=True)


def late(s: Setting) -> Incident | None:
    """What one service sends comes minutes after the rest; the answer is that of the whole trace."""
    base = s.draw.choice((bug, lost_answer, rejected, calm))(s)
    inner = s.inner()
    if base is None or not inner:
        return None
    of = s.draw.choice(inner).service.name

    def edit(played: Played) -> None:
        for spans in played.traces.values():
            for span in spans:
                span.late = span.service.name == of

    return replace(base, scenario=f"late spans{'' if base.kind == 'fault' else ', healthy'}", edit=edit)


# what only looks wrong


def calm(s: Setting) -> Incident | None:
    return Incident("as usual", healthy, kind="twin")


def handled(s: Setting) -> Incident | None:
    found = pick(s.draw, s.uses("redis", "elasticsearch", "http", "mongodb"))
    if found is None:
        return None
    trouble = Trouble(dependency_error(s.draw, *found), caught=True)
    return Incident("error handled by its parent", healthy, {found[1].key: trouble}, kind="harmless")


def handled_call(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks(seen=True))
    if found is None:
        return None
    ask = found[1]
    mishap = say(s.draw, sayings.BUG[ask.to.service.language])
    troubles = {ask.key: Trouble(caught=True), ask.to.key: Trouble(mishap, after=True)}
    return Incident("failed call handled by its caller", healthy, troubles, kind="harmless")


def second_try(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("http", "grpc", seen=True))
    if found is None or s.usual_ms() < 1_000:
        return None
    end, ask = found
    trouble = Trouble(unreached(s.draw, end.service.language, ask.to.service.name), tries=3, failing=1)
    return Incident("second attempt succeeds", healthy, {ask.key: trouble}, kind="harmless")


def in_the_shade(s: Setting) -> Incident | None:
    """Slower than ever, beside something that takes longer anyway."""
    pairs = [
        (short, usual_ms(short.to), max(usual_ms(step.to) for step in both.steps if isinstance(step, Ask)))
        for end in endpoints(s.system.root, messages=False)
        for both in end.steps
        if isinstance(both, Both)
        for short in both.steps
        if isinstance(short, Ask)
    ]
    found = pick(s.draw, [pair for pair in pairs if pair[2] > 4 * pair[1]])
    if found is None or not s.learned:
        return None
    short, usual, longest = found
    trouble = Trouble(extra_ms=0.6 * longest - usual)
    return Incident("slow beside something slower", healthy, {short.to.key: trouble}, kind="harmless")


def warm_enough(s: Setting) -> Incident | None:
    found = pick(s.draw, s.asks("modal"))
    if found is None:
        return None
    trouble = Trouble(mark={"faas.coldstart": True, "queue.time_ms": s.draw.uniform(2, 20)})
    return Incident("cold start that cost nothing", healthy, {found[1].to.key: trouble}, kind="harmless")


def skewed_clocks(s: Setting) -> Incident | None:
    return Incident("clocks seconds apart", healthy, kind="harmless") if s.skewed else None


def decoy(s: Setting, incident: Incident) -> Incident:
    """The same beside an error that its parent has handled."""
    uses = [found for found in s.uses("redis", "elasticsearch", "mongodb") if found[1].key not in incident.troubles]
    found = pick(s.draw, uses)
    if found is None or incident.recorded or incident.arriving:
        return incident
    trouble = Trouble(dependency_error(s.draw, *found), caught=True)
    return replace(incident, troubles=incident.troubles | {found[1].key: trouble})


def makers() -> Iterator[Maker]:
    """Every incident but the one that is none."""
    yield from (bug, bug_after_the_answer, bad_leaf, exhausted, store_full, dependency, dependency_timeout)
    yield from (unhealthy_provider, rejected, limited, limited_inside, no_connection, no_connection_outside)
    yield from (storm_unreached, storm_failing, storm_outside, lost_answer, lost_request, slow_callee, symptom)
    yield from (setting_missing, died_at_once, container_lost, container_preempted, container_oom, no_load)
    yield from (cold_start, queued, backlog, degraded, regression, query_per_row, slow_for_nobody_knows)
    yield from (never_called, not_exported, root_lost, still_arriving, late)
    yield from (handled, handled_call, second_try, in_the_shade, warm_enough, skewed_clocks)
