"""Both kinds of executor, on one cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wasmrun


@pytest.fixture(scope="session")
def walled(cache_dir: Path) -> Iterator[wasmrun.ProcessExecutor]:
    """One `ProcessExecutor` of one worker for every test here."""
    with wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir) as executor:
        yield executor


@pytest.fixture(params=["Executor", "ProcessExecutor"])
def either(request: pytest.FixtureRequest) -> wasmrun.Executor | wasmrun.ProcessExecutor:
    """Each of them in turn."""
    name = {"Executor": "executor", "ProcessExecutor": "walled"}[request.param]
    return request.getfixturevalue(name)  # type: ignore[no-any-return]  # one of the two
