"""Executors of both kinds, to run plug-ins in."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from extism_kit import Either


@pytest.fixture(scope="module", params=["threads", "processes"])
def executor(request: pytest.FixtureRequest, cache_dir: Path) -> Iterator[Either]:
    """Where guests run: on threads of this process, or in a worker process."""
    threads = request.param == "threads"
    made: Either = (wasmrun.Executor if threads else functools.partial(wasmrun.ProcessExecutor, processes=1))(
        cache_dir=cache_dir
    )
    with made:
        yield made


@pytest.fixture(scope="module")
def local(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """For what does not depend on where guests run."""
    with wasmrun.Executor(cache_dir=cache_dir) as made:
        yield made
