"""`wasmrun bench`: steps, starts and loads of functions, side by side."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

import programs
import pytest

from wasmrun.bench import measuring
from wasmrun.bench.budget import EXIT_STATUS
from wasmrun.errors import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    from wasmrun.executor import Executor
    from wasmrun.function import Function

    Save = Callable[..., Path]


def read_all(screen: BinaryIO) -> bytes:
    """What is written to a terminal until nobody has it open any more."""
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while chunk := screen.read(4096):
            shown += chunk
    return shown


FEW = ("--cold", "30", "--warm", "40", "--duration", "50ms")
STEPS = ["compile", "load", "store", "instantiate", "init", "encode", "first_call", "steady_call", "tear_down"]
FIGURES = ["count", "warm_up", "is_steady", "min", "p50", "p90", "p99", "max", "intervals"]
LOAD = ["concurrency", "rate", "offered", "unsent", "lateness", "warm_share", "asked"]
TIME = r"[\d.]+ (µs|ms|s)"


@pytest.fixture(autouse=True)
def _two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between rounds the pool is given time to settle, which ten times a test would take half of the suite's."""
    monkeypatch.setattr(measuring, "ROUNDS", 2)


def test_bench_prints_tables(run: Run) -> None:
    """Starts of all functions, then the steps and the histogram of each; no progress where nobody watches."""
    options = ("--cold", "30", "--warm", "40", "--duration", "60s", "--concurrency", "none")
    done = run("bench", programs.ECHO, programs.WORDS, "--event", '"a b"', *options)
    assert (done.status, done.err) == (0, "")
    starts, *rest = done.out.split("\n\n")
    header, *rows = starts.splitlines()
    assert header.split() == ["function", "start", "count", "min", "p50", "±", "p90", "p99", "±", "max"]
    assert [row.split()[:3] for row in rows] == [
        [name, start, count]
        for name in ("echo", "words")
        for start, count in (("cold", "30"), ("warm", "40"), ("reused", "40"))
    ]
    for row in rows:
        assert re.fullmatch(rf"\w+ +\w+ +\d+( +{TIME}){{2}} +(\d+|>999)%( +{TIME}){{2}} +(\d+|>999)% +{TIME}", row)
    steps = [part.splitlines() for part in rest if part.split()[1] == "step"]
    assert [(part[0], [row.split()[0] for row in part[2:] if ":" not in row]) for part in steps] == [
        ("echo", STEPS), ("words", STEPS),
    ]  # fmt: skip
    histograms = [part for part in rest if part.split()[:2] == ["up", "to"]]
    assert len(histograms) == 2
    assert all(part.splitlines()[0].split()[2:] == ["cold", "warm", "reused"] for part in histograms)


def test_bench_prints_a_table_of_loads(run: Run) -> None:
    """Closed and open, of each function."""
    loads = run("bench", programs.ECHO, programs.WORDS, "--event", '"a b"', *FEW).out.split("\n\n")[1]
    header, *rows = loads.splitlines()
    assert header.split() == ["function", "load", "events/s", "warm", "p50", "±", "p90", "p99", "±", "max"]
    assert [row.split()[:2] for row in rows] == [
        [name, load] for name in ("echo", "words") for load in ("closed@1", "open@1")
    ]


def test_bench_prints_figures_as_json(run: Run) -> None:
    """In the order of the command line, in seconds, with all that they depend on."""
    done = run("bench", programs.ECHO, programs.WORDS, "--event", '"a b"', *FEW, "--json", "--env", "KEY=secret")
    assert (done.status, done.err) == (0, "")
    assert list(done.json) == [
        "unit", "versions", "machine", "settings", "functions", "comparisons", "budgets", "advice",
    ]  # fmt: skip
    assert done.json["unit"] == "seconds"
    assert b"secret" not in done.output
    assert done.json["settings"]["env"] == ["KEY"]
    assert [found["function"] for found in done.json["functions"]] == ["echo", "words"]
    for found in done.json["functions"]:
        assert list(found) == ["function", "abi", "was_cached", "phases", "samples", "notes"]
        assert list(found["phases"]) == STEPS
        assert list(found["samples"]) == ["cold", "warm", "reused", "closed@1", "open@1"]
        for name, figures in (*found["phases"].items(), *found["samples"].items()):
            assert list(figures) == FIGURES + (LOAD if "@" in name else [])
            assert 0 <= figures["min"] <= figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["max"] < 60
            low, high = figures["intervals"]["p99"]
            assert low <= figures["p99"] <= high


