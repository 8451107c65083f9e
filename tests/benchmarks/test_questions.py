"""Questions: each says what it asks, what to mind, and has its row in the README."""

from __future__ import annotations

import importlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import guests, subject
from benchmarks.__main__ import NAMES, main
from benchmarks.figures import Figure, Note, figure
from benchmarks.report import Lines, Table
from benchmarks.rounds import Rounds, interleave
from benchmarks.run import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[2] / "benchmarks" / "README.md"


@pytest.mark.parametrize("name", NAMES)
def test_question_is_one(name: str) -> None:
    """A docstring that asks, caveats, and something that measures."""
    question = importlib.import_module(f"benchmarks.{name}")
    assert question.__doc__.endswith("?")
    assert question.CAVEATS
    assert callable(question.measure)


def test_readme_has_every_question_in_its_words() -> None:
    """And no other."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", README.read_text(), re.MULTILINE))
    said = {name: importlib.import_module(f"benchmarks.{name}").__doc__ for name in NAMES}
    assert {name: text.replace("`", "") for name, text in rows.items()} == {
        name: text.replace("`", "") for name, text in said.items()
    }


def test_notes_are_said_beside_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """In both kinds of report."""
    answers = [Note("Wizer is left out"), figure("a", "µs", [1.0, 3.0, 2.0], "≤ 2")]
    Lines().answer("name", "Why?", ["Mind."], answers)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["question", "caveat", "note", "figure"]
    assert lines[2] == {"kind": "note", "benchmark": "name", "text": "Wizer is left out"}
    assert (lines[3]["median"], lines[3]["low"], lines[3]["high"], lines[3]["samples"]) == (2.0, 1.0, 3.0, 3)
    Table().answer("name", "Why?", ["Mind."], answers)
    text = capsys.readouterr().out
    assert text.index("Mind.") < text.index("Wizer is left out") < text.index("1 to 3")


def test_question_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its answers so far and the reason stand in the run; the status says that something is missing."""

    def measure(_effort: object) -> Iterator[Figure]:
        yield figure("a", "µs", [1.0])
        raise RuntimeError("no\nmore")

    def well(_effort: object) -> Iterator[Figure]:
        yield figure("b", "µs", [2.0])

    monkeypatch.setattr(importlib.import_module("benchmarks.process"), "measure", measure)
    monkeypatch.setattr(importlib.import_module("benchmarks.memory"), "measure", well)
    monkeypatch.setattr("sys.argv", ["benchmarks", "process", "memory", "--json"])
    with pytest.raises(SystemExit, match="ended early: process"):
        main()
    out, err = capsys.readouterr()
    assert "RuntimeError: no\nmore" in err  # with where it was raised
    run = read_run(out.splitlines())
    assert [(one.name, [found.name for found in one.figures], one.notes) for one in run.questions] == [
        ("process", ["a"], ["ended early: RuntimeError: no more"]),
        ("memory", ["b"], []),
    ]


def test_contestants_take_turns_and_the_first_time_does_not_count() -> None:
    """A A B B A A B B: the second of each pair is its cost."""
    order: list[str] = []

    def contestant(name: str) -> float:
        order.append(name)
        return float(len(order))

    costs = interleave({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, 2)
    assert order == ["a", "a", "b", "b"] * 2
    assert costs.samples("a") == [2.0, 6.0]
    assert costs.samples("b") == [4.0, 8.0]


def test_ratio_and_difference_are_of_rounds() -> None:
    """So that a slow round, which met both, changes neither."""
    costs = Rounds("µs", {"a": [2.0, 20.0, 8.0], "b": [1.0, 10.0, 2.0]})
    assert costs.ratio("a", "b").median == 2.0
    assert costs.difference("a", "b").median == 6.0
    assert costs.best_ratio("a", "b").median == 2.0


def test_best_of_rates_is_the_highest() -> None:
    """And of costs the lowest."""
    samples = {"a": [2.0, 20.0], "b": [1.0, 10.0]}
    assert Rounds("µs", samples).best_difference("a", "b").median == 1.0
    assert Rounds("events/s", samples).best_difference("a", "b").median == 10.0


def test_hot_path_is_of_the_kind_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says, which is left as it was."""
    monkeypatch.setenv("WASMRUN_HOTPATH", "compiled")
    with subject.executor_by("ctypes", tmp_path) as ours:
        assert subject.caller(ours, subject.function(guests.echo()))() == guests.PAYLOAD
        assert ours._settings.hotpath == "ctypes"
    assert os.environ["WASMRUN_HOTPATH"] == "compiled"
    monkeypatch.delenv("WASMRUN_HOTPATH")
    subject.executor_by("ctypes", tmp_path).shutdown()
    assert "WASMRUN_HOTPATH" not in os.environ
