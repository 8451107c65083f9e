"""`wasmrun bench`: cold and warm starts, side by side."""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

import programs
import pytest

from wasmrun.bench import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]


def read_all(screen: BinaryIO) -> bytes:
    """What is written to a terminal until nobody has it open any more."""
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while chunk := screen.read(4096):
            shown += chunk
    return shown


FEW = ("--cold", "3", "--warm", "4")
FIGURES = ["count", "min", "p50", "p90", "p99", "max"]


def test_bench_prints_a_table(run: Run) -> None:
    """Two rows a function, then what loading took; no progress where nobody watches."""
    done = run("bench", programs.ECHO, programs.WORDS, "--event", '"a b"', *FEW)
    assert (done.status, done.err) == (0, "")
    header, *rows = done.out.splitlines()
    assert header.split() == ["function", "start", *FIGURES]
    assert [row.split()[:3] for row in rows[:4]] == [
        ["echo", "cold", "3"], ["echo", "warm", "4"], ["words", "cold", "3"], ["words", "warm", "4"],
    ]  # fmt: skip
    for row in rows[:4]:
        assert re.fullmatch(r"\w+ +\w+ +\d( +[\d.]+ (µs|ms|s)){5}", row)
    for name, row in zip(("echo", "words"), rows[4:], strict=True):
        how = "(from the cache|with compiling)"
        assert re.fullmatch(rf"{name}: loaded in [\d.]+ (µs|ms) {how}; a warm start takes [\d.]+ of a cold one", row)


def test_bench_prints_figures_as_json(run: Run) -> None:
    """In the order of the command line, in seconds."""
    done = run("bench", programs.ECHO, programs.WORDS, "--event", '"a b"', *FEW, "--json")
    assert (done.status, done.err) == (0, "")
    assert list(done.json) == ["unit", "functions"]
    assert done.json["unit"] == "seconds"
    assert [measured["function"] for measured in done.json["functions"]] == ["echo", "words"]
    for measured in done.json["functions"]:
        assert list(measured) == ["function", "load", "was_cached", "cold", "warm"]
        assert 0 < measured["load"] < 60
        for kind, count in (("cold", 3), ("warm", 4)):
            figures = measured[kind]
            assert list(figures) == FIGURES
            assert figures["count"] == count
            assert 0 < figures["min"] <= figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["max"] < 60


@pytest.mark.parametrize("count", [1, 2, 10, 100, 999])
def test_bench_percentiles_are_latencies_that_were_measured(count: int) -> None:
    """By nearest rank: half of them, and at least half, are not above p50."""
    sample = Sample("cold", tuple(float(number) for number in range(count, 0, -1)))
    for percent in (50.0, 90.0, 99.0, 100.0):
        value = sample.percentile(percent)
        share = sum(second <= value for second in sample.seconds) / count
        assert share >= percent / 100 > share - 1 / count


def test_bench_tells_whether_loading_had_to_compile(run: Run, tmp_path: Path) -> None:
    """The first time it had to."""
    command = ("bench", programs.ECHO, *FEW, "--cache-dir", tmp_path / "cache", "--json")
    (first,), (second,) = (run(*command).json["functions"] for _ in range(2))
    assert (first["was_cached"], second["was_cached"]) == (False, True)
    assert first["load"] > second["load"]


def test_bench_measures_the_starts_that_it_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No warm start is counted as a cold one, nor the other way round."""
    from wasmrun.cli import bench_command

    seen: list[str] = []
    noting = functools.partial(bench_command.Executor, on_report=lambda report: seen.append(report.start))
    monkeypatch.setattr(bench_command, "Executor", noting)
    assert run("bench", programs.ECHO, "--cold", "50", "--warm", "70").status == 0
    # One more of each, which is not counted; and the pool was never found empty.
    assert seen == ["cold"] * 51 + ["warm"] * 71


@pytest.mark.parametrize("module", ["command", "raw", "plain"])
def test_bench_measures_functions_of_every_kind(module: str, run: Run, save: Save) -> None:
    """The event is given as `run` gives it."""
    options = {"command": (), "raw": ("--raw", "--event", "no JSON"), "plain": ("--event", "[1, 2]")}[module]
    path = {"command": save(programs.CAT), "raw": programs.ECHO, "plain": save(programs.ADD, "add.wat")}[module]
    assert run("bench", path, *FEW, *options).status == 0


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_bench_of_a_function_that_fails_ends_as_the_function_does(
    option: tuple[str, ...], run: Run, save: Save
) -> None:
    """No table of half the functions; which one it was is said where there are several."""
    trap = save('(module (func (export "f") unreachable))', "trap.wat")
    done = run("bench", trap, *FEW, *option)
    assert (done.status, done.output) == (12, b"")
    assert done.err.startswith("wasmrun: GuestTrap: the function trapped: unreachable")
    done = run("bench", programs.ECHO, trap, *FEW, *option)
    assert (done.status, done.output) == (12, b"")
    assert done.err.startswith("wasmrun: measuring trap failed\nwasmrun: GuestTrap: ")


def test_bench_of_what_is_missing_is_an_invalid_function(run: Run) -> None:
    """As for `run`."""
    done = run("bench", "gone.wasm")
    assert done == (3, b"", "wasmrun: InvalidFunction: there is no module gone.wasm\n")


def test_bench_checks_the_event(run: Run) -> None:
    """As `run` does."""
    done = run("bench", programs.ECHO, "--event", "{", *FEW)
    assert (done.status, done.output) == (2, b"")
    assert done.err.startswith("wasmrun: InvalidEvent: the event is not JSON")


def test_bench_tells_functions_of_one_name_apart(run: Run, tmp_path: Path) -> None:
    """Two builds of one file are what one wants to compare: they are named by their paths."""
    other = tmp_path / "echo.wasm"
    other.write_bytes(programs.ECHO.read_bytes())
    done = run("bench", programs.ECHO, other, programs.WORDS, "--event", '"a"', *FEW, "--json")
    assert [item["function"] for item in done.json["functions"]] == [str(programs.ECHO), str(other), "words"]


def test_bench_never_cuts_a_figure(run: Run, tmp_path: Path) -> None:
    """However long a name is; and a name is a name, whatever rich would make of it."""
    name = "[red]" + "long" * 40
    path = tmp_path / f"{name}.wasm"
    path.write_bytes(programs.ECHO.read_bytes())
    rows = run("bench", path, *FEW).out.splitlines()
    assert len(rows) == 4
    assert rows[1].startswith(f"{name}  cold ")
    assert rows[3].startswith(f"{name}: loaded in ")
    assert all("…" not in row for row in rows)


def test_bench_shows_its_progress_on_a_terminal(start: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, and gone when it is done; standard output has the table alone."""
    monkeypatch.setenv("TERM", "xterm")
    terminal, side = pty.openpty()
    with open(terminal, "rb", buffering=0) as screen, ThreadPoolExecutor(1) as reader:
        shown = reader.submit(read_all, screen)
        try:
            done = start("bench", programs.ECHO, *FEW, stderr=side)
        finally:
            os.close(side)
    assert (done.status, done.out.split()[0]) == (0, "function")
    assert b"measuring" in shown.result()
    assert b"\x1b[2K" in shown.result().rpartition(b"measuring")[2]  # the line is erased