def test_bench_tells_whether_loading_had_to_compile(run: Run, tmp_path: Path) -> None:
    """The first time it had to; what compiling takes is measured either way."""
    command = ("bench", programs.ECHO, *FEW, "--cache-dir", tmp_path / "cache", "--json")
    (first,), (second,) = (run(*command).json["functions"] for _ in range(2))
    assert (first["was_cached"], second["was_cached"]) == (False, True)
    for found in (first, second):
        assert found["phases"]["compile"]["p50"] > found["phases"]["load"]["p50"]


def test_bench_measures_the_starts_that_it_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No warm start is counted as a cold one, nor the other way round."""
    from wasmrun.bench import starts

    seen: list[tuple[int, int, str]] = []

    def timed(executor: Executor, function: Function, event: object) -> int:
        start = executor.run(function, event).report.start
        seen.append((function.warm, function.reuse, start))
        return 1_000

    monkeypatch.setattr(starts, "timed", timed)
    done = run(
        "bench", programs.ECHO, "--cold", "50", "--warm", "70", "--duration", "9s", "--concurrency", "none", "--json"
    )
    assert done.status == 0
    counts = Counter(seen)
    assert counts == {(0, False, "cold"): 50, (starts.READY, False, "warm"): 70, (1, True, "reused"): 70}
    samples = done.json["functions"][0]["samples"]
    assert [samples[name]["count"] for name in ("cold", "warm", "reused")] == [50, 70, 70]
    assert "open@1" not in samples


def test_bench_of_a_function_with_a_snapshot_says_so(run: Run, save: Save) -> None:
    """Its fresh starts are no cold ones."""
    module = save(
        """(module (memory (export "memory") 1) (global (mut i32) (i32.const 0))
             (func (export "wasmrun_init") (global.set 0 (i32.const 1)))
             (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 8))
             (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (i64.const 0)))"""
    )
    for _ in range(2):  # the second time it is taken and compiled anew, to be measured
        done = run("bench", module, *FEW, "--rate", "none", "--json", "--snapshot")
        assert list(done.json["functions"][0]["samples"]) == ["snapshot", "warm", "reused", "closed@1"]


def test_bench_measures_at_every_concurrency_and_in_processes(run: Run) -> None:
    """Each kind of start and each load in both places; with every rate."""
    done = run(
        "bench", programs.ECHO, *FEW, "--concurrency", "1, 2", "--rate", "50%,300", "--processes", "--json",
        "--event", '"x"',
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    loads = [
        f"{load}@{number}{more}" for number in (1, 2) for load, more in (("closed", ""), ("open", ""), ("open", "#2"))
    ]
    names = ["cold", "warm", "reused"]
    samples = done.json["functions"][0]["samples"]
    wanted = [*names, *(f"processes.{name}" for name in names), *loads, *(f"processes.{name}" for name in loads)]
    assert list(samples) == wanted
    assert samples["open@2#2"]["offered"] == 300
    assert samples["processes.open@2"]["offered"] == pytest.approx(samples["processes.closed@2"]["rate"] / 2)
    assert all(0 <= samples[name]["warm_share"] <= 1 for name in wanted if "@" in name)


@pytest.mark.parametrize("module", ["command", "raw", "plain"])
def test_bench_measures_functions_of_every_kind(module: str, run: Run, save: Save) -> None:
    """The event is given as `run` gives it; what an instance cannot do twice is left out, and said."""
    options = {"command": (), "raw": ("--raw", "--event", "no JSON"), "plain": ("--event", "[1, 2]")}[module]
    path = {"command": save(programs.CAT), "raw": programs.ECHO, "plain": save(programs.ADD, "add.wat")}[module]
    done = run("bench", path, *FEW, *options, "--json")
    assert (done.status, done.err) == (0, "")
    (found,) = done.json["functions"]
    assert ("reused" in found["samples"], "steady_call" in found["phases"]) == ((module != "command",) * 2)
    assert (found["notes"] != []) == (module == "command")


def test_bench_leaves_out_what_a_function_cannot_do_twice(run: Run, save: Save) -> None:
    """One that traps at its second event is measured but for reuse."""
    module = save(
        """(module (global (mut i32) (i32.const 0))
             (func (export "f") (result i32)
               (if (global.get 0) (then unreachable)) (global.set 0 (i32.const 1)) (i32.const 5)))"""
    )
    done = run("bench", module, *FEW)
    assert (done.status, done.err) == (0, "")
    assert "not measured: steady_call: an instance that had an event fails at the next one: GuestTrap" in done.out
    assert "not measured: reused: an instance that had an event fails at the next one: GuestTrap" in done.out


def test_bench_says_what_was_warm_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it is not in the figures."""
    from wasmrun.bench import starts

    numbers = itertools.count()
    monkeypatch.setattr(starts, "timed", lambda *_: 9_000 if next(numbers) < 130 else 1_000 + next(numbers) % 7)
    done = run("bench", programs.ECHO, "--cold", "1000", "--warm", "1", "--duration", "9s", "--concurrency", "none")
    assert re.search(r"warm-up, which does not count: .*cold, the first 1[2-6]0 of 1000 \(p50 9\.00 µs\)", done.out)


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


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--duration", "0s"), "--duration: it must be above 0"),
        (("--duration", "long"), "--duration: 'long' is not a duration"),
        (("--concurrency", "0"), "--concurrency: '0' is no list of numbers"),
        (("--concurrency", "1,,2"), "--concurrency: '1,,2' is no list of numbers"),
        (("--concurrency", "99999"), "--concurrency: '99999' is no list of numbers"),
        (("--concurrency", "00012345"), "--concurrency: '00012345' is no list of numbers"),
        (("--concurrency", "²"), "--concurrency: '²' is no list of numbers"),
        (("--rate", "fast"), "--rate: 'fast' is neither"),
        (("--rate", "-5"), "--rate: '-5' is neither"),
        (("--rate", "nan"), "--rate: 'nan' is neither"),
        (("--rate", "1e9"), "--rate: '1e9' is neither"),
        (("--budget", "warm<1s"), "--budget: 'warm<1s' is no budget"),
        (("--plot", "x.pdf"), "--plot: x.pdf should end in .svg or .png"),
        (("--compare", "gone.json"), "--compare: gone.json cannot be read: No such file"),
    ],
)
def test_bench_refuses_options_that_mean_nothing(options: tuple[str, ...], error: str, run: Run) -> None:
    """Before anything is measured."""
    done = run("bench", programs.ECHO, *options)
    assert (done.status, done.output) == (2, b"")
    assert error in done.err


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
    out = run("bench", path, *FEW, "--compare", programs.ECHO, "--budget", "warm.p50<9s").out
    assert f"{name}  cold " in out
    assert f"\n{name} beside echo\n" in out
    assert "…" not in out
    assert f"warm.p50<9s: kept by {name}: " in out


