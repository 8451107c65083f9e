"""The engine: never one that is older than the one that docs/security.md declares safe."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that can be compared."""
    return tuple(int(part) for part in version.split("."))


def declared() -> tuple[int, ...]:
    """The one line that says it."""
    (version,) = re.findall(
        r"^Oldest engine declared safe: wasmtime ([\d.]+)$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE
    )
    return numbers(version)


def test_engine_is_not_older_than_the_one_declared_safe() -> None:
    """What is installed here, and runs these tests."""
    assert numbers(importlib.metadata.version("wasmtime")) >= declared()


def test_requirement_is_not_older_than_the_one_declared_safe() -> None:
    """What an installation may come with."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (lowest,) = [match[1] for one in dependencies if (match := re.match(r"wasmtime>=([\d.]+),", one))]
    assert numbers(lowest) >= declared()
