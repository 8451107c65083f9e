"""What a benchmark answers: figures, each with its spread and what was hoped for, and notes on what could not be measured."""

import dataclasses
import statistics
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Figure:
    """The median of `samples` measurements in `unit`, with the lowest and the highest.

    `target` is text: the reader judges.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    samples: int
    target: str = ""


@dataclasses.dataclass(frozen=True)
class Note:
    """What a reader has to know of this run: what was left out and why, or which version was met."""

    text: str


Answer = Figure | Note


def figure(name: str, unit: str, samples: Sequence[float], target: str = "") -> Figure:
    """The figure of at least one sample."""
    return Figure(name, unit, statistics.median(samples), min(samples), max(samples), len(samples), target)
