"""`wasmrun snapshot`: a module that has started already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]

GUEST = """(module (memory (export "memory") 1)
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  (data (i32.const 64) "up\\1b[m")
  (func (export "wasmrun_init") (i32.store8 (i32.const 16) (i32.const 0x41)) (call $log (i32.const 2) (i32.const 64) (i32.const 5)))
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (i64.const 0x1000000001)))"""


def guest(save: Save, name: str = "guest.wat") -> Path:
    """The guest in a file; imports come first in a module."""
    lines = GUEST.splitlines()
    lines[0], lines[1] = (
        lines[0].replace(' (memory (export "memory") 1)', ""),
        lines[1] + ' (memory (export "memory") 1)',
    )
    return save("\n".join(lines), name)


def test_snapshot_is_a_module_beside_the_module(run: Run, save: Save) -> None:
    """It runs like any other, and does not start again; what the start-up logged is shown."""
    path = guest(save)
    done = run("snapshot", path)
    assert done.status == 0
    assert done.err == "INFO  up\\x1b[m\n"
    target = path.with_name("guest.snapshot.wasm")
    assert done.out.startswith(f"{target}  ")
    again = run("run", target, "--report", "none")
    assert (again.status, again.out, again.err) == (0, "A", "")


def test_snapshot_goes_where_it_is_told(run: Run, save: Save, tmp_path: Path) -> None:
    """To a file, or to standard output alone."""
    path = guest(save)
    assert run("snapshot", path, "-o", tmp_path / "out.wasm").status == 0
    done = run("snapshot", path, "-o", "-")
    assert done.output == (tmp_path / "out.wasm").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["guest.wat", "out.wasm"]


def test_snapshot_as_json(run: Run, save: Save) -> None:
    """One object."""
    path = guest(save)
    found = run("snapshot", path, "--json").json
    target = path.with_name("guest.snapshot.wasm")
    assert found.pop("seconds") > 0
    assert found == {
        "path": str(target),
        "module_bytes": path.stat().st_size,
        "snapshot_bytes": target.stat().st_size,
        "depends_on": [],
        "logs": [{"level": "info", "message": "up\x1b[m"}],
    }


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        (["--output", "/nowhere/x.wasm"], 2, "--output: /nowhere/x.wasm cannot be written: No such file"),
        (["--output", "-", "--json"], 2, "--json: standard output gets the module"),
        (["--fuel", "10"], 3, "its start-up failed: OutOfFuel"),
        (["--memory", "1KiB"], 3, "raise `memory`"),
        (["--snapshot"], 2, "No such option"),
    ],
)
def test_snapshot_that_cannot_be_had(run: Run, save: Save, options: list[str], status: int, reason: str) -> None:
    """Says why, and leaves nothing behind."""
    path = guest(save)
    done = run("snapshot", path, *options)
    assert done.status == status
    assert reason in done.err
    assert list(path.parent.iterdir()) == [path]


def test_run_starts_from_a_snapshot(run: Run, save: Save) -> None:
    """Which is kept in the cache."""
    path = guest(save)
    for _ in range(2):
        done = run("run", path, "--snapshot")
        assert (done.status, done.out) == (0, "A")
        assert "Start: snapshot" in done.err
        assert "INFO" not in done.err


def test_arguments_are_the_start_up_s(run: Run, save: Save) -> None:
    """After two dashes, as for a run."""
    path = save(
        """(module (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_initialize") (drop (call $args (i32.const 100) (i32.const 200))))
        (func (export "first") (result i32) (i32.load8_u (i32.const 206))))"""
    )
    assert run("snapshot", path, "--", "Zebra").status == 0
    assert run("run", path.with_name("guest.snapshot.wasm"), "--report", "none").out == "90\n"
