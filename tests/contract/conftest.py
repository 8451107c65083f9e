"""Both kinds of executor, so that one set of tests holds for both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

sys.path.append(str(Path(__file__).parent.parent / "execution"))  # its kit

from kit import eventually

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Either = wasmrun.Executor | wasmrun.ProcessExecutor

AT_ONCE = 2
"""Workers of a process executor that is not told otherwise."""


class Both(NamedTuple):
    """One executor of each kind."""

    local: wasmrun.Executor
    remote: wasmrun.ProcessExecutor


@pytest.fixture(scope="module", params=["threads", "processes"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where guests run: on threads of this process, or in worker processes."""
    return str(request.param)


def _ready(executor: Either) -> Either:
    """*executor*, once each of its workers is ready, so that no event of a test waits for that."""
    if isinstance(executor, wasmrun.ProcessExecutor):
        executor.walls()
        eventually(lambda: executor.stats().workers.workers == executor._settings.processes)
    return executor


def _make(kind: str, cache_dir: Path, at_once: int | None, **settings: Any) -> Either:
    if kind == "threads":
        most = 50 if at_once is None else at_once
        return wasmrun.Executor(**{"cache_dir": cache_dir, "max_sandboxes": most, "threads": 4, **settings})
    return wasmrun.ProcessExecutor(**{"cache_dir": cache_dir, "processes": at_once or AT_ONCE, **settings})


@pytest.fixture
def make(kind: str, cache_dir: Path) -> Iterator[Callable[..., Either]]:
    """Makes executors, and shuts those down that the test left open; for *at_once* events if that matters, and ready."""
    made: list[Either] = []

    def make_one(at_once: int | None = None, **settings: Any) -> Either:
        executor = _make(kind, cache_dir, at_once, **settings)
        made.append(executor)
        return executor if at_once is None else _ready(executor)

    yield make_one
    for executor in made:
        executor.shutdown()


@pytest.fixture
def own(make: Callable[..., Either]) -> Either:
    """An executor that only this test uses."""
    return make()


@pytest.fixture(scope="module")
def shared(kind: str, cache_dir: Path) -> Iterator[Either]:
    """One executor of its kind for every test that needs none of its own."""
    with _make(kind, cache_dir, None, wait=30) as executor:
        yield executor


@pytest.fixture(scope="module")
def both(cache_dir: Path) -> Iterator[Both]:
    """One of each kind, to be compared."""
    with (
        wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=50) as local,
        wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1) as remote,
    ):
        yield Both(local, remote)
