"""The page: what a run measured, caveats first, each figure beside its target."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.drawing import draw, drawable
from benchmarks.figures import Figure, figure
from benchmarks.page import main
from benchmarks.report import number
from benchmarks.run import NotARun, read_run
from benchmarks.targets import is_met

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def lines(*figures: dict[str, Any], **environment: Any) -> list[str]:
    """A run of one question with *figures*."""
    said: list[dict[str, Any]] = [
        {"kind": "environment", "python": "3.11.7", "processors": 2, "load": 0.2, "effort": "normal", **environment},
        {"kind": "caveat", "text": "Trust ratios."},
        {"kind": "question", "benchmark": "starts", "text": "What does a <start> cost?"},
        {"kind": "caveat", "benchmark": "starts", "text": "The guest echoes."},
        {"kind": "note", "benchmark": "starts", "text": "extism is left out: no network"},
        *figures,
    ]
    return [json.dumps(line) for line in said]


def told(name: str, median: float, unit: str = "µs", target: str = "", **changed: Any) -> dict[str, Any]:
    """The line of a figure."""
    line = {"kind": "figure", "benchmark": "starts", "name": name, "unit": unit, "median": median}
    return {**line, "low": median / 2, "high": median * 2, "samples": 3, "target": target, **changed}


def page(directory: Path, source: list[str]) -> str:
    """The page of the run *source*."""
    file = directory / "some.jsonl"
    file.write_text("\n".join(source))
    main([str(file), "--to", str(directory)])
    return (directory / "benchmarks.md").read_text()


@pytest.mark.parametrize(
    ("target", "met", "missed"),
    [
        ("≤ 1.5", 1.5, 1.51),
        ("≥ 20", 20, 19.9),
        ("0.8 to 1.2", 1.2, 1.3),
        ("0.8 to 1.2", 0.8, 0.79),
        ("0", 0, 1),
        ("≤ 2,000", 2000, 2001),
    ],
)
def test_target_is_met_or_missed(target: str, met: float, missed: float) -> None:
    """As it is written, bounds included."""
    assert is_met(target, met)
    assert not is_met(target, missed)


@pytest.mark.parametrize("target", ["", "soon", "< 3", "≤", "≤ 3 µs"])
def test_target_that_nobody_can_judge_is_an_error(target: str) -> None:
    """Rather than one that is never missed."""
    with pytest.raises(ValueError, match="is no target"):
        is_met(target, 1)


def test_every_target_of_a_question_can_be_judged() -> None:
    """Or its page could not be made, after a run of minutes."""
    targets = set()
    for path in (ROOT / "benchmarks").rglob("*.py"):
        if path.name not in ("targets.py", "run.py"):
            targets.update(re.findall(r'"((?:[≤≥] |\d[\d.,]* to \d)[^"]*)"', path.read_text()))
    assert len(targets) > 10
    for target in targets:
        is_met(target, 1.0)


def test_page_has_caveats_first_and_each_figure_beside_its_target(tmp_path: Path) -> None:
    """Met or missed, in a table of all and at its question."""
    source = lines(told("fresh", 3.5, target="≤ 4"), told("warm", 7.25, target="≤ 4"), told("both", 2, "×"))
    text = page(tmp_path, source)
    order = ["## Caveats", "Trust ratios.", "## Machine", "| python | 3.11.7 |", "## Targets", "1 of 2", "## starts"]
    order += [
        "The guest echoes.",
        "extism is left out: no network",
        "![",
        "| fresh | 3.5 µs | 1.75 to 7 | 3 | ≤ 4 | met |",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "| warm | 7.25 µs | 3.62 to 14.5 | 3 | ≤ 4 | **missed** |" in text
    assert "| [starts](#starts) | warm | 7.25 µs | ≤ 4 | **missed** |" in text
    assert "| both | 2 × | 1 to 4 | 3 |  |  |" in text
    assert r"**What does a \<start\> cost?**" in text
    assert "busy" not in text
    assert "quick" not in text


def test_page_says_that_the_machine_was_busy_and_the_run_quick(tmp_path: Path) -> None:
    """Before any figure."""
    text = page(tmp_path, lines(told("fresh", 1), load=5.1, effort="quick"))
    assert "**This machine was busy:** 5.1 threads wanted its 2 processors" in text
    assert text.index("busy") < text.index("## Machine")
    assert "quick run" in text


def test_page_is_the_same_for_the_same_run_and_keeps_it(tmp_path: Path) -> None:
    """With the run beside it, from which it can be made again; pictures of another run are gone."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "gone.svg").write_text("")
    source = lines(told("fresh", 1), told("warm", 2))
    first = page(tmp_path, source), (tmp_path / "benchmarks" / "starts.svg").read_text()
    assert (tmp_path / "benchmarks" / "run.jsonl").read_text() == "\n".join(source)
    main([str(tmp_path / "benchmarks" / "run.jsonl"), "--to", str(tmp_path)])
    assert first == ((tmp_path / "benchmarks.md").read_text(), (tmp_path / "benchmarks" / "starts.svg").read_text())
    assert sorted(path.name for path in (tmp_path / "benchmarks").iterdir()) == ["run.jsonl", "starts.svg"]