# Comparing, saving, budgets


def test_bench_compares_modules_in_one_run(run: Run) -> None:
    """All that was measured of both; a verdict each."""
    done = run("bench", programs.ECHO, "--compare", programs.WORDS, "--event", '"a b"', *FEW, "--json")
    (comparison,) = done.json["comparisons"]
    assert (comparison["first"], comparison["second"], comparison["origin"]) == ("echo", "words", None)
    assert [one["key"] for one in comparison["differences"]] == [*STEPS, "cold", "warm", "reused", "closed@1", "open@1"]
    assert comparison["differences"][0]["verdict"] == "too few to tell"
    assert [found["function"] for found in done.json["functions"]] == ["echo", "words"]


def test_bench_compares_with_what_was_saved(run: Run, tmp_path: Path) -> None:
    """Every sample is there, and the machine."""
    saved = tmp_path / "before.json"
    assert run("bench", programs.ECHO, *FEW, "--save", saved).status == 0
    packed = json.loads(saved.read_bytes())
    assert (packed["format"], packed["version"]) == ("wasmrun benchmark", 1)
    assert packed["settings"]["cold"] == 30
    (cold,) = (one for one in packed["functions"][0]["samples"] if one["key"] == "cold")
    assert 1 <= len(cold["nanoseconds"]) <= 30
    done = run("bench", programs.ECHO, *FEW, "--compare", saved)
    assert (done.status, done.err) == (0, "")
    assert f"echo ({saved})" in done.out
    assert "not measured alike" not in done.out
    packed["versions"]["engine"] = "0.1"
    saved.write_text(json.dumps(packed))
    done = run("bench", programs.ECHO, *FEW, "--compare", saved, "--json", "--event", '"x"')
    (comparison,) = done.json["comparisons"]
    assert [text.partition(",")[0] for text in comparison["unlike"]] == ["engine 0.1", "event not given"]
    done = run("bench", programs.ECHO, *FEW, "--compare", saved, "--event", '"x"')
    assert "not measured alike, which may be the difference: engine 0.1, now " in done.out


