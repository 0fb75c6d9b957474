"""Judgement: pure functions from spans and baselines to findings. No I/O, no SQL."""
