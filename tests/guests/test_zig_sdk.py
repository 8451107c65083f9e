"""The Zig SDK's example sums up tables."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest

import wasmrun

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "zig"


def summed_up(rows: list[list[str]], names: list[str]) -> dict[str, Any]:
    """What table.zig promises, said in Python."""

    def column(name: str, fields: list[str]) -> dict[str, Any]:
        full = [field for field in fields if field]
        try:
            numbers = [float(field) for field in full]
        except ValueError:
            numbers = []
        total = sum(numbers)
        return {
            "name": name,
            "empty": len(fields) - len(full),
            "unique": len(set(full)),
            "longest": max(full, key=lambda field: len(field.encode()), default=""),
            "numbers": {"least": min(numbers), "most": max(numbers), "sum": total, "mean": total / len(numbers)}
            if numbers
            else None,
        }

    columns = [column(name, [row[i] for row in rows]) for i, name in enumerate(names)]
    return {"rows": len(rows), "columns": columns}


@pytest.mark.parametrize("seed", range(20))
def test_table_reads_what_the_csv_module_writes(executor: wasmrun.Executor, seed: int) -> None:
    """Quotes, line ends within fields, other delimiters; whole numbers, so that sums are exact."""
    chance = random.Random(seed)
    names = [f"column {i}" for i in range(chance.randrange(2, 6))]
    texts = ["", "x", 'say "so"', '"', '""', "a,b;c", "two\nlines", "grüße 😀", "\r\n", "7 up"]

    def field(i: int) -> str:
        return chance.choice(texts) if i % 2 else chance.choice(["", str(chance.randrange(-1000, 1000))])

    rows = [[field(i) for i in range(len(names))] for _ in range(chance.randrange(50))]
    delimiter = chance.choice(",;\t")
    table = io.StringIO(newline="")
    csv.writer(table, delimiter=delimiter, lineterminator=chance.choice(["\n", "\r\n"])).writerows([names, *rows])
    event = {"csv": table.getvalue(), "delimiter": delimiter}
    answer = executor.invoke(wasmrun.Function(SDK / "examples" / "table.wasm"), event)
    assert answer == summed_up(rows, names)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"csv": ""}, "InvalidTable: the table is empty"),
        ({"csv": "a,b\n1,2\n\n3\n"}, "InvalidTable: line 4: 1 fields, where the first line has 2"),
        ({"csv": 'a\n"one\ntwo"\n"open\n'}, "InvalidTable: line 4: a quote that is not closed"),
        ({"csv": 'a\n"x"y\n'}, "InvalidTable: line 2: text behind a closing quote"),
        ({"csv": "a", "delimiter": ""}, 'InvalidEvent: "delimiter" has to be one character'),
        ({"csv": "a", "delimiter": 5}, 'InvalidEvent: the event needs a string "delimiter"'),
        ({"text": "a"}, 'InvalidEvent: the event needs a string "csv"'),
    ],
)
def test_table_says_what_is_wrong(executor: wasmrun.Executor, event: Any, message: str) -> None:
    error = executor.run(wasmrun.Function(SDK / "examples" / "table.wasm"), event).error
    assert isinstance(error, wasmrun.GuestError)
    assert f"{error.type}: {error.message}" == message