def test_bench_refuses_to_compare_with_what_is_no_benchmark(run: Run, save: Save) -> None:
    """With the reason; not by its ending alone."""
    for name in ("other.json", "other.txt"):
        done = run("bench", programs.ECHO, "--compare", save('{"format": "else"}', name))
        assert (done.status, done.output) == (2, b"")
        assert "is no saved benchmark: it is no wasmrun benchmark" in done.err


def test_bench_plots(run: Run, tmp_path: Path) -> None:
    """What was measured of all functions."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'wasmrun[plot]'")
    path = tmp_path / "starts.svg"
    assert run("bench", programs.ECHO, *FEW, "--compare", programs.WORDS, "--event", '"x"', "--plot", path).status == 0
    text = path.read_text()
    assert "echo, cold" in text
    assert "words, warm" in text


def test_bench_that_cannot_save_says_so(run: Run, tmp_path: Path) -> None:
    """As a mistake on the command line."""
    done = run("bench", programs.ECHO, *FEW, "--save", tmp_path / "gone" / "x.json")
    assert done.status == 2
    assert "cannot be written: No such file or directory" in done.err


def test_bench_ends_with_a_status_of_its_own_where_a_budget_is_broken(run: Run) -> None:
    """Which no failure of a function has; figures and verdicts are printed all the same."""
    options = ("--budget", "warm.p50<60s", "--budget", "cold.p50<0.000000001")
    done = run("bench", programs.ECHO, *FEW, *options)
    assert (done.status, done.err) == (20, "")
    assert re.search(r"^warm\.p50<60s: kept by echo: warm\.p50 is .*$", done.out, re.MULTILINE)
    assert re.search(r"^cold\.p50<0\.000000001: broken by echo: cold\.p50 is .*$", done.out, re.MULTILINE)
    assert EXIT_STATUS not in {outcome.exit_status for outcome in OUTCOMES.values()}
    done = run("bench", programs.ECHO, *FEW, *options, "--json")
    assert done.status == 20
    assert [verdict["is_kept"] for verdict in done.json["budgets"]] == [True, False]
    assert run("bench", programs.ECHO, *FEW, *options[:2]).status == 0


# Terminals


def on_terminal(start: Run, *args: object, **environment: str) -> tuple[int, str]:
    """A command with both streams on a terminal: its status, and what the terminal was sent."""
    terminal, side = pty.openpty()
    with open(terminal, "rb", buffering=0) as screen, ThreadPoolExecutor(1) as reader:
        shown = reader.submit(read_all, screen)
        try:
            env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            done = start(*args, stdout=side, stderr=side, env={**env, "TERM": "xterm-256color", **environment})
        finally:
            os.close(side)
    return done.status, shown.result().decode().replace("\r\n", "\n")


def test_bench_shows_its_progress_on_a_terminal(start: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, and gone when it is done; standard output has the tables alone."""
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


@pytest.mark.parametrize("columns", ["80", "200"])
def test_bench_fits_a_terminal(columns: str, start: Run) -> None:
    """No line is longer, no figure is cut, whatever the function is called."""
    options = ("--processes", "--compare", programs.WORDS, "--event", '"x"')
    status, shown = on_terminal(start, "bench", programs.ECHO, *FEW, *options, COLUMNS=columns, NO_COLOR="1")
    tables = re.sub(r"\x1b\[\d*m", "", shown.rpartition("\x1b[2K")[2])
    assert status == 0
    assert max(len(line) for line in tables.splitlines()) <= int(columns)
    assert "…" not in tables
    # What stands in the last column of each table.
    for row in ("echo +processes.reused +", "echo +processes.open@1 +", "first_call +", "processes.closed@1 +"):
        assert re.search(rf"^{row}.*(µs|ms|%|█|▏|difference|slow|fast|tell) *$", tables, re.MULTILINE), row


def test_bench_prints_where_there_is_no_unicode(start: Run) -> None:
    """Bars are of other characters, and what there is none for is a question mark."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = start("bench", programs.ECHO, *FEW, env=env)
    assert (done.status, done.err) == (0, "")
    assert done.output.isascii()
    assert "###" in done.out
    assert "?s" in done.out


def test_bench_has_colour_on_a_terminal_alone(start: Run) -> None:
    """And there only where NO_COLOR is not set."""
    _, shown = on_terminal(start, "bench", programs.ECHO, *FEW)
    assert "\x1b[1m" in shown.rpartition("\x1b[2K")[2]
    assert "\x1b" not in start("bench", programs.ECHO, *FEW).out
