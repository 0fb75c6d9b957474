"""A chat application: it looks up what it knows, then has a model answer, and records what OpenTelemetry's GenAI
conventions ask for: model, tokens, time to the first of them, why it stopped. Prompts and answers are not recorded.

    python examples/llm_app/chat.py

No model is called, so that it runs anywhere: ``tokens_of`` stands for the client of any provider.
"""

import time
from collections.abc import Iterator

from opentelemetry import trace

from otel_diag_instrumentation import configure, execution, generation, record_usage

MODEL = "tiny-chat"
CONTEXT_WINDOW = 12
QUESTIONS = [
    "what is a span",
    "what is a trace",
    "what is a very long question that holds more words than this model can take at once",
]

configure("chat")
tracer = trace.get_tracer("chat")


class ContextLengthExceeded(Exception):
    """The prompt does not fit into the model's context window."""


def tokens_of(prompt: str) -> Iterator[str]:
    """The model: streams one token after the other."""
    if len(prompt.split()) > CONTEXT_WINDOW:
        raise ContextLengthExceeded(f"{len(prompt.split())} tokens do not fit into {CONTEXT_WINDOW}")
    for token in ("a", "good", "question"):
        time.sleep(0.01)
        yield token


# A model call that is a function of its own: decorate it, and tell the tokens from inside.
@generation("embeddings", model="tiny-embed", provider="example")
def embed(text: str) -> list[float]:
    record_usage(input_tokens=len(text.split()))
    return [float(len(word)) for word in text.split()]


def look_up(question: str) -> str:
    with tracer.start_as_current_span("look_up"):
        embed(question)
        return "from the manual:"


@execution(job_id="support-chat", model_id=MODEL)  # execution_id is read from the arguments of each call
def answer(execution_id: int, question: str) -> str:
    prompt = f"{look_up(question)} {question}"
    with generation("chat", model=MODEL, provider="example") as call:
        tokens = []
        for token in tokens_of(prompt):
            call.first_token()  # only the first time counts
            tokens.append(token)
        call.usage(input_tokens=len(prompt.split()), output_tokens=len(tokens))
        call.finish("stop")
    return " ".join(tokens)


first_id = int(time.time()) * 10  # any integer that was not used before
for execution_id, question in enumerate(QUESTIONS, first_id):
    try:
        print(f"execution {execution_id}: answered {answer(execution_id, question)!r}")
    except ContextLengthExceeded as error:
        print(f"execution {execution_id}: failed ({error})")
