"""The GPU function, as it runs in one container: reads inputs on standard input, one JSON line each, one at a time.

On Modal the function would carry ``@app.function(gpu=...)`` above ``@traced``, and Modal's own runtime would feed it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from typing import Any, Final

from faults import Fault
from opentelemetry import trace

from otel_diag_instrumentation import configure, flush, traced

_MAX_TOKENS: Final = 4096
_INFERENCE_S: Final = 0.05
_SLOW_INFERENCE_S: Final = 2.5

tracer = trace.get_tracer("pipeline.modal_function")


class ValidationError(ValueError):
    """The input breaks the function's contract."""


class Model:
    """Stands for a model in GPU memory: loading and generating take the time they are told to take."""

    def __init__(self, load_s: float) -> None:
        self._load_s = load_s
        self._loaded = False

    def load(self) -> None:
        """Loads the weights, once a container."""
        if self._loaded:
            return
        with tracer.start_as_current_span("model.load"):
            time.sleep(self._load_s)
        self._loaded = True

    def tokenize(self, prompt: str) -> list[str]:
        with tracer.start_as_current_span("tokenize"):
            time.sleep(0.002)
            return prompt.split()

    def generate(self, tokens: list[str], fault: Fault) -> str:
        with tracer.start_as_current_span("generate"):
            if fault is Fault.CRASH:
                flush()
                time.sleep(_INFERENCE_S)
                os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does to a container out of memory
            # Real models take longer for some prompts than for others.
            usual = _INFERENCE_S * random.lognormvariate(0, 0.3)
            time.sleep(_SLOW_INFERENCE_S if fault is Fault.SLOW_MODEL else usual)
            return " ".join(reversed(tokens))


@traced("modal.inference", app="pipeline-example")
def infer(model: Model, input_id: str, prompt: str, max_tokens: int, fault: Fault) -> str:
    trace.get_current_span().set_attribute("modal.input_id", input_id)
    if not 1 <= max_tokens <= _MAX_TOKENS:
        raise ValidationError(f"max_tokens must be between 1 and {_MAX_TOKENS}, got {max_tokens}")
    model.load()
    return model.generate(model.tokenize(prompt), fault)


def run(model: Model, job: dict[str, Any]) -> dict[str, Any]:
    """One input's outcome, as the container reports it to its host."""
    try:
        output = infer(
            model,
            job["input_id"],
            job["prompt"],
            job["max_tokens"],
            Fault(job["fault"]),
            otel_context=job["headers"],
        )
    except ValidationError as error:
        return {"error_type": "ValidationError", "error": str(error)}
    return {"output": output}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-seconds", type=float, required=True)
    model = Model(parser.parse_args().load_seconds)
    configure("modal")
    for line in sys.stdin:
        print(json.dumps(run(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
