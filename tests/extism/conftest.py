"""Executors of both kinds, to run plug-ins in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extism_kit import Either


@pytest.fixture(scope="module", params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Either]:
    """Where guests run: on threads of this process, or in a worker process."""
    made: Either = wasmrun.Executor() if request.param == "threads" else wasmrun.ProcessExecutor(processes=1)
    with made:
        yield made


@pytest.fixture(scope="module")
def local() -> Iterator[wasmrun.Executor]:
    """For what does not depend on where guests run."""
    with wasmrun.Executor() as made:
        yield made
