"""The quick parser: what it reads, it reads as click does; everything else it leaves to click."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import programs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wasmrun.cli.quick import COMPLETION, parse
from wasmrun.cli.run_command import command
from wasmrun.cli.table import RUN

if TYPE_CHECKING:
    from conftest import Run

ECHO = str(programs.ECHO)
NO_TEXT = os.fsdecode(b"\xff\xfe")


def by_click(args: list[str]) -> dict[str, Any] | None:
    """What click would call the run command's function with; None where it would not."""
    try:
        # With a parent that, as the real one, has no variables of its own.
        return command.make_context("run", args, parent=click.Context(click.Group("wasmrun"))).params
    except (click.ClickException, click.exceptions.Exit):
        return None


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared cache's would be one that click reads."""
    monkeypatch.delenv("WASMRUN_CACHE_DIR")


READ = [
    [ECHO],
    [ECHO, "--event", "7"],
    [ECHO, "--event=7"],
    [ECHO, "-e", "7"],
    [ECHO, "-e", "-"],
    [ECHO, "--event", "-"],
    [ECHO, "--event=-"],
    [ECHO, "--event", ""],
    [ECHO, "--event="],
    [ECHO, "--event", "--raw"],
    [ECHO, "--event", "--"],
    [ECHO, "--event=--raw=1"],
    [ECHO, "--event", "-e"],
    [ECHO, "--event", "1", "--event", "2"],
    [ECHO, "--event", NO_TEXT],
    [ECHO, "--event", "é\n\t\x1b→"],
    ["--event", "7", ECHO],
    ["--raw", ECHO],
    [ECHO, "--raw", "--raw", "--json"],
    [ECHO, "--env", "A=1"],
    [ECHO, "--env=A=1", "--env", "B= 2", "--env=A=3"],
    [ECHO, "--env", "no variable", "--dir", "/::/data:ro", "--dir="],
    [ECHO, "--memory", "lots", "--timeout=-1s"],  # what a value means is not the parser's business
    [ECHO, "--abi", "native", "--report=none"],
    [ECHO, "--cache-dir", "/tmp"],
    [ECHO, "one", "two"],
    [ECHO, "one", "--raw", "two"],
    [ECHO, "-", ""],
    [ECHO, "--"],
    ["--", ECHO],
    [ECHO, "--", "one", "--event", "--", "-x", "", NO_TEXT],
    [ECHO, "one", "--", "--unknown=1"],
    ["--raw", "--", ECHO, "--raw"],
]

LEFT = [
    [],
    [""],
    ["--"],
    ["-"],
    ["gone.wasm"],
    [NO_TEXT],
    ["--raw"],
    ["--help"],
    [ECHO, "--help"],
    [ECHO, "-h"],
    [ECHO, "--event"],
    [ECHO, "-e"],
    [ECHO, "-e7"],
    [ECHO, "-e=7"],
    [ECHO, "-e-"],
    [ECHO, "-x"],
    [ECHO, "--memroy", "1MiB"],
    [ECHO, "--mem", "1MiB"],
    [ECHO, "---event", "1"],
    [ECHO, "--=1"],
    [ECHO, "--raw=1"],
    [ECHO, "--raw="],
    [ECHO, "--no-raw"],
    [ECHO, "--abi", "other"],
    [ECHO, "--abi="],
    [ECHO, "--report", "TEXT"],
    [ECHO, "--cache-dir", ECHO],
    [ECHO, "--cache-dir", ""],
    [ECHO, "--cache-dir", "/nowhere"],
    [ECHO, f"--{NO_TEXT}"],
]


@pytest.mark.parametrize("args", READ, ids=ascii)
def test_quick_parser_reads_the_usual_as_click_does(args: list[str]) -> None:
    """Every value, those that nobody gave included."""
    found = parse(["run", *args], {})
    assert found is not None
    assert found == by_click(args)


@pytest.mark.parametrize("args", LEFT, ids=ascii)
def test_quick_parser_leaves_the_rest_to_click(args: list[str]) -> None:
    """Help, short forms, everything wrong, and what nobody can read."""
    assert parse(["run", *args], {}) is None


@pytest.mark.parametrize(
    "args", [[], ["inspect", ECHO], ["--version"], ["--", "run", ECHO], ["ru", ECHO], ["Run", ECHO]]
)
def test_quick_parser_leaves_other_commands_to_click(args: list[str]) -> None:
    """It knows one."""
    assert parse(args, {}) is None


@pytest.mark.parametrize("variable", [*(option.variable for option in RUN), COMPLETION])
def test_quick_parser_leaves_variables_to_click(variable: str) -> None:
    """Any that an option can come from, and the one of completion."""
    assert parse(["run", ECHO], {"PATH": "", "WASMRUN_OTHER": "1"}) is not None
    assert parse(["run", ECHO], {variable: ""}) is None


_FLAGS = [flag for option in RUN for flag in option.flags]
_VALUES = ["", "-", "--", "7", "@file", "A=1", "native", "none", "text", "/tmp", "--raw", "-x", ECHO, NO_TEXT]
_WORDS = st.one_of(
    st.sampled_from([ECHO, *_FLAGS, *_VALUES, "-h", "--help"]),
    st.builds("{}={}".format, st.sampled_from(_FLAGS), st.sampled_from(_VALUES)),
    st.builds("{}{}".format, st.sampled_from(_FLAGS), st.sampled_from(_VALUES)),
    st.text(st.characters(exclude_characters="\0"), max_size=5),
)


@given(st.lists(_WORDS, max_size=8))
@example([ECHO, "--event", "--", "--", "--"])
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_quick_parser_and_click_never_differ(words: list[str]) -> None:
    """Any words at all: it has click's values, or none."""
    found = parse(["run", *words], {})
    assert found is None or found == by_click(words)


# What follows from it


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (("--event", "7"), 0),
        (("--raw", "--event", "7"), 0),
        (("--json",), 0),
        (("--fuel", "1"), 15),
        (("--event", "{"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_run_does_without_click(
    more: tuple[str, ...], status: int, cache_dir: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the function ended."""
    # None is how Python marks a module that must not be imported.
    monkeypatch.setitem(sys.modules, "wasmrun.cli.commands", None)
    assert run("run", ECHO, "--cache-dir", cache_dir, *more).status == status


@pytest.mark.parametrize(
    "args",
    [
        ("--event", "7"),
        ("--event", "7", "--report", "none"),
        ("--event", "{"),
        ("--event", "@gone.json"),
        ("--memory", "lots"),
        ("--memory", "1KiB"),
        ("--fuel", "1", "--report", "none"),
        ("--raw", "--event", NO_TEXT, "--report", "none"),
        ("--abi", "plain"),
        ("--entry", ""),
        ("--", NO_TEXT),
    ],
    ids=ascii,
)
def test_a_run_looks_the_same_by_either_parser(
    args: tuple[str, ...], cache_dir: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, output and messages; usage errors, too."""

    def without_figures(text: str) -> list[str]:
        return [line if not line.startswith("REPORT") else "REPORT" for line in text.splitlines()]

    line = ["run", ECHO, "--cache-dir", str(cache_dir), *args]
    assert parse(line, {}) is not None
    quick = run(*line)
    monkeypatch.setattr("wasmrun.cli.dispatch.parse", lambda args, environ: None)
    slow = run(*line)
    assert (quick.status, quick.output) == (slow.status, slow.output)
    assert without_figures(quick.err) == without_figures(slow.err)
