"""A queue and its workers: each job is a trace of its own, linked to the span that sent the message.

    python examples/async_worker/worker.py

A job may wait for hours and be tried again, so it does not belong into the trace of its sender. The message carries the
sender's context, and the job's span links to it: the way back stays open in both directions.
"""

import asyncio
import time
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from otel_diag_instrumentation import configure, execution, extract, inject

QUEUE_NAME = "thumbnails"
IMAGES = ["cat.png", "dog.png", "notes.txt", "bird.png"]

configure("thumbnailer")
tracer = trace.get_tracer("thumbnailer")


@dataclass(frozen=True)
class Message:
    execution_id: int
    image: str
    headers: dict[str, str]
    """The sender's context, as any broker carries it beside the body."""


async def send(queue: asyncio.Queue[Message], execution_id: int, image: str) -> None:
    attributes = {"messaging.operation.type": "send", "messaging.destination.name": QUEUE_NAME}
    with tracer.start_as_current_span(f"send {QUEUE_NAME}", kind=SpanKind.PRODUCER, attributes=attributes):
        await queue.put(Message(execution_id, image, inject()))


async def work(queue: asyncio.Queue[Message]) -> None:
    while True:
        message = await queue.get()
        sender = trace.get_current_span(extract(message.headers)).get_span_context()
        try:
            with execution(message.execution_id, job_id=QUEUE_NAME, name=f"process {QUEUE_NAME}") as span:
                span.add_link(sender, {"messaging.operation.type": "send"})
                await shrink(message.image)
            print(f"execution {message.execution_id}: made a thumbnail of {message.image}")
        except ValueError as error:
            print(f"execution {message.execution_id}: failed ({error})")
        finally:
            queue.task_done()


async def shrink(image: str) -> None:
    with tracer.start_as_current_span("decode"):
        await asyncio.sleep(0.01)
        if not image.endswith(".png"):
            raise ValueError(f"{image} is not an image")
    with tracer.start_as_current_span("resize"):
        await asyncio.sleep(0.02)


async def main() -> None:
    queue: asyncio.Queue[Message] = asyncio.Queue()
    first_id = int(time.time()) * 10  # any integer that was not used before
    with tracer.start_as_current_span("upload"):
        for execution_id, image in enumerate(IMAGES, first_id):
            await send(queue, execution_id, image)
    workers = [asyncio.create_task(work(queue)) for _ in range(2)]
    await queue.join()
    for worker in workers:
        worker.cancel()


asyncio.run(main())
