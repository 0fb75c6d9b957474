# Everything runs from a virtual environment that these targets make themselves: Python 3.11+, git and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo collector test conformance faults soak fuzz check lint types bench bench-query bench-ingest \
	bench-instrumentation bench-root-cause clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 24

setup: $(STAMP)  ## Make the virtual environment with both packages and the development tools.

$(STAMP): pyproject.toml instrumentation/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "otel-diag needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --editable ./instrumentation --group dev
	@touch $(STAMP)

demo: $(STAMP)  ## Start the server, run the example pipeline with every fault, print each diagnosis.
	$(BIN)/otel-diag demo

collector: $(STAMP)  ## Build the OpenTelemetry Collector of the tests, once, where Go is.
	$(BIN)/python -m tests.collector.binary

test: $(STAMP) collector  ## Run all tests, PostgreSQL included (the tests start their own server).
	$(BIN)/python -m pytest -n 3 --dist loadfile

conformance: $(STAMP)  ## Check the OTLP server line by line against a live one, and print the table.
	$(BIN)/python -m tests.receive.conformance

ROUNDS := 50
STORES := duckdb postgres clickhouse
OUTAGE := 60
faults: $(STAMP)  ## Kill the server 50 times under load on every store, stop PostgreSQL for a minute: nothing is lost.
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m tests.faults --rounds $(ROUNDS) --stores $(STORES) --outage $(OUTAGE)

MINUTES := 10
STORE := duckdb
soak: $(STAMP)  ## Ten minutes of full load with reads: memory and file descriptors stay flat.
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --store $(STORE)

EXAMPLES := 100000
FUZZ := OTEL_DIAG_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --timeout 0 --durations 0 -p no:cacheprovider
fuzz: $(STAMP)  ## 100,000 inputs for every decoder, in two processes: decoded or refused.
	$(FUZZ) tests/decode/test_fuzz.py & decoders=$$!; \
	$(FUZZ) tests/receive/test_fuzz.py tests/ask/test_fuzz.py tests/decode/test_modal_logs.py & others=$$!; \
	wait $$decoders; decoded=$$?; wait $$others && exit $$decoded

check: lint types test  ## What CI runs: lint, types, tests (the tests check the documentation too).

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)  ## Measure decode and append throughput, diagnosis of traces of 100,000 spans, latency of the tools.
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python -m benchmarks.long_trace
	$(MAKE) bench-query

SPANS := 1000000
bench-query: $(STAMP)  ## Measure the seven tools with a million spans stored, then with ten million (SPANS=1000000).
	$(BIN)/python -m benchmarks.query --spans $(SPANS)

SECONDS := 60

bench-ingest: $(STAMP)  ## Measure committed spans a second on every store (SECONDS=60), with PHOENIX=command beside Phoenix.
	$(BIN)/python -m benchmarks.ingest --seconds $(SECONDS)

bench-instrumentation: $(STAMP)  ## Measure what a span of each helper costs above the bare SDK, and the import.
	$(BIN)/python benchmarks/instrumentation.py

SEED := 1
CASES := 1000
bench-root-cause: $(STAMP)  ## Measure how often the named root cause is right, on labelled executions (SEED, CASES).
	$(BIN)/python benchmarks/root_cause.py --seed $(SEED) --cases $(CASES)

clean:  ## Remove the virtual environment and all caches.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
