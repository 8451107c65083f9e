"""Projects in Python: `wasmrun new --lang python`, built, run and tested; what goes wrong is told as the toolchain tells it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wasmrun
from wasmrun import cli
from wasmrun.projects import componentize
from wasmrun.projects.languages import LANGUAGES
from wasmrun.projects.project import read_project
from wasmrun.projects.recipe import ToolchainMissing
from wasmrun.projects.scaffold import make_project

Capture = pytest.CaptureFixture[str]


def test_new_project_answers_and_passes_its_tests(
    project: Path, cache_dir: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run`, a reported error, the project's own tests, and nothing to build anew."""
    # Of the command line and of programs: they share what was compiled.
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_dir / "home"))
    monkeypatch.delenv("WASMRUN_CACHE_DIR", raising=False)
    with wasmrun.Executor(compile_limits=wasmrun.CompileLimits(cpu=300, wall=600)) as patient:
        patient.compile(wasmrun.Function(project / "build" / "greeter.wasm"))
    assert cli.status_of(["run", str(project), "--report", "none"]) == 0
    out, err = capfd.readouterr()
    assert out == '{"hello": "Ada"}\n'
    assert err.endswith("INFO  greeting somebody\n")
    assert cli.status_of(["run", str(project), "--report", "none", "--event", "{}"]) == 10
    assert 'GuestError: InvalidEvent: the event needs a string "name"' in capfd.readouterr().err
    tests = [sys.executable, "-m", "unittest"]
    ran = subprocess.run(tests, cwd=project, capture_output=True, text=True, check=False, timeout=60)
    assert "Ran 2 tests" in ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert cli.status_of(["build", str(project)]) == 0
    assert "nothing has changed" in capfd.readouterr().out


def test_toolchain_s_errors_are_shown_as_they_are(
    project: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its status, and without a trace of its insides."""
    monkeypatch.delenv("RUST_BACKTRACE", raising=False)
    place = tmp_path / "broken"
    shutil.copytree(project, place)
    (place / "function.wit").write_text("package project:function;\nworld handler { import nonsense }\n")
    assert cli.status_of(["build", str(place)]) == 1
    err = capfd.readouterr().err
    assert "function.wit:2" in err
    assert "componentize-py ended with status 1" in err
    assert "Stack backtrace" not in err


def test_user_s_wish_for_a_backtrace_is_kept(project: Path) -> None:
    """As any of the environment."""
    told = read_project(str(project))
    assert componentize.cook(told, "x.wasm", os.environ | {"RUST_BACKTRACE": "1"}).variables == {}
    environ = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    assert componentize.cook(told, "x.wasm", environ).variables == {"RUST_BACKTRACE": "0"}


def test_arguments_of_the_project_reach_the_toolchain(project: Path, tmp_path: Path) -> None:
    """Before the name of the module."""
    place = tmp_path / "more"
    shutil.copytree(project, place)
    file = place / "wasmrun.toml"
    file.write_text(file.read_text().replace("arguments = [] ", 'arguments = ["-p", "vendor"] '))
    command = componentize.cook(read_project(str(place)), "x.wasm", os.environ).command
    assert command[-5:] == ("-p", "vendor", "component", "-o", "x.wasm")


def test_missing_toolchain_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the search path is taken where this Python has none."""
    monkeypatch.setattr(componentize.sysconfig, "get_path", lambda _name: "/nowhere")
    make_project(str(tmp_path / "x"), LANGUAGES["python"])
    told = read_project(str(tmp_path / "x"))
    with pytest.raises(ToolchainMissing, match=r"componentize-py is missing.*pip install 'wasmrun\[python\]'"):
        componentize.cook(told, "x.wasm", {"PATH": "/nowhere"})
    fake = tmp_path / "componentize-py"
    fake.write_text("#!/bin/sh\necho componentize-py 9.9\n")
    fake.chmod(0o755)
    recipe = componentize.cook(told, "x.wasm", {"PATH": str(tmp_path)})
    assert recipe.command[0] == str(fake)
    assert recipe.toolchain == f"{fake} componentize-py 9.9"


def test_project_in_another_language_is_none_in_python(tmp_path: Path) -> None:
    """Though its tests are in Python: only a handler.py says so, where the language is not named."""
    for language in ("c", "python"):
        place = tmp_path / language
        make_project(str(place), LANGUAGES[language])
        file = place / "wasmrun.toml"
        file.write_text(re.sub("(?m)^language.*$", "", file.read_text()))
        assert read_project(str(place)).language.name == language
    assert json.loads((tmp_path / "python" / "event.json").read_text()) == {"name": "Ada"}
