"""Modules: the fuzz target of a module's bytes, on an `Executor` in a child process and on a `ProcessExecutor` here."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

import inprocess
import smith
import verdicts

import wasmrun

EXPECTED = frozenset(
    {
        verdicts.ANSWER,
        "InvalidEvent",
        "InvalidFunction",
        *(cls.__name__ for cls in wasmrun.FunctionError.__subclasses__()),
    }
)
"""The ends that there may be. A `HostError` says that a worker died, or that wasmrun did not know what to do."""


class Modules:
    """Runs made-up modules on both executors and counts what became of them; saves each that ended otherwise.

    ``counts`` are by executor and verdict, ``found`` the paths of what was saved, each with what was wrong;
    ``slowest`` are the seconds of the module that took longest, compiling and both runs. With *snapshot*, they begin
    as their start-up left them.
    """

    def __init__(self, directory: Path, saved: Path, *, snapshot: bool = False) -> None:
        self._directory = directory
        self._saved = saved
        self._snapshot = snapshot
        self._in_process = inprocess.InProcess(directory / "cache")
        self._behind_walls = wasmrun.ProcessExecutor(processes=1, cache_dir=directory / "cache")
        self.made: Counter[str] = Counter()
        self.counts: dict[str, Counter[str]] = {"Executor": Counter(), "ProcessExecutor": Counter()}
        self.found: list[tuple[Path, str]] = []
        self.slowest = 0.0

    def try_one(self, number: int) -> None:
        """Make the module of *number*, and run it twice."""
        made = smith.make(number, self._directory)
        self.made[made.how] += 1
        path = self._directory / f"{number}.wasm"
        path.write_bytes(made.module)
        began = time.monotonic()
        try:
            first = self._in_process.judge(number, made.entry, path, snapshot=self._snapshot)
        except inprocess.Crashed as crash:
            first = f"Crashed {crash}"
        self._note("Executor", first, path)
        try:
            function = verdicts.given(made.module, made.entry, number, snapshot=self._snapshot)
            second = verdicts.judge(self._behind_walls, function)
        except Exception as error:
            second = f"WRONG {type(error).__name__}: {error}"
        self._note("ProcessExecutor", second, path)
        self.slowest = max(self.slowest, time.monotonic() - began)
        path.unlink()

    def _note(self, executor: str, verdict: str, path: Path) -> None:
        self.counts[executor][verdict.split(" ", 1)[0]] += 1
        if verdict not in EXPECTED:
            self._saved.mkdir(parents=True, exist_ok=True)
            kept = self._saved / path.name
            shutil.copy(path, kept)
            self.found.append((kept, f"{executor}: {verdict}"))

    def close(self) -> None:
        """End both executors."""
        self._in_process.__exit__(None, None, None)
        self._behind_walls.shutdown()
