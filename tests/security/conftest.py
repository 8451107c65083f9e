"""What the tests of promises share: both kinds of executor, and a worker that was taken over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmrun
from wasmrun.hardening.trial import probe
from wasmrun.processes import process

INSIDE = Path(__file__).parent / "inside_worker.py"


@pytest.fixture(scope="module")
def processes(cache_dir: Path) -> Iterator[wasmrun.ProcessExecutor]:
    """Two workers for every test that needs none of its own."""
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=2) as executor:
        yield executor


@pytest.fixture(params=["in this process", "in worker processes"])
def anywhere(request: pytest.FixtureRequest) -> wasmrun.Executor | wasmrun.ProcessExecutor:
    """Both kinds of executor, for promises that hold for both."""
    return request.getfixturevalue("executor" if request.param == "in this process" else "processes")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def walls() -> frozenset[str]:
    """The walls that this machine has."""
    return frozenset(wall.name for wall in probe() if wall.is_up)


class TakenOver:
    """An executor whose workers do what they are told; the one that has done it last is ``pid``."""

    def __init__(self, executor: wasmrun.ProcessExecutor) -> None:
        self.executor = executor
        self.pid = 0

    def says(self, code: str, **settings: Any) -> Any:
        """The value of the expression *code* in a worker, behind all its walls."""
        function = wasmrun.Function('(module (func (export "f")))', name="inside", args=[code], **settings)
        with pytest.raises(wasmrun.HostError) as caught:
            self.executor.invoke(function)
        (self.pid,) = self.executor.walls()
        said = re.fullmatch("said (.*)", caught.value.message, re.DOTALL)
        assert said, caught.value.message
        return json.loads(said[1])

    def dies_of(self, code: str) -> str:
        """What the executor says of a worker that *code* ends."""
        with pytest.raises(wasmrun.HostError) as caught:
            self.executor.invoke(wasmrun.Function('(module (func (export "f")))', name="inside", args=[code]))
        return caught.value.message


@pytest.fixture
def taken_over(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TakenOver]:
    """A worker that was taken over, as hardened as any other."""
    monkeypatch.setattr(process, "_CHILD", str(INSIDE))
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1) as executor:
        yield TakenOver(executor)


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    """Skips a test marked with a wall that this machine does not have; what that is, doctor tells."""
    for mark in request.node.iter_markers("needs"):
        missing = set(mark.args) - request.getfixturevalue("walls")
        if missing:
            pytest.skip(f"this machine has no {', '.join(sorted(missing))}")


def pytest_configure(config: pytest.Config) -> None:
    """Names the mark."""
    config.addinivalue_line("markers", "needs(*names): walls without which the test says nothing")
