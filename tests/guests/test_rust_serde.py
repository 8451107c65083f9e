"""Types of the Rust SDK, by serde: the example as it is committed and built anew, and every kind of type there and back."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

import wasmrun
from wasmrun.projects.recipe import ToolchainMissing
from wasmrun.projects.rust import find_toolchain

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "rust"

LINE = {"name": "a", "cents": 150, "count": 2}

ORDERS: list[tuple[Any, Any]] = [
    ({"lines": []}, {"cents": 0, "counts": {}}),
    ({"lines": [LINE, {"name": "b", "cents": 50}, LINE]}, {"cents": 650, "counts": {"a": 4, "b": 1}}),
    ({"lines": [LINE], "discount": "none", "note": "ü"}, {"cents": 300, "counts": {"a": 2}, "note": "ü"}),
    ({"lines": [LINE], "discount": {"none": None}, "note": None}, {"cents": 300, "counts": {"a": 2}}),
    ({"lines": [LINE], "discount": {"percent": 50}}, {"cents": 150, "counts": {"a": 2}}),
    ({"lines": [LINE], "discount": {"fixed": {"cents": 2**64 - 1}}}, {"cents": 0, "counts": {"a": 2}}),
    ({"lines": [{**LINE, "more": [[1]]}]}, {"cents": 300, "counts": {"a": 2}}),
]
"""Orders, and what they cost."""

WRONG = [
    ({}, "missing field `lines`"),
    ({"lines": {}}, "lines: invalid type: map, expected a sequence"),
    ({"lines": [LINE, {"name": "b"}]}, "lines[1]: missing field `cents`"),
    ({"lines": [{**LINE, "cents": -1}]}, "lines[0].cents: invalid value: integer `-1`, expected u64"),
    ({"lines": [{**LINE, "cents": 1.5}]}, "lines[0].cents: invalid type: floating point `1.5`, expected u64"),
    ({"lines": [{**LINE, "count": 2**32}]}, "lines[0].count: invalid value: integer `4294967296`, expected u32"),
    ({"lines": [{**LINE, "name": None}]}, "lines[0].name: invalid type: unit value, expected a string"),
    ({"lines": [], "discount": "all"}, "discount: unknown variant `all`, expected one of `none`, `percent`, `fixed`"),
    ({"lines": [], "discount": "percent"}, "discount: invalid type: unit variant, expected a value"),
    ({"lines": [], "discount": {"none": 1}}, "discount.none: invalid type: integer `1`, expected nothing"),
    ({"lines": [], "discount": {"percent": 256}}, "discount.percent: invalid value: integer `256`, expected u8"),
    ({"lines": [], "discount": {"fixed": {"cents": "x"}}},
     'discount.fixed.cents: invalid type: string "x", expected u64'),
    ({"lines": [], "discount": {"none": None, "fixed": None}},
     "discount: invalid type: map, expected a string, or a map with one key"),
    ({"lines": [], "discount": 5}, "discount: invalid type: integer `5`, expected a string, or a map with one key"),
    ({"lines": [], "nots": ""}, "unknown field `nots`, expected one of `lines`, `discount`, `note`"),
    ("text", 'invalid type: string "text", expected struct Order'),
    (None, "invalid type: unit value, expected struct Order"),
]  # fmt: skip
"""Events that are no orders, and what is wrong with them, and where."""

EVERYTHING: dict[str, Any] = {
    "numbers": [-128, -(2**15), -(2**31), -(2**63), 255, 65535, 2**32 - 1, 2**64 - 1, 0.5, 1e300],
    "wide": [-(2**63), 2**64 - 1],
    "texts": {"ü": "", "x": "y" * 300},
    "by_number": {"7": True, "65535": False},
    "by_shape": {"true": {"kind": "Side", "is": 4}},
    "maybe": 1,
    "shapes": ["Point", {"Circle": 0.25}, {"Line": [-1, 1]}, {"Named": {"name": "ß", "unit": None}}],
    "wrapper": -300,
    "bytes": [0, 255],
    "array": [1, 2, 3],
    "any": {"a": [None, True, -1, 2**64 - 1, 0.5, "x", b"\x00\xff", {"b": {}}]},
    "unit": None,
}


def outcome(executor: wasmrun.Executor, module: Path, event: Any, entry: str | None = None) -> Any:
    """A value, or what was reported."""
    result = executor.run(wasmrun.Function(module, memory="4MiB", entry=entry), event)
    if result.error is None:
        return result.value
    assert isinstance(result.error, wasmrun.GuestError), result.error
    return (result.error.type, result.error.message)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What build.py makes of the typed example, and of what tests it."""
    script = runpy.run_path(str(SDK / "build.py"))
    try:
        find_toolchain(str(SDK), os.environ)
        script["build_typed"](tmp_path_factory.mktemp("typed"))
    except ToolchainMissing as missing:
        pytest.skip(missing.message)
    except script["SerdeMissing"]:
        pytest.skip(f"cargo has no serde: {script['SERDE']}")
    return max(tmp_path_factory.getbasetemp().glob("typed*"))


@pytest.fixture(scope="session", params=["committed", "built"])
def typed(request: pytest.FixtureRequest) -> Path:
    """The example."""
    if request.param == "committed":
        return SDK / "examples" / "typed.wasm"
    found: Path = request.getfixturevalue("built")
    return found / "typed.wasm"


