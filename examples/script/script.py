"""A plain script: three reports, each an execution of its own. The data of the last one is broken.

    python examples/script/script.py

Send the spans to a running ``otel-diag serve``, as here, or without any server into otel-diag's own store:
``OTEL_TRACES_EXPORTER=otel_diag``.
"""

import time

from opentelemetry import trace

from otel_diag_instrumentation import configure, execution

SALES = {"monday": "12,7,30", "tuesday": "8,15", "wednesday": "9,n/a,4"}

configure("reports")  # the service's name; the last spans leave when the script ends
tracer = trace.get_tracer("reports")


@execution(job_id="daily-reports")  # execution_id is read from the arguments of each call
def report(execution_id: int, day: str) -> int:
    with tracer.start_as_current_span("read", attributes={"report.day": day}):
        numbers = SALES[day].split(",")
    with tracer.start_as_current_span("add"):
        return sum(int(number) for number in numbers)


first_id = int(time.time()) * 10  # any integer that was not used before
for execution_id, day in enumerate(SALES, first_id):
    try:
        print(f"execution {execution_id}: sold {report(execution_id, day)} on {day}")
    except ValueError as error:
        print(f"execution {execution_id}: failed, ask with: otel-diag diagnose {execution_id} ({error})")
