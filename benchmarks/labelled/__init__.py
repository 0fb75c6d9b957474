"""Labelled executions for ``benchmarks/root_cause.py``, made from the specification of the root cause types alone.

One way through: ``names`` and ``worlds`` invent services and how they call each other; ``acts`` draws one execution of
a world; ``failures``, ``delays``, ``losses`` and ``harmless`` do one thing to it and say what it must be called;
``stage`` plays it into spans; ``wire`` encodes them as OTLP; ``cases`` decides how many of what; ``score`` counts.
Nothing here imports the product.
"""