@pytest.mark.parametrize(("order", "total"), ORDERS, ids=range(len(ORDERS)))
def test_typed_handler_takes_and_answers_types(executor: wasmrun.Executor, typed: Path, order: Any, total: Any) -> None:
    """Defaults, options, enums, lists, maps; what a type does not name is ignored, unless it says otherwise."""
    assert outcome(executor, typed, order) == total


@pytest.mark.parametrize(("event", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_event_that_is_no_such_type_is_told_where_it_is_not(
    executor: wasmrun.Executor, typed: Path, event: Any, message: str
) -> None:
    """The path, what is there, and what is wanted."""
    kind, said = outcome(executor, typed, event)
    assert kind == "InvalidEvent"
    assert said.startswith(message)


def test_handlers_own_errors_stay_their_own(executor: wasmrun.Executor, typed: Path) -> None:
    """A type that the handler chose."""
    order = {"lines": [{"name": "a", "cents": 2**63, "count": 2}]}
    assert outcome(executor, typed, order) == ("TooExpensive", "the total does not fit 64 bits")


def test_every_kind_of_type_comes_back(executor: wasmrun.Executor, built: Path) -> None:
    """From a value to the type, to a value, and so on; bytes are read where a list of numbers is wanted."""
    probe = built / "probe.wasm"
    assert outcome(executor, probe, EVERYTHING, "everything_handle") == EVERYTHING
    assert outcome(executor, probe, {**EVERYTHING, "bytes": b"\x00\xff"}, "everything_handle") == EVERYTHING
    nothing = outcome(executor, probe, {**EVERYTHING, "maybe": None}, "everything_handle")
    assert nothing == {**EVERYTHING, "maybe": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers": [0] * 9}, "numbers: invalid length 9, expected a tuple of size 10"),
        ({"numbers": [0] * 11}, "numbers: invalid length 11, expected 10 items"),
        ({"wide": [0, -1]}, "wide[1]: invalid value: integer `-1`, expected u128"),
        ({"texts": {"xy": ""}}, 'invalid value: string "xy", expected a character'),
        ({"by_number": {"65536": True}}, 'invalid type: string "65536", expected u16'),
        ({"by_number": {"x": True}}, 'invalid type: string "x", expected u16'),
        ({"by_number": {"1": 1}}, "by_number.1: invalid type: integer `1`, expected a boolean"),
        ({"shapes": [{"Line": [1]}]}, "shapes[0].Line: invalid length 1"),
        ({"shapes": [{"Line": [1, 2, 3]}]}, "shapes[0].Line: invalid length 3"),
        ({"shapes": [{"Named": {"name": "ab"}}]}, 'shapes[0].Named.name: invalid value: string "ab"'),
        ({"shapes": ["Circle"]}, "shapes[0]: invalid type: unit variant, expected a value"),
        ({"array": [1, 2]}, "array: invalid length 2"),
        ({"bytes": [256]}, "bytes[0]: invalid value: integer `256`, expected u8"),
        ({"unit": 0}, "unit: invalid type: integer `0`, expected unit"),
    ],
)
def test_what_does_not_fit_a_type_is_told(
    executor: wasmrun.Executor, built: Path, change: dict[str, Any], message: str
) -> None:
    """Wherever it is."""
    kind, said = outcome(executor, built / "probe.wasm", {**EVERYTHING, **change}, "everything_handle")
    assert kind == "InvalidEvent"
    assert message in said


def test_what_no_value_can_hold_is_reported(executor: wasmrun.Executor, built: Path) -> None:
    """Numbers over 64 bits, keys that are no text."""
    probe = built / "probe.wasm"
    wide = ("InvalidValue", f"list[1].n: {2**128 - 1} does not fit 64 bits")
    assert outcome(executor, probe, True, "unanswerable_handle") == wide
    assert outcome(executor, probe, False, "unanswerable_handle") == (
        "InvalidValue", "invalid type: sequence, expected a key, which is text or a number")  # fmt: skip


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=9,
)  # fmt: skip


def test_any_value_survives_serde(executor: wasmrun.Executor, built: Path) -> None:
    """To the bit, and whatever it is in a type that wants another."""
    probe = wasmrun.Function(built / "probe.wasm", entry="again_handle", memory="4MiB")
    other = wasmrun.Function(built / "probe.wasm", entry="everything_handle", memory="4MiB")

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @hypothesis.given(_VALUES)
    def survives(value: Any) -> None:
        assert repr(executor.invoke(probe, value)) == repr(value)
        error = executor.run(other, value).error
        assert isinstance(error, wasmrun.GuestError)
        assert error.type == "InvalidEvent"

    survives()
    deep: Any = 0
    for _ in range(120):
        deep = [deep]
    assert executor.invoke(probe, deep) == deep


def test_readme_shows_the_typed_example() -> None:
    """Word for word."""
    readme = (SDK / "README.md").read_text(encoding="utf-8")
    source = (SDK / "examples" / "typed" / "typed.rs").read_text(encoding="utf-8")
    block = re.findall(r"^```rust\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[1]
    for part in block.split("\n\n"):
        assert part.rstrip("\n") in source


def test_build_leaves_out_what_needs_serde_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And says how to get it."""
    script = runpy.run_path(str(SDK / "build.py"))

    def missing(_output: Path) -> None:
        raise script["SerdeMissing"]

    def nothing(_output: Path) -> list[Path]:
        return []

    for name, builder in (("build", nothing), ("build_typed", missing)):
        monkeypatch.setitem(script["main"].__globals__, name, builder)
    assert script["main"]([str(tmp_path)]) == 0
    assert "librust-serde+serde-derive-dev" in capsys.readouterr().err
