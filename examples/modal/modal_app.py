"""A Modal app in its usual shapes, each traced by one line below Modal's own decorators.

``modal deploy examples/modal/modal_app.py`` puts it on Modal. The router beside it runs everything on this machine with
``.local()``, without an account.
"""

from collections.abc import Iterator

import modal
from fastapi import Request

from otel_diag_instrumentation import configure, traced

MAX_TOKENS = 8

image = modal.Image.debian_slim().pip_install("otel-diag-instrumentation", "fastapi[standard]")
app = modal.App("inference", image=image)

if not modal.is_local():
    configure("modal")  # in the container; on this machine the router has done it


@app.function()
@traced("modal.tokenize", app="inference")
def tokenize(prompt: str) -> list[str]:
    return prompt.split()


@app.function()
@traced("modal.moderate", app="inference")
async def moderate(prompt: str) -> bool:
    return "secret" not in prompt


@app.function()
@traced("modal.stream", app="inference")
def stream(prompt: str) -> Iterator[str]:
    yield from prompt.split()


@app.cls()
class Model:
    @modal.enter()
    @traced("modal.load", app="inference")
    def load(self) -> None:
        self.suffix = "!"

    @modal.method()
    @traced("modal.generate", app="inference")
    def generate(self, prompt: str) -> str:
        if len(prompt.split()) > MAX_TOKENS:
            raise ValueError(f"prompt has more than {MAX_TOKENS} tokens")
        return prompt.upper() + self.suffix


# A web endpoint is not called with .remote(): the context comes in the headers of its request.
@app.function()
@modal.fastapi_endpoint(method="POST")
@traced("modal.web", app="inference", context_from=lambda request: request.headers)
async def web(request: Request) -> dict[str, str]:
    return {"user_agent": request.headers["user-agent"]}
