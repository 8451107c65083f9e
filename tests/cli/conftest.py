"""How these tests use the command line: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wasmrun import cli

COMMAND = (sys.executable, "-W", "error", "-m", "wasmrun")


class Done(NamedTuple):
    """How a command line ended: its exit status, and what it wrote, by stream."""

    status: int
    output: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.output.decode()

    @property
    def json(self) -> Any:
        """Standard output as the one JSON object that it has to be."""
        assert self.output.endswith(b"\n")
        assert self.output.count(b"\n") == 1
        return json.loads(self.output)


Run = Callable[..., Done]
"""The fixtures `run` and `start`."""


@pytest.fixture(autouse=True)
def _environment(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared cache, and no other option from outside."""
    for name in os.environ:
        if name.startswith(("WASMRUN_", "_WASMRUN")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WASMRUN_CACHE_DIR", str(cache_dir))
    # What click and rich would take a terminal's width from.
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command line in this process."""

    def run(*args: object) -> Done:
        capfdbinary.readouterr()
        status = cli.status_of([str(arg) for arg in args])
        out, err = capfdbinary.readouterr()
        return Done(status, out, err.decode())

    return run


@pytest.fixture
def start() -> Run:
    """Runs a command line in a process of its own, in which warnings are errors; *stdin* is bytes or a descriptor."""

    def run(*args: object, stdin: bytes | int = subprocess.DEVNULL, **options: Any) -> Done:
        given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        if "stdout" not in options:
            options["stdout"] = subprocess.PIPE
        if "stderr" not in options:
            options["stderr"] = subprocess.PIPE
        done = subprocess.run([*COMMAND, *map(str, args)], check=False, timeout=30, **given, **options)
        return Done(done.returncode, done.stdout or b"", (done.stderr or b"").decode())

    return run


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], Path]:
    """Saves a module in the text format, as a user has it: a file."""

    def save(text: str, name: str = "guest.wat") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return save
