"""The Collectors of the tests, built from Go modules: ``python -m tests.collector.binary`` builds what is missing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).with_name("distribution")
NAMES: Final = ("main", "logs")
"""One Collector each; what they are made of is said in their ``manifest.yaml``."""


def path(name: str) -> Path:
    """Where the Collector made of these sources is, once it is built: outside the tree, for all checkouts."""
    digest = hashlib.sha256()
    for source in [*sorted(SOURCES.joinpath(name).glob("*.go")), SOURCES / name / "go.sum"]:
        digest.update(source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "otel-diag" / f"collector-{name}-{digest.hexdigest()[:16]}"


def why_not() -> str | None:
    """What keeps this machine from building one: no Go, or one that is too old and may not fetch a newer one."""
    try:
        asked = subprocess.run(["go", "list", "-m"], cwd=SOURCES / "main", capture_output=True, text=True)
    except FileNotFoundError:
        return "Go is not installed"
    return asked.stderr.strip() if asked.returncode else None


def build(name: str) -> None:
    """Builds it, unless that was done before. Ends the program with what Go says when it cannot."""
    target = path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        print(f"Building the OpenTelemetry Collector {name!r} for the tests: some minutes, once.", flush=True)
        began = time.monotonic()
        unfinished = target.with_suffix(".new")
        built = subprocess.run(
            ["go", "build", "-trimpath", "-ldflags=-s -w", "-tags=grpcnotrace", "-o", unfinished, "."],
            cwd=SOURCES / name,
            env=os.environ | {"CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
        )
        if built.returncode:
            sys.exit(built.stderr)
        unfinished.replace(target)
        size = target.stat().st_size // 2**20
        print(f"Built {target} ({size} MiB) in {time.monotonic() - began:.0f} s.", flush=True)


def main() -> None:
    if reason := why_not():
        print(f"No OpenTelemetry Collector, so its tests are skipped: {reason}")
        return
    for name in NAMES:
        build(name)


if __name__ == "__main__":
    main()
