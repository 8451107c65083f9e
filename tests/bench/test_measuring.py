"""Measuring: what is measured in which order, and when that is enough."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun
from wasmrun.bench import measuring
from wasmrun.bench.loads import Part
from wasmrun.bench.measuring import Plan, Rate, Session
from wasmrun.bench.samples import PLACES, Load
from wasmrun.bench.steps import StepExecutor, SteppedSandbox

if TYPE_CHECKING:
    from pathlib import Path

ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'


def functions(*names: str) -> list[wasmrun.Function]:
    """The same function, by several names."""
    return [wasmrun.Function(ADD, name=name, warm=0) for name in names]


def session(names: tuple[str, ...], plan: Plan, cache_dir: Path, **options: Any) -> Session:
    """A session of them, on one event."""
    return Session(functions(*names), lambda _loaded: [1, 2], plan, cache_dir=str(cache_dir), **options)


def test_session_tells_every_turn(cache_dir: Path) -> None:
    """As many as the plan says, so that a bar ends where it should."""
    turns = 0

    def advance() -> None:
        nonlocal turns
        turns += 1

    plan = Plan(5, 5, 0.01, (1, 2), (Rate(100.0),), PLACES)
    session(("one", "two"), plan, cache_dir, advance=advance).measure()
    assert turns == 2 * plan.turns


def test_session_measures_there_and_back(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing comes always after the same other thing."""
    seen: list[tuple[str, str | None]] = []
    turn = measuring._Subject.turn

    def noted(subject: Any, place: str | None) -> None:
        seen.append((subject.function.label, place))
        turn(subject, place)

    monkeypatch.setattr(measuring._Subject, "turn", noted)
    monkeypatch.setattr(measuring, "ROUNDS", 2)
    session(("one", "two"), Plan(2, 2, 0.01, ()), cache_dir).measure()
    there, back = ["one", "two"], ["two", "one"]
    assert seen == [(name, place) for order in (there, back) for place in (None, "threads") for name in order]


def test_session_has_a_part_of_all_samples_in_every_turn(cache_dir: Path) -> None:
    """And in the end as many as were asked for, where there is time."""
    (found,) = session(("one",), Plan(30, 50, 60.0, ()), cache_dir).measure()
    assert {name: len(one.nanoseconds) for name, one in found.samples.items()} == {"cold": 30, "warm": 50, "reused": 50}
    counts = {name: len(one.nanoseconds) for name, one in found.phases.items()}
    assert counts == {
        "compile": 1, "load": 20, "store": 30, "instantiate": 30, "init": 30, "encode": 30, "first_call": 30,
        "steady_call": 50, "tear_down": 30,
    }  # fmt: skip
    assert all(nanoseconds >= 0 for one in found.phases.values() for nanoseconds in one.nanoseconds)


def test_session_of_what_takes_long_takes_one_of_each(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that moves on by a second whenever somebody looks: one sample of a start, one turn of a load."""
    clock = itertools.count()
    turns: list[int] = []

    def loop(_call: object, *, concurrency: int, **_how: object) -> Part:
        turns.append(concurrency)
        return Part(Load(concurrency, 1.0), (10,), 1.0)

    monkeypatch.setattr(measuring, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(measuring, "closed_loop", loop)
    (found,) = session(("one",), Plan(1_000, 1_000, 1.0, (1, 2), ()), cache_dir).measure()
    assert {name: len(one.nanoseconds) for name, one in found.samples.items()} == {
        "cold": 1, "warm": 1, "reused": 1, "closed@1": 1, "closed@2": 1,
    }  # fmt: skip
    assert turns == [1, 2]


def test_session_without_a_cache_says_so(tmp_path: Path) -> None:
    """It is measured all the same: then loading is compiling."""
    path = tmp_path / "file"
    path.touch()
    (found,) = Session(functions("one"), lambda _: [1, 2], Plan(2, 2, 0.01, ()), cache_dir=str(path)).measure()
    assert [note.partition(": ")[0] for note in found.notes] == ["load without compiling"]
    assert "cannot be used" in found.notes[0]


def test_session_names_what_it_measures_when_that_fails(cache_dir: Path) -> None:
    """The one to blame."""
    trap = wasmrun.Function('(module (func (export "f") unreachable))', name="trap", warm=0)
    measured = Session(
        [*functions("one"), trap],
        lambda loaded: [1, 2] if loaded.entry == "add" else [],
        Plan(),
        cache_dir=str(cache_dir),
    )
    with pytest.raises(wasmrun.GuestTrap):
        measured.measure()
    assert measured.current is trap


@pytest.mark.parametrize("kept", [{"warm": 1}, {"warm": 0, "reuse": True}])
def test_sandbox_is_not_taken_from_those_that_are_kept(kept: dict[str, Any], cache_dir: Path) -> None:
    """It would be lost to the pool."""
    with StepExecutor(cache_dir=str(cache_dir)) as executor, pytest.raises(ValueError, match="sandboxes are kept"):
        executor.with_sandbox(wasmrun.Function(ADD, **kept), [1, 2], SteppedSandbox, lambda *_: None)
