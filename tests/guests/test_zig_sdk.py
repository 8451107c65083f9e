"""The Zig SDK: its committed modules are what their sources say, and its example sums up tables."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wasmrun

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "zig"

EVENTS: dict[str, list[Any]] = {
    "hello": [{"name": ""}, {"name": "Ada", "age": 3}, {"name": 3}, {"name": None}, {}, [], "Ada", None],
    "table": [
        *({"csv": table} for table in ("", "\n", "a", "a,b\n1", 'a\n"', 'a\n"x"y', "a\n1\nx\n", "a\n\n-inf\n")),
        *({"csv": "a;b\n1;2", "delimiter": delimiter} for delimiter in (";", ",", "", "ab", 5, None)),
        {},
        5,
    ],
}


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules built by build.py as a user runs it."""
    output = tmp_path_factory.mktemp("rebuilt_zig")
    subprocess.run([sys.executable, str(SDK / "build.py"), str(output)], check=True)
    return output


def outcome(executor: wasmrun.Executor, module: Path, event: Any) -> tuple[Any, ...]:
    result = executor.run(wasmrun.Function(module), event)
    if result.error is None:
        return ("value", result.value)
    return (type(result.error), result.error.type, result.error.message)


@pytest.mark.parametrize("name", EVENTS)
def test_rebuilt_example_answers_like_the_committed_one(executor: wasmrun.Executor, rebuilt: Path, name: str) -> None:
    """Values and errors alike."""
    sample = json.loads((SDK / "examples" / "events" / f"{name}.json").read_text(encoding="utf-8"))
    outcomes = [outcome(executor, rebuilt / f"{name}.wasm", event) for event in [sample, *EVENTS[name]]]
    assert outcomes == [
        outcome(executor, SDK / "examples" / f"{name}.wasm", event) for event in [sample, *EVENTS[name]]
    ]
    assert {kind for kind, *_ in outcomes} == {"value", wasmrun.GuestError}


def test_rebuilt_guest_of_the_vectors_is_the_committed_one(rebuilt: Path) -> None:
    """Byte for byte, so that what passed is what the sources say."""
    assert (rebuilt / "vectors.wasm").read_bytes() == (SDK / "vectors.wasm").read_bytes()


def test_every_example_is_committed() -> None:
    for suffix in ("zig", "wasm"):
        assert {path.stem for path in (SDK / "examples").glob(f"*.{suffix}")} == set(EVENTS)


def test_hello_greets_and_logs(executor: wasmrun.Executor) -> None:
    result = executor.run(wasmrun.Function(SDK / "examples" / "hello.wasm"), {"name": "Ada"})
    assert result.value == {"hello": "Ada"}
    assert [(log.level, log.message) for log in result.logs] == [("info", "greeting somebody")]


# ---- table


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
