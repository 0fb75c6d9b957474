"""Why an execution failed or was slow: rules find, a ranker decides, every claim names its spans."""

from otel_diag.analyse.root_cause.diagnosis import RULES, Rule, diagnose

__all__ = ["RULES", "Rule", "diagnose"]
