"""Every name the helpers write is OpenTelemetry's and current, or one of the few of our own."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import otel_diag_instrumentation
from otel_diag_instrumentation import vocabulary

WRITTEN = {value for name, value in vars(vocabulary).items() if name.isupper()}

OWN = {
    "execution.id",
    "execution.attempt",
    "job.id",
    "model.id",
    "region",
    "queue.time_ms",
    "inference.time_ms",
    "modal.app",
    "modal.function",
    "modal.input_id",
    "modal.task_id",
    "modal.preempted",
    "gpu.model",
    "router.provider",
    "router.provider_healthy",
    "router.candidates",
}
"""As in the specification of the vocabulary; there is no convention for any of them."""

MOVED = "Moved to the [OpenTelemetry GenAI semantic conventions repository]"
"""Why every GenAI name counts as deprecated in the package: the conventions live on elsewhere, under the same names."""

COLUMNS = {
    "execution.id": "execution_id",
    "execution.attempt": "attempt",
    "job.id": "job_id",
    "model.id": "model_id",
    "region": "region",
    "router.provider": "model_provider",
    "queue.time_ms": "queue_time_ms",
    "inference.time_ms": "inference_time_ms",
    "gen_ai.request.model": "model_id",
    "gen_ai.response.model": "model_id",
    "gen_ai.provider.name": "model_provider",
    "gen_ai.operation.name": "operation_type",
    "gen_ai.conversation.id": "conversation_id",
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_creation_input_tokens",
    "gen_ai.response.time_to_first_chunk": "ttft_ms",
}
"""What otel-diag reads into a column."""

SPECIFICATION = Path(__file__).parents[3] / "shared" / "spec" / "5-vocabulary.md"


def conventions() -> dict[str, str]:
    """Name -> what its definition says of a deprecation. That stands only in the text below each constant."""
    found: dict[str, str] = {}
    package = find_spec("opentelemetry.semconv")
    if package is None or package.origin is None:
        pytest.skip("opentelemetry-semantic-conventions is not installed")
    for folder in ("_incubating/attributes", "attributes"):
        for file in sorted((Path(package.origin).parent / folder).glob("*_attributes.py")):
            body = ast.parse(file.read_text()).body
            for node, after in zip(body, [*body[1:], None], strict=True):
                if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
                    text = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
                    found[str(node.value.value)] = text.partition("Deprecated: ")[2]
    return found


def test_a_name_is_a_current_convention_or_one_of_ours() -> None:
    known = conventions()
    assert WRITTEN - known.keys() == OWN
    gone = {name: known[name] for name in WRITTEN & known.keys() if known[name]}
    assert {name for name, why in gone.items() if not why.startswith(MOVED)} == set()
    assert all(name.startswith("gen_ai.") for name in gone)


def test_our_own_names_are_those_of_the_specification() -> None:
    if not SPECIFICATION.is_file():
        pytest.skip(f"the specification is not at {SPECIFICATION}")
    assert set(re.findall(r"`([a-z_.]+)`", SPECIFICATION.read_text())) >= OWN


def test_otel_diag_reads_what_is_written() -> None:
    semconv = pytest.importorskip("otel_diag.decode.semconv")
    read = {
        name: {alias if isinstance(alias, str) else alias.name for alias in column.names}
        for name, column in semconv.ALIASES.items()
    }
    assert set(COLUMNS) <= WRITTEN
    assert {name: column for name, column in COLUMNS.items() if name not in read[column]} == {}
    in_a_column = {name for names in read.values() for name in names}
    assert (WRITTEN & in_a_column) == set(COLUMNS)


def test_names_are_written_from_the_vocabulary() -> None:
    """No helper spells an attribute itself."""
    spelled = set()
    for file in Path(otel_diag_instrumentation.__path__[0]).glob("*.py"):
        if file.name != "vocabulary.py":
            spelled |= {
                node.value
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Constant) and node.value in WRITTEN - {"region"}
            }
    assert spelled == set()
