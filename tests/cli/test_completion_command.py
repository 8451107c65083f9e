"""`wasmrun completion`: scripts that let a shell complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o nosort -F _wasmrun_completion wasmrun"),
        ("zsh", "#compdef wasmrun"),
        ("fish", "complete --no-files --command wasmrun"),
    ],
)
def test_completion_prints_the_script_of_a_shell(shell: str, line: str, run: Run) -> None:
    """One that asks wasmrun itself, so that it never goes out of date."""
    done = run("completion", shell)
    assert (done.status, done.err) == (0, "")
    assert line in done.out
    assert f"_WASMRUN_COMPLETE={shell}_complete" in done.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("",), "run bench profile inspect compile snapshot new build dev cache doctor completion"),
        (("in",), "inspect"),
        (("run", "--re"), "--result-bytes --report"),
        (("run", "--report", ""), "text json none"),
        (("run", "x.wasm", "--abi", "n"), "native"),
        (("cache", ""), "clear list"),
        (("completion", "z"), "zsh"),
    ],
    ids=" ".join,
)
def test_completion_completes_in_bash(words: tuple[str, ...], expected: str) -> None:
    """The script, evaluated as its help says, and asked as bash asks it."""
    quoted = " ".join(f"'{word}'" for word in ("wasmrun", *words))
    script = f"""
        eval "$(wasmrun completion bash)" || exit 1
        COMP_WORDS=({quoted}) COMP_CWORD={len(words)}
        _wasmrun_completion wasmrun
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == expected.split()


def test_completion_of_a_module_is_left_to_the_shell(start: Run) -> None:
    """It knows the files."""
    env = os.environ | {"_WASMRUN_COMPLETE": "bash_complete", "COMP_WORDS": "wasmrun run gu", "COMP_CWORD": "2"}
    assert start(env=env) == (0, b"file,gu\n", "")


def test_completion_in_other_shells_has_the_help(start: Run) -> None:
    """zsh and fish show it beside each word."""
    env = os.environ | {"_WASMRUN_COMPLETE": "zsh_complete", "COMP_WORDS": "wasmrun insp", "COMP_CWORD": "1"}
    assert start(env=env).out == "plain\ninspect\nTell what a module is, and what it needs.\n"
    env |= {"_WASMRUN_COMPLETE": "fish_complete", "COMP_CWORD": "insp"}
    assert re.split(r"[\n\t,]", start(env=env).out, maxsplit=2) == [
        "plain",
        "inspect",
        "Tell what a module is, and what it needs.\n",
    ]
