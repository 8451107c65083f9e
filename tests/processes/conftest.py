"""Process executors of one test's own, and child processes whose end, output and left-overs are looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

KIT = Path(__file__).parent.parent / "execution"
sys.path.append(str(KIT))

from kit import Gate, eventually  # noqa: E402  # found there

import wasmrun  # noqa: E402  # after the standard library's and the kit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHILD_SECONDS = 30
PRELUDE = """
from kit import *
def workers(executor):
    return list(executor.walls())
"""


@pytest.fixture
def make(cache_dir: Path) -> Iterator[Callable[..., wasmrun.ProcessExecutor]]:
    """Makes executors whose workers are ready, and shuts those down that the test left open."""
    made: list[wasmrun.ProcessExecutor] = []

    def make_one(**settings: Any) -> wasmrun.ProcessExecutor:
        executor = wasmrun.ProcessExecutor(**{"cache_dir": cache_dir, "processes": 1, **settings})
        made.append(executor)
        executor.walls()
        eventually(lambda: executor.stats().workers.workers == executor._settings.processes)
        return executor

    yield make_one
    for executor in made:
        executor.shutdown()


@pytest.fixture
def own(make: Callable[..., wasmrun.ProcessExecutor]) -> wasmrun.ProcessExecutor:
    """An executor with two workers that only this test uses."""
    return make(processes=2)


@pytest.fixture
def gate() -> Gate:
    """A host function that guests wait in."""
    return Gate()


class Child:
    """A child process that a test talks with: it prints lines, and gets signals."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line of its output; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def interrupt(self, answer: str) -> float:
        """Press Ctrl-C; the seconds until it printed *answer*."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.line() == answer, self.end()
        return time.monotonic() - started

    def end(self) -> tuple[int, str, str]:
        """Its exit status, the rest of its output, and what it wrote to stderr."""
        out, err = self.process.communicate(timeout=_CHILD_SECONDS)
        return self.process.returncode, out, err


@pytest.fixture
def start(cache_dir: Path) -> Iterator[Callable[..., Child]]:
    """Starts a child that runs Python code which has everything of the kit at hand, in a process group of its own."""
    processes: list[tuple[subprocess.Popen[str], threading.Timer]] = []
    usual = cache_dir.parent / "wasmrun"
    if not usual.exists():
        usual.symlink_to(cache_dir)

    def start_one(code: str, *command: str, **env: str) -> Child:
        process = subprocess.Popen(
            [*(command or (sys.executable, "-W", "error", "-c")), PRELUDE + code] if code else [*command],
            cwd=KIT,
            env={
                **os.environ, "PYTHONPATH": str(KIT), "XDG_CACHE_HOME": str(cache_dir.parent), "PYTHONUNBUFFERED": "1",
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )  # fmt: skip
        # What it prints is waited for without a limit, so its life has one.
        killer = threading.Timer(_CHILD_SECONDS, process.kill)
        killer.start()
        processes.append((process, killer))
        return Child(process)

    yield start_one
    for process, killer in processes:
        killer.cancel()
        killer.join()
        process.kill()
        process.communicate()


@pytest.fixture
def run(start: Callable[..., Child]) -> Callable[..., tuple[str, str, float]]:
    """Runs Python code in a child that must end with a status; its output, its stderr, and the seconds it took."""

    def run_one(code: str, *command: str, status: int = 0) -> tuple[str, str, float]:
        started = time.monotonic()
        ended, out, err = start(code, *command).end()
        assert ended == status, (ended, out, err)
        return out, err, time.monotonic() - started

    return run_one
