"""The list of scenarios by name: every root cause type, every line of what the engine must get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.labelled import delays, failures, harmless, losses
from benchmarks.labelled.acts import Draft
from benchmarks.labelled.spans import Label


@dataclass(frozen=True)
class Scenario:
    name: str
    apply: Callable[[Draft], Label | None]
    completes: bool = False
    """The execution completes, late or short of something, and so is one of its world's successful ones."""


FAULTS = (
    Scenario("lost response", delays.lost_response),
    Scenario("slow network", delays.slow_network),
    Scenario("request never arrived", delays.never_arrived),
    Scenario("lost response, clocks seconds apart", delays.skewed_lost_response),
    Scenario("slow server", delays.slow_server),
    Scenario("error after a time-out", delays.symptom),
    Scenario("connection refused", failures.refused),
    Scenario("DNS failure", failures.dns),
    Scenario("TLS failure", failures.tls),
    Scenario("reset, unreachable", failures.reset),
    Scenario("retry storm", failures.retry_storm),
    Scenario("validation", failures.invalid),
    Scenario("rate limit", failures.limited),
    Scenario("out of memory, disk, files, slots", failures.exhausted),
    Scenario("OOM kill", failures.out_of_memory_kill),
    Scenario("Modal container lost", failures.container_lost),
    Scenario("Modal container preempted", failures.preempted),
    Scenario("Modal function not loadable", failures.unloadable),
    Scenario("dependency failure", failures.dependency),
    Scenario("dependency time-out", failures.dependency_timeout),
    Scenario("service error", failures.bug),
    Scenario("service error without words", failures.wordless),
    Scenario("fan-out with a bad leaf", failures.bad_leaf),
    Scenario("pre-execution failure", failures.pre_execution),
    Scenario("configuration error", failures.setting),
    Scenario("recorded, died before its first span", losses.recorded_early_death),
    Scenario("unhealthy provider", failures.unhealthy_provider),
    Scenario("second error counts", failures.second_error),
    Scenario("second attempt", failures.second_attempt),
    Scenario("span links", failures.linked_failure),
    Scenario("async children outlive", failures.failure_beside_stragglers),
    Scenario("root span lost", failures.root_lost),
    Scenario("late spans", failures.late_failure),
    Scenario("router never called", losses.never_called, completes=True),
    Scenario("router called, not exported", losses.not_exported),
    Scenario("still arriving", losses.still_arriving),
    Scenario("unknown", losses.recorded_failure, completes=True),
    Scenario("slow step", delays.degraded, completes=True),
    Scenario("slow dependency", delays.degraded_dependency, completes=True),
    Scenario("deploy regression", delays.deployed, completes=True),
    Scenario("slow return path", delays.slow_return, completes=True),
    Scenario("N+1 calls", delays.one_by_one, completes=True),
    Scenario("cold start", delays.cold_start, completes=True),
    Scenario("queue", delays.queued, completes=True),
    Scenario("queue, declared", delays.queue_declared, completes=True),
)
UNDECIDABLE = Scenario("slow, few peers", delays.slow_with_few_peers, completes=True)
HARMLESS = (
    Scenario("handled error", harmless.handled_error),
    Scenario("successful retry", harmless.retried),
    Scenario("slow off the critical path", harmless.off_the_path),
    Scenario("small cold start", harmless.small_cold_start),
    Scenario("one span lost", harmless.lost_span),
    Scenario("clock off by seconds", harmless.wrong_clock),
    Scenario("slow within the spread", harmless.a_slow_one),
    Scenario("good release", harmless.good_release),
    Scenario("short queue", harmless.short_queue),
    Scenario("straggler", harmless.straggler),
    Scenario("better attempt", harmless.better_attempt),
    Scenario("recorded success", harmless.recorded_success),
)
