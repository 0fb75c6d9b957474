"""From findings to one verdict, by the precedence table of spec/2, with a confidence.

confidence = 1 - (1 - strength * quality) * (0.6 if corroborated else 1)

``strength``: the rule's own, in its source. ``quality``: 1, less 0.1 for orphans, 0.15 for a missing root, 0.2 while
spans are arriving. Corroborated: another rule points at the same operation, or peers supplied the thresholds.
Below 0.35 the verdict is inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_diag.analyse.root_cause.context import Context, Finding
from otel_diag.model import RootCauseType

INCONCLUSIVE_BELOW: Final = 0.35
_WEAK: Final = 0.6
_ORDER: Final = {kind: position for position, kind in enumerate(RootCauseType)}


def rank(findings: Sequence[Finding]) -> list[Finding]:
    """Best first: those with firm evidence before weak ones, each by precedence, then strength. Deterministic.

    CONFIGURATION_ERROR is PRE_EXECUTION_FAILURE with more known: rules never give both.
    """
    return sorted(
        findings, key=lambda f: (f.strength < _WEAK, _ORDER[f.type], -f.strength, f.service, f.operation, f.spans)
    )


def confidence(ctx: Context, chosen: Finding, findings: Sequence[Finding]) -> float:
    quality = 1.0
    if ctx.raw.orphans:
        quality -= 0.1
    if ctx.root is not None and len(ctx.raw.orphans) == len(ctx.raw.roots):
        quality -= 0.15
    if ctx.still_arriving:
        quality -= 0.2
    agreeing = any(f is not chosen and (f.service, f.operation) == (chosen.service, chosen.operation) for f in findings)
    doubt = 0.6 if agreeing or ctx.baseline.is_learned else 1.0
    return round(min(0.99, 1 - (1 - chosen.strength * quality) * doubt), 3)
