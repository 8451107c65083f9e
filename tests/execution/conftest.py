"""Executors of one test's own, and child processes whose end, output and complaints are looked at."""

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
from kit import Gate

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
_CHILD_SECONDS = 30


@pytest.fixture
def make(cache_dir: Path) -> Iterator[Callable[..., wasmrun.Executor]]:
    """Makes executors, and shuts those down that the test left open."""
    made: list[wasmrun.Executor] = []

    def make_one(**settings: Any) -> wasmrun.Executor:
        executor = wasmrun.Executor(**{"cache_dir": cache_dir, "max_sandboxes": 50, **settings})
        made.append(executor)
        return executor

    yield make_one
    for executor in made:
        executor.shutdown()


@pytest.fixture
def own(make: Callable[..., wasmrun.Executor]) -> wasmrun.Executor:
    """An executor that only this test uses."""
    return make(threads=4)


@pytest.fixture
def gate() -> Gate:
    """A host function that guests wait in."""
    return Gate()


def _environment(cache_dir: Path) -> dict[str, str]:
    # A child finds the same directory of compiled modules where it looks by itself.
    usual = cache_dir.parent / "wasmrun"
    if not usual.exists():
        usual.symlink_to(cache_dir)
    return {**os.environ, "PYTHONPATH": str(HERE), "XDG_CACHE_HOME": str(cache_dir.parent), "PYTHONUNBUFFERED": "1"}


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
    """Starts a child that runs Python code which has everything of `kit` at hand."""
    processes: list[tuple[subprocess.Popen[str], threading.Timer]] = []

    def start_one(code: str) -> Child:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", "from kit import *\n" + code],
            cwd=HERE,
            env=_environment(cache_dir),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
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

    def run_one(code: str, *, status: int = 0) -> tuple[str, str, float]:
        started = time.monotonic()
        ended, out, err = start(code).end()
        assert ended == status, (ended, out, err)
        return out, err, time.monotonic() - started

    return run_one
