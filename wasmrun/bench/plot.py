"""Plots: what was measured, as a picture. Drawn by matplotlib, which is loaded for it and comes with wasmrun[plot]."""

from __future__ import annotations

import importlib.util
import io
import itertools
import math
import os
from collections.abc import Sequence
from typing import Any

from wasmrun.bench.drawing import OF_A_START
from wasmrun.bench.samples import PLACES, STARTS, Measured, Samples
from wasmrun.errors import printable
from wasmrun.units import format_duration

INSTALL = "pip install 'wasmrun[plot]'"

FORMATS = ("svg", "png")

_MOST_POINTS = 1_000
"""Of one curve: more are not to be told apart."""

_LABEL = 60
_DASHES = ("solid", "dashdot", "dashed", "dotted")
"""By the order of the starts."""
_INCHES_WIDE = 10.0
_INCHES_OF_STARTS = 5.0
_INCHES_A_LINE = 0.2
_LETTERS = 120
"""That fit into a line of a legend."""

_LETTERS_OF_A_DASH = 8
_INCHES_OF_STEPS = 1.2
_INCHES_A_BAR = 0.35


class CannotPlot(Exception):
    """There will be no picture; the text says why, and what to do."""


def check_plot(path: str) -> None:
    """Raise `CannotPlot` where `draw_plot` could not draw for *path*."""
    if _format(path) not in FORMATS:
        raise CannotPlot(f"{printable(path)} should end in .svg or .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise CannotPlot(f"matplotlib is not installed; run: {INSTALL}")


def draw_plot(path: str, found: Sequence[Measured]) -> bytes:
    """The picture for the file *path*: how the starts are distributed, and what each step of a start takes."""
    import matplotlib as mpl  # half a second, and only who plots waits for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not by pyplot, which keeps figures and looks for a display.
    with mpl.rc_context({"svg.hashsalt": "wasmrun", "svg.fonttype": "none", "text.parse_math": False}):
        names = _names(found)
        curves = [
            (name, key, at, samples)
            for at, (name, measured) in enumerate(zip(names, found, strict=True))
            for key, samples in measured.samples.items()
            if samples.name in STARTS
        ]
        longest = max((len(f"{name}, {key}") for name, key, *_ in curves), default=0) + _LETTERS_OF_A_DASH
        columns = max(1, _LETTERS // longest)
        heights = _INCHES_OF_STARTS, _INCHES_OF_STEPS + _INCHES_A_BAR * len(found)
        legend = _INCHES_A_LINE * math.ceil(len(curves) / columns)
        figure = Figure(figsize=(_INCHES_WIDE, sum(heights) + legend), layout="constrained")
        FigureCanvasAgg(figure)
        starts, steps = figure.subplots(2, 1, height_ratios=heights)
        _draw_starts(starts, curves)
        if curves:
            figure.legend(
                *starts.get_legend_handles_labels(), fontsize="small", ncols=columns, loc="outside upper center"
            )
        _draw_steps(steps, names, found)
        buffer = io.BytesIO()
        kind = _format(path)
        # Without a date, the same samples give the same file.
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {})
    return buffer.getvalue()


def _format(path: str) -> str:
    return os.path.splitext(path)[1].lower().removeprefix(".")


def _names(found: Sequence[Measured]) -> list[str]:
    """The functions' names; those that are paths, without the directories that they have in common."""
    directories = [measured.label.split("/")[:-1] for measured in found if "/" in measured.label]
    alike = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*directories, strict=False))
    common = sum(1 for _ in alike) if len(directories) > 1 else 0
    # A label that begins with "_" is left out of a legend.
    return [
        printable("/".join(label.split("/")[common:]) if "/" in label else label, _LABEL).lstrip("_") or "function"
        for label in (measured.label for measured in found)
    ]


def _draw_starts(axes: Any, curves: Sequence[tuple[str, str, int, Samples]]) -> None:
    """For each start the share of events that took at most so long. Outliers are the flat ends to the right."""
    is_one = all(at == 0 for _, _, at, _ in curves)
    for name, key, at, samples in curves:
        # A colour each function, a dash each kind: there are more curves than colours. Of one function, a colour each kind.
        colour = f"C{STARTS.index(samples.name) if is_one else at}"
        dash, width = _DASHES[STARTS.index(samples.name)], 1.5 if samples.place == PLACES[0] else 3.0
        axes.step(
            *_curve(samples), colour, where="post", linestyle=dash, linewidth=width, label=f"{name}, {key}"
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _position: format_duration(value) if value > 0 else "")
    axes.set_xlabel("latency")
    axes.set_ylabel("share of events that took at most so long")
    axes.set_ylim(0, 1.02)
    axes.grid(visible=True, which="both", alpha=0.3)


def _curve(samples: Samples) -> tuple[list[float], list[float]]:
    ordered = samples.steady
    count = len(ordered)
    step = max(1, count // _MOST_POINTS)
    ranks = sorted({*range(0, count, step), count - 1})
    return [max(ordered[at], 1) / 1e9 for at in ranks], [(at + 1) / count for at in ranks]


def _draw_steps(axes: Any, names: Sequence[str], found: Sequence[Measured]) -> None:
    """A bar a function: the median of each step, one after the other."""
    ends = [0.0] * len(found)
    for step in OF_A_START:
        widths = [measured.phases[step].seconds(50) if step in measured.phases else 0.0 for measured in found]
        axes.barh(range(len(found)), widths, left=ends, label=step)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _position: format_duration(value) if value > 0 else "0")
    axes.set_xlabel("median of each step of a start")
    axes.legend(fontsize="small", ncols=len(OF_A_START), loc="upper center", bbox_to_anchor=(0.5, 1.4))
