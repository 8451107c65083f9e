"""The Rust SDK: its examples, as they are committed and built anew; what its README shows. Values are the vectors' affair."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun
from wasmrun.projects.recipe import ToolchainMissing
from wasmrun.projects.rust import find_toolchain

if TYPE_CHECKING:
    from collections.abc import Callable

SDK = Path(__file__).resolve().parents[2] / "guest_sdk" / "rust"

COMMITTED = {"hello": SDK / "examples", "route": SDK / "examples", "vectors": SDK}

ROUTE = json.loads((SDK / "examples" / "events" / "route.json").read_text(encoding="utf-8"))

EVENTS: dict[str, list[Any]] = {
    "hello": [{"name": "Ada"}, {"name": ""}, {"name": 5}, {}, "Ada", None],
    "route": [
        ROUTE,
        {**ROUTE, "to": "Rom"},
        {**ROUTE, "to": "Ulm"},
        {"from": "a", "to": "b"},
        {**ROUTE, "roads": [[1]]},
        None,
    ],
}


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What build.py makes, as a user runs it."""
    try:
        find_toolchain(str(SDK), os.environ)
    except ToolchainMissing as missing:
        pytest.skip(missing.message)
    output = tmp_path_factory.mktemp("rust")
    subprocess.run([sys.executable, SDK / "build.py", output], check=True, timeout=600)
    return output


@pytest.fixture(scope="session")
def outcome(executor: wasmrun.Executor) -> Callable[[Path, Any], Any]:
    """A value, or what was reported."""

    def outcome(module: Path, event: Any) -> Any:
        result = executor.run(wasmrun.Function(module, memory="2MiB"), event)
        if result.error is None:
            return result.value
        assert isinstance(result.error, wasmrun.GuestError), result.error
        return (result.error.type, result.error.message)

    return outcome


def test_hello_says_what_an_event_needs(outcome: Callable[[Path, Any], Any]) -> None:
    """In the words of the other languages."""
    needs = ("InvalidEvent", 'the event needs a string "name"')
    answers = [outcome(SDK / "examples" / "hello.wasm", event) for event in EVENTS["hello"]]
    assert answers == [{"hello": "Ada"}, {"hello": ""}, needs, needs, needs, needs]


def test_route_finds_the_shortest_way(outcome: Callable[[Path, Any], Any]) -> None:
    """None where there is none, the empty one to where one is, and what is wrong with other events."""
    answers = [outcome(SDK / "examples" / "route.wasm", event) for event in EVENTS["route"]]
    assert answers == [
        {"length": 400, "places": ["Ulm", "Mainz", "Bonn"]},
        ("NoWay", "no road leads from Ulm to Rom"),
        {"length": 0, "places": ["Ulm"]},
        ("InvalidEvent", 'the event needs an array "roads"'),
        ("InvalidEvent", "a road is [place, place, length]"),
        ("InvalidEvent", 'the event needs a string "from"'),
    ]


def test_route_is_not_led_astray_by_size(outcome: Callable[[Path, Any], Any]) -> None:
    """A long chain of places, of the longest roads that there are."""
    most = 2**32 - 1
    roads = [[str(at), str(at + 1), most] for at in range(300)]
    answer = outcome(SDK / "examples" / "route.wasm", {"from": "0", "to": "300", "roads": roads})
    assert (answer["length"], len(answer["places"])) == (300 * most, 301)
    wrong = outcome(SDK / "examples" / "route.wasm", {"from": "0", "to": "1", "roads": [["0", "1", 2**32]]})
    assert wrong[0] == "InvalidEvent"


@pytest.mark.parametrize("name", EVENTS)
def test_rebuilt_example_answers_like_the_committed_one(
    name: str, rebuilt: Path, outcome: Callable[[Path, Any], Any]
) -> None:
    """Values and errors alike."""
    for event in EVENTS[name]:
        assert outcome(rebuilt / f"{name}.wasm", event) == outcome(COMMITTED[name] / f"{name}.wasm", event)


def test_guest_without_std_answers_too(executor: wasmrun.Executor, rebuilt: Path) -> None:
    """In a sandbox that is used again its memory stays what the largest event needed."""
    tiny = wasmrun.Function(rebuilt / "tiny.wasm", reuse=True, memory="4MiB")
    largest = executor.run(tiny, {"name": "x" * 300_000}).report.memory_bytes
    for length in (0, 1, 31, 70_000, 300_000):
        result = executor.run(tiny, {"name": "x" * length, "more": [[{"a": [None] * 50}]] * 50})
        assert result.value == {"hello": "x" * length}
        assert result.report.memory_bytes <= 2 * largest
    assert isinstance(executor.run(tiny, {}).error, wasmrun.GuestError)


def test_memory_that_runs_out_is_no_endless_loop(executor: wasmrun.Executor, rebuilt: Path) -> None:
    """With std and without: an input that does not fit is `OutOfMemory`."""
    for module in (rebuilt / "hello.wasm", rebuilt / "tiny.wasm"):
        with pytest.raises(wasmrun.OutOfMemory):
            executor.invoke(wasmrun.Function(module, memory="1MiB"), {"name": "x" * 3_000_000})


def test_committed_modules_are_small_and_import_what_they_call() -> None:
    """Next to nothing."""
    for name, directory in COMMITTED.items():
        assert (directory / f"{name}.wasm").stat().st_size < 60_000


def test_readme_shows_the_example() -> None:
    """Word for word; the template of new projects has the same."""
    readme = (SDK / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```rust\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block
    assert block[1] in (SDK / "examples" / "hello.rs").read_text(encoding="utf-8")


def test_build_says_how_to_get_the_toolchain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And explains its arguments."""
    script = runpy.run_path(str(SDK / "build.py"))

    def missing(*_args: object) -> None:
        raise ToolchainMissing("Rust", "apt-get install rust")

    monkeypatch.setitem(script["main"].__globals__, "find_toolchain", missing)
    assert script["main"]([]) == 1
    assert "apt-get install rust" in capsys.readouterr().err
    assert script["main"](["--check"]) == 2
