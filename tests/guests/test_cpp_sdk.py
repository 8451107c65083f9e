"""The C++ SDK's example finds the nearest words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import wasmrun

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "cpp"


def distance(one: str, other: str) -> int:
    """Levenshtein's, said in Python."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one):
        diagonal, row[0] = row[0], i + 1
        for k, b in enumerate(other):
            diagonal, row[k + 1] = row[k + 1], min(diagonal + (a != b), row[k] + 1, row[k + 1] + 1)
    return row[-1]


@pytest.mark.parametrize("seed", range(10))
def test_nearest_words_come_first(executor: wasmrun.Executor, seed: int) -> None:
    """Those that are equally near stay in their order; letters of any length are one character."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abñ日😀", k=chance.randrange(8))) for _ in range(chance.randrange(1, 40))]
    event: dict[str, Any] = {"query": chance.choice(words) + "x", "words": words}
    top = chance.choice([None, 0, 1, 100])
    if top is not None:
        event["top"] = top
    ranked = sorted(({"word": word, "distance": distance(event["query"], word)} for word in words), key=near)
    answer = executor.invoke(wasmrun.Function(SDK / "examples" / "nearest.wasm"), event)
    assert answer == ranked[: 5 if top is None else top]


def near(item: dict[str, Any]) -> int:
    return item["distance"]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"words": []}, 'the event needs a string "query"'),
        ({"query": "a", "words": {"a": 1}}, 'the event needs an array "words"'),
        ({"query": "a", "words": ["a", 5]}, "a word is a string"),
        ({"query": "a", "words": [], "top": -1}, '"top" has to be a number of words'),
        ({"query": "a", "words": [], "top": "3"}, '"top" has to be a number of words'),
    ],
)
def test_nearest_says_what_is_wrong(executor: wasmrun.Executor, event: Any, message: str) -> None:
    error = executor.run(wasmrun.Function(SDK / "examples" / "nearest.wasm"), event).error
    assert isinstance(error, wasmrun.GuestError)
    assert (error.type, error.message) == ("InvalidEvent", message)
