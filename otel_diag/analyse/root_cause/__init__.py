"""Why an execution failed or was slow: rules find, a ranker decides, every claim names its spans."""

from otel_diag.analyse.root_cause.context import Context, build_context
from otel_diag.analyse.root_cause.diagnosis import RULES, Rule, diagnose, judge

__all__ = ["RULES", "Context", "Rule", "build_context", "diagnose", "judge"]
