"""How these tests look at a hardened process: they start one by command line, and have it tell what it sees."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from walled import GUESTS, Done, Inside, Start

import wasmrun
from wasmrun.hardening.trial import probe
from wasmrun.hardening.wall import NAMES

WORKER = Path(__file__).parent / "worker.py"


@pytest.fixture(scope="session")
def available() -> frozenset[str]:
    """The walls that this machine has."""
    return frozenset(wall.name for wall in probe() if wall.is_up)


@pytest.fixture(scope="session")
def prepared(cache_dir: Path) -> Path:
    """The cache, with every guest compiled: a worker compiles nothing."""
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=4, threads=1) as executor:
        for text in GUESTS.values():
            executor.compile(wasmrun.Function(text))
    return cache_dir


@pytest.fixture
def worker() -> Start:
    """Runs a hardened process to its end."""

    def start(
        code: str,
        before: str = "",
        *,
        names: dict[str, object] | None = None,
        environ: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        **walls: object,
    ) -> Done:
        job = {"walls": walls, "before": before, "code": code, "names": names or {}}
        done = subprocess.run(
            [sys.executable, "-I", "-W", "error", WORKER, json.dumps(job)],
            stdin=subprocess.DEVNULL, capture_output=True, env=environ or {}, timeout=60, check=False, pass_fds=pass_fds,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        return Done(json.loads(lines[0]) if lines else None, done.returncode, done.stderr.decode())

    return start


@pytest.fixture
def inside(worker: Start) -> Inside:
    """What the code said in a worker, which has to end well."""

    def inside(code: str, before: str = "", **more: Any) -> Any:
        done = worker(code, before, **more)
        assert done.status == 0, done.err or signal.strsignal(-done.status)
        return done.said

    return inside


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest, available: frozenset[str]) -> None:
    """Skips a test marked with a wall that this machine does not have; what that is, doctor tells."""
    for mark in request.node.iter_markers("needs_wall"):
        missing = set(mark.args) - available
        assert set(mark.args) <= set(NAMES)
        if missing:
            pytest.skip(f"this machine has no {', '.join(sorted(missing))}")


def pytest_configure(config: pytest.Config) -> None:
    """Names the mark."""
    config.addinivalue_line("markers", "needs_wall(*names): walls without which the test says nothing")
