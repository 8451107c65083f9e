"""`wasmrun profile`: a file for Firefox's profiler, and the functions in which the samples were."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import programs
import pytest

from wasmrun.machine import profiling

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]

BUSY = """(module
  (func $"in\\1bner" (param i32)
    (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0))))
  (func $"[red]outer" (export "f") (param i32) (call $"in\\1bner" (local.get 0))))"""
QUICK = ("--duration", "60s", "--interval", "200us")


@pytest.fixture(autouse=True)
def _fifty_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """With them a profile ends, however busy the machine is, and however long it might take."""
    monkeypatch.setattr(profiling, "MOST_SAMPLES", 50)


def test_profile_prints_functions_and_writes_a_file(run: Run, save: Save, tmp_path: Path) -> None:
    """Beside the module; names are escaped, and no markup."""
    done = run("profile", save(BUSY, "busy.wat"), "--event", "[5000000]", *QUICK)
    assert (done.status, done.err) == (0, "")
    header, first, second, count, where = done.out.splitlines()
    assert header.split() == ["self", "total", "function"]
    assert re.fullmatch(r" *\d+\.\d% +\d+ +\d+\.\d% +\d+ +in\\x1bner *", first)
    assert re.fullmatch(r" *\d+\.\d% +\d+ +100\.0% +\d+ +\[red\]outer *", second)
    assert re.fullmatch(r"50 samples, at most one every 200 µs, of \d+ events?", count)
    assert where == f"{tmp_path}/busy.profile.json is for https://profiler.firefox.com"
    assert json.loads((tmp_path / "busy.profile.json").read_bytes())["threads"]


def test_profile_prints_json(run: Run, save: Save, tmp_path: Path) -> None:
    """The same, for programs."""
    done = run("profile", save(BUSY), "--event", "[5000000]", *QUICK, "--json", "--output", tmp_path / "p.json")
    assert list(done.json) == ["path", "interval", "events", "samples", "functions", "error"]
    assert (done.json["interval"], done.json["samples"], done.json["error"]) == (pytest.approx(0.0002), 50, None)
    assert [list(spot) for spot in done.json["functions"]] == [["name", "itself", "total"]] * 2
    assert (tmp_path / "p.json").exists()


def test_profile_can_go_to_standard_output(run: Run, save: Save) -> None:
    """Alone."""
    done = run("profile", save(BUSY), "--event", "[5000000]", *QUICK, "-o", "-")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.output)["threads"]
    done = run("profile", save(BUSY), "--event", "[5]", "-o", "-", "--json")
    assert (done.status, "--json: standard output gets the profile" in done.err) == (2, True)


def test_profile_of_an_event_that_times_out_shows_where_it_loops(run: Run, save: Save, tmp_path: Path) -> None:
    """And ends as the event does."""
    guest = save('(module (func $endless (export "f") (loop br 0)))', "spin.wat")
    done = run("profile", guest, "--timeout", "100ms", *QUICK)
    assert done.status == 13
    assert "endless" in done.out
    assert done.err.startswith("wasmrun: TimedOut: ")
    assert (tmp_path / "spin.profile.json").exists()
    done = run("profile", guest, "--timeout", "100ms", *QUICK, "--json")
    assert (done.status, done.err, done.json["error"]["class"]) == (13, "", "TimedOut")


@pytest.mark.parametrize("abi", ["native", "command", "plain"])
def test_profile_takes_functions_of_every_kind(abi: str, run: Run, save: Save, tmp_path: Path) -> None:
    """The event as `run` takes it; names from exports where there are no others, and what to do where there are none."""
    options: tuple[object, ...] = {
        "native": (programs.WORDS, "--event", json.dumps({"text": "some words " * 3_000})),
        "command": (save(programs.CAT, "cat.wat"), "--event", json.dumps("x" * 300_000)),
        "plain": (save(BUSY, "busy.wat"), "--event", "[5000]"),
    }[abi]
    done = run(
        "profile", *options, *QUICK, "-o", tmp_path / "p.json", "--result-bytes", "9MiB", "--event-bytes", "9MiB"
    )
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^50 samples, ", done.out, re.MULTILINE)
    if abi == "native":
        assert "wasmrun_handle" in done.out


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        (("--interval", "1us"), 2, "--interval: it must be from 0.0001s to 0.01s"),
        (("--interval", "1s"), 2, "--interval: it must be from"),
        (("--duration", "0"), 2, "--duration: it must be above 0"),
        (("--output", "gone/x.json"), 2, "--output: gone/x.json cannot be written"),
        (("--abi", "extism"), 3, "InvalidFunction: "),
        (("--event", "{"), 2, "InvalidEvent: the event is not JSON"),
    ],
)
def test_profile_refuses_what_it_cannot_do(
    options: tuple[str, ...], status: int, error: str, run: Run, save: Save
) -> None:
    """With the reason."""
    done = run("profile", save(BUSY), *(("--event", "[5]") if "--event" not in options else ()), *QUICK, *options)
    assert (done.status, done.output) == (status, b"")
    assert error in done.err


def test_profile_of_nothing_says_so(run: Run, save: Save) -> None:
    """Where no sample was taken."""
    done = run("profile", save(programs.ADD), "--event", "[1, 2]", "--duration", "1us")
    assert done.status == 0
    # One event of a microsecond: it takes a tick in the middle of it to be seen.
    assert ("no guest was seen at work" in done.out) == done.out.startswith("0 samples, ")
