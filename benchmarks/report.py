"""A report: caveats first, then figures, as a table for people or as JSON lines for programs."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .effort import Effort
from .figures import Answer, Figure, Note

CAVEATS = (
    "Trust ratios, not times: both sides of a ratio met the same machine in the same run; times drift from run to run.",
    "A cost is the median over rounds, a ratio the median of the rounds' ratios, beside lowest and highest.",
    "'Best rounds' sets the best round of one beside the best of the other: look there when the machine is busy.",
    "Targets are printed for the reader to judge: nothing here passes or fails.",
)


def environment(effort: Effort) -> dict[str, str | int | float | None]:
    """What the figures depend on. `load` is how many threads wanted a processor in the last minute."""
    return {
        "wasmrun": _version("wasmrun"),
        "wasmtime": _version("wasmtime"),
        "python": platform.python_version(),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "effort": effort.name.lower(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    """Its name where the kernel tells it (Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def number(value: float) -> str:
    """Three digits that mean something, or all of a larger number's."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Lines:
    """JSON lines, each with its `kind`: environment, caveat, question, note or figure."""

    def begin(self, effort: Effort) -> None:
        """Say where this is measured, and the caveats of all questions."""
        print(json.dumps({"kind": "environment", **environment(effort)}))
        for caveat in CAVEATS:
            print(json.dumps({"kind": "caveat", "text": caveat}, ensure_ascii=False))

    def answer(self, name: str, question: str, caveats: Sequence[str], answers: Iterable[Answer]) -> None:
        """Print one question, its caveats, then its answers as they come."""
        print(json.dumps({"kind": "question", "benchmark": name, "text": question}, ensure_ascii=False))
        for caveat in caveats:
            print(json.dumps({"kind": "caveat", "benchmark": name, "text": caveat}, ensure_ascii=False))
        for answer in answers:
            kind = "note" if isinstance(answer, Note) else "figure"
            line = {"kind": kind, "benchmark": name, **dataclasses.asdict(answer)}
            print(json.dumps(line, ensure_ascii=False), flush=True)


class Table:
    """Readable text."""

    def begin(self, effort: Effort) -> None:
        """Say where this is measured, and the caveats of all questions."""
        print(", ".join(f"{name} {value}" for name, value in environment(effort).items()))
        _print_caveats(CAVEATS)

    def answer(self, name: str, question: str, caveats: Sequence[str], answers: Iterable[Answer]) -> None:
        """Print one question, its caveats and notes, and its figures as columns."""
        print(f"\n{name}: {question}")
        _print_caveats(caveats)
        rows = [("", "median", "lowest to highest", "samples", "target")]
        for answer in answers:
            if isinstance(answer, Note):
                _print_caveats([answer.text])
            else:
                rows.append(_row(answer))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            label, *cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
            print("  ".join([label, *cells]).rstrip(), flush=True)


def _print_caveats(caveats: Iterable[str]) -> None:
    for caveat in caveats:
        print(f"  - {caveat}")


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    spread = f"{number(figure.low)} to {number(figure.high)}"
    return figure.name, f"{number(figure.median)} {figure.unit}", spread, str(figure.samples), figure.target
