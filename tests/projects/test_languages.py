"""Each language's project: an answer, an error that the compiler told, and its tests; skipped where the toolchain is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wasmrun
from wasmrun.projects import building, golang
from wasmrun.projects.languages import LANGUAGES
from wasmrun.projects.project import read_project
from wasmrun.projects.recipe import ToolchainMissing

if TYPE_CHECKING:
    from conftest import Run

Make = Callable[..., Path]

NODE_MODULES = Path(__file__).resolve().parents[2] / "guest_sdk" / "assemblyscript" / "node_modules"
"""What is installed for the SDK does for a project, too."""

QUIET = ("--report", "none")


# A component in Python takes long to make, so its own tests are with the ones of the SDK, which make one for all.
@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "python"])
def test_new_project_answers_and_passes_its_tests(language: str, make: Make, run: Run) -> None:
    """`new`, `run`, and the tests; then a compiler's error as it is, and the answer again from the cache."""
    place = make("mein projekt ü", language)
    project = read_project(str(place))
    if language == "assemblyscript" and NODE_MODULES.is_dir():
        (place / "node_modules").symlink_to(NODE_MODULES)
    try:
        import_module(f"wasmrun.projects.{building._COOKS[language]}").cook(project, "x.wasm", os.environ)
    except ToolchainMissing as missing:
        pytest.skip(missing.message)
    done = run("run", place, *QUIET)
    assert done.out == '{"hello": "Ada"}\n', done.err
    assert done.err.endswith("INFO  greeting somebody\n")
    done = run("run", place, "--event", "{}", *QUIET)
    assert done.status == 10
    assert 'GuestError: InvalidEvent: the event needs a string "name"' in done.err
    tests = [sys.executable, "-m", "unittest"]
    ran = subprocess.run(tests, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert "Ran 2 tests" in ran.stderr
    assert ran.returncode == 0, ran.stderr
    (handler,) = (path for path in place.rglob("handler.*") if "build" not in path.parts)
    good = handler.read_text()
    handler.write_text(good + "\nint wrong\n")
    done = run("build", place)
    assert done.status not in (0, 2, 3, 70)
    assert handler.name in done.err
    assert f"ended with status {done.status}" in done.err
    handler.write_text(good)
    assert run("build", place).status == 0
    assert "nothing has changed" in run("build", place).out


def go_that_says(place: Path, version: str) -> dict[str, str]:
    """An environment with a go of this version."""
    place.mkdir()
    fake = place / "go"
    fake.write_text(f"#!/bin/sh\necho 'go version {version} linux/amd64'\n")
    fake.chmod(0o755)
    return {"PATH": str(place)}


def test_go_that_is_too_old_is_told(make: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its path and version, and how to get another one; so is one that is not there."""
    monkeypatch.setattr(golang.sysconfig, "get_path", lambda _name: "/nowhere")
    project = read_project(str(make("x", "go")))
    assert golang.cook(project, "x.wasm", go_that_says(place / "new", "go1.24.1")).toolchain.startswith("go version")
    assert golang.cook(project, "x.wasm", go_that_says(place / "own", "devel +abc")).command[0] == f"{place}/own/go"
    with pytest.raises(ToolchainMissing) as caught:
        golang.cook(project, "x.wasm", go_that_says(place / "old", "go1.19.8"))
    assert f"{place}/old/go is go1.19, and 1.24 is the first" in caught.value.message
    assert "pip install 'wasmrun[go]'" in caught.value.message
    with pytest.raises(ToolchainMissing, match="no go on the search path"):
        golang.cook(project, "x.wasm", {"PATH": "/nowhere"})


def test_user_s_settings_for_go_reach_it(make: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they reach every compiler: the environment stays, but for what says which platform it is for."""
    monkeypatch.setenv("GOFLAGS", "-nonsense")
    monkeypatch.setenv("GOOS", "plan9")
    done = run("build", make("x", "go"))
    if "is missing" in done.err:
        pytest.skip(done.err)
    assert "-nonsense" in done.err
    assert done.status == 1


def test_missing_toolchain_is_our_kind_of_error() -> None:
    """So that programs can catch it by a public name."""
    assert issubclass(ToolchainMissing, wasmrun.HostError)
    assert issubclass(building.CompilerFailed, wasmrun.HostError)
