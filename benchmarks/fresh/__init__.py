"""A second generator of labelled executions, independent of ``benchmarks/labelled``, for ``--generator fresh``.

It is there to measure, never to tune on. ``systems`` holds systems an operator would recognise and what their services
do; ``sayings`` what libraries write when something breaks; ``replay`` runs one execution and records the spans each
service's instrumentation would; ``incidents`` breaks something and states the right answer by the letter of the
specification. Of ``benchmarks/labelled`` only the sending, the scoring and their plain values are used.
"""
