"""`wasmrun inspect`: what a module is, whether it could run, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import programs
import pytest

from wasmrun.machine.inspection import Inspection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]
    Wat = Callable[..., str]

GRANTED = '(import "wasmrun" "db.get" (func (param i32 i32) (result i64)))'


def test_inspect_shows_a_module_at_a_glance(run: Run, wat: Wat, save: Save) -> None:
    """One fact a line, names and types in columns."""
    done = run("inspect", save(wat(imports='(import "wasmrun" "log" (func (param i32 i32 i32)))', memory="1 4")))
    assert (done.status, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if not line.startswith("code")] == [
        "ABI       native: it exports wasmrun_alloc",
        "entry     wasmrun_handle",
        "memory    64 KiB, at most 256 KiB",
        "start     no start function",
        "needs     no grants",
        "imports   1",
        "  wasmrun.log  (i32, i32, i32) -> ()",
        "exports   3",
        "  memory          memory of 1 page, at most 4",
        "  wasmrun_alloc   (i32) -> i32",
        "  wasmrun_handle  (i32, i32) -> i64",
    ]


@pytest.mark.parametrize(
    ("module", "abi", "entry", "start"),
    [
        (programs.CAT, "command: it exports _start", "_start", "no start function, uses WASI preview 1"),
        (programs.ADD, "plain: it exports neither wasmrun_alloc nor _start", "add", "no start function"),
        (
            '(module (func $f) (start $f) (func (export "g")))',
            "plain: it exports neither wasmrun_alloc nor _start",
            "g",
            "runs a start function",
        ),
    ],
    ids=["command", "plain", "start function"],
)
def test_inspect_explains_the_abi(module: str, abi: str, entry: str, start: str, run: Run, save: Save) -> None:
    """By what was seen in the module."""
    lines = run("inspect", save(module)).out.splitlines()
    assert lines[:2] == [f"ABI       {abi}", f"entry     {entry}"]
    assert f"start     {start}" in lines


def test_inspect_sees_the_function_that_the_options_describe(run: Run) -> None:
    """Another entry, another ABI, another limit."""
    assert "entry     wasmrun_handle_raw (raw)" in run("inspect", programs.ECHO, "--raw").out
    assert run("inspect", programs.ECHO, "--entry", "wasmrun_handle_raw", "--json").json["is_raw"] is True
    done = run("inspect", programs.ECHO, "--memory", "1KiB")
    assert done.status == 3
    assert "problem   the module starts with 64 KiB of memory, more than its limit of 1 KiB" in done.out


def test_inspect_shows_a_module_that_could_not_run(run: Run, wat: Wat, save: Save) -> None:
    """The problem, the exit status of an invalid function, and everything else all the same."""
    done = run("inspect", save(wat(imports=GRANTED)))
    assert (done.status, done.err) == (3, "")
    lines = done.out.splitlines()
    assert lines[0] == "ABI       native: it exports wasmrun_alloc"
    assert lines[1].startswith("problem   the module imports what it is not granted: wasmrun.db.get; grant ")
    assert "needs     wasmrun.db.get" in lines
    assert "  wasmrun.db.get  (i32, i32) -> i64" in lines
    assert "  wasmrun_handle  (i32, i32) -> i64" in lines
    assert not any(line.startswith("entry") for line in lines)


def test_inspect_escapes_names(run: Run, save: Save) -> None:
    """A module chooses the names of what it imports and exports."""
    guest = save(r'(module (import "a\1b[31m" "b\0a" (func)) (func (export "c\07")))')
    for option in ((), ("--json",)):
        out = run("inspect", guest, *option).out
        assert all(line.isprintable() for line in out.split("\n"))
        assert r"a\x1b[31m.b\n" in out.replace(r"\\", "\\")


def test_inspect_shows_nothing_where_there_is_nothing(run: Run, save: Save) -> None:
    """The smallest module there is."""
    done = run("inspect", save("(module)"))
    assert done.status == 3
    assert {"memory    0 B, no maximum", "imports   none", "exports   none"} <= set(done.out.splitlines())


def test_inspect_counts_in_the_plural_only_where_there_are_several(run: Run, save: Save) -> None:
    """One function is a function."""
    assert ", 1 function, " in run("inspect", save(programs.ADD)).out
    assert ", 0 functions, " in run("inspect", save("(module)")).out


def test_inspect_prints_every_field_as_json(run: Run, wat: Wat, save: Save) -> None:
    """Imports and exports are lists, since two imports may have one name; sizes are bytes."""
    done = run("inspect", save(wat(imports=GRANTED, memory="2")), "--json")
    assert (done.status, done.err) == (3, "")
    shown = done.json
    assert tuple(shown) == Inspection._fields
    assert (shown["abi"], shown["entry"], shown["is_raw"]) == ("native", None, False)
    assert shown["problem"].startswith("the module imports what it is not granted: wasmrun.db.get")
    assert shown["needs"] == ["wasmrun.db.get"]
    assert shown["imports"] == [{"name": "wasmrun.db.get", "type": "(i32, i32) -> i64"}]
    assert {"name": "wasmrun_alloc", "type": "(i32) -> i32"} in shown["exports"]
    assert (shown["memory_bytes"], shown["memory_maximum_bytes"]) == (131_072, None)
    assert shown["artifact_bytes"] > shown["module_bytes"] > 100


def test_inspect_json_says_that_there_is_no_problem(run: Run) -> None:
    """None, and the exit status 0."""
    done = run("inspect", programs.ECHO, "--json")
    assert (done.status, done.json["problem"], done.json["entry"]) == (0, None, "wasmrun_handle")


def test_inspect_of_what_is_no_module_says_what_it_is(run: Run, tmp_path: Path) -> None:
    """Other files are in tests/cli/test_bad_modules.py."""
    path = tmp_path / "picture.wasm"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run("inspect", path)
    assert (done.status, done.err) == (3, "")
    problem = "not WebAssembly, but a picture or a document; give a .wasm or .wat file"
    assert done.out.splitlines() == [
        "file      a picture or a document",
        f"problem   the module cannot be used: {problem}",
        "size      8 B",
    ]
