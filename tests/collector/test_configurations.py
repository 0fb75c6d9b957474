"""Every file of collector-config/ is one that its Collector takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.collector.processes import CONFIGURATIONS, arguments

READS: dict[tuple[str, ...], str] = {
    ("agent.yaml",): "collector",
    ("agent.yaml", "redaction.yaml"): "collector",
    ("gateway.yaml",): "collector",
    ("kafka-consumer.yaml",): "collector",
    ("kafka-producer.yaml",): "collector",
    ("k8s-daemonset.yaml",): "log_collector",
    ("k8s-sidecar.yaml",): "collector",
    ("log-recovery.yaml",): "log_collector",
    ("tail-sampling.yaml",): "collector",
}
"""Files as they are given together, and the fixture of the Collector that has their components."""

IN_A_CLUSTER = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443", "K8S_NODE_NAME": "node"}


def validate(program: Path, *words: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | IN_A_CLUSTER | {"QUEUE_DIR": "queue", "OFFSET_DIR": "offsets"}
    return subprocess.run(
        [program, "validate", *words], capture_output=True, text=True, cwd=directory, env=environment, timeout=60
    )


def test_no_file_is_left_out() -> None:
    assert {path.name for path in CONFIGURATIONS.glob("*.yaml")} == {file for files in READS for file in files}


@pytest.mark.parametrize("files", READS, ids="+".join)
def test_the_collector_takes_it(request: pytest.FixtureRequest, tmp_path: Path, files: tuple[str, ...]) -> None:
    checked = validate(request.getfixturevalue(READS[files]), *arguments(*files), directory=tmp_path)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("max_elapsed_time: 0", "max_elapsed: 0"),
        ("exporters: [otlp_grpc/a]", "exporters: [otlp_grpc/c]"),
        ("IsMatch(span.trace_id.string,", "IsMatch(span.trace.string,"),
    ],
)
def test_the_collector_refuses_a_broken_one(collector: Path, tmp_path: Path, right: str, wrong: str) -> None:
    text = (CONFIGURATIONS / "gateway.yaml").read_text("utf-8")
    assert right in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(right, wrong), "utf-8")
    assert validate(collector, "--config", str(broken), directory=tmp_path).returncode == 1
