"""A report: caveats first, then figures, as a table for people or as JSON lines for programs."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from .figures import Answer, Figure, Note

CAVEATS = (
    "Trust ratios, not times: both sides of a ratio met the same machine in the same run; times drift from run to run.",
    "A cost is the median over rounds, a ratio the median of the rounds' ratios, beside lowest and highest.",
    "'Best rounds' sets the best round of one beside the best of the other: look there when the machine is busy.",
    "Targets are printed for the reader to judge: nothing here passes or fails.",
)


def environment() -> dict[str, str | int | None]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "wasmtime": version("wasmtime"),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
    }


class Lines:
    """JSON lines, each with its `kind`: environment, caveat, question, note or figure."""

    def begin(self) -> None:
        """Say where this is measured, and the caveats of all questions."""
        print(json.dumps({"kind": "environment", **environment()}))
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

    def begin(self) -> None:
        """Say where this is measured, and the caveats of all questions."""
        print(", ".join(f"{name} {value}" for name, value in environment().items()))
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
    spread = f"{figure.low:.4g} to {figure.high:.4g}"
    return figure.name, f"{figure.median:.4g} {figure.unit}", spread, str(figure.samples), figure.target
