"""Ratios: parts beside the floor, and beside what they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.native import compiler
from benchmarks.ratios import BASELINE, NotARun, main, read_parts

ROOT = Path(__file__).parents[2]


def part(name: str, seconds: float, events: int = 1, floor_us: tuple[float, ...] = (5.0, 4.0)) -> dict[str, Any]:
    """A part as pytest-benchmark writes it."""
    extra = {"events": events, "hotpath": "compiled", "floor_us": list(floor_us)}
    return {"name": name, "stats": {"min": seconds}, "extra_info": extra}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A run and its baseline, which has `test_a` at 3 and `test_b` at 0.5."""
    run, baseline = tmp_path / "run.json", tmp_path / "baseline.json"
    run.write_text(json.dumps({"benchmarks": [part("test_a", 12e-6), part("test_b", 96e-6, events=48)]}))
    main([str(run), "--baseline", str(baseline), "--save"])
    assert json.loads(baseline.read_text()) == {"compiled": {"test_a": 3.0, "test_b": 0.5}}
    return run, baseline


def compare(files: tuple[Path, Path], *parts: dict[str, Any], options: tuple[str, ...] = ()) -> None:
    run, baseline = files
    run.write_text(json.dumps({"benchmarks": parts}))
    main([str(run), "--baseline", str(baseline), *options])


def test_part_as_slow_as_it_was_is_no_news(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine that is ten times as slow: the floor is so, too."""
    compare(files, part("test_a", 144e-6, floor_us=(40.0,)), part("test_b", 960e-6, 48, floor_us=(44.0, 40.0)))
    out = capsys.readouterr().out
    assert "+20%" in out
    assert "+0%" in out
    assert "slower" not in out


def test_part_that_became_slower_gives_the_status(files: tuple[Path, Path]) -> None:
    """And is named; how much is too much can be said."""
    slow = part("test_a", 17e-6)
    with pytest.raises(SystemExit, match=r"slower than 1\.3 times the baseline: test_a$"):
        compare(files, slow, part("test_b", 96e-6, 48))
    compare(files, slow, options=("--tolerance", "1.5"))


def test_parts_that_are_new_or_were_not_measured_are_said(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """They break nothing."""
    compare(files, part("test_c", 12e-6))
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["test_c"].endswith("new")
    assert rows["test_a"].endswith("not measured")


def test_baseline_of_one_hot_path_leaves_the_other_alone(files: tuple[Path, Path]) -> None:
    """Each is saved by its own run."""
    other = part("test_a", 40e-6)
    other["extra_info"]["hotpath"] = "ctypes"
    compare(files, other, options=("--save",))
    saved = json.loads(files[1].read_text())
    assert saved == {"compiled": {"test_a": 3.0, "test_b": 0.5}, "ctypes": {"test_a": 10.0}}


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ([], "not written by"),
        ({}, "not written by"),
        ({"benchmarks": []}, "nothing was measured"),
        ({"benchmarks": [{"name": "a"}]}, "not written by"),
        ({"benchmarks": [part("a", 0.0)]}, "not written by"),
        ({"benchmarks": [part("a", 1.0, events=0)]}, "not written by"),
        ({"benchmarks": [part("a", 1.0, floor_us=())]}, "needs a C compiler"),
    ],
)
def test_what_has_no_ratios_is_refused(run: Any, reason: str) -> None:
    """With the reason."""
    with pytest.raises(NotARun, match=reason):
        read_parts(run)


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """None, and one that is no JSON."""
    with pytest.raises(SystemExit, match="No such file"):
        main([str(tmp_path / "none.json")])
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(SystemExit, match=r"run\.json: "):
        main([str(tmp_path / "run.json")])


@pytest.mark.skipif(compiler() is None, reason="no C compiler, which builds the floor: apt-get install gcc")
def test_parts_are_measured_beside_the_floor(tmp_path: Path) -> None:
    """By pytest-benchmark itself, into a file that has ratios; the baseline knows the part."""
    run = tmp_path / "run.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks/test_parts.py"]
    command += ["--benchmark-only", "-k", "test_fresh_invocation and raw and not report", f"--benchmark-json={run}"]
    environment = {**os.environ, "WASMRUN_HOTPATH": "ctypes"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (found,) = read_parts(json.loads(run.read_text()))
    assert found.ratio > 1
    assert found.name in json.loads(BASELINE.read_text())[found.hotpath]
    assert found.hotpath == "ctypes"
