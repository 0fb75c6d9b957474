"""A FastAPI service that knows nothing of tracing: ``opentelemetry-instrument`` starts it, and that is all."""

from fastapi import FastAPI

PRICES = {1: 250, 2: 990}

app = FastAPI()


@app.get("/items/{item}")
def price_of(item: int) -> dict[str, int]:
    return {"item": item, "cents": PRICES[item]}  # an item that is not there is a KeyError, answered with 500
