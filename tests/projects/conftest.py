"""How these tests use projects: made in a directory of their own, with the command line in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wasmrun import cli


class Done(NamedTuple):
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Done]
"""The fixture `run`."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in; no option comes from outside, and what has been compiled is shared."""
    for name in os.environ:
        if name.startswith(("WASMRUN_", "_WASMRUN")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WASMRUN_CACHE_DIR", str(cache_dir))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command line in this process."""

    def run(*args: object) -> Done:
        capfdbinary.readouterr()
        status = cli.status_of([str(arg) for arg in args])
        out, err = capfdbinary.readouterr()
        return Done(status, out.decode(), err.decode())

    return run


@pytest.fixture
def make(run: Run, place: Path) -> Callable[..., Path]:
    """Makes a project and gives its directory."""

    def make(name: str = "hello", language: str = "c") -> Path:
        done = run("new", name, "--lang", language)
        assert done.status == 0, done.err
        return place / name

    return make
