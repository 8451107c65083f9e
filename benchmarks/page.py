"""The page: a run as a document, caveats first, each figure beside its target, with pictures.

    python -m benchmarks all --json > run.jsonl
    python -m benchmarks page run.jsonl

writes `docs/benchmarks.md`, and into `docs/benchmarks/` its pictures and the run itself.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from .drawing import draw, drawable
from .figures import Figure
from .report import number
from .run import Asked, NotARun, Run, read_run
from .served import REPOSITORY
from .targets import is_met

NAME = "benchmarks"
RUN = "run.jsonl"
_BUSY = 0.5
"""Load for each processor from which on a machine was not idle."""


def main(arguments: list[str]) -> None:
    """`python -m benchmarks page FILE.jsonl`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks page", description="Write docs/benchmarks.md from a run."
    )
    parser.add_argument("file", type=Path, help="what `python -m benchmarks all --json` has printed")
    parser.add_argument("--to", type=Path, default=REPOSITORY / "docs", help="the directory that it is written into")
    options = parser.parse_args(arguments)
    try:
        source = options.file.read_text()
        run = read_run(source.splitlines())
    except (OSError, UnicodeDecodeError, NotARun) as error:
        sys.exit(f"{options.file}: {error}")
    written = write_page(run, source, options.to)
    print(f"written: {written}")


def write_page(run: Run, source: str, directory: Path) -> Path:
    """Write the page of `run`, its pictures, and `source`, of which it is made; pictures of other runs go."""
    beside = directory / NAME
    beside.mkdir(parents=True, exist_ok=True)
    pictures = {f"{asked.name}.svg": units for asked in run.questions if (units := drawable(asked.figures))}
    for stale in set(beside.glob("*.svg")) - {beside / name for name in pictures}:
        stale.unlink()
    for asked in run.questions:
        if f"{asked.name}.svg" in pictures:
            (beside / f"{asked.name}.svg").write_text(draw(asked.text, pictures[f"{asked.name}.svg"]))
    (beside / RUN).write_text(source)
    page = directory / f"{NAME}.md"
    page.write_text("\n".join(_page(run)) + "\n")
    return page


def _page(run: Run) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield (
        f"Made from [a run]({NAME}/{RUN}) by `python -m benchmarks page`; not to be edited. What the questions mean, and "
        "how to ask them on your machine, is in [benchmarks/README.md](../benchmarks/README.md)."
    )
    yield ""
    yield "## Caveats"
    yield ""
    # A run may have been put together from several, which say the same.
    yield from (f"- {_cell(text)}" for text in dict.fromkeys(run.caveats))
    yield from (f"- {text}" for text in _of_this_run(run))
    yield ""
    yield "## Machine"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {_cell(name)} | {_cell(str(value))} |" for name, value in run.environment.items())
    yield ""
    yield from _targets(run)
    for asked in run.questions:
        yield from _question(asked)


def _of_this_run(run: Run) -> Iterator[str]:
    load, processors = run.environment.get("load"), run.environment.get("processors")
    if isinstance(load, int | float) and isinstance(processors, int) and load > _BUSY * processors:
        yield (
            f"**This machine was busy:** {number(load)} threads wanted its {processors} processors when the run began. "
            "Times are too long, and of the ratios only those of best rounds mean much."
        )
    if run.environment.get("effort") == "quick":
        yield "This was a quick run, of few rounds: a look, not a measurement."


def _targets(run: Run) -> Iterator[str]:
    rows = [(asked, figure) for asked in run.questions for figure in asked.figures if figure.target]
    if not rows:
        return
    met = sum(is_met(figure.target, figure.median) for _, figure in rows)
    yield "## Targets"
    yield ""
    yield f"{met} of {len(rows)} are met, by the median."
    yield ""
    yield "| question | figure | measured | target | |"
    yield "|---|---|---|---|---|"
    for asked, figure in rows:
        cells = f"[{asked.name}](#{asked.name})", _cell(figure.name), _value(figure), figure.target, _verdict(figure)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _question(asked: Asked) -> Iterator[str]:
    yield f"## {asked.name}"
    yield ""
    yield f"**{_cell(asked.text)}**"
    yield ""
    yield from (f"- {_cell(text)}" for text in (*asked.caveats, *asked.notes))
    yield ""
    if drawable(asked.figures):
        yield f"![{_cell(asked.text)}]({NAME}/{asked.name}.svg)"
        yield ""
    if asked.figures:
        yield "| figure | median | lowest to highest | samples | target | |"
        yield "|---|---|---|---|---|---|"
    for figure in asked.figures:
        spread = f"{number(figure.low)} to {number(figure.high)}"
        cells = _cell(figure.name), _value(figure), spread, str(figure.samples), figure.target, _verdict(figure)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _value(figure: Figure) -> str:
    return f"{number(figure.median)} {_cell(figure.unit)}"


def _verdict(figure: Figure) -> str:
    if not figure.target:
        return ""
    return "met" if is_met(figure.target, figure.median) else "**missed**"


def _cell(text: str) -> str:
    """Text as Markdown shows it, in a table as well."""
    for special in "\\|<>[]*_`":
        text = text.replace(special, f"\\{special}")
    return text
