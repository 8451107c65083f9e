"""`probe`, and the command that prints what it finds."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from wasmrun.errors import HostError
from wasmrun.hardening import trial
from wasmrun.hardening.trial import probe
from wasmrun.hardening.wall import NAMES
from wasmrun.machine.hotpath import KINDS


def doctor(*args: str, **environ: str) -> str:
    """What the command prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "wasmrun", "doctor", *args],
        capture_output=True, text=True, check=True, timeout=60, env={**os.environ, **environ},
    )  # fmt: skip
    return done.stdout


def test_probe_leaves_the_process_as_it_is() -> None:
    """What it finds out, a child finds out."""

    def state() -> object:
        with open("/proc/self/status") as file:
            walls = [line for line in file if line.startswith(("Seccomp", "NoNewPrivs", "Cap"))]
        names = sorted(os.listdir("/proc/self/fd"))
        return (
            walls,
            names,
            dict(os.environ),
            resource.getrlimit(resource.RLIMIT_CORE),
            os.readlink("/proc/self/ns/user"),
        )

    before = state()
    assert tuple(wall.name for wall in probe()) == NAMES
    assert state() == before


def test_probe_that_does_not_come_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last line that it wrote."""
    monkeypatch.setattr(trial, "_CHILD", "import sys; sys.exit('no luck')")
    with pytest.raises(HostError, match="ended with 1: no luck"):
        probe()


def test_probe_without_an_interpreter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(HostError, match=r"no child process to try the walls in: .*/nowhere/python"):
        probe()


def test_doctor_prints_a_line_for_each_wall(tmp_path: Path) -> None:
    """Under the versions, the sandboxes and the cache."""
    lines = doctor(WASMRUN_CACHE_DIR=str(tmp_path)).splitlines()
    titles = [line[:14].strip() for line in lines]
    assert [title for title in titles if title] == [
        "wasmrun",
        "python",
        "engine",
        "sandboxes",
        "hot path",
        "cache",
        *NAMES,
    ]
    assert f"cache          {tmp_path}" in lines


def test_doctor_says_what_to_do_about_what_is_missing(tmp_path: Path) -> None:
    """Under each such line."""
    lines = doctor(WASMRUN_CACHE_DIR=str(tmp_path)).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line[14:].startswith(" missing: "):
            assert following.strip().startswith("what to do: ")


def test_doctor_with_json_tells_the_same(tmp_path: Path) -> None:
    """One object."""
    found = json.loads(doctor("--json", "--cache-dir", str(tmp_path)))
    assert [wall["name"] for wall in found["walls"]] == list(NAMES)
    assert found["cache"] == str(tmp_path)
    assert found["max_sandboxes"] > 0
    assert found["hotpath"] in KINDS


def test_doctor_says_which_hot_path_is_taken(tmp_path: Path) -> None:
    """The one that is named; a name that is none, and what to do about it."""
    assert json.loads(doctor("--json", "--cache-dir", str(tmp_path), WASMRUN_HOTPATH="ctypes"))["hotpath"] == "ctypes"
    assert "hot path       missing: WASMRUN_HOTPATH must be" in doctor(
        "--cache-dir", str(tmp_path), WASMRUN_HOTPATH="c"
    )


def test_doctor_tells_of_a_cache_that_cannot_be_used(tmp_path: Path) -> None:
    """And of the rest all the same."""
    (tmp_path / "file").write_text("")
    found = json.loads(doctor("--json", "--cache-dir", str(tmp_path / "file" / "cache")))
    assert "cannot be used" in found["cache_problem"]
    assert len(found["walls"]) == len(NAMES)


def test_doctor_counts_the_sandboxes_that_there_is_address_space_for(tmp_path: Path) -> None:
    """More would abort the process."""
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 20000000; exec "$@"', "bash", sys.executable, "-m", "wasmrun", "doctor", "--json"],
        capture_output=True, check=True, timeout=60, env={**os.environ, "WASMRUN_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert 0 < json.loads(done.stdout)["max_sandboxes"] < 10
