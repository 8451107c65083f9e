"""Executors for tests of components: one in this process, one with workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wasmrun
from wasmrun.base_executor import BaseExecutor


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled components for one file of tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def threads(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """An executor in this process."""
    with wasmrun.Executor(max_sandboxes=20, cache_dir=cache_dir) as executor:
        yield executor


@pytest.fixture(scope="module")
def workers(cache_dir: Path) -> Iterator[wasmrun.ProcessExecutor]:
    """An executor with a worker."""
    with wasmrun.ProcessExecutor(processes=1, cache_dir=cache_dir) as executor:
        yield executor


@pytest.fixture(params=["threads", "workers"])
def executor(request: pytest.FixtureRequest) -> BaseExecutor:
    """Each of the two."""
    found: BaseExecutor = request.getfixturevalue(request.param)
    return found
