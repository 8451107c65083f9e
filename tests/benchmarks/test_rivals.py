"""Rivals: programs in environments of their own; one that cannot be had is left out, and says why."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import fetched, rivals
from benchmarks.rivals import RIVALS, environments
from benchmarks.served import Served

PROGRAM = """
import sys
from benchmarks.rivals.program import Way, serve

def make():
    print("what a library says")
    {body}

serve(make)
"""


def program(body: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(body=body)]


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_rival_is_pinned(rival: object) -> None:
    """To one version of everything that is installed."""
    assert all(line.count("==") == 1 for line in environments.pinned(rival.name))
    assert (environments.HERE / rival.name / "__main__.py").exists()
    assert rival.guest is None or rival.guest.exists()


def test_program_tells_its_ways_and_what_they_cost() -> None:
    """Whatever else is printed in its process."""
    with Served(program('return {"a way": Way(lambda events: events / 2, 7, "fresh")}')) as served:
        assert served.hear(60) == {"ways": {"a way": {"events": 7, "beside": "fresh"}}}
        assert served.ask("7 a way") == {"us_each": 3.5}
        assert served.ask("3 a way") == {"us_each": 1.5}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ('return {"a": Way(lambda events: events / 0, 7, "fresh")}', "ZeroDivisionError: division by zero"),
    ],
)
def test_program_that_cannot_run_says_why(body: str, reason: str) -> None:
    """At the start, and when its ways are tried."""
    with Served(program(body)) as served:
        assert served.hear(60) == {"unavailable": reason}


def test_program_that_says_nothing_is_ended() -> None:
    """It waits for an input that never comes."""
    with (
        Served([sys.executable, "-c", "input()"]) as served,
        pytest.raises(RuntimeError, match="ended with status -9"),
    ):
        served.hear(0.1)


def test_program_that_ends_says_how() -> None:
    """Before it was asked, and when it is asked after that."""
    with Served([sys.executable, "-c", "raise SystemExit(3)"]) as served:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended with status 3"):
                served.ask("7 a way")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache directory, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "wasmrun-benchmarks"


def test_environment_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And anew where one was not finished, or pins have changed."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> str:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
        return ""

    monkeypatch.setattr(environments, "run", run)
    first = environments.interpreter("extism")
    assert isinstance(first, Path)
    assert environments.interpreter("extism") == first
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert first.is_relative_to(cache)
    (first.parents[1] / "complete").unlink()
    assert environments.interpreter("extism") == first
    assert len(commands) == 4
    monkeypatch.setattr(environments, "pinned", lambda _name: ["extism==9"])
    assert environments.interpreter("extism") != first


def test_environment_that_cannot_be_made_leaves_a_reason_and_nothing_else(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is tried again the next time."""

    def run(command: list[str]) -> str:
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
            return ""
        return "no network"

    monkeypatch.setattr(environments, "run", run)
    assert environments.interpreter("wasmer_sdk") == "pip cannot install wasmer-sdk==0.5.0: no network"
    assert list(cache.iterdir()) == []


def test_rival_of_the_standard_library_needs_no_environment() -> None:
    """It is this Python."""
    assert environments.interpreter("python") == Path(sys.executable)


def test_fetching_says_why_it_failed() -> None:
    """The end of what the command said, its status, or that there is none."""
    assert fetched.run([sys.executable, "-c", "raise SystemExit('no')"]) == "no\n"
    assert fetched.run([sys.executable, "-c", "raise SystemExit(3)"]) == "status 3"
    assert "no-such-command" in fetched.run(["/no-such-command"])
    assert fetched.run([sys.executable, "-c", ""]) == ""


def test_what_rivals_import_needs_nothing_installed() -> None:
    """Their environments have neither wasmrun's packages nor each other's."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["wasmrun", "wasmtime", "msgpack", "psutil", "click"]))
import benchmarks.guests, benchmarks.rivals.program, benchmarks.rounds
"""
    done = fetched.run([sys.executable, "-c", code])
    assert done == ""


def test_rival_that_ends_is_left_out_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last line on standard error."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho first >&2\necho 'cannot open the shared library' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(rivals, "interpreter", lambda _name: program)
    with ExitStack() as running:
        reason = rivals._start(RIVALS[0], tmp_path, running)
    assert reason == "the process ended with status 3: cannot open the shared library"