def test_question_asked_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """So that one question can be measured anew and appended."""
    text = page(tmp_path, [*lines(told("old", 1)), *lines(told("new", 1))])
    assert "| new |" in text
    said = [line for line in text.partition("## Machine")[0].splitlines() if line.startswith("- ")]
    assert len(said) == len(set(said))
    assert "| old |" not in text
    assert text.count("## starts") == 1


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "5",
        "{",
        "{}",
        '{"kind": "other"}',
        '{"kind": "figure", "benchmark": "starts"}',
        '{"kind": "note", "benchmark": "unasked", "text": "x"}',
        '{"kind": "caveat", "text": "two\\nlines"}',
        json.dumps(told("x", 1, target="soon")),
        json.dumps(told("x", float("nan"))),
        json.dumps(told("x", 1, samples=True)),
        json.dumps(told("x", 1, low="1")),
        json.dumps(told("x", 1, extra=1)),
        "[" * 100_000,
    ],
)
def test_what_is_no_run_is_refused_with_its_line(line: str) -> None:
    """And nothing is written."""
    with pytest.raises(NotARun, match=r"line 6 is not of a run"):
        read_run([*lines(), line])


def test_nothing_is_no_run(tmp_path: Path) -> None:
    """An empty file, one without a question, and none."""
    for source in ([], lines()[:1]):
        with pytest.raises(NotARun, match="there is no run"):
            read_run(source)
    with pytest.raises(SystemExit, match="No such file"):
        main([str(tmp_path / "none.jsonl"), "--to", str(tmp_path)])
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(SystemExit, match=r"bad\.jsonl: line 1 is not of a run"):
        main([str(tmp_path / "bad.jsonl"), "--to", str(tmp_path)])
    assert not (tmp_path / "benchmarks.md").exists()


def test_names_are_names_in_page_and_picture(tmp_path: Path) -> None:
    """And no markup."""
    name = 'a|b <script> `c` *d* [e](f) & "g"'
    text = page(tmp_path, lines(told(name, 1), told("other", 2)))
    assert r"| a\|b \<script\> \`c\` \*d\* \[e\](f) & " in text
    root = ET.fromstring((tmp_path / "benchmarks" / "starts.svg").read_text())
    assert name in [node.text for node in root.iter(f"{SVG}text")]


def test_picture_has_a_dot_for_each_cost_and_a_panel_for_each_unit() -> None:
    """In their order, between the first line and the last; ratios, differences and single figures have none."""
    figures = [figure("a", "µs", [1, 2, 4]), figure("b", "µs", [100, 200, 400]), figure("b ÷ a", "×", [2.0])]
    figures += [
        figure("b − a", "µs", [9.0]),
        figure("c", "ms", [3.0]),
        figure("d", "%", [99, 100]),
        figure("e", "%", [98]),
    ]
    units = drawable(figures)
    assert {unit: [one.name for one in found] for unit, found in units.items()} == {"µs": ["a", "b"], "%": ["d", "e"]}
    root = ET.fromstring(draw("title", units))
    width = float(root.attrib["width"])
    dots = [float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle")]
    assert len(dots) == 4
    assert dots == sorted(dots[:2]) + dots[2:]
    assert all(0 < dot < width for dot in dots)
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert texts[0] == "µs, each line ten times the one before"
    assert "%" in texts


@pytest.mark.parametrize(
    ("low", "high"),
    [(1e-9, 1e9), (1.0, 1.0), (0.3, 0.30001), (999, 1001), (7, 13.9), (1, 19.9), (1, 20), (1e5, 1e5 + 1)],
)
def test_picture_holds_whatever_was_measured(low: float, high: float) -> None:
    """Every line and dot is between the names and the values, and labels do not run into each other."""
    found = [Figure("a", "µs", low, low, low, 1), Figure("b", "µs", high, low, high, 1)]
    root = ET.fromstring(draw("title", {"µs": found}))
    left = min(float(re.match(r"M([\d.]+)", path.attrib["d"])[1]) for path in root.iter(f"{SVG}path"))  # type: ignore[index]
    assert all(left <= float(dot.attrib["cx"]) <= left + 420 for dot in root.iter(f"{SVG}circle"))
    labels = [node for node in root.iter(f"{SVG}text") if node.attrib.get("text-anchor") == "middle"]
    assert 2 <= len(labels) <= 6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0001234, "0.000123"),
        (0.5, "0.5"),
        (3.14159, "3.14"),
        (99.96, "100"),
        (123.4, "123"),
        (466592.4, "466,592"),
    ],
)
def test_number_is_as_long_as_it_means_something(value: float, text: str) -> None:
    """And never in powers of ten."""
    assert number(value) == text


def test_page_of_the_project_is_of_the_run_beside_it(tmp_path: Path) -> None:
    """Nobody edits it by hand."""
    main([str(ROOT / "docs" / "benchmarks" / "run.jsonl"), "--to", str(tmp_path)])
    for path in (tmp_path / "benchmarks.md", *(tmp_path / "benchmarks").iterdir()):
        assert (ROOT / "docs" / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()
