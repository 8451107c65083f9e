"""Ratios of parts to the floor, beside those of the baseline: a part that has become slower is found on any machine.

pytest benchmarks/ --benchmark-only --benchmark-json run.json
python -m benchmarks ratios run.json            # status 1 where a part is slower than it was
python -m benchmarks ratios run.json --save     # these are the new baseline
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .report import number

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 1.3
"""A ratio of best rounds repeats within a tenth or two, on another machine within a little more."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part's best round over the floor's best of the turns that they took, for each event, by the hot path."""

    name: str
    hotpath: str
    ratio: float


class NotARun(Exception):
    """The file has no parts measured beside the floor; the text says why."""


def main(arguments: list[str]) -> None:
    """`python -m benchmarks ratios RUN.json [--save]`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks ratios", description="Compare the parts' ratios to the floor with the baseline's."
    )
    parser.add_argument("file", type=Path, help="what `pytest benchmarks/ --benchmark-json` has written")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="times the baseline that a ratio may be")
    parser.add_argument("--save", action="store_true", help="make these ratios the baseline of their hot path")
    options = parser.parse_args(arguments)
    try:
        parts = read_parts(json.loads(options.file.read_text()))
        baseline = json.loads(options.baseline.read_text()) if options.baseline.exists() else {}
    except (OSError, ValueError, NotARun) as error:
        sys.exit(f"{options.file}: {error}")
    if options.save:
        for hotpath in {part.hotpath for part in parts}:
            baseline[hotpath] = {part.name: round(part.ratio, 3) for part in parts if part.hotpath == hotpath}
        options.baseline.write_text(json.dumps(baseline, indent=2, sort_keys=True) + "\n")
        print(f"written: {options.baseline}")
        return
    slower = print_comparison(parts, baseline, options.tolerance)
    if slower:
        sys.exit(f"slower than {options.tolerance} times the baseline: {', '.join(slower)}")


def read_parts(run: Any) -> list[Part]:
    """The parts in what pytest-benchmark wrote. Raises `NotARun`."""
    try:
        measured = run["benchmarks"]
        if not all(one["extra_info"]["floor_us"] for one in measured):
            raise NotARun("there is no floor beside its parts; it needs a C compiler, which builds floor.c")
        parts = [_part(one) for one in measured]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise NotARun(f"not written by pytest benchmarks/ --benchmark-json: {type(error).__name__}: {error}") from None
    if not parts:
        raise NotARun("nothing was measured")
    return parts


def _part(one: Mapping[str, Any]) -> Part:
    noted = one["extra_info"]
    microseconds = one["stats"]["min"] * 1e6 / noted["events"]
    ratio = microseconds / min(noted["floor_us"])
    if not math.isfinite(ratio) or ratio <= 0:
        raise TypeError(f"{one['name']} took {microseconds} µs")
    return Part(one["name"], noted["hotpath"], ratio)


def print_comparison(parts: list[Part], baseline: Mapping[str, Mapping[str, float]], tolerance: float) -> list[str]:
    """Print each part's ratio beside its baseline; the names of those that are slower than *tolerance* allows."""
    slower = []
    rows = [("part", "hot path", "÷ floor", "baseline", "change")]
    for part in parts:
        before = baseline.get(part.hotpath, {}).get(part.name)
        change = "new" if before is None else f"{part.ratio / before - 1:+.0%}"
        if before is not None and part.ratio > before * tolerance:
            slower.append(part.name)
            change += "  slower"
        rows.append((part.name, part.hotpath, number(part.ratio), "" if before is None else number(before), change))
    met = {(part.hotpath, part.name) for part in parts}
    for hotpath in sorted({part.hotpath for part in parts}):
        gone = [name for name in baseline.get(hotpath, {}) if (hotpath, name) not in met]
        rows += [(name, hotpath, "", number(baseline[hotpath][name]), "not measured") for name in gone]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return slower
