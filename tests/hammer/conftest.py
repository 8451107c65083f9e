"""Both kinds of executor, small enough that many threads get into each other's way."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmrun

KINDS: dict[str, Callable[..., Any]] = {
    "Executor": lambda **settings: wasmrun.Executor(threads=8, max_sandboxes=12, **settings),
    "ProcessExecutor": lambda **settings: wasmrun.ProcessExecutor(processes=2, threads=1, **settings),
}


@pytest.fixture
def reports() -> Counter[str]:
    """How many invocations of the executor ended how, by their reports."""
    return Counter()


@pytest.fixture(params=KINDS)
def crowded(request: pytest.FixtureRequest, cache_dir: Path, reports: Counter[str]) -> Iterator[Any]:
    """An executor of each kind, of one test's own, whose events do not wait for long."""

    def count(report: wasmrun.Report) -> None:
        reports[report.status] += 1

    with KINDS[request.param](cache_dir=cache_dir, wait="100ms", on_report=count) as executor:
        yield executor


@pytest.fixture(params=KINDS)
def patient(request: pytest.FixtureRequest, cache_dir: Path) -> Iterator[Any]:
    """An executor of each kind whose events wait as long as they have to."""
    with KINDS[request.param](cache_dir=cache_dir, wait="30s") as executor:
        yield executor


@pytest.fixture
def scale() -> float:
    """How much longer than usual to hammer: `WASMRUN_HAMMER=10` is ten times as long."""
    return float(os.environ.get("WASMRUN_HAMMER", "1"))
