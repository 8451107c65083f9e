"""What the README of an SDK says to write, to build and to run, does what it says."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wasmrun

SDKS = Path(__file__).resolve().parents[2] / "guest_sdk"

SOURCES = {
    "assemblyscript": ("ts", "hello.ts"),
    "c": ("c", "hello.c"),
    "cpp": ("cpp", "hello.cpp"),
    "zig": ("zig", "hello.zig"),
}
"""For each language: how its first block of code is marked, and the file that the block is."""

GIVEN = {
    "assemblyscript": ["wasmrun.ts", "msgpack.ts"],
    "c": ["wasmrun.h"],
    "cpp": ["wasmrun.hpp", "../c/wasmrun.h"],
    "zig": ["wasmrun.zig", "msgpack.zig", "arena.zig"],
}
"""What stands next to that file."""


def block(readme: str, mark: str) -> str:
    found = re.search(rf"^```{mark}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="session", params=SOURCES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which a README was followed: written, and built with its own commands."""
    language = request.param
    directory = tmp_path_factory.mktemp(f"readme_{language}")
    readme = (SDKS / language / "README.md").read_text(encoding="utf-8")
    mark, name = SOURCES[language]
    (directory / name).write_text(block(readme, mark), encoding="utf-8")
    for given in GIVEN[language]:
        shutil.copy(SDKS / language / given, directory)
    install, *commands = block(readme, "sh").splitlines()
    if install.startswith("npm"):
        build = runpy.run_path(str(SDKS / language / "build.py"))
        if problem := build["missing"]():
            pytest.skip(problem)
        (directory / "node_modules").symlink_to(SDKS / language / "node_modules")
    for command in commands:
        program, *arguments = command.split()
        assert program in {"python", "npx"}
        subprocess.run([sys.executable if program == "python" else program, *arguments], cwd=directory, check=True)
    return directory


def test_readme_leads_to_an_answer(built: Path, tmp_path: Path) -> None:
    """With the command of its last chapter."""
    command = [sys.executable, "-m", "wasmrun", "run", "hello.wasm", "--event", '{"name": "Ada"}']
    done = subprocess.run([*command, "--cache-dir", tmp_path], cwd=built, capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == {"hello": "Ada"}


def test_function_of_a_readme_says_what_an_event_needs(executor: wasmrun.Executor, built: Path) -> None:
    """In the same words in each language."""
    for event in ({"name": 5}, {}, "Ada", None):
        error = executor.run(wasmrun.Function(built / "hello.wasm"), event).error
        assert isinstance(error, wasmrun.GuestError)
        assert (error.type, error.message) == ("InvalidEvent", 'the event needs a string "name"')


@pytest.mark.parametrize("language", SOURCES)
def test_readme_says_how_large_its_function_is(language: str) -> None:
    """In whole kilobytes, here and in the table of all languages."""
    size = f"{round((SDKS / language / 'examples' / 'hello.wasm').stat().st_size / 1000)} KB"
    table = (SDKS / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"\[{language}\]\({language}/README\.md\).*\| ([^|]+) \|$", table, re.MULTILINE)
    assert row
    assert row[1] == size
