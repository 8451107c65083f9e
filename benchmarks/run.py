"""A run: what `python -m benchmarks … --json` printed, read again and checked."""

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Any

from .figures import Figure
from .targets import is_met


@dataclasses.dataclass
class Asked:
    """One question: its text, what to mind, what was said of this run, and the answers."""

    name: str
    text: str
    caveats: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    figures: list[Figure] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Run:
    """Where it was measured, what to mind everywhere, and the questions in their order."""

    environment: dict[str, Any]
    caveats: list[str]
    questions: list[Asked]


class NotARun(Exception):
    """The lines are not what a run prints; the text names the first that is not."""


def read_run(lines: Iterable[str]) -> Run:
    """The run of which `lines` are. Raises `NotARun`."""
    run = Run({}, [], [])
    asked: dict[str, Asked] = {}
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if not isinstance(said, dict):
                raise TypeError("it is no object")
            _add(run, asked, said)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise NotARun(f"line {number} is not of a run: {type(error).__name__}: {error}") from None
    if not run.environment or not run.questions:
        raise NotARun("there is no run: it begins with its environment, and asks something")
    return run


def _add(run: Run, asked: dict[str, Asked], line: dict[str, Any]) -> None:
    match line.pop("kind"):
        case "environment":
            run.environment = {_text(name): value for name, value in line.items()}
        case "caveat" if "benchmark" not in line:
            run.caveats.append(_text(line["text"]))
        case "question":
            # Asked again by a file that was appended to: the newest answers are taken.
            name = _text(line["benchmark"])
            if name in asked:
                run.questions.remove(asked[name])
            asked[name] = Asked(name, _text(line["text"]))
            run.questions.append(asked[name])
        case "caveat":
            asked[line["benchmark"]].caveats.append(_text(line["text"]))
        case "note":
            asked[line["benchmark"]].notes.append(_text(line["text"]))
        case "figure":
            asked[line.pop("benchmark")].figures.append(_figure(line))
        case other:
            raise ValueError(f"{other!r} is no kind of line")


def _text(value: Any) -> str:
    # What stands in a page is one line of text.
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r} is not a line of text")
    return value


def _figure(line: dict[str, Any]) -> Figure:
    figure = Figure(**line)
    for text in (figure.name, figure.unit, figure.target):
        _text(text)
    for number in (figure.median, figure.low, figure.high, figure.samples):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{number!r} is not a number")
    if figure.target:
        is_met(figure.target, figure.median)
    return figure
